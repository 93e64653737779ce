//! Questions, answered without changing anything.

use shopzen_chassis::{Failure, Refused, Request, read_whole_tables};
use shopzen_contracts::{
    FieldError, OrderId, Problem,
    stock::{
        AuditLevels, AuditReservations, AuditedLevels, AuditedReservations, GetLevels, Level,
        Levels, ListMovements, Movement, MovementKind, Movements,
    },
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Stock,
    store::{self, MovementRow},
};

const PAGE_DEFAULT: u32 = 24;
const PAGE_MAX: u32 = 100;

/// What can be bought now, straight from the levels.
pub(crate) async fn levels(
    db: &PgPool,
    _: &Stock,
    request: &Request<GetLevels>,
) -> Result<Levels, Refused> {
    let skus = &request.body.skus;
    if skus.is_empty() || skus.len() > GetLevels::SKUS_MAX {
        let detail = format!("must be 1 to {}", GetLevels::SKUS_MAX);
        return Err(
            Problem::invalid(vec![FieldError::new("/skus", "wrong_length", detail)]).into(),
        );
    }
    let names: Vec<&str> = skus.iter().map(|sku| sku.as_str()).collect();
    let mut connection = db.acquire().await?;
    let available = store::find_available(&mut connection, &names).await?;
    Ok(Levels {
        items: skus
            .iter()
            .map(|sku| Level {
                sku: sku.clone(),
                available: available.get(sku.as_str()).copied().unwrap_or(0),
                backorderable: false,
            })
            .collect(),
    })
}

/// The ledger of a SKU, newest first.
pub(crate) async fn movements(
    db: &PgPool,
    _: &Stock,
    request: &Request<ListMovements>,
) -> Result<Movements, Refused> {
    let ListMovements { sku, limit, cursor } = &request.body;
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let detail = format!("must be 1 to {PAGE_MAX}");
        return Err(
            Problem::invalid(vec![FieldError::new("/limit", "out_of_range", detail)]).into(),
        );
    }
    let before = match cursor {
        None => Uuid::max(),
        Some(cursor) => Uuid::try_parse(cursor).map_err(|_| {
            Problem::new(
                400,
                "invalid_cursor",
                "use the next_cursor of the page before",
            )
        })?,
    };
    let mut connection = db.acquire().await?;
    let rows = store::find_movements(&mut connection, sku, before, i64::from(limit) + 1).await?;
    let page = usize::try_from(limit).unwrap_or(usize::MAX);
    let next_cursor = (rows.len() > page).then(|| rows[page - 1].id.to_string());
    let items = rows
        .into_iter()
        .take(page)
        .map(movement_of)
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok(Movements { items, next_cursor })
}

fn movement_of(row: MovementRow) -> Result<Movement, Failure> {
    let kind = [
        MovementKind::Reserved,
        MovementKind::Released,
        MovementKind::Allocated,
        MovementKind::Adjusted,
        MovementKind::Imported,
    ]
    .into_iter()
    .find(|kind| kind.as_str() == row.kind)
    .ok_or_else(|| Failure::Inconsistent(format!("stock_movements.kind {:?}", row.kind)))?;
    Ok(Movement {
        id: row.id,
        sku: store::sku_of(&row.sku)?,
        location: row.location,
        kind,
        on_hand_delta: row.on_hand_delta,
        reserved_delta: row.reserved_delta,
        allocated_delta: row.allocated_delta,
        order_id: row.order_id.map(OrderId),
        reason: row.reason,
        actor: row.actor,
        at: row.at.into(),
    })
}

/// Levels that do not add up. NATS permissions leave this and the next subject to audits.
pub(crate) async fn audit_levels(
    db: &PgPool,
    stock: &Stock,
    _: &Request<AuditLevels>,
) -> Result<AuditedLevels, Refused> {
    let mut added_up = stock.added_up.lock().await;
    let mut tx = read_whole_tables(db).await?;
    let items = store::audit::find_odd_levels(&mut tx, &mut added_up).await?;
    tx.commit().await?;
    Ok(AuditedLevels { items })
}

pub(crate) async fn audit_reservations(
    db: &PgPool,
    _: &Stock,
    request: &Request<AuditReservations>,
) -> Result<AuditedReservations, Refused> {
    let span = &request.body.0;
    let size = span.size()?;
    let mut connection = db.acquire().await?;
    let items = store::audit::find_reservations(&mut connection, span, size).await?;
    let last = items.last().map(|item| item.order_id);
    Ok(AuditedReservations {
        next: span.next(size, last, items.len()),
        items,
    })
}
