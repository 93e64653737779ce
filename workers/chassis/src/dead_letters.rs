//! Messages that cannot be handled, kept whole in the worker's own database until somebody decides.

use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shopzen_contracts::{Problem, header};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Cx, Failure, Refused,
    builtin::no_such_letter,
    engine::{Engine, StopAt, Verdict},
    failure,
    message::Message,
};

/// A message that was set aside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    pub id: Uuid,
    /// Of the event, where it had one.
    pub event_id: Option<Uuid>,
    pub subject: String,
    pub headers: serde_json::Value,
    /// What can be read of it as UTF-8.
    pub payload: String,
    pub reason: String,
    pub deliveries: i64,
    pub died_at: Timestamp,
}

/// Asks for dead letters, oldest first: one of them, or all up to [`SHOWN_MAX`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadLetters {
    pub(crate) id: Option<Uuid>,
}

/// Names one dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    pub(crate) id: Uuid,
}

/// Dead letters shown at once.
const SHOWN_MAX: i64 = 200;

#[derive(sqlx::FromRow)]
struct LetterRow {
    id: Uuid,
    event_id: Option<Uuid>,
    subject: String,
    headers: serde_json::Value,
    payload: Vec<u8>,
    reason: String,
    deliveries: i64,
    died_at: jiff_sqlx::Timestamp,
}

async fn find_rows(pool: &PgPool, id: Option<Uuid>) -> Result<Vec<LetterRow>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT id, event_id, subject, headers, payload, reason, deliveries, died_at
        FROM dead_letters WHERE $1::uuid IS NULL OR id = $1
        ORDER BY id LIMIT $2
        ",
    )
    .bind(id)
    .bind(SHOWN_MAX)
    .fetch_all(pool)
    .await?)
}

pub(crate) async fn find(pool: &PgPool, asked: &DeadLetters) -> Result<Vec<DeadLetter>, Failure> {
    let rows = find_rows(pool, asked.id).await?;
    Ok(rows
        .into_iter()
        .map(|row| DeadLetter {
            id: row.id,
            event_id: row.event_id,
            subject: row.subject,
            headers: row.headers,
            payload: String::from_utf8_lossy(&row.payload).into_owned(),
            reason: row.reason,
            deliveries: row.deliveries,
            died_at: row.died_at.into(),
        })
        .collect())
}

/// Handles a dead letter as if it came today, and takes it off the list if that works.
///
/// It gets the letter's own id as its event id: the first one is in the inbox already, and a replay
/// that is repeated must not have its effect twice.
pub(crate) async fn replay<S: Send + Sync + 'static>(
    engine: &Engine<S>,
    id: Uuid,
) -> Result<Named, Refused> {
    let row = find_rows(&engine.pool, Some(id))
        .await?
        .pop()
        .ok_or_else(no_such_letter)?;
    let mut headers = HeaderMap::new();
    for (name, value) in row.headers.as_object().into_iter().flatten() {
        if let Some(value) = value.as_str().filter(|_| name != header::EVENT_ID) {
            headers.insert(name.as_str(), value);
        }
    }
    headers.insert(header::EVENT_ID, id.to_string());
    let payload = Bytes::from(row.payload);
    let message = Message {
        subject: row.subject,
        headers,
        payload,
        deliveries: 1,
    };
    let verdicts = engine
        .attempt(std::slice::from_ref(&message), StopAt::Never)
        .await;
    let still = |why: String| {
        Problem::new(
            409,
            "still_failing",
            format!("it still cannot be handled: {why}"),
        )
    };
    match verdicts.as_deref() {
        Ok([Verdict::Done]) => {
            discard(&engine.pool, id).await?;
            tracing::info!(letter = %id, "a dead letter was handled");
            Ok(Named { id })
        }
        Ok(_) => Err(still("it lies among the dead letters again".to_owned()).into()),
        Err(failure) => Err(still(failure::chain(failure)).into()),
    }
}

/// Drops a dead letter for good.
pub(crate) async fn discard(pool: &PgPool, id: Uuid) -> Result<Named, Refused> {
    let dropped = sqlx::query("DELETE FROM dead_letters WHERE id = $1")
        .bind(id)
        .execute(pool)
        .await?;
    if dropped.rows_affected() == 0 {
        return Err(no_such_letter().into());
    }
    Ok(Named { id })
}

/// Keeps a message with the reason. Once this is committed the broker may forget it.
pub(crate) async fn bury(cx: &mut Cx, message: &Message, reason: &str) -> Result<(), Failure> {
    // The id of a forged or broken event may be anything; it only helps the reader.
    let event_id = message.event_id().ok();
    sqlx::query(
        "
        INSERT INTO dead_letters
            (id, event_id, subject, headers, payload, reason, deliveries, trace_parent)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ",
    )
    .bind(cx.new_id())
    .bind(event_id)
    .bind(&message.subject)
    .bind(message.headers_as_json())
    .bind(&message.payload[..])
    .bind(reason)
    .bind(message.deliveries)
    .bind(message.trace().as_str())
    .execute(cx.db())
    .await?;
    Ok(())
}
