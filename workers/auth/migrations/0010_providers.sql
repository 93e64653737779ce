-- People sign in with accounts elsewhere.
--
-- The version before this one may run beside it: it knows nothing of what is new here.

-- Whose account elsewhere is whose here.
CREATE TABLE identities (
    id uuid NOT NULL CONSTRAINT identities_pkey PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT identities_account_fkey REFERENCES accounts ON DELETE CASCADE,
    -- The `iss` and `sub` of the provider's ID tokens: together they are one person, for ever (OpenID Connect Core 1.0, 5.7).
    issuer text NOT NULL,
    subject text NOT NULL,
    -- What the configuration called the provider then.
    provider text NOT NULL,
    -- By which its owner knows it again; nobody is found by it.
    label text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT identities_subject_key UNIQUE (issuer, subject)
);
CREATE INDEX identities_account ON identities (account_id);

-- Browsers that came back from a provider. Each trip ends once, and what it has shown counts once.
CREATE TABLE provider_trips (
    id uuid NOT NULL CONSTRAINT provider_trips_pkey PRIMARY KEY,
    ended_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz
);
CREATE INDEX provider_trips_age ON provider_trips (ended_at);

-- How they have shown who they are until now (RFC 8176).
ALTER TABLE sign_in_challenges ADD COLUMN amr text[] NOT NULL DEFAULT '{pwd}';
