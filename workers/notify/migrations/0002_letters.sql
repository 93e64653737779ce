-- Letters about accounts, beside mails about orders: one per letter.
ALTER TABLE mails
    ALTER COLUMN order_id DROP NOT NULL,
    ADD COLUMN letter_id uuid CONSTRAINT mails_letter UNIQUE,
    ADD CONSTRAINT mails_about_one CHECK (num_nonnulls(order_id, letter_id) = 1),
    DROP CONSTRAINT mails_kind_known,
    ADD CONSTRAINT mails_kind_known CHECK (kind IN (
        'order_confirmed', 'order_rejected', 'order_cancelled',
        'confirm_email', 'already_registered', 'reset_password', 'password_changed',
        'approve_new_email', 'confirm_new_email', 'refresh_token_reused'
    ));
