//! What audits ask for.

use shopzen_chassis::Failure;
use shopzen_contracts::{
    OrderId,
    audit::OrderSpan,
    stock::{AuditedLevels, Counts, LevelFacts, MAIN_LOCATION, ReservationFacts},
};
use sqlx::PgConnection;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct LevelRow {
    sku: String,
    location: String,
    is_there: bool,
    on_hand: i64,
    reserved: i64,
    allocated: i64,
    moved_on_hand: i64,
    moved_reserved: i64,
    moved_allocated: i64,
    held_reserved: i64,
    held_allocated: i64,
}

/// Levels that are not the sum of their movements, or not of what orders hold, or are oversold. All
/// tables are read as of one moment, so whatever is found here is wrong.
pub(crate) async fn find_odd_levels(db: &mut PgConnection) -> Result<Vec<LevelFacts>, Failure> {
    let rows: Vec<LevelRow> = sqlx::query_as(
        "
        WITH moved AS (
            SELECT sku, location, sum(on_hand_delta)::int8 AS on_hand, sum(reserved_delta)::int8 AS reserved,
                sum(allocated_delta)::int8 AS allocated
            FROM stock_movements GROUP BY sku, location
        ),
        held AS (
            SELECT line.sku, $1 AS location,
                coalesce(sum(line.quantity) FILTER (WHERE state = 'reserved'), 0)::int8 AS reserved,
                coalesce(sum(line.quantity) FILTER (WHERE state = 'allocated'), 0)::int8 AS allocated
            FROM reservations, unnest(skus, quantities) AS line (sku, quantity)
            WHERE state IN ('reserved', 'allocated') GROUP BY line.sku
        ),
        beside AS (
            SELECT sku, location, level.sku IS NOT NULL AS is_there,
                coalesce(level.on_hand, 0) AS on_hand,
                coalesce(level.reserved, 0) AS reserved,
                coalesce(level.allocated, 0) AS allocated,
                coalesce(moved.on_hand, 0) AS moved_on_hand,
                coalesce(moved.reserved, 0) AS moved_reserved,
                coalesce(moved.allocated, 0) AS moved_allocated,
                coalesce(held.reserved, 0) AS held_reserved,
                coalesce(held.allocated, 0) AS held_allocated
            FROM stock_levels AS level
            FULL JOIN moved USING (sku, location)
            FULL JOIN held USING (sku, location)
        )
        SELECT * FROM beside
        WHERE (on_hand, reserved, allocated) <> (moved_on_hand, moved_reserved, moved_allocated)
            OR (reserved, allocated) <> (held_reserved, held_allocated)
            OR reserved < 0 OR allocated < 0 OR reserved + allocated > on_hand
        ORDER BY sku, location LIMIT $2
        ",
    )
    .bind(MAIN_LOCATION)
    .bind(i64::try_from(AuditedLevels::ITEMS_MAX).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| LevelFacts {
            sku: row.sku,
            location: row.location,
            level: row.is_there.then_some(Counts {
                on_hand: row.on_hand,
                reserved: row.reserved,
                allocated: row.allocated,
            }),
            moved: Counts {
                on_hand: row.moved_on_hand,
                reserved: row.moved_reserved,
                allocated: row.moved_allocated,
            },
            held_reserved: row.held_reserved,
            held_allocated: row.held_allocated,
        })
        .collect())
}

/// What is held for these orders, or for those in this range of ids.
pub(crate) async fn find_reservations(
    db: &mut PgConnection,
    span: &OrderSpan,
    size: usize,
) -> Result<Vec<ReservationFacts>, Failure> {
    let rows: Vec<(Uuid, String, Vec<String>, Vec<i32>)> = sqlx::query_as(
        "
        WITH asked AS (
            SELECT order_id FROM reservations WHERE order_id = ANY($1)
            UNION ALL
            (
                SELECT order_id FROM reservations
                WHERE cardinality($1) = 0 AND order_id > $2 AND order_id <= $3
                ORDER BY order_id LIMIT $4
            )
        )
        SELECT order_id, state, skus, quantities FROM asked JOIN reservations USING (order_id)
        ORDER BY order_id
        ",
    )
    .bind(span.ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .bind(span.after.map_or(Uuid::nil(), |id| id.0))
    .bind(span.until.map_or(Uuid::max(), |id| id.0))
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(order_id, state, skus, quantities)| ReservationFacts {
            order_id: OrderId(order_id),
            state,
            quantities: skus
                .into_iter()
                .zip(quantities.into_iter().map(i64::from))
                .collect(),
        })
        .collect())
}
