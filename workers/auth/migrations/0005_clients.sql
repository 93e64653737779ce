-- Programs that others wrote and staff have registered (OAuth clients). One that is revoked stays, as a record.
CREATE TABLE clients (
    id uuid NOT NULL CONSTRAINT clients_pkey PRIMARY KEY,
    name text NOT NULL,
    grants text[] NOT NULL CONSTRAINT clients_has_grants CHECK (cardinality(grants) > 0),
    redirect_uris text[] NOT NULL,
    scopes text[] NOT NULL,
    is_trusted bool NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE UNIQUE INDEX clients_name_key ON clients (name) WHERE revoked_at IS NULL;

-- Several at a time, so that one can take another's place while both are good.
CREATE TABLE client_secrets (
    id uuid NOT NULL CONSTRAINT client_secrets_pkey PRIMARY KEY,
    client_id uuid NOT NULL CONSTRAINT client_secrets_client_fkey REFERENCES clients ON DELETE CASCADE,
    -- SHA-256: a secret of 256 random bits cannot be guessed, however fast that is.
    hash bytea NOT NULL CONSTRAINT client_secrets_hash_key UNIQUE
        CONSTRAINT client_secrets_hash_length CHECK (octet_length(hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
CREATE INDEX client_secrets_client ON client_secrets (client_id);

-- What clients sign their proofs with (RFC 7523).
CREATE TABLE client_keys (
    id uuid NOT NULL CONSTRAINT client_keys_pkey PRIMARY KEY,
    client_id uuid NOT NULL CONSTRAINT client_keys_client_fkey REFERENCES clients ON DELETE CASCADE,
    -- As the client calls it, or its thumbprint (RFC 7638).
    kid text NOT NULL,
    -- RFC 7517; nothing secret.
    jwk jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT client_keys_kid_key UNIQUE (client_id, kid)
);

-- Proofs that were shown. Each counts once, and is forgotten when it would not count anyhow.
CREATE TABLE client_assertions (
    client_id uuid NOT NULL,
    -- SHA-256 of its jti, which the client makes up.
    jti_hash bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT client_assertions_pkey PRIMARY KEY (client_id, jti_hash)
);
CREATE INDEX client_assertions_expiry ON client_assertions (expires_at);

-- Tokens, sessions, credentials, accounts and clients whose tokens count for nothing. Forgotten once the last of those
-- tokens has expired.
CREATE TABLE revocations (
    id uuid NOT NULL CONSTRAINT revocations_pkey PRIMARY KEY,
    revoked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX revocations_newest ON revocations (revoked_at);
