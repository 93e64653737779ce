-- Whose mails they are, so that people get to see them, and so that nothing of them stays once they are erased.
--
-- The version before this one may run beside it: mails that it writes have no owner, until the orders worker was asked
-- for them.
ALTER TABLE mails
    -- None of who has no account.
    ADD COLUMN account_id uuid,
    ADD COLUMN is_owner_known bool NOT NULL DEFAULT false,
    DROP CONSTRAINT mails_state_known,
    -- erased: with the person. That there was one stays known.
    ADD CONSTRAINT mails_state_known CHECK (state IN ('pending', 'sent', 'kept', 'erased')),
    ADD CONSTRAINT mails_nothing_when_erased CHECK (state <> 'erased' OR recipient || subject || body = '');
CREATE INDEX mails_account ON mails (account_id, id) WHERE account_id IS NOT NULL;
-- As small as what waits: nothing, once those from before are done.
CREATE INDEX mails_owner_unknown ON mails (id) WHERE NOT is_owner_known AND order_id IS NOT NULL;
CREATE INDEX mails_letters ON mails (created_at) WHERE letter_id IS NOT NULL;

-- Accounts and letters of which nothing is to stay.
CREATE TABLE erased (
    id uuid NOT NULL CONSTRAINT erased_pkey PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT now(),
    -- Whether something of them may still turn up.
    is_erasing bool NOT NULL DEFAULT true
);
-- Nearly always empty.
CREATE INDEX erased_erasing ON erased (id) WHERE is_erasing;
