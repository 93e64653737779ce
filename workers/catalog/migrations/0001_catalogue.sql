-- How often products and levels were changed. Who changes any of them holds the row of its kind until
-- it commits, so changes have an order, and who has seen everything up to a revision has missed none.
CREATE TABLE revisions (
    kind text NOT NULL CONSTRAINT revisions_pkey PRIMARY KEY,
    revision int8 NOT NULL
);
INSERT INTO revisions (kind, revision) VALUES ('products', 0), ('levels', 0);

-- The tree. A category keeps its name and its place.
CREATE TABLE categories (
    slug text NOT NULL CONSTRAINT categories_pkey PRIMARY KEY,
    name text NOT NULL,
    -- Null at the root.
    parent text CONSTRAINT categories_parent_fkey REFERENCES categories (slug),
    CONSTRAINT categories_parent_another CHECK (parent <> slug)
);

-- Ids are UUIDv7, so their order is the order in which products were created.
CREATE TABLE products (
    id uuid NOT NULL CONSTRAINT products_pkey PRIMARY KEY,
    slug text NOT NULL CONSTRAINT products_slug_key UNIQUE,
    name text NOT NULL,
    description text NOT NULL,
    brand text,
    -- The most special category it is in; the others are those above it.
    category text CONSTRAINT products_category_fkey REFERENCES categories (slug),
    -- [{"url", "alt"}]
    images jsonb NOT NULL,
    published bool NOT NULL,
    -- Grows by one with each change.
    version int8 NOT NULL CONSTRAINT products_version_positive CHECK (version > 0),
    -- That of all products at its last change.
    revision int8 NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX products_revision ON products (revision, id);

-- What can be bought.
CREATE TABLE variants (
    sku text NOT NULL CONSTRAINT variants_pkey PRIMARY KEY,
    product_id uuid NOT NULL CONSTRAINT variants_product_id_fkey REFERENCES products (id),
    -- From 0, in the order the shop gave them.
    position int4 NOT NULL,
    price_minor int8 NOT NULL CONSTRAINT variants_price_minor_not_negative CHECK (price_minor >= 0),
    compare_at_minor int8
        CONSTRAINT variants_compare_at_minor_not_negative CHECK (compare_at_minor >= 0),
    -- Of both. ISO 4217.
    currency text NOT NULL,
    -- {"color": "red"}
    options jsonb NOT NULL,
    weight_grams int8,
    taxable bool NOT NULL,
    CONSTRAINT variants_product_id_position_key UNIQUE (product_id, position)
);

-- What stock said last of each SKU. A SKU may be counted before it is for sale.
CREATE TABLE levels (
    sku text NOT NULL CONSTRAINT levels_pkey PRIMARY KEY,
    available int8 NOT NULL,
    -- Stock's number of this change.
    version int8 NOT NULL,
    -- No index: it changes with each sale, and only a replica that has missed something asks by it.
    revision int8 NOT NULL
) WITH (fillfactor = 70);
