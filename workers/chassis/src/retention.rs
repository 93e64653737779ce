//! Days of inbox and outbox: made ahead, dropped when nobody can ask for them any more. And what else is not
//! kept for ever.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Failure, clock, failure, idempotency::KEPT_FOR};

/// Events are kept longer than the stream keeps its messages (7 days).
const OUTBOX_DAYS: i64 = 8;
/// Repeats are known longer than any event can still be published again.
const INBOX_DAYS: i64 = 16;
/// Dead letters are kept this long after they were decided, with all that was done to them.
const DECIDED_LETTERS_DAYS: i32 = 90;
/// What staff did is kept for more than a year.
const ACTIVITY_DAYS: i32 = 400;
/// Partitions made ahead; more than a worker is likely to be down.
const DAYS_AHEAD: i64 = 7;
const EVERY: Duration = Duration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Makes partitions and drops old ones until shutdown.
pub(crate) async fn keep(pool: PgPool, shutdown: CancellationToken) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        if let Err(error) = tidy(&pool, clock::now()).await {
            tracing::warn!(
                error = failure::chain(&error),
                "old rows were not tidied away"
            );
        }
    }
}

/// One round, as of `now`.
pub(crate) async fn tidy(pool: &PgPool, now: Timestamp) -> Result<(), Failure> {
    let mut db = pool.acquire().await?;
    for (table, days) in [("inbox", INBOX_DAYS), ("outbox", OUTBOX_DAYS)] {
        let existing = partitions(&mut db, table).await?;
        for ahead in 0..=DAYS_AHEAD {
            let (name, from, to) = partition(table, day(now, ahead));
            if !existing.contains(&name) {
                // The names and bounds are our own; nothing of them comes from outside.
                let statement = format!(
                    "CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} FOR VALUES FROM ('{from}') TO ('{to}')"
                );
                sqlx::query(AssertSqlSafe(statement))
                    .execute(&mut *db)
                    .await?;
            }
        }
        let (oldest_kept, ..) = partition(table, day(now, -days));
        for old in existing.iter().filter(|name| **name < oldest_kept) {
            let mut tx = db.begin().await?;
            sqlx::query(AssertSqlSafe(format!(
                "ALTER TABLE {table} DETACH PARTITION {old}"
            )))
            .execute(&mut *tx)
            .await?;
            sqlx::query(AssertSqlSafe(format!("DROP TABLE {old}")))
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            tracing::info!(partition = old, "dropped a partition");
        }
    }
    let kept_for = i64::try_from(KEPT_FOR.as_secs()).unwrap_or(i64::MAX);
    sqlx::query(
        "DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(secs => $1)",
    )
    .bind(kept_for)
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM dead_letters WHERE decided_at < now() - make_interval(days => $1)")
        .bind(DECIDED_LETTERS_DAYS)
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM activity WHERE at < now() - make_interval(days => $1)")
        .bind(ACTIVITY_DAYS)
        .execute(&mut *db)
        .await?;
    Ok(())
}

async fn partitions(db: &mut PgConnection, table: &str) -> Result<Vec<String>, Failure> {
    Ok(sqlx::query_scalar(
        "
        SELECT child.relname::text FROM pg_inherits
        JOIN pg_class AS child ON child.oid = inhrelid
        JOIN pg_class AS parent ON parent.oid = inhparent
        WHERE parent.relname = $1 AND child.relname <> parent.relname || '_default'
        ORDER BY 1
        ",
    )
    .bind(table)
    .fetch_all(db)
    .await?)
}

/// The start of the day that lies `offset` days from `now`, in UTC.
fn day(now: Timestamp, offset: i64) -> Timestamp {
    let start = now
        .to_zoned(TimeZone::UTC)
        .start_of_day()
        .expect("every day of UTC has a start")
        .timestamp();
    start + DAY * i32::try_from(offset).expect("offsets are a few days")
}

/// A partition's name, the first id in it and the first after it.
fn partition(table: &str, day: Timestamp) -> (String, Uuid, Uuid) {
    let date = day.to_zoned(TimeZone::UTC).strftime("%Y%m%d").to_string();
    (
        format!("{table}_{date}"),
        first_id_at(day),
        first_id_at(day + DAY),
    )
}

/// The least `UUIDv7`-ordered value of an instant: its milliseconds, then zeros (RFC 9562, 5.7).
fn first_id_at(at: Timestamp) -> Uuid {
    let millis = u128::try_from(at.as_millisecond()).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_falls_into_the_partition_of_its_day() {
        let now: Timestamp = "2026-11-22T15:16:12Z".parse().unwrap();
        let (name, from, to) = partition("outbox", day(now, 0));
        assert_eq!(name, "outbox_20261122");
        let id = Uuid::from_u128(u128::try_from(now.as_millisecond()).unwrap() << 80 | 0x7_fff);
        assert!(from <= id && id < to);
        let (_, next, _) = partition("outbox", day(now, 1));
        assert_eq!(to, next);
    }
}
