-- What there is of a SKU at a location. Half of each page stays free, so that an update finds room
-- beside the row it replaces and no index has to know (PostgreSQL manual, "Heap-Only Tuples").
CREATE TABLE stock_levels (
    sku text NOT NULL,
    location text NOT NULL,
    on_hand int8 NOT NULL,
    -- Held for orders that may still end either way.
    reserved int8 NOT NULL,
    -- Owed to confirmed orders.
    allocated int8 NOT NULL,
    -- What the last feed said; the next one is applied as the difference to it.
    imported_on_hand int8,
    version int8 NOT NULL,
    CONSTRAINT stock_levels_pkey PRIMARY KEY (sku, location),
    CONSTRAINT stock_levels_reserved_not_negative CHECK (reserved >= 0),
    CONSTRAINT stock_levels_allocated_not_negative CHECK (allocated >= 0),
    CONSTRAINT stock_levels_never_oversold CHECK (reserved + allocated <= on_hand)
) WITH (fillfactor = 50);

-- What is held for an order, or was. No foreign key to orders: they live in another database.
CREATE TABLE reservations (
    order_id uuid NOT NULL CONSTRAINT reservations_pkey PRIMARY KEY,
    state text NOT NULL,
    -- Parallel arrays, by SKU; empty where nothing was held.
    skus text[] NOT NULL,
    quantities int4[] NOT NULL,
    CONSTRAINT reservations_state_known CHECK (state IN ('reserved', 'rejected', 'allocated', 'ended')),
    CONSTRAINT reservations_arrays_parallel CHECK (cardinality(skus) = cardinality(quantities))
) WITH (fillfactor = 80);

-- Every change of a level. A level is the sum of its movements.
CREATE TABLE stock_movements (
    id uuid NOT NULL,
    sku text NOT NULL,
    location text NOT NULL,
    kind text NOT NULL,
    on_hand_delta int8 NOT NULL,
    reserved_delta int8 NOT NULL,
    allocated_delta int8 NOT NULL,
    order_id uuid,
    reason text,
    actor uuid,
    at timestamptz NOT NULL,
    CONSTRAINT stock_movements_pkey PRIMARY KEY (sku, id)
);
