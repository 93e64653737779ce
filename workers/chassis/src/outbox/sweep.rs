//! Publishes again what is pending: what its process did not publish, or has no receipt of.

use std::{collections::HashSet, sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{OutboxRow, Relay, receipts::record};
use crate::{Failure, failure};

/// How often rows without a receipt are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Transactions without a receipt that are published again in one go.
const SWEEP_MAX: i64 = 16;

/// Publishes what has been pending for more than a second. Returns whether there may be more.
pub(super) async fn publish_pending(pool: &PgPool, relay: &Relay) -> Result<bool, Failure> {
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
