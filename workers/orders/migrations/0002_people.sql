-- What events say of a person is sealed under a key of that person, and cannot be read once the key is gone.
--
-- The version before this one may run beside it: orders that it accepts have no key, and get one when something of
-- theirs is to be sealed.

-- One key for each account. The row stays when the person is erased, so that they get no other.
CREATE TABLE person_keys (
    account_id uuid NOT NULL CONSTRAINT person_keys_pkey PRIMARY KEY,
    -- Sealed with the key in the configuration.
    sealed_key bytea,
    erased_at timestamptz,
    -- Whether something of theirs may still turn up.
    is_erasing bool NOT NULL DEFAULT false,
    CONSTRAINT person_keys_gone_when_erased CHECK ((sealed_key IS NULL) = (erased_at IS NOT NULL)),
    CONSTRAINT person_keys_erasing_when_erased CHECK (NOT is_erasing OR erased_at IS NOT NULL)
);
-- Nearly always empty.
CREATE INDEX person_keys_erasing ON person_keys (account_id) WHERE is_erasing;

-- A guest's, for this order alone.
ALTER TABLE order_details ADD COLUMN sealed_key bytea;
