//! What audits ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::AddAssign,
    time::{Duration, Instant},
};

use shopzen_chassis::{Failure, Horizon};
use shopzen_contracts::{
    OrderId,
    audit::OrderSpan,
    stock::{AuditedLevels, Counts, LevelFacts, MAIN_LOCATION, ReservationFacts},
};
use sqlx::PgConnection;
use uuid::Uuid;

/// After this time everything is added up anew.
const ADDED_UP_FOR: Duration = Duration::from_hours(1);

/// A level by its SKU and location.
type Key = (String, String);

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    moved: Counts,
    held_reserved: i64,
    held_allocated: i64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.moved.on_hand += other.moved.on_hand;
        self.moved.reserved += other.moved.reserved;
        self.moved.allocated += other.moved.allocated;
        self.held_reserved += other.held_reserved;
        self.held_allocated += other.held_allocated;
    }
}

/// Sums over the settled rows: those from before a horizon that are not expected to change any more.
///
/// A row that somebody lays hands on is younger from then on, and no longer among them; so the sums hold
/// as long as there are as many settled rows as there were.
#[derive(Debug)]
pub(crate) struct AddedUp {
    at: Instant,
    horizon: Horizon,
    movements: i64,
    reservations: i64,
    sums: BTreeMap<Key, Sums>,
}

/// Rows of one level that are not settled: how many, and their sums; and the same of those among them that
/// will be from now on.
struct Young {
    key: Key,
    rows: i64,
    settling: i64,
    sums: Sums,
    settling_sums: Sums,
}

/// Levels that are not the sum of their movements, or not of what orders hold, or are oversold. All
/// tables are read as of one moment, so whatever is found here is wrong.
///
/// What was added up before is not added up again. The rows are still read, but that is a small part of
/// the work.
pub(crate) async fn find_odd_levels(
    db: &mut PgConnection,
    added_up: &mut Option<AddedUp>,
) -> Result<Vec<LevelFacts>, Failure> {
    let before = added_up.take_if(|it| it.at.elapsed() < ADDED_UP_FOR);
    let sums = match before {
        Some(before) => match add_up(db, Some(before), added_up).await? {
            Some(sums) => sums,
            // A settled row is gone, or is another one. Nothing can be said but by adding up all.
            None => add_up(db, None, added_up).await?.unwrap_or_default(),
        },
        None => add_up(db, None, added_up).await?.unwrap_or_default(),
    };
    Ok(odd(&load_levels(db).await?, &sums))
}

/// Adds up all rows, and remembers the sums of the settled ones. None where what was remembered does not
/// hold any more.
async fn add_up(
    db: &mut PgConnection,
    before: Option<AddedUp>,
    added_up: &mut Option<AddedUp>,
) -> Result<Option<BTreeMap<Key, Sums>>, Failure> {
    let horizon = Horizon::of(db).await?;
    let settling_age = horizon.age(db).await?;
    let (age, mut settled) = match before {
        Some(before) => (before.horizon.age(db).await?, before),
        None => (
            i32::MAX,
            AddedUp {
                at: Instant::now(),
                horizon,
                movements: 0,
                reservations: 0,
                sums: BTreeMap::new(),
            },
        ),
    };
    let moved = find_young_movements(db, age, settling_age).await?;
    let held = find_young_reservations(db, age, settling_age).await?;
    let (movements, reservations) = count_rows(db).await?;
    let count = |young: &[Young]| young.iter().map(|it| it.rows).sum::<i64>();
    let are_still_there = movements - count(&moved) == settled.movements
        && reservations - count(&held) == settled.reservations;
    if !are_still_there {
        return Ok(None);
    }
    let settling = |young: &[Young]| young.iter().map(|it| it.settling).sum::<i64>();
    settled.movements += settling(&moved);
    settled.reservations += settling(&held);
    settled.horizon = horizon;
    let mut sums = settled.sums.clone();
    for young in moved.into_iter().chain(held) {
        *sums.entry(young.key.clone()).or_default() += young.sums;
        *settled.sums.entry(young.key).or_default() += young.settling_sums;
    }
    *added_up = Some(settled);
    Ok(Some(sums))
}

async fn find_young_movements(
    db: &mut PgConnection,
    age: i32,
    settling_age: i32,
) -> Result<Vec<Young>, Failure> {
    type Row = (String, String, i64, i64, i64, i64, i64, i64, i64, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "
        SELECT sku, location, count(*), count(*) FILTER (WHERE age(xmin) > $2),
            sum(on_hand_delta)::int8, sum(reserved_delta)::int8, sum(allocated_delta)::int8,
            coalesce(sum(on_hand_delta) FILTER (WHERE age(xmin) > $2), 0)::int8,
            coalesce(sum(reserved_delta) FILTER (WHERE age(xmin) > $2), 0)::int8,
            coalesce(sum(allocated_delta) FILTER (WHERE age(xmin) > $2), 0)::int8
        FROM stock_movements WHERE age(xmin) <= $1
        GROUP BY sku, location
        ",
    )
    .bind(age)
    .bind(settling_age)
    .fetch_all(db)
    .await?;
    let sums = |on_hand, reserved, allocated| Sums {
        moved: Counts {
            on_hand,
            reserved,
            allocated,
        },
        ..Sums::default()
    };
    let young = rows.into_iter().map(|row| Young {
        key: (row.0, row.1),
        rows: row.2,
        settling: row.3,
        sums: sums(row.4, row.5, row.6),
        settling_sums: sums(row.7, row.8, row.9),
    });
    Ok(young.collect())
}

/// Rows that hold nothing count under no SKU.
async fn find_young_reservations(
    db: &mut PgConnection,
    age: i32,
    settling_age: i32,
) -> Result<Vec<Young>, Failure> {
    let rows: Vec<(Option<String>, i64, i64, i64, i64, i64)> = sqlx::query_as(
        "
        WITH young AS (
            SELECT state, skus, quantities, age(xmin) > $2 AND state <> 'reserved' AS settles
            FROM reservations WHERE age(xmin) <= $1 OR state = 'reserved'
        )
        SELECT sku, count(*) FILTER (WHERE is_first), count(*) FILTER (WHERE is_first AND settles),
            coalesce(sum(quantity) FILTER (WHERE state = 'reserved'), 0)::int8,
            coalesce(sum(quantity) FILTER (WHERE state = 'allocated'), 0)::int8,
            coalesce(sum(quantity) FILTER (WHERE state = 'allocated' AND settles), 0)::int8
        FROM young
        LEFT JOIN LATERAL (
            SELECT sku, quantity, place = 1 FROM unnest(skus, quantities) WITH ORDINALITY AS line (sku, quantity, place)
        ) AS line (sku, quantity, starts) ON true
        CROSS JOIN LATERAL (SELECT coalesce(starts, true)) AS place (is_first)
        GROUP BY sku
        ",
    )
    .bind(age)
    .bind(settling_age)
    .fetch_all(db)
    .await?;
    let young = rows.into_iter().map(
        |(sku, rows, settling, reserved, allocated, settling_allocated)| Young {
            key: (sku.unwrap_or_default(), MAIN_LOCATION.to_owned()),
            rows,
            settling,
            sums: Sums {
                held_reserved: reserved,
                held_allocated: allocated,
                ..Sums::default()
            },
            settling_sums: Sums {
                held_allocated: settling_allocated,
                ..Sums::default()
            },
        },
    );
    Ok(young.collect())
}

async fn count_rows(db: &mut PgConnection) -> Result<(i64, i64), Failure> {
    Ok(sqlx::query_as(
        "SELECT (SELECT count(*) FROM stock_movements), (SELECT count(*) FROM reservations)",
    )
    .fetch_one(db)
    .await?)
}

async fn load_levels(db: &mut PgConnection) -> Result<BTreeMap<Key, Counts>, Failure> {
    let rows: Vec<(String, String, i64, i64, i64)> =
        sqlx::query_as("SELECT sku, location, on_hand, reserved, allocated FROM stock_levels")
            .fetch_all(db)
            .await?;
    let levels = rows
        .into_iter()
        .map(|(sku, location, on_hand, reserved, allocated)| {
            let level = Counts {
                on_hand,
                reserved,
                allocated,
            };
            ((sku, location), level)
        });
    Ok(levels.collect())
}

fn odd(levels: &BTreeMap<Key, Counts>, sums: &BTreeMap<Key, Sums>) -> Vec<LevelFacts> {
    let keys: BTreeSet<&Key> = levels.keys().chain(sums.keys()).collect();
    let facts = keys.into_iter().map(|key| {
        let sums = sums.get(key).copied().unwrap_or_default();
        LevelFacts {
            sku: key.0.clone(),
            location: key.1.clone(),
            level: levels.get(key).copied(),
            moved: sums.moved,
            held_reserved: sums.held_reserved,
            held_allocated: sums.held_allocated,
        }
    });
    facts
        .filter(is_odd)
        .take(AuditedLevels::ITEMS_MAX)
        .collect()
}

fn is_odd(facts: &LevelFacts) -> bool {
    let level = facts.level.unwrap_or_default();
    level != facts.moved
        || (level.reserved, level.allocated) != (facts.held_reserved, facts.held_allocated)
        || level.reserved < 0
        || level.allocated < 0
        || level.reserved + level.allocated > level.on_hand
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
