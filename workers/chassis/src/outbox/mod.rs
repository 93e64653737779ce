//! Events on their way out: written in the business transaction, published after the commit, kept.
//!
//! `outbox` is the truth and never changes. `outbox_pending` names what no acknowledgement is
//! recorded for, all events of one transaction in one row; whatever stays there for more than a second
//! (its process died, the broker was away) is published again by any replica. `outbox_receipts` says
//! where in the stream each event went.

mod receipts;
mod relay;
mod sweep;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use shopzen_contracts::{Service, header};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Failure, clock};

pub(crate) use receipts::record_receipts;
pub(crate) use relay::Relay;
pub(crate) use sweep::sweep;

/// Events that are made pending again under one id.
pub(crate) const AGAIN_TOGETHER: i64 = 256;

/// An event as it waits to be published.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct OutboxRow {
    pub(crate) event_id: Uuid,
    pub(crate) key: Uuid,
    pub(crate) subject: Cow<'static, str>,
    pub(crate) cause_id: Option<Uuid>,
    pub(crate) attempt: i16,
    pub(crate) trace_parent: String,
    pub(crate) body: String,
    #[sqlx(try_from = "jiff_sqlx::Timestamp")]
    pub(crate) created_at: Timestamp,
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
