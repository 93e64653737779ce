//! What audits ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use shopzen_chassis::{Failure, Horizon};
use shopzen_contracts::{
    OrderId,
    audit::OrderSpan,
    payments::{AttemptFacts, AuditedLedger, LedgerTotal, PaymentFacts},
};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

/// After this time everything is looked at anew.
const VERIFIED_FOR: Duration = Duration::from_hours(1);
/// More orders than this are not looked up one by one.
const YOUNG_MAX: usize = 20_000;

/// The tables of which an order has rows, and which of them are not expected to change any more.
const TABLES: [(&str, &str); 3] = [
    (
        "payments",
        // One by one, and the most frequent first: for most rows that is one comparison, where a list is walked.
        "state = 'captured' OR state = 'declined' OR state = 'voided' OR state = 'refunded' OR state = 'ended'",
    ),
    ("payment_attempts", "next_at IS NULL AND state <> 'failed'"),
    ("ledger_transfers", "true"),
];

/// How many settled rows each table has: those that were there before a horizon and are not expected to
/// change any more. All of them are known to agree, but for those of the orders that were odd, which are looked
/// at each time: so a shop in which something is wrong is asked no more than another.
///
/// A row that somebody lays hands on is younger from then on, and no longer among them; so they still agree
/// as long as there are as many as there were.
#[derive(Debug)]
pub(crate) struct Verified {
    at: Instant,
    horizon: Horizon,
    rows: [i64; TABLES.len()],
    booked: Booked,
    odd: Vec<OrderId>,
}

/// What settled transfers sum up to, by currency and movement.
type Booked = BTreeMap<(String, String), i64>;

impl Verified {
    /// Where there are more odd orders than are told, it is not known which they are.
    fn remember(mut self, odd: &[OrderId], verified: &mut Option<Self>) {
        self.odd = odd.to_vec();
        *verified = (odd.len() < AuditedLedger::ODD_MAX).then_some(self);
    }
}

/// Orders whose payment, attempts and transfers do not agree, and the totals of the ledger with what
/// gateways are being asked for, all as of one moment.
pub(crate) async fn audit_ledger(
    db: &mut PgConnection,
    verified: &mut Option<Verified>,
) -> Result<AuditedLedger, Failure> {
    let horizon = Horizon::of(db).await?;
    let settling_age = horizon.age(db).await?;
    let before = verified.take_if(|it| it.at.elapsed() < VERIFIED_FOR);
    *verified = None;
    let mut next = Verified {
        at: before.as_ref().map_or_else(Instant::now, |it| it.at),
        horizon,
        rows: [0; TABLES.len()],
        booked: Booked::new(),
        odd: Vec::new(),
    };
    if let Some(before) = before {
        let age = before.horizon.age(db).await?;
        let mut young: BTreeSet<Uuid> = before.odd.iter().map(|id| id.0).collect();
        let mut are_still_there = [true; TABLES.len()];
        for (index, table) in TABLES.iter().enumerate() {
            let (rows, settling) = find_young(db, *table, age, settling_age, &mut young).await?;
            let settled = count_rows(db, table.0).await? - rows;
            are_still_there[index] = settled == before.rows[index];
            next.rows[index] = settled + settling;
        }
        let [.., attempts_are, transfers_are] = are_still_there;
        if attempts_are && transfers_are && young.len() <= YOUNG_MAX {
            let young: Vec<Uuid> = young.into_iter().collect();
            let odd = find_odd(db, Some(&young)).await?;
            let are_known = are_still_there == [true; TABLES.len()];
            // What is seen to be wrong is told at once, and everything is looked at anew the next time.
            if are_known || !odd.is_empty() {
                let (booked, settled) = find_booked(db, before.booked, age, settling_age).await?;
                next.booked = settled;
                let totals = totals(booked, find_asked(db, Some(&young)).await?);
                if are_known {
                    next.remember(&odd, verified);
                }
                return Ok(AuditedLedger { odd, totals });
            }
        }
    }
    for (index, table) in TABLES.iter().enumerate() {
        next.rows[index] = count_settled(db, *table, settling_age).await?;
    }
    let odd = find_odd(db, None).await?;
    let (booked, settled) = find_booked(db, Booked::new(), i32::MAX, settling_age).await?;
    next.booked = settled;
    next.at = Instant::now();
    let totals = totals(booked, find_asked(db, None).await?);
    next.remember(&odd, verified);
    Ok(AuditedLedger { odd, totals })
}

/// Notes the orders of the rows that are not settled. Returns how many rows that are, and how many of them
/// will be settled from now on.
async fn find_young(
    db: &mut PgConnection,
    (table, is_steady): (&str, &str),
    age: i32,
    settling_age: i32,
    young: &mut BTreeSet<Uuid>,
) -> Result<(i64, i64), Failure> {
    // The names and conditions are our own; nothing of them comes from outside.
    let statement = format!(
        "
        SELECT order_id, age(xmin) > $2 AND ({is_steady}) FROM {table}
        WHERE age(xmin) <= $1 OR NOT ({is_steady})
        "
    );
    let rows: Vec<(Uuid, bool)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(age)
        .bind(settling_age)
        .fetch_all(db)
        .await?;
    let settling = rows.iter().filter(|(_, settles)| *settles).count();
    young.extend(rows.iter().map(|(order_id, _)| *order_id));
    let count = |rows| i64::try_from(rows).unwrap_or(i64::MAX);
    Ok((count(rows.len()), count(settling)))
}

async fn count_rows(db: &mut PgConnection, table: &str) -> Result<i64, Failure> {
    let statement = format!("SELECT count(*) FROM {table}");
    Ok(sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_one(db)
        .await?)
}

async fn count_settled(
    db: &mut PgConnection,
    (table, is_steady): (&str, &str),
    settling_age: i32,
) -> Result<i64, Failure> {
    let statement = format!("SELECT count(*) FROM {table} WHERE age(xmin) > $1 AND ({is_steady})");
    Ok(sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(settling_age)
        .fetch_one(db)
        .await?)
}

/// Of these orders, or of all, those whose rows do not agree.
async fn find_odd(db: &mut PgConnection, of: Option<&[Uuid]>) -> Result<Vec<OrderId>, Failure> {
    if of.is_none() {
        let mark: Option<i64> = sqlx::query_scalar("SELECT bit_xor(mark) FROM payment_marks")
            .fetch_one(&mut *db)
            .await?;
        if mark.unwrap_or(0) == 0 {
            return Ok(Vec::new());
        }
    }
    let some = if of.is_some() {
        "order_id = ANY($2)"
    } else {
        "true"
    };
    let statement = format!(
        "
        SELECT order_id FROM payment_marks WHERE {some} GROUP BY order_id HAVING bit_xor(mark) <> 0
        ORDER BY order_id LIMIT $1
        "
    );
    let mut query = sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(i64::try_from(AuditedLedger::ODD_MAX).unwrap_or(i64::MAX));
    if let Some(ids) = of {
        query = query.bind(ids);
    }
    let odd: Vec<Uuid> = query.fetch_all(db).await?;
    Ok(odd.into_iter().map(OrderId).collect())
}

/// What was booked: all of it, and what is settled from now on.
async fn find_booked(
    db: &mut PgConnection,
    before: Booked,
    age: i32,
    settling_age: i32,
) -> Result<(Booked, Booked), Failure> {
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
        "
        SELECT currency, movement, sum(amount_minor)::int8,
            coalesce(sum(amount_minor) FILTER (WHERE age(xmin) > $2), 0)::int8
        FROM ledger_transfers WHERE age(xmin) <= $1
        GROUP BY currency, movement
        ",
    )
    .bind(age)
    .bind(settling_age)
    .fetch_all(db)
    .await?;
    let (mut all, mut settled) = (before.clone(), before);
    for (currency, movement, young, settling) in rows {
        let key = (currency, movement);
        *all.entry(key.clone()).or_default() += young;
        *settled.entry(key).or_default() += settling;
    }
    Ok((all, settled))
}

/// What gateways are being asked for by attempts of these orders, or of all, whose outcome is not recorded.
async fn find_asked(
    db: &mut PgConnection,
    of: Option<&[Uuid]>,
) -> Result<Vec<(String, String, i64)>, Failure> {
    let some = if of.is_some() {
        "order_id = ANY($1)"
    } else {
        "true"
    };
    let statement = format!(
        "
        SELECT payment.currency, kind, sum(attempt.amount_minor)::int8
        FROM payment_attempts AS attempt JOIN payments AS payment USING (order_id)
        WHERE {some} AND kind IN ('capture', 'refund') AND (next_at IS NOT NULL OR attempt.state = 'failed')
            AND payment.currency IS NOT NULL
        GROUP BY payment.currency, kind
        "
    );
    let mut query = sqlx::query_as(AssertSqlSafe(statement));
    if let Some(ids) = of {
        query = query.bind(ids);
    }
    Ok(query.fetch_all(db).await?)
}

fn totals(booked: Booked, asked: Vec<(String, String, i64)>) -> Vec<LedgerTotal> {
    let mut totals: BTreeMap<String, LedgerTotal> = BTreeMap::new();
    let mut total = |currency: String, set: &dyn Fn(&mut LedgerTotal)| {
        set(totals.entry(currency.clone()).or_insert(LedgerTotal {
            currency,
            captured_minor: 0,
            refunded_minor: 0,
            capturing_minor: 0,
            refunding_minor: 0,
        }));
    };
    for ((currency, movement), amount) in booked {
        total(currency, &|total| match movement.as_str() {
            "capture" => total.captured_minor += amount,
            _ => total.refunded_minor += amount,
        });
    }
    for (currency, kind, amount) in asked {
        total(currency, &|total| match kind.as_str() {
            "capture" => total.capturing_minor += amount,
            _ => total.refunding_minor += amount,
        });
    }
    totals.into_values().collect()
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
