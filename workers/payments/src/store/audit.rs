//! What audits ask for.

use shopzen_chassis::Failure;
use shopzen_contracts::{
    OrderId,
    audit::OrderSpan,
    payments::{AttemptFacts, AuditedLedger, LedgerTotal, PaymentFacts},
};
use sqlx::PgConnection;
use uuid::Uuid;

/// Orders whose payment, attempts and transfers do not agree, all as of one moment.
pub(crate) async fn find_odd_payments(db: &mut PgConnection) -> Result<Vec<OrderId>, Failure> {
    let mark: Option<i64> = sqlx::query_scalar("SELECT bit_xor(mark) FROM payment_marks")
        .fetch_one(&mut *db)
        .await?;
    if mark.unwrap_or(0) == 0 {
        return Ok(Vec::new());
    }
    let odd: Vec<Uuid> = sqlx::query_scalar(
        "
        SELECT order_id FROM payment_marks GROUP BY order_id HAVING bit_xor(mark) <> 0
        ORDER BY order_id LIMIT $1
        ",
    )
    .bind(i64::try_from(AuditedLedger::ODD_MAX).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    Ok(odd.into_iter().map(OrderId).collect())
}

/// The ledger by currency, with what gateways are being asked for, as of one moment.
pub(crate) async fn find_totals(db: &mut PgConnection) -> Result<Vec<LedgerTotal>, Failure> {
    let rows: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as(
        "
        SELECT currency,
            coalesce(sum(amount_minor) FILTER (WHERE what = 'captured'), 0)::int8,
            coalesce(sum(amount_minor) FILTER (WHERE what = 'refunded'), 0)::int8,
            coalesce(sum(amount_minor) FILTER (WHERE what = 'capturing'), 0)::int8,
            coalesce(sum(amount_minor) FILTER (WHERE what = 'refunding'), 0)::int8
        FROM (
            SELECT currency, CASE movement WHEN 'capture' THEN 'captured' ELSE 'refunded' END AS what,
                amount_minor
            FROM ledger_transfers
            UNION ALL
            SELECT payment.currency, CASE kind WHEN 'capture' THEN 'capturing' ELSE 'refunding' END,
                attempt.amount_minor
            FROM payment_attempts AS attempt JOIN payments AS payment USING (order_id)
            WHERE kind IN ('capture', 'refund') AND (next_at IS NOT NULL OR attempt.state = 'failed')
        ) AS line
        WHERE currency IS NOT NULL
        GROUP BY currency ORDER BY currency
        ",
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(
            |(currency, captured_minor, refunded_minor, capturing_minor, refunding_minor)| {
                LedgerTotal {
                    currency,
                    captured_minor,
                    refunded_minor,
                    capturing_minor,
                    refunding_minor,
                }
            },
        )
        .collect())
}

#[derive(sqlx::FromRow)]
struct FactsRow {
    order_id: Uuid,
    state: Option<String>,
    amount_minor: Option<i64>,
    currency: Option<String>,
    gateway: Option<String>,
    charge: Option<String>,
    /// JSON.
    attempts: Option<String>,
    captured_minor: i64,
    refunded_minor: i64,
    booked_in: Option<String>,
}

/// What is known of the payments of these orders, or of those in this range of ids.
pub(crate) async fn find_facts(
    db: &mut PgConnection,
    span: &OrderSpan,
    size: usize,
) -> Result<Vec<PaymentFacts>, Failure> {
    let rows: Vec<FactsRow> = sqlx::query_as(
        "
        WITH asked AS (
            SELECT id AS order_id FROM unnest($1::uuid[]) AS named (id)
            UNION ALL
            (
                SELECT order_id FROM payments
                WHERE cardinality($1) = 0 AND order_id > $2 AND order_id <= $3
                ORDER BY order_id LIMIT $4
            )
        )
        SELECT order_id, state, amount_minor, currency, gateway, charge, attempts, captured_minor,
            refunded_minor, booked_in
        FROM asked
        LEFT JOIN payments USING (order_id)
        CROSS JOIN LATERAL (
            SELECT json_agg(json_build_object('kind', kind, 'state', attempt.state,
                'amount_minor', attempt.amount_minor, 'open', next_at IS NOT NULL) ORDER BY kind)::text AS attempts
            FROM payment_attempts AS attempt WHERE attempt.order_id = asked.order_id
        ) AS attempt
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(transfer.amount_minor) FILTER (WHERE movement = 'capture'), 0)::int8 AS captured_minor,
                coalesce(sum(transfer.amount_minor) FILTER (WHERE movement = 'refund'), 0)::int8 AS refunded_minor,
                min(transfer.currency) AS booked_in
            FROM ledger_transfers AS transfer WHERE transfer.order_id = asked.order_id
        ) AS ledger
        ORDER BY order_id
        ",
    )
    .bind(span.ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .bind(span.after.map_or(Uuid::nil(), |id| id.0))
    .bind(span.until.map_or(Uuid::max(), |id| id.0))
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let attempts: Vec<AttemptFacts> = match &row.attempts {
                None => Vec::new(),
                Some(json) => serde_json::from_str(json)
                    .map_err(|error| Failure::Inconsistent(format!("attempts: {error}")))?,
            };
            Ok(PaymentFacts {
                order_id: OrderId(row.order_id),
                state: row.state,
                amount_minor: row.amount_minor,
                currency: row.currency,
                gateway: row.gateway,
                charge: row.charge,
                attempts,
                captured_minor: row.captured_minor,
                refunded_minor: row.refunded_minor,
                booked_in: row.booked_in,
            })
        })
        .filter(|facts| {
            // Nothing at all is known of some orders that were named.
            facts.as_ref().map_or(true, |facts| {
                facts.state.is_some() || !facts.attempts.is_empty() || facts.booked_in.is_some()
            })
        })
        .collect()
}
