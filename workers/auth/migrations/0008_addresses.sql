-- People's address books.
CREATE TABLE addresses (
    id uuid NOT NULL CONSTRAINT addresses_pkey PRIMARY KEY,
    account_id uuid NOT NULL,
    name text NOT NULL,
    line1 text NOT NULL,
    line2 text,
    postal_code text NOT NULL,
    city text NOT NULL,
    region text,
    country text NOT NULL,
    is_default bool NOT NULL DEFAULT false
);
CREATE INDEX addresses_account ON addresses (account_id, id);
CREATE UNIQUE INDEX addresses_one_default ON addresses (account_id) WHERE is_default;

-- An account that is erased takes its letters along.
CREATE INDEX letters_account ON letters (account_id) WHERE account_id IS NOT NULL;
