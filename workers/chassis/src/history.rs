//! What a worker published about one thing. The outbox is the history; nothing else is kept for it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shopzen_contracts::{Service, orders::TimelineEntry};
use sqlx::PgPool;
use uuid::Uuid;

use crate::Failure;

/// Events of one key that are shown.
const ENTRIES_MAX: i64 = 200;

/// Every event whose last subject token is `key`. Answered by each worker about its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetHistory {
    pub(crate) key: Uuid,
}

pub(crate) async fn find(
    pool: &PgPool,
    service: Service,
    key: Uuid,
) -> Result<Vec<TimelineEntry>, Failure> {
    let rows: Vec<(Uuid, jiff_sqlx::Timestamp, String, Option<Uuid>, i16)> = sqlx::query_as(
        "
        SELECT event_id, created_at, subject, cause_id, attempt
        FROM outbox WHERE key = $1 ORDER BY event_id LIMIT $2
        ",
    )
    .bind(key)
    .bind(ENTRIES_MAX)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(event_id, at, subject, cause, attempt)| TimelineEntry {
            event_id,
            at: Timestamp::from(at),
            service: service.name().to_owned(),
            event: subject.rsplit('.').next().unwrap_or_default().to_owned(),
            cause,
            attempt: i32::from(attempt),
        })
        .collect())
}
