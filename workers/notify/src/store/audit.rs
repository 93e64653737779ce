//! What audits ask for.

use shopzen_chassis::Failure;
use shopzen_contracts::{OrderId, audit::OrderSpan, notify::MailFacts};
use sqlx::PgPool;
use uuid::Uuid;

/// Which mails there are about these orders, or about those in this range of ids.
pub(crate) async fn find_kinds(
    db: &PgPool,
    span: &OrderSpan,
    size: usize,
) -> Result<Vec<MailFacts>, Failure> {
    let rows: Vec<(Uuid, Vec<String>)> = sqlx::query_as(
        "
        WITH asked AS (
            SELECT DISTINCT order_id FROM mails WHERE order_id = ANY($1)
            UNION ALL
            (
                SELECT DISTINCT order_id FROM mails
                WHERE cardinality($1) = 0 AND order_id > $2 AND order_id <= $3
                ORDER BY order_id LIMIT $4
            )
        )
        SELECT order_id, array_agg(kind ORDER BY kind) FROM asked JOIN mails USING (order_id)
        GROUP BY order_id ORDER BY order_id
        ",
    )
    .bind(span.ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .bind(span.after.map_or(Uuid::nil(), |id| id.0))
    .bind(span.until.map_or(Uuid::max(), |id| id.0))
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|(order_id, kinds)| {
            Ok(MailFacts {
                order_id: OrderId(order_id),
                kinds: kinds
                    .iter()
                    .map(|kind| super::kind_of(kind))
                    .collect::<Result<_, Failure>>()?,
            })
        })
        .collect()
}
