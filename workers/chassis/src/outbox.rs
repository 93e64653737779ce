//! Events on their way out: written in the business transaction, published after the commit, kept.
//!
//! `outbox` is the truth and never changes. `outbox_pending` names what no acknowledgement is
//! recorded for, all events of one transaction in one row; whatever stays there for more than a second
//! (its process died, the broker was away) is published again by any replica. `outbox_receipts` says
//! where in the stream each event went.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_nats::{
    HeaderMap, HeaderName, HeaderValue,
    connection::State,
    jetstream::{self, message::PublishMessage},
};
use futures::future::join_all;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use shopzen_contracts::{Service, header};
use sqlx::{PgConnection, PgPool};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Bus, Failure, bus::connects, clock, failure};

/// An event as it waits to be published.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct OutboxRow {
    pub(crate) event_id: Uuid,
    pub(crate) key: Uuid,
    pub(crate) subject: std::borrow::Cow<'static, str>,
    pub(crate) cause_id: Option<Uuid>,
    pub(crate) attempt: i16,
    pub(crate) trace_parent: String,
    pub(crate) body: String,
    #[sqlx(try_from = "jiff_sqlx::Timestamp")]
    pub(crate) created_at: Timestamp,
}

/// Where an event was stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) event_id: Uuid,
    pub(crate) stream_seq: i64,
}

/// Where the events of one transaction were stored.
#[derive(Debug)]
pub(crate) struct Published {
    /// [`Bus::connects`] as they were published.
    connects: u64,
    receipts: Vec<Receipt>,
    /// The row of `outbox_pending` that is done with; none where events of it are still missing.
    settled: Option<Uuid>,
}

/// Transactions whose receipts are recorded with one statement.
const PUBLISHED_MAX: usize = 256;
/// How long receipts are gathered before they are recorded.
const RECEIPTS_EVERY: Duration = Duration::from_millis(100);
/// How often rows without a receipt are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Transactions without a receipt that are published again in one go.
const SWEEP_MAX: i64 = 16;

/// Publishes what was committed, and records where it went.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    jetstream: jetstream::Context,
    service: Service,
    /// [`Bus::connects`] as the stream was last compared with the receipts. On any other connection the
    /// gate is closed.
    gate: watch::Receiver<u64>,
    receipts: mpsc::Sender<Published>,
    /// Rung when the stream does not take what it should: it may be gone.
    doubt: Arc<Notify>,
}

impl Relay {
    pub(crate) fn new(
        bus: &Bus,
        service: Service,
        gate: watch::Receiver<u64>,
        doubt: Arc<Notify>,
    ) -> (Self, mpsc::Receiver<Published>) {
        let (receipts, received) = mpsc::channel(PUBLISHED_MAX * 4);
        (
            Self {
                jetstream: bus.publisher(),
                service,
                gate,
                receipts,
                doubt,
            },
            received,
        )
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.gate.borrow() == self.connects()
            && self.jetstream.client().connection_state() == State::Connected
    }

    fn connects(&self) -> u64 {
        connects(&self.jetstream.client())
    }

    /// Publishes the events of a transaction that is committed. What cannot be published now stays
    /// pending.
    pub(crate) async fn publish_committed(&self, pending: Uuid, rows: Vec<OutboxRow>) {
        if !self.is_open() {
            return;
        }
        let connects = self.connects();
        let receipts = self.publish(&rows).await;
        let settled = (receipts.len() == rows.len()).then_some(pending);
        // The recorder outlives every relay but for the last moment of a shutdown; what it misses then
        // is published again, under the same id.
        let published = Published {
            connects,
            receipts,
            settled,
        };
        let _ = self.receipts.send(published).await;
    }

    async fn publish(&self, rows: &[OutboxRow]) -> Vec<Receipt> {
        let mut acks = Vec::with_capacity(rows.len());
        for row in rows {
            let message = PublishMessage::build()
                .headers(headers_of(row, self.service))
                .payload(row.body.clone().into());
            let subject = format!("{}.{}", row.subject, row.key);
            match self.jetstream.send_publish(subject, message).await {
                Ok(ack) => acks.push(async { (row.event_id, ack.await) }),
                Err(error) => {
                    metrics::counter!("outbox_publish_failures_total").increment(1);
                    tracing::warn!(error = %error, "the broker takes no events; they wait in the outbox");
                    break;
                }
            }
        }
        let mut receipts = Vec::with_capacity(acks.len());
        let mut failure = None;
        for (event_id, ack) in join_all(acks).await {
            match ack {
                Ok(ack) if ack.stream == self.service.stream() => receipts.push(Receipt {
                    event_id,
                    stream_seq: i64::try_from(ack.sequence).unwrap_or(i64::MAX),
                }),
                Ok(ack) => failure = Some(format!("stored in the wrong stream {}", ack.stream)),
                Err(error) => failure = Some(error.to_string()),
            }
        }
        if let Some(failure) = failure {
            let missing = rows.len() - receipts.len();
            metrics::counter!("outbox_publish_failures_total")
                .increment(u64::try_from(missing).unwrap_or(u64::MAX));
            self.doubt.notify_one();
            tracing::warn!(
                missing,
                failure,
                "events were not acknowledged; they wait in the outbox"
            );
        }
        receipts
    }
}

/// CloudEvents in binary mode (CloudEvents NATS protocol binding), names in exact lower case.
pub(crate) fn headers_of(row: &OutboxRow, service: Service) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let id = row.event_id.to_string();
    let mut insert = |name: &'static str, value: &str| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    };
    insert(header::MESSAGE_ID, &id);
    insert(header::EVENT_ID, &id);
    insert(header::SPEC_VERSION, "1.0");
    insert(header::TYPE, &row.subject);
    insert(header::SOURCE, service.name());
    insert(header::TIME, &row.created_at.to_string());
    if let Some(cause) = row.cause_id {
        insert(header::CAUSATION_ID, &cause.to_string());
    }
    insert(header::TRACE_PARENT, &row.trace_parent);
    headers
}

/// Writes events into the open transaction, pending under one id.
pub(crate) async fn insert(db: &mut PgConnection, rows: &[OutboxRow]) -> Result<Uuid, Failure> {
    let pending = clock::new_id();
    if rows.is_empty() {
        return Ok(pending);
    }
    let column = |get: fn(&OutboxRow) -> Uuid| rows.iter().map(get).collect::<Vec<_>>();
    let text = |get: fn(&OutboxRow) -> &str| rows.iter().map(get).collect::<Vec<_>>();
    sqlx::query(
        "
        WITH written AS (
            INSERT INTO outbox
                (event_id, key, subject, cause_id, attempt, trace_parent, body, created_at)
            SELECT event_id, key, subject, cause_id, attempt, trace_parent, body, $8
            FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::int2[], $6::text[], $7::text[])
                AS row (event_id, key, subject, cause_id, attempt, trace_parent, body)
        )
        INSERT INTO outbox_pending (id, event_ids) VALUES ($9, $1)
        ",
    )
    .bind(column(|row| row.event_id))
    .bind(column(|row| row.key))
    .bind(text(|row| &row.subject))
    .bind(rows.iter().map(|row| row.cause_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.attempt).collect::<Vec<_>>())
    .bind(text(|row| &row.trace_parent))
    .bind(text(|row| &row.body))
    .bind(rows[0].created_at.to_sqlx())
    .bind(pending)
    .execute(db)
    .await?;
    Ok(pending)
}

/// Records where events were stored, and takes what is settled off the pending list.
///
/// A sequence that was recorded for another event before shows that the broker has lost its tail and
/// used the number again: the other event is pending once more.
pub(crate) async fn record(
    db: &mut PgConnection,
    mut receipts: Vec<Receipt>,
    settled: &[Uuid],
) -> Result<(), sqlx::Error> {
    // One statement may not touch a row twice; of two receipts for one sequence the later counts.
    receipts.sort_by_key(|receipt| receipt.stream_seq);
    receipts.dedup_by_key(|receipt| receipt.stream_seq);
    sqlx::query(
        "
        WITH new AS (
            SELECT stream_seq, event_id FROM unnest($1::int8[], $2::uuid[]) AS row (stream_seq, event_id)
        ),
        overwritten AS (
            SELECT array_agg(old.event_id) AS event_ids
            FROM new JOIN outbox_receipts AS old USING (stream_seq)
            WHERE old.event_id <> new.event_id
        ),
        lost AS (
            INSERT INTO outbox_pending (id, event_ids)
            SELECT $4, event_ids FROM overwritten WHERE event_ids IS NOT NULL
        ),
        settled AS (
            DELETE FROM outbox_pending WHERE id = ANY($3::uuid[])
        )
        INSERT INTO outbox_receipts (stream_seq, event_id) SELECT stream_seq, event_id FROM new
        ON CONFLICT (stream_seq) DO UPDATE SET event_id = excluded.event_id
        WHERE outbox_receipts.event_id <> excluded.event_id
        ",
    )
    .bind(receipts.iter().map(|receipt| receipt.stream_seq).collect::<Vec<_>>())
    .bind(receipts.iter().map(|receipt| receipt.event_id).collect::<Vec<_>>())
    .bind(settled)
    .bind(clock::new_id())
    .execute(db)
    .await?;
    Ok(())
}

/// Records receipts, many with one statement, until every relay is gone.
///
/// Those of before the last interruption count for nothing: the broker may have lost its tail, and the
/// tail guard may have looked at what was recorded by then. Their events stay pending and are published
/// again.
pub(crate) async fn record_receipts(
    pool: PgPool,
    mut published: mpsc::Receiver<Published>,
    current: impl Fn() -> u64,
) {
    let mut batch = Vec::new();
    let mut tick = interval(RECEIPTS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while published.recv_many(&mut batch, PUBLISHED_MAX).await > 0 {
        let current = current();
        batch.retain(|it| it.connects == current);
        let settled: Vec<Uuid> = batch.iter().filter_map(|it| it.settled).collect();
        let receipts = batch.drain(..).flat_map(|it| it.receipts).collect();
        let recorded =
            async { record(&mut *pool.acquire().await?, receipts, &settled).await }.await;
        if let Err(error) = recorded {
            // They stay pending, are published again, and get a receipt then.
            tracing::warn!(error = failure::chain(&error), "receipts were not recorded");
        }
        if !published.is_closed() {
            tick.tick().await;
        }
    }
}

/// Publishes what has been pending for more than a second. Returns whether there may be more.
pub(crate) async fn publish_pending(pool: &PgPool, relay: &Relay) -> Result<bool, Failure> {
    let mut tx = pool.begin().await?;
    let pending: Vec<(Uuid, Vec<Uuid>)> = sqlx::query_as(
        "
        SELECT id, event_ids FROM outbox_pending
        WHERE since < now() - interval '1 second'
        ORDER BY id
        LIMIT $1
        FOR UPDATE SKIP LOCKED
        ",
    )
    .bind(SWEEP_MAX)
    .fetch_all(&mut *tx)
    .await?;
    if pending.is_empty() {
        return Ok(false);
    }
    let event_ids: Vec<Uuid> = pending.iter().flat_map(|(_, ids)| ids).copied().collect();
    let rows: Vec<OutboxRow> = sqlx::query_as(
        "
        SELECT event_id, key, subject, cause_id, attempt, trace_parent, body, created_at
        FROM outbox WHERE event_id = ANY($1) ORDER BY event_id
        ",
    )
    .bind(event_ids)
    .fetch_all(&mut *tx)
    .await?;
    let connects = relay.connects();
    let receipts = relay.publish(&rows).await;
    if relay.connects() != connects {
        return Ok(false);
    }
    tracing::info!(
        found = rows.len(),
        published = receipts.len(),
        "published pending events"
    );
    // What is not in the outbox any more has aged out of the stream too.
    let mut missing: HashSet<Uuid> = rows.iter().map(|row| row.event_id).collect();
    for receipt in &receipts {
        missing.remove(&receipt.event_id);
    }
    let settled: Vec<Uuid> = pending
        .iter()
        .filter(|(_, ids)| ids.iter().all(|id| !missing.contains(id)))
        .map(|(id, _)| *id)
        .collect();
    record(&mut tx, receipts, &settled).await?;
    tx.commit().await?;
    Ok(settled.len() == pending.len())
}

/// Sweeps until shutdown.
pub(crate) async fn sweep(pool: PgPool, relay: Arc<Relay>, shutdown: CancellationToken) {
    let mut tick = interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        while relay.is_open() && !shutdown.is_cancelled() {
            match publish_pending(&pool, &relay).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(error = failure::chain(&error), "the outbox was not swept");
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shopzen_test_servers::servers;
    use sqlx::migrate::Migrator;

    use super::*;
    use crate::{DatabaseConfig, Secret, database};

    static NOTHING: Migrator = Migrator::DEFAULT;

    async fn pending(pool: &PgPool) -> Vec<Uuid> {
        sqlx::query_scalar("SELECT id FROM outbox_pending ORDER BY id")
            .fetch_all(pool)
            .await
            .unwrap()
    }

    /// The broker was put back to an older state while the receipt was on its way: the event is not
    /// there any more, and its place may be another's.
    #[tokio::test]
    async fn a_receipt_of_before_an_interruption_settles_nothing() {
        let url = tokio::task::spawn_blocking(|| servers().database_url());
        let config = DatabaseConfig {
            database_url: Secret::new(url.await.unwrap()),
            ..DatabaseConfig::default()
        };
        let pool = database::pool(&config, "test").unwrap();
        database::migrate(&pool, &NOTHING).await.unwrap();
        let (before, after) = (Uuid::from_u128(1), Uuid::from_u128(2));
        sqlx::query(
            "INSERT INTO outbox_pending (id, event_ids) VALUES ($1, ARRAY[$1]), ($2, ARRAY[$2])",
        )
        .bind(before)
        .bind(after)
        .execute(&pool)
        .await
        .unwrap();

        let (receipts, received) = mpsc::channel(8);
        for (connects, event_id) in [(1, before), (2, after)] {
            let receipt = Receipt {
                event_id,
                stream_seq: 8,
            };
            let published = Published {
                connects,
                receipts: vec![receipt],
                settled: Some(event_id),
            };
            receipts.send(published).await.unwrap();
        }
        drop(receipts);
        record_receipts(pool.clone(), received, || 2).await;

        assert_eq!(pending(&pool).await, [before]);
        let recorded: Vec<(i64, Uuid)> =
            sqlx::query_as("SELECT stream_seq, event_id FROM outbox_receipts")
                .fetch_all(&pool)
                .await
                .unwrap();
        assert_eq!(recorded, [(8, after)]);
    }
}
