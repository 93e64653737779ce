-- Pending events are named together, one row for each transaction that published some: what is written
-- and deleted for each event is then a sixteen-byte element of an array.
ALTER TABLE outbox_pending RENAME TO outbox_pending_by_event;
ALTER INDEX outbox_pending_pkey RENAME TO outbox_pending_by_event_pkey;
CREATE TABLE outbox_pending (
    id uuid NOT NULL CONSTRAINT outbox_pending_pkey PRIMARY KEY,
    -- Always read whole, and gone in a moment: compressing it would be work for nothing.
    event_ids uuid[] STORAGE EXTERNAL NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
INSERT INTO outbox_pending (id, event_ids, since)
SELECT event_id, ARRAY[event_id], since FROM outbox_pending_by_event;
DROP TABLE outbox_pending_by_event;
