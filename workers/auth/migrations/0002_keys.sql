-- Keys are sealed, follow each other, and are forgotten.
--
-- The version before this one may run beside it while a shop is updated. It signs with the key in use, whose private
-- half lies here as it is; both versions believe what either has signed. A day later that key is retired.
ALTER TABLE signing_keys
    ALTER COLUMN private_key DROP NOT NULL,
    ALTER COLUMN in_use SET DEFAULT false,
    -- PKCS #8, sealed with the key in the configuration. Gone once the key signs no more.
    ADD COLUMN sealed_private_key bytea,
    -- It is published for a while before, so that everybody knows it by then.
    ADD COLUMN signs_from timestamptz NOT NULL DEFAULT now(),
    -- Until what it has signed has expired. None where it may still sign.
    ADD COLUMN believed_until timestamptz,
    ADD CONSTRAINT signing_keys_signs_or_retires CHECK (
        (sealed_private_key IS NULL AND private_key IS NULL) = (believed_until IS NOT NULL)
    );
