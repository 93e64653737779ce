-- Keys are sealed, follow each other, and are forgotten.
ALTER TABLE signing_keys RENAME COLUMN in_use TO was_in_use;
ALTER TABLE signing_keys DROP COLUMN private_key;
DROP INDEX signing_keys_one_in_use;
ALTER TABLE signing_keys DROP COLUMN was_in_use;

ALTER TABLE signing_keys
    -- PKCS #8, sealed with the key in the configuration. Gone once the key signs no more.
    ADD COLUMN sealed_private_key bytea,
    -- It is published for a while before, so that everybody knows it by then.
    ADD COLUMN signs_from timestamptz NOT NULL DEFAULT now(),
    -- Until what it has signed has expired. None where it may still sign.
    ADD COLUMN believed_until timestamptz;

-- What was there could not be sealed here. It signs no more; its tokens are good until they expire.
UPDATE signing_keys SET believed_until = now() + interval '1 hour';

ALTER TABLE signing_keys
    ALTER COLUMN signs_from DROP DEFAULT,
    ADD CONSTRAINT signing_keys_signs_or_retires CHECK ((sealed_private_key IS NULL) = (believed_until IS NOT NULL));
