-- Up to when everything that another service's stream took is handled, by the broker's clock. A consumer that
-- was lost begins there anew.
CREATE TABLE progress (
    source text NOT NULL CONSTRAINT progress_pkey PRIMARY KEY,
    handled_until timestamptz NOT NULL
);
