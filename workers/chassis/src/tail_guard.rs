//! Finds out what the broker has forgotten.
//!
//! A JetStream acknowledgement does not mean "on disk": after a power cut, a restored volume or a
//! wiped one, the stream ends earlier than we know, and new events get sequences that old ones had.
//! So on every connection and once a minute each worker compares its receipts with its stream. Events
//! above the last place where both agree are pending again; the inboxes drop what was handled.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream;
use shopzen_contracts::header;
use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Bus, Failure, failure,
    gate::{Compared, Gate},
    outbox::AGAIN_TOGETHER,
    streams,
    worker::RETRY_EVERY,
};

/// How often receipts and stream are compared while nothing happens.
const COMPARE_EVERY: Duration = Duration::from_mins(1);
/// Receipts of messages that aged out of the stream, deleted in one go.
const FORGET_MAX: i64 = 10_000;

/// Compares receipts and stream on every connection, on doubt, and now and then. Nothing is published while it
/// is not known that they agree.
pub(crate) async fn watch(bus: Bus, pool: PgPool, gate: Arc<Gate>, shutdown: CancellationToken) {
    let mut connections = bus.connections.clone();
    let mut tick = interval(COMPARE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let jetstream = bus.retried_admin();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
            () = gate.doubted() => {}
            changed = connections.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
        loop {
            let compared = if bus.is_connected() {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    compared = compare(&pool, &jetstream, &bus, &gate) => compared,
                }
            } else {
                Err(Failure::Unavailable {
                    what: "NATS",
                    why: "not connected".to_owned(),
                })
            };
            match compared {
                Ok(compared) => {
                    // On a connection that is newer by now the gate stays closed, and we are told of it.
                    gate.set(Some(compared));
                    break;
                }
                Err(error) => {
                    gate.set(None);
                    tracing::debug!(
                        worker = gate.service.name(),
                        error = failure::chain(&error),
                        "the stream cannot be compared yet"
                    );
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = sleep_until(Instant::now() + RETRY_EVERY) => {}
                    }
                }
            }
        }
    }
}

/// Compares, and makes pending again what the stream does not have. Returns what was compared with.
pub(crate) async fn compare(
    pool: &PgPool,
    jetstream: &jetstream::Context,
    bus: &Bus,
    gate: &Gate,
) -> Result<Compared, Failure> {
    let (service, connects) = (gate.service, bus.connects());
    let away = |why: String| Failure::Unavailable {
        what: "the event stream",
        why,
    };
    let differences = streams::ensure(jetstream, service)
        .await
        .map_err(|error| away(error.to_string()))?;
    let stream = jetstream
        .get_stream(service.stream())
        .await
        .map_err(|error| away(error.to_string()))?;
    let state = stream.cached_info().state.clone();
    let first = i64::try_from(state.first_sequence).unwrap_or(i64::MAX);
    let last = i64::try_from(state.last_sequence).unwrap_or(i64::MAX);

    let mut tx = pool.begin().await?;
    let is_new = gate
        .last()
        .is_none_or(|before| !before.is_of(connects, stream.cached_info()));
    // Once for each connection: where the stream is full, it is compared again and again.
    if is_new {
        for difference in differences {
            tracing::warn!(
                stream = service.stream(),
                difference,
                "a stream is not as defined"
            );
        }
    }
    // Only one replica compares at a time; what it finds, the next one finds mended.
    let epoch = sqlx::query_scalar(
        "UPDATE tail_guard SET checked_at = now(), epoch = epoch + $1::int4 RETURNING epoch",
    )
    .bind(i32::from(is_new))
    .fetch_one(&mut *tx)
    .await?;
    let agreed = last_agreed(&mut tx, &stream, first, last).await?;
    let forgotten = match agreed {
        Agreed::All => 0,
        Agreed::Until(seq) => publish_again_after(&mut tx, seq).await?,
    };
    forget_before(&mut tx, first).await?;
    tx.commit().await?;
    if forgotten > 0 {
        metrics::counter!("broker_tail_mismatch_total", "stream" => service.stream()).increment(1);
        tracing::error!(
            stream = service.stream(),
            last_sequence = last,
            events = forgotten,
            "the broker has forgotten events; they are published again"
        );
    }
    Ok(Compared::on(connects, stream.cached_info(), epoch))
}

enum Agreed {
    All,
    Until(i64),
}

/// Receipts and stream agree up to some sequence and nowhere above it: a binary search.
async fn last_agreed(
    db: &mut PgConnection,
    stream: &jetstream::stream::Stream,
    first: i64,
    last: i64,
) -> Result<Agreed, Failure> {
    let Some((newest, _)) = find_receipt_at_or_below(db, i64::MAX).await? else {
        return Ok(Agreed::All);
    };
    if newest <= last && agrees(db, stream, newest).await? {
        return Ok(Agreed::All);
    }
    // Below `first` there is nothing to compare with: those messages are older than the stream keeps.
    let mut good = first - 1;
    let mut bad = newest.min(last) + 1;
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match find_receipt_at_or_below(db, middle).await? {
            Some((seq, _)) if seq > good => {
                if agrees(db, stream, seq).await? {
                    good = middle;
                } else {
                    bad = seq;
                }
            }
            _ => good = middle,
        }
    }
    Ok(Agreed::Until(good))
}

async fn agrees(
    db: &mut PgConnection,
    stream: &jetstream::stream::Stream,
    seq: i64,
) -> Result<bool, Failure> {
    let Some((found, event_id)) = find_receipt_at_or_below(db, seq).await? else {
        return Ok(true);
    };
    if found != seq {
        return Ok(true);
    }
    let Ok(sequence) = u64::try_from(seq) else {
        return Ok(false);
    };
    match stream.get_raw_message(sequence).await {
        Ok(message) => {
            let stored = message
                .headers
                .get(header::MESSAGE_ID)
                .map(|id| id.as_str().to_owned());
            Ok(stored == Some(event_id.to_string()))
        }
        Err(error) => match error.kind() {
            jetstream::stream::RawMessageErrorKind::NoMessageFound => Ok(false),
            _ => Err(Failure::Unavailable {
                what: "the event stream",
                why: error.to_string(),
            }),
        },
    }
}

async fn find_receipt_at_or_below(
    db: &mut PgConnection,
    seq: i64,
) -> Result<Option<(i64, Uuid)>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT stream_seq, event_id FROM outbox_receipts
        WHERE stream_seq <= $1 ORDER BY stream_seq DESC LIMIT 1
        ",
    )
    .bind(seq)
    .fetch_optional(db)
    .await?)
}

async fn publish_again_after(db: &mut PgConnection, seq: i64) -> Result<u64, Failure> {
    let again: i64 = sqlx::query_scalar(
        "
        WITH lost AS (
            DELETE FROM outbox_receipts WHERE stream_seq > $1 RETURNING stream_seq, event_id
        ),
        pending AS (
            INSERT INTO outbox_pending (id, event_ids, since)
            SELECT gen_random_uuid(), array_agg(event_id ORDER BY stream_seq), now() - interval '2 seconds'
            FROM lost GROUP BY stream_seq / $2
        )
        SELECT count(*) FROM lost
        ",
    )
    .bind(seq)
    .bind(AGAIN_TOGETHER)
    .fetch_one(db)
    .await?;
    Ok(u64::try_from(again).unwrap_or(0))
}

/// Receipts of what the stream no longer keeps serve nobody.
async fn forget_before(db: &mut PgConnection, first: i64) -> Result<(), Failure> {
    sqlx::query(
        "
        DELETE FROM outbox_receipts WHERE stream_seq IN (
            SELECT stream_seq FROM outbox_receipts WHERE stream_seq < $1 ORDER BY stream_seq LIMIT $2
        )
        ",
    )
    .bind(first)
    .bind(FORGET_MAX)
    .execute(db)
    .await?;
    Ok(())
}
