//! Events on their way out: written in the business transaction, published after the commit, kept.
//!
//! `outbox` is the truth and never changes. `outbox_pending` names what no acknowledgement is
//! recorded for, all events of one transaction in one row; whatever stays there for more than a second
//! (its process died, the broker was away) is published again by any replica. `outbox_receipts` says
//! where in the stream each event went.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{
    HeaderMap, HeaderName, HeaderValue,
    jetstream::{self, message::PublishMessage},
};
use futures::future::join_all;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use shopzen_contracts::{Service, header};
use sqlx::{PgConnection, PgPool};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Bus, Failure, clock,
    failpoint::{self, Failpoint},
    failure,
    gate::{Compared, Gate},
};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) event_id: Uuid,
    pub(crate) stream_seq: i64,
}

/// Where the events of one transaction were stored.
#[derive(Debug)]
pub(crate) struct Published {
    /// As they were published.
    compared: Compared,
    receipts: Vec<Receipt>,
    /// The row of `outbox_pending` that is done with; none where events of it are still missing.
    settled: Option<Uuid>,
}

/// Events that are made pending again under one id.
pub(crate) const AGAIN_TOGETHER: i64 = 256;
/// Transactions whose receipts are recorded with one statement.
const PUBLISHED_MAX: usize = 256;
/// How long receipts are gathered before they are recorded.
const RECEIPTS_EVERY: Duration = Duration::from_millis(100);
/// How often rows without a receipt are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Transactions without a receipt that are published again in one go.
const SWEEP_MAX: i64 = 16;

/// A broker that takes nothing for longer than this has not just been started again: its disk may be full.
const REFUSED_MAX: Duration = Duration::from_secs(20);
/// Who is refused tries again all the time; a refusal from before that says nothing of now.
const REFUSED_NEWS: Duration = Duration::from_secs(30);

/// Publishes what was committed, and records where it went.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    jetstream: jetstream::Context,
    gate: Arc<Gate>,
    receipts: mpsc::Sender<Published>,
    /// None while the broker takes something.
    refused: Arc<Mutex<Option<Refused>>>,
}

/// The broker took nothing of what it was sent.
#[derive(Clone, Copy, Debug)]
struct Refused {
    since: Instant,
    /// Where another replica gets through, this one has nothing left to try.
    last: Instant,
}

impl Relay {
    pub(crate) fn new(bus: &Bus, gate: Arc<Gate>) -> (Self, mpsc::Receiver<Published>) {
        let (receipts, received) = mpsc::channel(PUBLISHED_MAX * 4);
        (
            Self {
                jetstream: bus.publisher(),
                gate,
                receipts,
                refused: Arc::default(),
            },
            received,
        )
    }

    pub(crate) fn is_open(&self) -> bool {
        self.gate.open().is_some()
    }

    /// For how long the broker has taken nothing, where that is no hiccup any more.
    pub(crate) fn is_refused_for(&self) -> Option<Duration> {
        let refused = (*self.refused())?;
        let is_news = refused.last.elapsed() < REFUSED_NEWS;
        let passed = refused.since.elapsed();
        (is_news && passed > REFUSED_MAX).then_some(passed)
    }

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_refusal(&self) {
        let now = Instant::now();
        let mut refused = self.refused();
        let since = refused.map_or(now, |refused| refused.since);
        *refused = Some(Refused { since, last: now });
    }

    /// Publishes the events of a transaction that is committed. What cannot be published now stays
    /// pending.
    pub(crate) async fn publish_committed(&self, pending: Uuid, rows: Vec<OutboxRow>) {
        let Some(compared) = self.gate.open() else {
            return;
        };
        let receipts = self.publish(&rows).await;
        let settled = (receipts.len() == rows.len()).then_some(pending);
        // The recorder outlives every relay but for the last moment of a shutdown; what it misses then
        // is published again, under the same id.
        let published = Published {
            compared,
            receipts,
            settled,
        };
        let _ = self.receipts.send(published).await;
    }

    async fn publish(&self, rows: &[OutboxRow]) -> Vec<Receipt> {
        let service = self.gate.service;
        let mut acks = Vec::with_capacity(rows.len());
        for row in rows {
            let message = PublishMessage::build()
                .headers(headers_of(row, service))
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
                Ok(ack) if ack.stream == service.stream() => receipts.push(Receipt {
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
            self.gate.doubt();
            tracing::warn!(
                missing,
                failure,
                "events were not acknowledged; they wait in the outbox"
            );
        }
        if receipts.is_empty() && !rows.is_empty() {
            self.note_refusal();
        } else {
            *self.refused() = None;
        }
        failpoint::pass(Failpoint::AfterPublish);
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
/// A place for which two events have a receipt shows that one of the two speaks of a stream that is no more:
/// the broker has lost its tail, or the stream was deleted and made anew, and the number was used again.
/// Which of them cannot be known, so neither counts, and both events are pending once more. That ends: the
/// one that is there is answered with the same place, and the other gets a new one.
///
/// Nothing is recorded, and false returned, where somebody has compared anew since `epoch`.
pub(crate) async fn record(
    db: &mut PgConnection,
    epoch: i64,
    mut receipts: Vec<Receipt>,
    settled: &[Uuid],
) -> Result<bool, sqlx::Error> {
    // Locked until the commit: who compares meanwhile waits, and then sees what is recorded here.
    let is_current: bool = sqlx::query_scalar("SELECT epoch = $1 FROM tail_guard FOR SHARE")
        .bind(epoch)
        .fetch_one(&mut *db)
        .await?;
    if !is_current {
        return Ok(false);
    }
    receipts.sort_by_key(|receipt| (receipt.stream_seq, receipt.event_id));
    receipts.dedup();
    let claims = receipts.chunk_by(|one, other| one.stream_seq == other.stream_seq);
    let (alone, mut disputed): (Vec<&[Receipt]>, Vec<&[Receipt]>) =
        claims.partition(|claims| claims.len() == 1);
    // Whoever records for the same place at the same moment is waited for. What a sweep publishes again just
    // now is left to it: it waits for our receipts, and must not be waited for.
    let recorded: HashSet<i64> = sqlx::query_scalar(
        "
        WITH settled AS (
            DELETE FROM outbox_pending WHERE id IN (
                SELECT id FROM outbox_pending WHERE id = ANY($3::uuid[]) FOR UPDATE SKIP LOCKED
            )
        )
        INSERT INTO outbox_receipts (stream_seq, event_id)
        SELECT stream_seq, event_id FROM unnest($1::int8[], $2::uuid[]) AS row (stream_seq, event_id)
        ON CONFLICT (stream_seq) DO NOTHING
        RETURNING stream_seq
        ",
    )
    .bind(alone.iter().map(|claims| claims[0].stream_seq).collect::<Vec<_>>())
    .bind(alone.iter().map(|claims| claims[0].event_id).collect::<Vec<_>>())
    .bind(settled)
    .fetch_all(&mut *db)
    .await?
    .into_iter()
    .collect();
    disputed.extend(
        alone
            .into_iter()
            .filter(|claims| !recorded.contains(&claims[0].stream_seq)),
    );
    if !disputed.is_empty() {
        settle_neither(db, &disputed.concat()).await?;
    }
    Ok(true)
}

/// Makes pending what was claimed for places that have a receipt of another event, and that other event
/// with it. An event whose receipt is there already has only been published once more.
async fn settle_neither(db: &mut PgConnection, claims: &[Receipt]) -> Result<(), sqlx::Error> {
    let events: Option<i32> = sqlx::query_scalar(
        "
        WITH claimed AS (
            SELECT stream_seq, event_id FROM unnest($1::int8[], $2::uuid[]) AS row (stream_seq, event_id)
        ),
        withdrawn AS (
            DELETE FROM outbox_receipts AS recorded USING claimed
            WHERE recorded.stream_seq = claimed.stream_seq AND recorded.event_id <> claimed.event_id
            RETURNING recorded.event_id
        ),
        doubtful AS (
            SELECT event_id FROM withdrawn
            UNION
            SELECT event_id FROM claimed
            WHERE NOT EXISTS (
                SELECT FROM outbox_receipts AS recorded
                WHERE recorded.stream_seq = claimed.stream_seq AND recorded.event_id = claimed.event_id
            )
        )
        INSERT INTO outbox_pending (id, event_ids)
        SELECT $3, array_agg(event_id) FROM doubtful HAVING count(*) > 0
        RETURNING cardinality(event_ids)
        ",
    )
    .bind(claims.iter().map(|claim| claim.stream_seq).collect::<Vec<_>>())
    .bind(claims.iter().map(|claim| claim.event_id).collect::<Vec<_>>())
    .bind(clock::new_id())
    .fetch_optional(db)
    .await?;
    if let Some(events) = events {
        tracing::warn!(
            events,
            "receipts of two streams contradict each other; their events are published again"
        );
    }
    Ok(())
}

/// Records receipts, many with one statement, until every relay is gone.
///
/// Those of before the last interruption, or of a stream that is no more, count for nothing: the tail guard
/// may have compared what was recorded by then. Their events stay pending and are published again.
pub(crate) async fn record_receipts(
    pool: PgPool,
    gate: Arc<Gate>,
    mut published: mpsc::Receiver<Published>,
) {
    let mut batch = Vec::new();
    let mut tick = interval(RECEIPTS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while published.recv_many(&mut batch, PUBLISHED_MAX).await > 0 {
        let confirmed = gate.confirmed().await;
        batch.retain(|it| Some(it.compared) == confirmed);
        let (Some(Compared { epoch, .. }), false) = (confirmed, batch.is_empty()) else {
            batch.clear();
            continue;
        };
        let settled: Vec<Uuid> = batch.iter().filter_map(|it| it.settled).collect();
        let receipts = batch.drain(..).flat_map(|it| it.receipts).collect();
        let recorded = async {
            let mut tx = pool.begin().await?;
            let recorded = record(&mut tx, epoch, receipts, &settled).await?;
            tx.commit().await?;
            Ok::<bool, sqlx::Error>(recorded)
        };
        // What is not recorded stays pending, is published again, and gets a receipt then.
        match recorded.await {
            Ok(true) => {}
            Ok(false) => gate.doubt(),
            Err(error) => {
                tracing::warn!(error = failure::chain(&error), "receipts were not recorded");
            }
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
    let Some(compared) = relay.gate.open() else {
        return Ok(false);
    };
    let receipts = relay.publish(&rows).await;
    if relay.gate.confirmed().await != Some(compared) {
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
    if !record(&mut tx, compared.epoch, receipts, &settled).await? {
        relay.gate.doubt();
        return Ok(false);
    }
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
    use shopzen_test_servers::{Nats, servers};
    use sqlx::migrate::Migrator;
    use tokio::time::Instant;

    use super::*;
    use crate::{DatabaseConfig, NatsLogin, Secret, database, streams, tail_guard};

    const LIMIT: Duration = Duration::from_mins(1);

    static NOTHING: Migrator = Migrator::DEFAULT;

    /// A broker of its own with a stream, and a gate that is open for it.
    struct Stage {
        nats: Nats,
        bus: Bus,
        gate: Arc<Gate>,
    }

    impl Stage {
        async fn set() -> Self {
            let nats = tokio::task::spawn_blocking(|| Nats::start().unwrap());
            let nats = nats.await.unwrap();
            let login = NatsLogin {
                url: nats.url(),
                user: "notify".to_owned(),
                password: Secret::default(),
            };
            let bus = Bus::connect(&login).await.unwrap();
            let stage = Self {
                gate: Arc::new(Gate::closed(&bus, Service::Notify)),
                nats,
                bus,
            };
            stage.compare().await;
            stage
        }

        /// Opens the gate for the stream that is there, as the tail guard does.
        async fn compare(&self) {
            let admin = self.bus.admin();
            streams::ensure(&admin, Service::Notify).await.unwrap();
            let stream = admin.get_stream("EVT_NOTIFY").await.unwrap();
            let compared = Compared::on(self.bus.connects(), stream.cached_info(), 0);
            self.gate.set(Some(compared));
        }

        async fn replace_stream(&self) {
            let admin = self.bus.admin();
            admin.delete_stream("EVT_NOTIFY").await.unwrap();
            streams::ensure(&admin, Service::Notify).await.unwrap();
        }
    }

    async fn database() -> PgPool {
        let url = tokio::task::spawn_blocking(|| servers().database_url());
        let config = DatabaseConfig {
            database_url: Secret::new(url.await.unwrap()),
            ..DatabaseConfig::default()
        };
        let pool = database::pool(&config, "test").unwrap();
        database::migrate(&pool, &NOTHING).await.unwrap();
        pool
    }

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);
    const C: Uuid = Uuid::from_u128(3);

    async fn make_pending(pool: &PgPool, event_ids: &[Uuid]) {
        sqlx::query(
            "INSERT INTO outbox_pending (id, event_ids) SELECT id, ARRAY[id] FROM unnest($1) AS id",
        )
        .bind(event_ids)
        .execute(pool)
        .await
        .unwrap();
    }

    async fn record_now(pool: &PgPool, receipts: &[(i64, Uuid)], settled: &[Uuid]) {
        let receipts = receipts.iter().map(|(stream_seq, event_id)| Receipt {
            event_id: *event_id,
            stream_seq: *stream_seq,
        });
        let mut tx = pool.begin().await.unwrap();
        assert!(
            record(&mut tx, 0, receipts.collect(), settled)
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
    }

    async fn pending(pool: &PgPool) -> Vec<Uuid> {
        sqlx::query_scalar(
            "SELECT unnest(event_ids) AS event_id FROM outbox_pending ORDER BY event_id",
        )
        .fetch_all(pool)
        .await
        .unwrap()
    }

    async fn recorded(pool: &PgPool) -> Vec<(i64, Uuid)> {
        sqlx::query_as("SELECT stream_seq, event_id FROM outbox_receipts ORDER BY stream_seq")
            .fetch_all(pool)
            .await
            .unwrap()
    }

    /// A has its receipt from a stream that was deleted since; B is at this place in the one that was made then.
    #[tokio::test]
    async fn of_two_receipts_for_one_place_neither_settles() {
        let pool = database().await;
        make_pending(&pool, &[A, B, C]).await;
        record_now(&pool, &[(4, C), (5, B)], &[B, C]).await;
        assert_eq!(pending(&pool).await, [A]);
        record_now(&pool, &[(5, A)], &[A]).await;
        assert_eq!(pending(&pool).await, [A, B]);
        assert_eq!(recorded(&pool).await, [(4, C)]);

        // Published again: B lies where it lay, and A gets a new place.
        let again: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM outbox_pending")
            .fetch_all(&pool)
            .await
            .unwrap();
        record_now(&pool, &[(5, B), (6, A)], &again).await;
        assert!(pending(&pool).await.is_empty());
        assert_eq!(recorded(&pool).await, [(4, C), (5, B), (6, A)]);
    }

    /// The same on a real broker: the stream is deleted between A's acknowledgement and its record, which costs
    /// no connection, and B gets A's place in the new one.
    #[tokio::test]
    async fn what_a_deleted_stream_acknowledged_reaches_the_new_one() {
        let (pool, stage) = (database().await, Stage::set().await);
        let (relay, _) = Relay::new(&stage.bus, Arc::clone(&stage.gate));
        let row = |event_id| OutboxRow {
            event_id,
            key: event_id,
            subject: "shop.evt.notify.v1.emitted".into(),
            cause_id: None,
            attempt: 1,
            trace_parent: String::new(),
            body: "{}".to_owned(),
            created_at: clock::now(),
        };
        let mut pending_as = Vec::new();
        for event_id in [A, B] {
            let mut db = pool.acquire().await.unwrap();
            pending_as.push(insert(&mut db, &[row(event_id)]).await.unwrap());
        }

        let of_the_old = relay.publish(&[row(A)]).await;
        stage.replace_stream().await;
        let of_the_new = relay.publish(&[row(B)]).await;
        assert_eq!(of_the_old[0].stream_seq, of_the_new[0].stream_seq);
        for (receipts, settled) in [(of_the_new, pending_as[1]), (of_the_old, pending_as[0])] {
            let mut tx = pool.begin().await.unwrap();
            assert!(record(&mut tx, 0, receipts, &[settled]).await.unwrap());
            tx.commit().await.unwrap();
        }
        assert_eq!(pending(&pool).await, [A, B]);

        stage.compare().await;
        sqlx::query("UPDATE outbox_pending SET since = since - interval '1 minute'")
            .execute(&pool)
            .await
            .unwrap();
        assert!(publish_pending(&pool, &relay).await.unwrap());
        assert!(pending(&pool).await.is_empty());
        assert_eq!(recorded(&pool).await, [(1, B), (2, A)]);
        let stream = stage.bus.admin().get_stream("EVT_NOTIFY").await.unwrap();
        assert_eq!(stream.cached_info().state.messages, 2);
    }

    #[tokio::test]
    async fn of_two_receipts_for_one_place_that_come_together_neither_settles() {
        let pool = database().await;
        make_pending(&pool, &[A, B, C]).await;
        let receipts = [(5, A), (5, B), (5, A), (6, C), (6, C)];
        record_now(&pool, &receipts, &[A, B, C]).await;
        assert_eq!(pending(&pool).await, [A, B]);
        assert_eq!(recorded(&pool).await, [(6, C)]);
    }

    #[tokio::test]
    async fn two_receipts_for_one_place_recorded_side_by_side_settle_neither() {
        let pool = database().await;
        make_pending(&pool, &[A, B]).await;
        let mut first = pool.begin().await.unwrap();
        let receipt = |event_id| {
            vec![Receipt {
                event_id,
                stream_seq: 5,
            }]
        };
        assert!(record(&mut first, 0, receipt(A), &[A]).await.unwrap());
        let once_it_waits = async {
            let deadline = Instant::now() + LIMIT;
            loop {
                let waits: bool = sqlx::query_scalar(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid IN
                        (SELECT pid FROM pg_stat_activity WHERE datname = current_database()))",
                )
                .fetch_one(&pool)
                .await
                .unwrap();
                if waits {
                    return first.commit().await.unwrap();
                }
                assert!(Instant::now() < deadline, "it does not wait");
            }
        };
        tokio::join!(record_now(&pool, &[(5, B)], &[B]), once_it_waits);
        assert_eq!(pending(&pool).await, [A, B]);
        assert!(recorded(&pool).await.is_empty());
    }

    /// Another replica has compared on another connection, and may have used the place for another event.
    #[tokio::test]
    async fn a_receipt_of_before_a_comparison_elsewhere_settles_nothing() {
        let stage = Stage::set().await;
        let pool = database().await;
        make_pending(&pool, &[A]).await;
        let elsewhere = Gate::closed(&stage.bus, Service::Notify);
        let compared = tail_guard::compare(&pool, &stage.bus.admin(), &stage.bus, &elsewhere)
            .await
            .unwrap();
        let mut tx = pool.begin().await.unwrap();
        let receipts = vec![Receipt {
            event_id: A,
            stream_seq: 5,
        }];
        assert!(!record(&mut tx, 0, receipts, &[A]).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(pending(&pool).await, [A]);
        // Who has compared since knows what is there.
        assert_eq!(compared.epoch, 1);
        let receipts = vec![Receipt {
            event_id: A,
            stream_seq: 5,
        }];
        let mut tx = pool.begin().await.unwrap();
        assert!(record(&mut tx, 1, receipts, &[A]).await.unwrap());
        tx.commit().await.unwrap();
        assert!(pending(&pool).await.is_empty());
    }

    #[tokio::test]
    async fn an_event_that_is_published_once_more_is_settled() {
        let pool = database().await;
        make_pending(&pool, &[A]).await;
        record_now(&pool, &[(5, A)], &[A]).await;
        make_pending(&pool, &[A]).await;
        record_now(&pool, &[(5, A)], &[A]).await;
        assert!(pending(&pool).await.is_empty());
        assert_eq!(recorded(&pool).await, [(5, A)]);
    }

    /// Hands the recorder a receipt of `compared`, waits until it has settled what it settles, and says what
    /// is pending then.
    async fn pending_once_recorded(stage: &Stage, compared: Compared) -> Vec<Uuid> {
        let pool = database().await;
        make_pending(&pool, &[A]).await;
        let (receipts, received) = mpsc::channel(8);
        let published = Published {
            compared,
            receipts: vec![Receipt {
                event_id: A,
                stream_seq: 8,
            }],
            settled: Some(A),
        };
        receipts.send(published).await.unwrap();
        drop(receipts);
        record_receipts(pool.clone(), Arc::clone(&stage.gate), received).await;
        let settled = recorded(&pool).await == [(8, A)];
        assert_eq!(settled, pending(&pool).await.is_empty());
        pending(&pool).await
    }

    #[tokio::test]
    async fn a_receipt_of_this_connection_and_this_stream_settles() {
        let stage = Stage::set().await;
        let compared = stage.gate.open().unwrap();
        assert!(pending_once_recorded(&stage, compared).await.is_empty());
    }

    /// The broker was put back to an older state while the receipt was on its way: the event is not
    /// there any more, and its place may be another's.
    #[tokio::test]
    async fn a_receipt_of_before_an_interruption_settles_nothing() {
        let mut stage = Stage::set().await;
        let before = stage.gate.open().unwrap();
        let mut connections = stage.bus.connections.clone();
        stage.nats.kill().unwrap();
        stage.nats.start_again().unwrap();
        let again = connections.wait_for(|_| stage.bus.connects() > before.connects());
        tokio::time::timeout(LIMIT, again).await.unwrap().unwrap();
        stage.compare().await;
        assert_eq!(pending_once_recorded(&stage, before).await, [A]);
    }

    /// The same where nobody lost a connection, and nobody has compared yet.
    #[tokio::test]
    async fn a_receipt_of_a_stream_that_is_no_more_settles_nothing() {
        let stage = Stage::set().await;
        let before = stage.gate.open().unwrap();
        stage.replace_stream().await;
        assert_eq!(pending_once_recorded(&stage, before).await, [A]);
        tokio::time::timeout(LIMIT, stage.gate.doubted())
            .await
            .unwrap();
        stage.compare().await;
        assert_eq!(pending_once_recorded(&stage, before).await, [A]);
    }
}
