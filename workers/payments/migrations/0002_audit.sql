-- What an audit adds up. A payment says which rows of the other tables it must have, each of those says
-- what it is, and both say it as the same number: where all agree, the exclusive or of an order's marks, and
-- so that of all marks, is zero. To add up a hundred thousand orders costs half of what joining them does.
CREATE VIEW payment_marks AS
-- A payment with nothing to pay asks no gateway.
SELECT order_id,
    -- the transfers it must have
    CASE WHEN state IN ('captured', 'refunding', 'refunded')
        THEN uuid_hash_extended(order_id, hashtextextended(currency, amount_minor * 8 + 1)) ELSE 0 END
    # CASE WHEN state = 'refunded'
        THEN uuid_hash_extended(order_id, hashtextextended(currency, amount_minor * 8 + 2)) ELSE 0 END
    -- the amount that a gateway was asked for
    # CASE WHEN state NOT IN ('placed', 'reserved', 'ended')
        THEN uuid_hash_extended(order_id, amount_minor * 8 + 3) ELSE 0 END
    -- the gateway's no
    # CASE WHEN state = 'declined' THEN uuid_hash_extended(order_id, 4) ELSE 0 END
    -- the attempt that is not settled
    # CASE WHEN state IN ('authorising', 'authorisation_unknown', 'action_required', 'authorisation_unwanted',
            'capturing', 'capture_unknown', 'capture_unwanted', 'voiding', 'refunding')
        THEN uuid_hash_extended(order_id, 5) ELSE 0 END AS mark
FROM payments WHERE amount_minor > 0
UNION ALL
SELECT order_id, CASE WHEN kind = 'authorise' THEN uuid_hash_extended(order_id, amount_minor * 8 + 3) ELSE 0 END
    # CASE WHEN state = 'declined' AND kind IN ('authorise', 'void') THEN uuid_hash_extended(order_id, 4) ELSE 0 END
    # CASE WHEN next_at IS NOT NULL OR state = 'failed' THEN uuid_hash_extended(order_id, 5) ELSE 0 END
FROM payment_attempts
UNION ALL
SELECT order_id, uuid_hash_extended(order_id,
    hashtextextended(currency, amount_minor * 8 + CASE movement WHEN 'capture' THEN 1 ELSE 2 END))
FROM ledger_transfers;
