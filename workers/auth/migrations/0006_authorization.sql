-- People let programs act for them.
ALTER TABLE clients
    -- It keeps no secret, as it runs on people's own machines.
    ADD COLUMN is_public bool NOT NULL DEFAULT false;

-- What people have agreed to.
CREATE TABLE consents (
    account_id uuid NOT NULL,
    client_id uuid NOT NULL CONSTRAINT consents_client_fkey REFERENCES clients ON DELETE CASCADE,
    scopes text[] NOT NULL,
    agreed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT consents_pkey PRIMARY KEY (account_id, client_id)
);

-- Codes that are exchanged for tokens, once and soon.
CREATE TABLE authorization_codes (
    -- SHA-256.
    hash bytea NOT NULL CONSTRAINT authorization_codes_pkey PRIMARY KEY,
    client_id uuid NOT NULL,
    account_id uuid NOT NULL,
    redirect_uri text NOT NULL,
    scopes text[] NOT NULL,
    nonce text,
    -- SHA-256 of the verifier, in base64url (RFC 7636, 4.2).
    code_challenge text NOT NULL,
    authenticated_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The session that came of it. It ends where the code is shown once more.
    session_id uuid
);
CREATE INDEX authorization_codes_age ON authorization_codes (created_at);

-- By which an app's session goes on. Each is good once; its session knows which is the newest.
CREATE TABLE refresh_tokens (
    -- SHA-256.
    hash bytea NOT NULL CONSTRAINT refresh_tokens_pkey PRIMARY KEY,
    session_id uuid NOT NULL CONSTRAINT refresh_tokens_session_fkey REFERENCES sessions ON DELETE CASCADE,
    -- Counts up within the session: a time would not tell two of one instant apart.
    generation int4 NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz,
    -- The next one, sealed, for whoever did not get the answer.
    successor bytea,
    CONSTRAINT refresh_tokens_generation UNIQUE (session_id, generation)
);
