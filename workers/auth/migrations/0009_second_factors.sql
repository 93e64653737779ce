-- Second factors, and what a session knows of how its owner signed in.
--
-- The version before this one may run beside it: it asks nobody for a second factor, and what it writes says so.

-- Authenticator apps (RFC 6238), one for an account at the most.
CREATE TABLE totp_factors (
    account_id uuid NOT NULL CONSTRAINT totp_factors_pkey PRIMARY KEY,
    sealed_secret bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- None until a first code was shown: nobody is asked for it before.
    confirmed_at timestamptz,
    -- The newest time step of which a code was used: none of it or before is good any more.
    last_step int8
);

CREATE TABLE passkeys (
    id uuid NOT NULL CONSTRAINT passkeys_pkey PRIMARY KEY,
    account_id uuid NOT NULL,
    -- What the authenticator calls it.
    credential_id bytea NOT NULL CONSTRAINT passkeys_credential_id_key UNIQUE,
    -- The public key and the newest count of signatures.
    credential jsonb NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz
);
CREATE INDEX passkeys_account ON passkeys (account_id);

-- Those that were not used yet.
CREATE TABLE recovery_codes (
    account_id uuid NOT NULL,
    -- SHA-256.
    hash bytea NOT NULL,
    CONSTRAINT recovery_codes_pkey PRIMARY KEY (account_id, hash)
);

-- Codes that were tried since one was right.
CREATE TABLE factor_tries (
    account_id uuid NOT NULL CONSTRAINT factor_tries_pkey PRIMARY KEY,
    tries int4 NOT NULL,
    began_at timestamptz NOT NULL
);

-- Whoever has given the right password, and not the second factor yet.
CREATE TABLE sign_in_challenges (
    -- SHA-256.
    hash bytea NOT NULL CONSTRAINT sign_in_challenges_pkey PRIMARY KEY,
    account_id uuid NOT NULL,
    -- With another password it counts for nothing.
    password_version int4 NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sign_in_challenges_age ON sign_in_challenges (created_at);

-- What browsers were told to ask of authenticators, and have not answered yet.
CREATE TABLE passkey_ceremonies (
    -- SHA-256.
    hash bytea NOT NULL CONSTRAINT passkey_ceremonies_pkey PRIMARY KEY,
    -- Who adds a passkey; none where somebody shows one.
    account_id uuid,
    state jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX passkey_ceremonies_age ON passkey_ceremonies (created_at);

ALTER TABLE sessions
    -- How the owner signed in (RFC 8176).
    ADD COLUMN amr text[] NOT NULL DEFAULT '{pwd}',
    -- When they showed a second factor last.
    ADD COLUMN factor_at timestamptz;
ALTER TABLE authorization_codes
    ADD COLUMN amr text[] NOT NULL DEFAULT '{pwd}',
    ADD COLUMN factor_at timestamptz;

ALTER TABLE letters
    DROP CONSTRAINT letters_kind_known,
    ADD CONSTRAINT letters_kind_known CHECK (kind IN (
        'confirm_email', 'already_registered', 'reset_password', 'password_changed',
        'approve_new_email', 'confirm_new_email', 'refresh_token_reused',
        'second_factor_added', 'second_factor_removed'
    ));
