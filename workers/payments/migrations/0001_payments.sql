-- What is known of the payment of an order: one row from the first event about it, whichever that is.
CREATE TABLE payments (
    order_id uuid NOT NULL CONSTRAINT payments_pkey PRIMARY KEY,
    -- The state in src/domain.rs.
    state text NOT NULL,
    -- What the order said; null while it has not said it.
    amount_minor int8,
    currency text,
    gateway text,
    token text,
    -- The gateway's name for the money it holds; null while it holds none, and where there was nothing to pay.
    charge text,
    CONSTRAINT payments_amount_minor_not_negative CHECK (amount_minor >= 0),
    CONSTRAINT payments_terms_whole CHECK (num_nulls(amount_minor, currency, gateway, token) IN (0, 4)),
    CONSTRAINT payments_terms_known CHECK (amount_minor IS NOT NULL OR state IN ('reserved', 'ended'))
) WITH (fillfactor = 60); -- A row changes five times in its short life, and no index is on what changes.

-- One operation at a gateway, committed before the gateway hears of it. The order and the kind name it,
-- there and here, so that no mistake of ours can capture an order twice.
--
-- No foreign key to payments: the row is written under the lock on its payment, and rows are never deleted.
CREATE TABLE payment_attempts (
    order_id uuid NOT NULL,
    -- authorise, capture, void, refund
    kind text NOT NULL,
    -- The state in src/attempt.rs.
    state text NOT NULL,
    -- What was asked, in the payment's currency.
    amount_minor int8 NOT NULL,
    -- When to look again what became of it; null once that is known.
    next_at timestamptz,
    -- How often the gateway was called about it.
    calls int4 NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The event that asked for it, and its trace: what the gateway answers belongs there.
    cause_id uuid,
    trace_parent text NOT NULL,
    CONSTRAINT payment_attempts_pkey PRIMARY KEY (order_id, kind)
);
-- As small as what is open.
CREATE INDEX payment_attempts_next_at ON payment_attempts (next_at) WHERE next_at IS NOT NULL;

-- The ledger, in double entry: each row moves an amount from the account it credits to the account it
-- debits. An unbalanced transaction cannot be written down.
--
-- Accounts: gateway_pending is what gateways have taken for us and not yet paid out; customer_receivable is
-- what customers owe, and a capture pays. A refund is the reverse of a capture.
CREATE TABLE ledger_transfers (
    order_id uuid NOT NULL,
    -- capture, refund
    movement text NOT NULL,
    debit_account text NOT NULL,
    credit_account text NOT NULL,
    amount_minor int8 NOT NULL,
    currency text NOT NULL,
    booked_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ledger_transfers_pkey PRIMARY KEY (order_id, movement),
    CONSTRAINT ledger_transfers_amount_minor_positive CHECK (amount_minor > 0),
    CONSTRAINT ledger_transfers_accounts_differ CHECK (debit_account <> credit_account)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER ledger_transfers_only_grows
    BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The same as entries: debits are positive, credits negative, and each transaction sums to zero.
CREATE VIEW ledger_entries AS
SELECT order_id, movement, side.account, side.sign * amount_minor AS amount_minor, currency, booked_at
FROM ledger_transfers, LATERAL (VALUES (debit_account, 1), (credit_account, -1)) AS side (account, sign);
