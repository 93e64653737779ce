-- What staff did, written in the transaction that did it. Only added to; src/retention.rs says until when it is kept.
CREATE TABLE activity (
    -- UUIDv7, so that their order is the order of time, across workers too.
    id uuid NOT NULL CONSTRAINT activity_pkey PRIMARY KEY,
    -- 'account:<id>' by an access token, 'operator:<user of the machine>' from the command line.
    actor text NOT NULL,
    -- Of the access token, where there was one.
    client_id text,
    token_id uuid,
    subject text NOT NULL,
    -- Of HTTP, where it came from there.
    route text,
    thing text NOT NULL,
    -- JSON. None where there was nothing before, or is nothing afterwards.
    before text,
    after text,
    reason text,
    trace_id text NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX activity_actor ON activity (actor, id);
CREATE INDEX activity_at ON activity USING brin (at);
