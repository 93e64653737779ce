//! What waits behind a letter is handled in sequence, once no letter about its key is dead any more.
//!
//! Whoever decides a letter does that at once; a sweep does what is left, whatever died in between.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{decide::Releasing, keep::shortened};
use crate::{
    Failure,
    engine::{Engine, StopAt},
    failure::{self, BRIEF_DELIVERIES_MAX, Remedy},
};

/// How often is looked for what is left, and counted what is there.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Keys that one sweep looks after.
const KEYS_MAX: i64 = 100;
/// Messages about one key that one sweep handles.
const RELEASED_MAX: usize = 1_000;

/// Sweeps and counts until shutdown.
pub(crate) async fn watch(engine: Arc<Engine>, shutdown: CancellationToken) {
    let mut tick = interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        let swept = async {
            release_all(&engine).await?;
            count(&engine).await
        };
        if let Err(error) = swept.await {
            tracing::warn!(
                error = failure::chain(&error),
                "dead letters were not looked after; will try again"
            );
        }
    }
}

/// Handles everything that waits for nothing any more.
pub(crate) async fn release_all(engine: &Engine) -> Result<(), Failure> {
    let keys: Vec<Uuid> = sqlx::query_scalar(
        "
        SELECT DISTINCT key FROM dead_letters AS letter
        WHERE decided_at IS NULL AND state = 'waiting' AND NOT EXISTS (
            SELECT FROM dead_letters AS ahead
            WHERE ahead.key = letter.key AND ahead.decided_at IS NULL AND ahead.state = 'dead'
        )
        ORDER BY key LIMIT $1
        ",
    )
    .bind(KEYS_MAX)
    .fetch_all(&engine.pool)
    .await?;
    for key in keys {
        release(engine, key, RELEASED_MAX).await?;
    }
    Ok(())
}

/// Handles what waits about `key`, oldest first, each in a transaction of its own, until one of them dies.
pub(super) async fn release(engine: &Engine, key: Uuid, at_most: usize) -> Result<(), Failure> {
    for _ in 0..at_most {
        let Some(id) = find_next(engine, key).await? else {
            return Ok(());
        };
        let Err(failure) = engine
            .transact(&Releasing { engine, id }, StopAt::Never)
            .await
        else {
            continue;
        };
        let gives_up = match failure.remedy() {
            Remedy::Wait | Remedy::RunAgain => return Err(failure),
            Remedy::WaitBriefly => false,
            Remedy::GiveUp => true,
        };
        return failed(engine, id, &failure, gives_up).await;
    }
    Ok(())
}

async fn find_next(engine: &Engine, key: Uuid) -> Result<Option<Uuid>, Failure> {
    let next = "
        SELECT id FROM dead_letters
        WHERE key = $1 AND decided_at IS NULL AND state = 'waiting' AND NOT EXISTS (
            SELECT FROM dead_letters WHERE key = $1 AND decided_at IS NULL AND state = 'dead'
        )
        ORDER BY id LIMIT 1";
    let found = sqlx::query_scalar(next).bind(key);
    Ok(found.fetch_optional(&engine.pool).await?)
}

/// It is dead now itself, or is tried again by the next sweep.
async fn failed(
    engine: &Engine,
    id: Uuid,
    failure: &Failure,
    gives_up: bool,
) -> Result<(), Failure> {
    let reason = failure::chain(failure);
    let is_dead: Option<bool> = sqlx::query_scalar(
        "
        UPDATE dead_letters
        SET deliveries = deliveries + 1,
            state = CASE WHEN $2 OR deliveries + 1 >= $3 THEN 'dead' ELSE state END,
            reason = CASE WHEN $2 OR deliveries + 1 >= $3 THEN $4 ELSE reason END,
            died_at = CASE WHEN $2 OR deliveries + 1 >= $3 THEN now() ELSE died_at END
        WHERE id = $1 AND state = 'waiting'
        RETURNING state = 'dead'
        ",
    )
    .bind(id)
    .bind(gives_up)
    .bind(BRIEF_DELIVERIES_MAX)
    .bind(shortened(&reason))
    .fetch_optional(&engine.pool)
    .await?;
    if is_dead == Some(true) {
        engine.count_dead_letter();
        tracing::error!(letter = %id, error = reason, "what waited behind a dead letter is one itself");
    } else {
        tracing::warn!(letter = %id, error = reason, "will try again");
    }
    Ok(())
}

async fn count(engine: &Engine) -> Result<(), Failure> {
    let (dead, waiting): (i64, i64) = sqlx::query_as(
        "
        SELECT count(*) FILTER (WHERE state = 'dead'), count(*) FILTER (WHERE state = 'waiting')
        FROM dead_letters WHERE decided_at IS NULL
        ",
    )
    .fetch_one(&engine.pool)
    .await?;
    let worker = engine.service.name();
    let number = |count: i64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    metrics::gauge!("dead_letters_open", "worker" => worker).set(number(dead));
    metrics::gauge!("dead_letters_waiting", "worker" => worker).set(number(waiting));
    Ok(())
}
