//! Setting messages aside, in the transaction that would have handled them.

use std::collections::HashSet;

use uuid::Uuid;

use super::LetterState;
use crate::{Cx, Failure, message::Message};

/// Characters of a reason that are kept.
const REASON_LENGTH_MAX: usize = 2_000;
/// What those that wait have for a reason.
const IN_SEQUENCE: &str = "waits behind an earlier message about the same key";

/// Keeps a message with the reason. Once this is committed the broker may forget it.
pub(crate) async fn bury(cx: &mut Cx, message: &Message, reason: &str) -> Result<(), Failure> {
    insert(cx, message, LetterState::Dead, reason).await
}

/// Sets aside those of these events, in the order in which they came, that are about a key of which a letter
/// is not decided, and takes them out of `fresh`. Their inbox rows stay: they are kept once, and are never
/// delivered again.
pub(crate) async fn set_aside_behind(
    cx: &mut Cx,
    events: &[(Uuid, &Message)],
    fresh: &mut HashSet<Uuid>,
) -> Result<(), Failure> {
    let keys: Vec<Uuid> = events
        .iter()
        .filter_map(|(_, message)| message.key())
        .collect();
    let closed: HashSet<Uuid> = sqlx::query_scalar(
        "SELECT DISTINCT key FROM dead_letters WHERE key = ANY($1) AND decided_at IS NULL",
    )
    .bind(keys)
    .fetch_all(cx.db())
    .await?
    .into_iter()
    .collect();
    for (event_id, message) in events {
        let waits = message.key().is_some_and(|key| closed.contains(&key));
        if waits && fresh.remove(event_id) {
            insert(cx, message, LetterState::Waiting, IN_SEQUENCE).await?;
        }
    }
    Ok(())
}

async fn insert(
    cx: &mut Cx,
    message: &Message,
    state: LetterState,
    reason: &str,
) -> Result<(), Failure> {
    // The id of a forged or broken event may be anything; it only helps the reader.
    let event_id = message.event_id().ok();
    let id = cx.new_id();
    sqlx::query(
        "
        INSERT INTO dead_letters
            (id, event_id, key, state, subject, headers, payload, reason, deliveries, trace_parent)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ",
    )
    .bind(id)
    .bind(event_id)
    .bind(message.key())
    .bind(state.as_str())
    .bind(&message.subject)
    .bind(message.headers_as_json())
    .bind(&message.payload[..])
    .bind(shortened(reason))
    .bind(message.deliveries)
    .bind(message.trace().as_str())
    .execute(cx.db())
    .await?;
    Ok(())
}

/// As much of a reason as is kept. PostgreSQL's text takes no NUL.
pub(super) fn shortened(reason: &str) -> String {
    let kept = reason.chars().filter(|c| *c != '\0');
    kept.take(REASON_LENGTH_MAX).collect()
}
