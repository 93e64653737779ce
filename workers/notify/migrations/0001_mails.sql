-- What people were told: one message per order and kind. Ids are UUIDv7, so their order is the order
-- of time.
CREATE TABLE mails (
    id uuid NOT NULL CONSTRAINT mails_pkey PRIMARY KEY,
    order_id uuid NOT NULL,
    kind text NOT NULL CONSTRAINT mails_kind_known
        CHECK (kind IN ('order_confirmed', 'order_rejected', 'order_cancelled')),
    recipient text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    -- pending: a mail server has to take it. sent: one did. kept: none ever will.
    state text NOT NULL CONSTRAINT mails_state_known CHECK (state IN ('pending', 'sent', 'kept')),
    -- How often a mail server was asked to take it.
    attempts int4 NOT NULL DEFAULT 0,
    -- Not before this time; while a replica is sending it, the time by which that replica is thought
    -- to be dead.
    next_at timestamptz,
    -- The event that the mail tells of, and its trace.
    cause_id uuid,
    trace_parent text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT mails_order_kind UNIQUE (order_id, kind),
    CONSTRAINT mails_next_at_while_pending CHECK ((state = 'pending') = (next_at IS NOT NULL))
);
-- As small as what waits. A shop without a mail server writes nothing here.
CREATE INDEX mails_due ON mails (next_at) WHERE state = 'pending';
