-- What an account may is said by its roles; which scopes those are, the program knows.
--
-- The version before this one may run beside it while a shop is updated. It reads `scopes`, which therefore stays and is
-- kept in step, and it makes no accounts but those of the demo, which have their roles by now.
ALTER TABLE accounts
    ADD COLUMN roles text[] NOT NULL DEFAULT '{shopper}',
    -- Grows with each change of the roles, so that nobody overwrites what they have not read.
    ADD COLUMN roles_version int8 NOT NULL DEFAULT 1,
    ADD CONSTRAINT accounts_roles_known CHECK (
        roles <@ '{shopper,support,merchandiser,warehouse,finance,admin,owner}'
    );

-- Whoever looked after the machine room was staff, and could do all that there was.
UPDATE accounts
SET roles = '{owner}'
WHERE 'ops:write' = ANY (scopes);

-- Few among many customers, and looked for whenever one of them is to go.
CREATE INDEX accounts_owners ON accounts (id) WHERE 'owner' = ANY (roles);
