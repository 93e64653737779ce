-- Webhooks that were stored, so that each does something once, however often its gateway sends it.
CREATE TABLE webhooks (
    -- The name of the gateway, as orders have it.
    gateway text NOT NULL,
    -- The gateway's name for the event.
    event_id text NOT NULL,
    -- What it is about. No foreign key: it may come before the order's own events, or be about none of ours.
    order_id uuid NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhooks_pkey PRIMARY KEY (gateway, event_id)
);
-- For forgetting them.
CREATE INDEX webhooks_received_at ON webhooks (received_at);
