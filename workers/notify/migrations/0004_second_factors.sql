-- Letters about second factors.
ALTER TABLE mails
    DROP CONSTRAINT mails_kind_known,
    ADD CONSTRAINT mails_kind_known CHECK (kind IN (
        'order_confirmed', 'order_rejected', 'order_cancelled',
        'confirm_email', 'already_registered', 'reset_password', 'password_changed',
        'approve_new_email', 'confirm_new_email', 'refresh_token_reused',
        'second_factor_added', 'second_factor_removed'
    ));
