//! What audits ask for.

use std::collections::BTreeMap;

use serde::Deserialize;
use shopzen_chassis::Failure;
use shopzen_contracts::{
    Command as _, Money, OrderId, Quantity, Sku,
    audit::OrderSpan,
    orders::{AnswerKey, AuditedDeadlines, OrderFacts, OrderStep, OverdueOrder, WrongAnswer},
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::inconsistent;

/// The part of an agreement that an audit needs.
#[derive(Deserialize)]
struct Agreed {
    total: Money,
    lines: Vec<AgreedLine>,
}

#[derive(Deserialize)]
struct AgreedLine {
    sku: Sku,
    quantity: Quantity,
}

/// These orders with their history, or those in this range of ids.
pub(crate) async fn find_facts(
    db: &mut PgConnection,
    span: &OrderSpan,
    size: usize,
) -> Result<Vec<OrderFacts>, Failure> {
    let rows: Vec<(Uuid, String, String, Option<String>)> = sqlx::query_as(
        "
        WITH asked AS (
            SELECT id FROM orders WHERE id = ANY($1)
            UNION ALL
            (
                SELECT id FROM orders WHERE cardinality($1) = 0 AND id > $2 AND id <= $3
                ORDER BY id LIMIT $4
            )
        )
        SELECT id, body,
            json_build_object('version', version, 'status', status, 'reason', reason,
                'payment_status', payment_status)::text,
            (
                SELECT json_agg(json_build_object('version', step.version, 'status', step.status,
                    'reason', step.reason, 'payment_status', step.payment_status) ORDER BY step.version)::text
                FROM order_progress AS step WHERE step.order_id = id
            )
        FROM asked JOIN orders USING (id) JOIN order_details ON order_details.order_id = id
        ORDER BY id
        ",
    )
    .bind(span.ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .bind(span.after.map_or(Uuid::nil(), |id| id.0))
    .bind(span.until.map_or(Uuid::max(), |id| id.0))
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|(id, body, now, steps)| {
            let agreed: Agreed =
                serde_json::from_str(&body).map_err(|_| inconsistent("order_details.body", id))?;
            let now: OrderStep =
                serde_json::from_str(&now).map_err(|_| inconsistent("orders.status", id))?;
            let steps: Vec<OrderStep> = match steps {
                None => Vec::new(),
                Some(json) => serde_json::from_str(&json)
                    .map_err(|_| inconsistent("order_progress.status", id))?,
            };
            let mut quantities = BTreeMap::new();
            for line in agreed.lines {
                *quantities.entry(line.sku).or_default() += i64::from(line.quantity.get());
            }
            Ok(OrderFacts {
                id: OrderId(id),
                total: agreed.total,
                quantities,
                now,
                steps,
            })
        })
        .collect()
}

/// Orders whose deadline is over, by the database's clock, and which have not ended.
pub(crate) async fn find_late(db: &mut PgConnection) -> Result<Vec<OverdueOrder>, Failure> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "
        SELECT id, extract(epoch FROM now() - expires_at)::int8 FROM orders
        WHERE open AND expires_at < now()
        ORDER BY expires_at LIMIT $1
        ",
    )
    .bind(i64::try_from(AuditedDeadlines::ITEMS_MAX).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, overdue_s)| OverdueOrder {
            id: OrderId(id),
            overdue_s,
        })
        .collect())
}

/// Answers under keys after `after`, each beside the order that it speaks of.
pub(crate) async fn find_answers(
    db: &mut PgConnection,
    after: Option<&AnswerKey>,
    limit: i64,
) -> Result<Vec<WrongAnswer>, Failure> {
    type Row = (String, String, Option<Uuid>, Option<i64>, Option<i64>);
    let rows: Vec<Row> = sqlx::query_as(
        "
        WITH answer AS (
            SELECT scope, key, (reply::jsonb ->> 'id')::uuid AS order_id,
                (reply::jsonb #>> '{total,amount_minor}')::int8 AS total_minor
            FROM idempotency_keys
            WHERE scope LIKE $1 AND (scope, key) > ($2, $3)
            ORDER BY scope, key LIMIT $4
        )
        SELECT scope, key, order_id, total_minor, (body::jsonb #>> '{total,amount_minor}')::int8
        FROM answer
        LEFT JOIN order_details USING (order_id)
        ORDER BY scope, key
        ",
    )
    .bind(format!(
        "{} %",
        shopzen_contracts::orders::PlaceOrder::SUBJECT
    ))
    .bind(after.map_or("", |after| &after.scope))
    .bind(after.map_or("", |after| &after.key))
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(
            |(scope, key, order_id, total_minor, order_total_minor)| WrongAnswer {
                answer: AnswerKey { scope, key },
                order_id: order_id.map(OrderId),
                total_minor,
                order_total_minor,
            },
        )
        .collect())
}
