-- What every worker's database has. Event ids are UUIDv7, so their order is the order of time, and
-- a partition holds the ids of one day (see src/retention.rs).

-- Every event that was handled. Entered first in the transaction that handles it.
CREATE TABLE inbox (
    event_id uuid NOT NULL,
    CONSTRAINT inbox_pkey PRIMARY KEY (event_id)
) PARTITION BY RANGE (event_id);
CREATE TABLE inbox_default PARTITION OF inbox DEFAULT;

-- Every event that was published, written in the transaction that made it true. Never updated.
CREATE TABLE outbox (
    event_id uuid NOT NULL,
    -- The last token of the subject; in a checkout the order's id.
    key uuid NOT NULL,
    -- Without the key.
    subject text NOT NULL,
    cause_id uuid,
    -- Which delivery of its cause led to it.
    attempt int2 NOT NULL,
    trace_parent text NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (event_id)
) PARTITION BY RANGE (event_id);
CREATE TABLE outbox_default PARTITION OF outbox DEFAULT;
CREATE INDEX outbox_key ON outbox (key);

-- The part of the outbox that no acknowledgement is recorded for. A row goes when its receipt comes,
-- so this table stays as small as what is in flight.
CREATE TABLE outbox_pending (
    event_id uuid NOT NULL CONSTRAINT outbox_pending_pkey PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now()
);

-- Where in the stream each event was stored: what the tail guard compares the stream with.
CREATE TABLE outbox_receipts (
    stream_seq int8 NOT NULL CONSTRAINT outbox_receipts_pkey PRIMARY KEY,
    event_id uuid NOT NULL
);

-- One row, locked by the replica that compares.
CREATE TABLE tail_guard (
    only_row bool NOT NULL DEFAULT true CONSTRAINT tail_guard_pkey PRIMARY KEY,
    checked_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tail_guard_only_row CHECK (only_row)
);
INSERT INTO tail_guard DEFAULT VALUES;

-- Answers that were given, by the key of who asked.
CREATE TABLE idempotency_keys (
    -- The command's subject and who asked.
    scope text NOT NULL,
    key text NOT NULL,
    -- SHA-256 of the request's body.
    fingerprint bytea NOT NULL,
    reply text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys USING brin (created_at);

-- Messages that cannot be handled, whole.
CREATE TABLE dead_letters (
    id uuid NOT NULL CONSTRAINT dead_letters_pkey PRIMARY KEY,
    event_id uuid,
    subject text NOT NULL,
    headers jsonb NOT NULL,
    payload bytea NOT NULL,
    reason text NOT NULL,
    deliveries int8 NOT NULL,
    trace_parent text NOT NULL,
    died_at timestamptz NOT NULL DEFAULT now()
);
