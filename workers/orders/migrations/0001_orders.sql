-- What of an order moves. Narrow, because every step writes it anew; room is left in each page so
-- that most steps need not touch an index.
CREATE TABLE orders (
    id uuid NOT NULL CONSTRAINT orders_pkey PRIMARY KEY,
    status text NOT NULL,
    reason text,
    payment_status text NOT NULL,
    -- Counts what happened to it, from 1.
    version int8 NOT NULL,
    -- Whether the deadline still counts.
    open bool NOT NULL,
    expires_at timestamptz NOT NULL,
    -- None for a guest.
    account_id uuid,
    -- JSON: what was missing, where the order failed for it.
    shortages text,
    CONSTRAINT orders_status_known
        CHECK (status IN ('placed', 'reserved', 'confirmed', 'rejected', 'cancelled')),
    CONSTRAINT orders_reason_at_the_end CHECK ((reason IS NOT NULL) = (status IN ('rejected', 'cancelled'))),
    CONSTRAINT orders_open_until_decided CHECK (open = (status IN ('placed', 'reserved')))
) WITH (fillfactor = 60);
CREATE INDEX orders_expires_at ON orders (expires_at) WHERE open;
CREATE INDEX orders_account_id ON orders (account_id, id) WHERE account_id IS NOT NULL;

-- What of an order was agreed and never moves.
CREATE TABLE order_details (
    order_id uuid NOT NULL CONSTRAINT order_details_pkey PRIMARY KEY,
    -- JSON: lines, totals, address, e-mail.
    body text NOT NULL,
    -- SHA-256 of the secret that lets a guest see it.
    token_hash bytea NOT NULL
);

-- Everything that happened to an order, one row a version.
CREATE TABLE order_progress (
    order_id uuid NOT NULL,
    version int8 NOT NULL,
    status text NOT NULL,
    reason text,
    payment_status text NOT NULL,
    shortages text,
    at timestamptz NOT NULL,
    CONSTRAINT order_progress_pkey PRIMARY KEY (order_id, version)
);

-- Our own projection of the catalogue: what a SKU costs.
CREATE TABLE prices (
    sku text NOT NULL CONSTRAINT prices_pkey PRIMARY KEY,
    product_id uuid NOT NULL,
    name text NOT NULL,
    unit_price_minor int8 NOT NULL,
    currency text NOT NULL,
    taxable bool NOT NULL,
    published bool NOT NULL,
    -- The product's version that said so.
    version int8 NOT NULL
);
CREATE INDEX prices_product_id ON prices (product_id);
