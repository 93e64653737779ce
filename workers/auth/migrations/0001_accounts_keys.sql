-- Who may sign in.
CREATE TABLE accounts (
    id uuid NOT NULL CONSTRAINT accounts_pkey PRIMARY KEY,
    -- In lower case.
    email text NOT NULL CONSTRAINT accounts_email_key UNIQUE,
    name text NOT NULL,
    scopes text[] NOT NULL,
    -- Made for trying the shop out; they exist only while the configuration says so.
    is_demo bool NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What tokens are signed with. All of them verify; one signs.
CREATE TABLE signing_keys (
    -- The public key's thumbprint (RFC 7638).
    kid text NOT NULL CONSTRAINT signing_keys_pkey PRIMARY KEY,
    -- PKCS #8, DER.
    private_key bytea NOT NULL,
    -- RFC 7517.
    public_jwk jsonb NOT NULL,
    in_use bool NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
-- However many replicas start at once: of the keys they make one is kept.
CREATE UNIQUE INDEX signing_keys_one_in_use ON signing_keys (in_use) WHERE in_use;
