//! Records where in the stream events went.

use std::{collections::HashSet, sync::Arc, time::Duration};

use sqlx::{PgConnection, PgPool};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use crate::{
    clock, failure,
    gate::{Compared, Gate},
};

/// Transactions whose receipts are recorded with one statement.
pub(super) const PUBLISHED_MAX: usize = 256;
/// How long receipts are gathered before they are recorded.
const RECEIPTS_EVERY: Duration = Duration::from_millis(100);

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
    pub(super) compared: Compared,
    pub(super) receipts: Vec<Receipt>,
    /// The row of `outbox_pending` that is done with; none where events of it are still missing.
    pub(super) settled: Option<Uuid>,
}

/// Records where events were stored, and takes what is settled off the pending list.
///
/// A place for which two events have a receipt shows that one of the two speaks of a stream that is no more:
/// the broker has lost its tail, or the stream was deleted and made anew, and the number was used again.
/// Which of them cannot be known, so neither counts, and both events are pending once more. That ends: the
/// one that is there is answered with the same place, and the other gets a new one.
///
/// Nothing is recorded, and false returned, where somebody has compared anew since `epoch`.
pub(super) async fn record(
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
