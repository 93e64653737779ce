-- A dead letter stays after it was decided, with what was done to it; and what comes after it about the same
-- key waits behind it.
ALTER TABLE dead_letters
    -- The last token of the subject, where it is an id: what this letter keeps waiting. Letters from before
    -- have none, as what came after them has been handled long since.
    ADD COLUMN key uuid,
    ADD COLUMN state text NOT NULL DEFAULT 'dead'
        CONSTRAINT dead_letters_state CHECK (state IN ('dead', 'waiting', 'handled', 'dropped')),
    ADD COLUMN decided_at timestamptz,
    -- The reason without what differs from one message to the next.
    ADD COLUMN reason_class text NOT NULL GENERATED ALWAYS AS (
        left(regexp_replace(reason, '\m([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]+)\M', '…', 'g'), 200)
    ) STORED,
    ADD CONSTRAINT dead_letters_decided CHECK ((decided_at IS NOT NULL) = (state IN ('handled', 'dropped')));

-- Nearly always empty: each batch asks it whether anything waits at all.
CREATE INDEX dead_letters_open ON dead_letters (key, id) WHERE decided_at IS NULL;

-- What somebody did to a letter. Only added to, and gone with the letter.
CREATE TABLE dead_letter_actions (
    id uuid NOT NULL CONSTRAINT dead_letter_actions_pkey PRIMARY KEY,
    letter_id uuid NOT NULL
        CONSTRAINT dead_letter_actions_letter REFERENCES dead_letters (id) ON DELETE CASCADE,
    action text NOT NULL CONSTRAINT dead_letter_actions_action CHECK (action IN ('edit', 'replay', 'drop')),
    -- 'account:<id>' over HTTP, 'operator:<user of the machine>' from the command line.
    who text NOT NULL,
    why text NOT NULL,
    outcome text NOT NULL,
    -- What an edit put in the place of the payload; the last one counts. The letter keeps the first.
    payload bytea,
    acted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letter_actions_letter_id ON dead_letter_actions (letter_id, id);
