//! All SQL of the stock worker.

pub(crate) mod audit;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use shopzen_chassis::{
    Failure,
    jiff_sqlx::{self, ToSqlx},
};
use shopzen_contracts::{
    OrderId, Sku,
    stock::{Availability, MAIN_LOCATION, MovementKind, StockLevel},
};
use sqlx::{PgConnection, migrate::Migrator};
use uuid::Uuid;

use crate::domain::{Deltas, Demand, Reservation};

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!();

/// A level that this transaction holds.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct LevelRow {
    pub(crate) sku: String,
    pub(crate) on_hand: i64,
    pub(crate) reserved: i64,
    pub(crate) allocated: i64,
    pub(crate) imported_on_hand: Option<i64>,
    pub(crate) version: i64,
}

impl LevelRow {
    pub(crate) fn available(&self) -> i64 {
        self.on_hand - self.reserved - self.allocated
    }

    /// The row as it will be.
    pub(crate) fn moved(&self, deltas: Deltas) -> Self {
        Self {
            on_hand: self.on_hand + deltas.on_hand,
            reserved: self.reserved + deltas.reserved,
            allocated: self.allocated + deltas.allocated,
            version: self.version + 1,
            ..self.clone()
        }
    }

    pub(crate) fn availability(&self) -> Result<Availability, Failure> {
        Ok(Availability {
            sku: sku_of(&self.sku)?,
            available: self.available(),
            version: self.version,
        })
    }

    pub(crate) fn into_level(self) -> Result<StockLevel, Failure> {
        Ok(StockLevel {
            sku: sku_of(&self.sku)?,
            location: MAIN_LOCATION.to_owned(),
            on_hand: self.on_hand,
            reserved: self.reserved,
            allocated: self.allocated,
            available: self.available(),
            version: self.version,
        })
    }
}

pub(crate) fn sku_of(text: &str) -> Result<Sku, Failure> {
    Sku::parse(text)
        .map_err(|error| Failure::Inconsistent(format!("stock_levels.sku {text:?}: {error}")))
}

/// Locks the levels of these SKUs, in their order, so that two batches cannot lock each other out.
pub(crate) async fn lock_levels(
    db: &mut PgConnection,
    skus: &[&str],
) -> Result<BTreeMap<String, LevelRow>, Failure> {
    let rows: Vec<LevelRow> = sqlx::query_as(
        "
        SELECT sku, on_hand, reserved, allocated, imported_on_hand, version
        FROM stock_levels WHERE sku = ANY($1) AND location = $2
        ORDER BY sku
        FOR UPDATE
        ",
    )
    .bind(skus)
    .bind(MAIN_LOCATION)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.sku.clone(), row)).collect())
}

/// Makes levels of nothing for SKUs that have none.
pub(crate) async fn insert_empty_levels(
    db: &mut PgConnection,
    skus: &[&str],
) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO stock_levels (sku, location, on_hand, reserved, allocated, version)
        SELECT DISTINCT sku, $2, 0, 0, 0, 1 FROM unnest($1::text[]) AS row (sku) ORDER BY sku
        ON CONFLICT (sku, location) DO NOTHING
        ",
    )
    .bind(skus)
    .bind(MAIN_LOCATION)
    .execute(db)
    .await?;
    Ok(())
}

/// Remembers what a feed said.
pub(crate) async fn save_imported(
    db: &mut PgConnection,
    said: &BTreeMap<&str, i64>,
) -> Result<(), Failure> {
    sqlx::query(
        "
        UPDATE stock_levels AS level SET imported_on_hand = feed.on_hand
        FROM unnest($1::text[], $2::int8[]) AS feed (sku, on_hand)
        WHERE level.sku = feed.sku AND level.location = $3
        ",
    )
    .bind(said.keys().copied().collect::<Vec<_>>())
    .bind(said.values().copied().collect::<Vec<_>>())
    .bind(MAIN_LOCATION)
    .execute(db)
    .await?;
    Ok(())
}

/// One line of the ledger.
#[derive(Clone, Debug)]
pub(crate) struct NewMovement<'a> {
    pub(crate) id: Uuid,
    pub(crate) sku: &'a str,
    pub(crate) kind: MovementKind,
    pub(crate) deltas: Deltas,
    pub(crate) order_id: Option<OrderId>,
    pub(crate) reason: Option<&'a str>,
    pub(crate) actor: Option<Uuid>,
}

/// Moves levels that are locked, each by the sum of its movements, and writes these into the ledger.
pub(crate) async fn move_levels(
    db: &mut PgConnection,
    movements: &[NewMovement<'_>],
    at: Timestamp,
) -> Result<BTreeMap<String, Deltas>, Failure> {
    let mut sums: BTreeMap<String, Deltas> = BTreeMap::new();
    for NewMovement { sku, deltas, .. } in movements {
        match sums.get_mut(*sku) {
            Some(sum) => sum.add(*deltas),
            None => {
                sums.insert((*sku).to_owned(), *deltas);
            }
        }
    }
    let sum = |get: fn(&Deltas) -> i64| sums.values().map(get).collect::<Vec<_>>();
    let column = |get: fn(&NewMovement<'_>) -> i64| movements.iter().map(get).collect::<Vec<_>>();
    sqlx::query(
        "
        WITH ledger AS (
            INSERT INTO stock_movements
                (id, sku, location, kind, on_hand_delta, reserved_delta, allocated_delta, order_id, reason, actor, at)
            SELECT id, sku, $5, kind, on_hand_delta, reserved_delta, allocated_delta, order_id, reason, actor, $6
            FROM unnest($7::uuid[], $8::text[], $9::text[], $10::int8[], $11::int8[], $12::int8[], $13::uuid[], $14::text[], $15::uuid[])
                AS row (id, sku, kind, on_hand_delta, reserved_delta, allocated_delta, order_id, reason, actor)
        )
        UPDATE stock_levels AS level
        SET on_hand = level.on_hand + delta.on_hand,
            reserved = level.reserved + delta.reserved,
            allocated = level.allocated + delta.allocated,
            version = level.version + 1
        FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int8[])
            AS delta (sku, on_hand, reserved, allocated)
        WHERE level.sku = delta.sku AND level.location = $5
        ",
    )
    .bind(sums.keys().map(String::as_str).collect::<Vec<_>>())
    .bind(sum(|delta| delta.on_hand))
    .bind(sum(|delta| delta.reserved))
    .bind(sum(|delta| delta.allocated))
    .bind(MAIN_LOCATION)
    .bind(at.to_sqlx())
    .bind(movements.iter().map(|movement| movement.id).collect::<Vec<_>>())
    .bind(movements.iter().map(|movement| movement.sku).collect::<Vec<_>>())
    .bind(movements.iter().map(|movement| movement.kind.as_str()).collect::<Vec<_>>())
    .bind(column(|movement| movement.deltas.on_hand))
    .bind(column(|movement| movement.deltas.reserved))
    .bind(column(|movement| movement.deltas.allocated))
    .bind(movements.iter().map(|movement| movement.order_id.map(|id| id.0)).collect::<Vec<_>>())
    .bind(movements.iter().map(|movement| movement.reason).collect::<Vec<_>>())
    .bind(movements.iter().map(|movement| movement.actor).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(sums)
}

/// What is held for an order, while this transaction holds its row.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) state: Reservation,
    pub(crate) demand: Demand,
    /// How its row knows it; none where there is no row yet.
    stored: Option<Reservation>,
}

impl Held {
    pub(crate) fn unknown() -> Self {
        Self {
            state: Reservation::Unknown,
            demand: Demand::default(),
            stored: None,
        }
    }
}

/// What is known of these orders, locked in the order of their ids.
pub(crate) async fn lock_reservations(
    db: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<HashMap<Uuid, Held>, Failure> {
    let rows: Vec<(Uuid, String, Vec<String>, Vec<i32>)> = sqlx::query_as(
        "
        SELECT order_id, state, skus, quantities FROM reservations
        WHERE order_id = ANY($1)
        ORDER BY order_id
        FOR UPDATE
        ",
    )
    .bind(order_ids)
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|(order_id, state, skus, quantities)| {
            let state = Reservation::parse(&state).ok_or_else(|| {
                Failure::Inconsistent(format!("reservations.state {state:?} of {order_id}"))
            })?;
            let held = Held {
                state,
                demand: Demand::of_rows(skus, quantities),
                stored: Some(state),
            };
            Ok((order_id, held))
        })
        .collect()
}

/// Enters orders that nothing was known of, and moves reservations that are locked.
pub(crate) async fn save_reservations(
    db: &mut PgConnection,
    reservations: &HashMap<Uuid, Held>,
) -> Result<(), Failure> {
    let changed = || {
        reservations
            .iter()
            .filter(|(_, held)| held.stored.unwrap_or(Reservation::Unknown) != held.state)
    };
    let new: Vec<(&Uuid, &Held)> = changed()
        .filter(|(_, held)| held.stored.is_none())
        .collect();
    let moved: Vec<(&Uuid, &Held)> = changed()
        .filter(|(_, held)| held.stored.is_some())
        .collect();
    if new.is_empty() && moved.is_empty() {
        return Ok(());
    }
    // Arrays of arrays must be rectangular in PostgreSQL, so each order's travel as text.
    let skus = new.iter().map(|(_, held)| {
        let quoted: Vec<String> = held
            .demand
            .iter()
            .map(|(sku, _)| format!("\"{sku}\""))
            .collect();
        format!("{{{}}}", quoted.join(","))
    });
    let quantities = new.iter().map(|(_, held)| {
        let counts: Vec<String> = held
            .demand
            .iter()
            .map(|(_, quantity)| quantity.to_string())
            .collect();
        format!("{{{}}}", counts.join(","))
    });
    let inserted: i64 = sqlx::query_scalar(
        "
        WITH moved AS (
            UPDATE reservations SET state = row.state
            FROM unnest($1::uuid[], $2::text[]) AS row (order_id, state)
            WHERE reservations.order_id = row.order_id
        ),
        inserted AS (
            INSERT INTO reservations (order_id, state, skus, quantities)
            SELECT order_id, state, skus::text[], quantities::int4[]
            FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[])
                AS row (order_id, state, skus, quantities)
            ORDER BY order_id
            ON CONFLICT (order_id) DO NOTHING
            RETURNING order_id
        )
        SELECT count(*) FROM inserted
        ",
    )
    .bind(moved.iter().map(|(id, _)| **id).collect::<Vec<_>>())
    .bind(
        moved
            .iter()
            .map(|(_, held)| held.state.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(new.iter().map(|(id, _)| **id).collect::<Vec<_>>())
    .bind(
        new.iter()
            .map(|(_, held)| held.state.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(skus.collect::<Vec<_>>())
    .bind(quantities.collect::<Vec<_>>())
    .fetch_one(db)
    .await?;
    if usize::try_from(inserted).is_ok_and(|inserted| inserted == new.len()) {
        Ok(())
    } else {
        // Another replica learnt of one of them at the same moment.
        Err(Failure::Overtaken)
    }
}

/// What can be bought of each of these SKUs, over all locations.
pub(crate) async fn find_available(
    db: &mut PgConnection,
    skus: &[&str],
) -> Result<HashMap<String, i64>, Failure> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "
        SELECT sku, sum(on_hand - reserved - allocated)::int8
        FROM stock_levels WHERE sku = ANY($1) GROUP BY sku
        ",
    )
    .bind(skus)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().collect())
}

/// A line of the ledger as it stands there.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct MovementRow {
    pub(crate) id: Uuid,
    pub(crate) sku: String,
    pub(crate) location: String,
    pub(crate) kind: String,
    pub(crate) on_hand_delta: i64,
    pub(crate) reserved_delta: i64,
    pub(crate) allocated_delta: i64,
    pub(crate) order_id: Option<Uuid>,
    pub(crate) reason: Option<String>,
    pub(crate) actor: Option<Uuid>,
    pub(crate) at: jiff_sqlx::Timestamp,
}

/// The ledger of one SKU before `before`, newest first.
pub(crate) async fn find_movements(
    db: &mut PgConnection,
    sku: &Sku,
    before: Uuid,
    limit: i64,
) -> Result<Vec<MovementRow>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT id, sku, location, kind, on_hand_delta, reserved_delta, allocated_delta,
            order_id, reason, actor, at
        FROM stock_movements WHERE sku = $1 AND id < $2
        ORDER BY id DESC LIMIT $3
        ",
    )
    .bind(sku.as_str())
    .bind(before)
    .bind(limit)
    .fetch_all(db)
    .await?)
}
