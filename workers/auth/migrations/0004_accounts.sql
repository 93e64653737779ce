-- Accounts that people make for themselves, with passwords, sessions and letters.
--
-- The version before this one may run beside it: it knows nothing of what is new here.
ALTER TABLE accounts
    -- Argon2id, in PHC's string format. Without one nobody signs in by password.
    ADD COLUMN password_hash text,
    -- What was made under an earlier password counts for nothing.
    ADD COLUMN password_version int4 NOT NULL DEFAULT 1;

-- Wishes for an account, until the address is confirmed or they are too old.
CREATE TABLE registrations (
    id uuid NOT NULL CONSTRAINT registrations_pkey PRIMARY KEY,
    -- In lower case.
    email text NOT NULL,
    name text NOT NULL,
    password_hash text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- None until a letter was written: nobody looks for an account with that address before.
    answered_at timestamptz
);
CREATE INDEX registrations_unanswered ON registrations (created_at) WHERE answered_at IS NULL;
CREATE INDEX registrations_email ON registrations (email);

-- Wishes for a new password, until a letter was written: nobody looks for the account before.
CREATE TABLE password_resets (
    id uuid NOT NULL CONSTRAINT password_resets_pkey PRIMARY KEY,
    email text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What people are written about their accounts. A letter's link has its id, and a code that is computed from it.
CREATE TABLE letters (
    id uuid NOT NULL CONSTRAINT letters_pkey PRIMARY KEY,
    kind text NOT NULL CONSTRAINT letters_kind_known CHECK (kind IN (
        'confirm_email', 'already_registered', 'reset_password', 'password_changed',
        'approve_new_email', 'confirm_new_email', 'refresh_token_reused'
    )),
    recipient text NOT NULL,
    -- What it names: an address, an app.
    subject text,
    -- None before there is one.
    account_id uuid,
    registration_id uuid,
    -- A link counts only while the account's password is still that one.
    password_version int4,
    -- The two letters of one change of address.
    change_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When its link was followed.
    used_at timestamptz,
    -- When the notify worker is asked next to send it; none once it has taken it.
    next_at timestamptz
);
CREATE INDEX letters_due ON letters (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX letters_recipient ON letters (recipient, created_at);
CREATE INDEX letters_change ON letters (change_id) WHERE change_id IS NOT NULL;

-- Attempts to sign in that failed, whether there is such an account or not.
CREATE TABLE sign_in_failures (
    -- SHA-256 of the address.
    email_hash bytea NOT NULL CONSTRAINT sign_in_failures_pkey PRIMARY KEY,
    failures int4 NOT NULL,
    blocked_until timestamptz NOT NULL,
    failed_at timestamptz NOT NULL
);

-- Where somebody is signed in: a browser of ours, or an app.
CREATE TABLE sessions (
    id uuid NOT NULL CONSTRAINT sessions_pkey PRIMARY KEY,
    account_id uuid NOT NULL,
    -- None of a browser in our own pages.
    client_id uuid,
    -- SHA-256 of what a browser has as its cookie.
    secret_hash bytea CONSTRAINT sessions_secret_hash_key UNIQUE,
    -- What the browser or the app calls itself.
    device text NOT NULL,
    -- What an app may do; none where it is all that the account may.
    scopes text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When the account's owner showed last who they are.
    authenticated_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    -- Whatever happens.
    expires_at timestamptz NOT NULL,
    -- Without a sign of life.
    idle_s int4 NOT NULL
);
CREATE INDEX sessions_account ON sessions (account_id);
