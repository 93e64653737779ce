//! What a reconciliation asks: which events a follower never got, and that their owner publishes them
//! again.
//!
//! A message can be missing in the middle of a stream, or be acknowledged by mistake: no comparison of the
//! stream's end shows that. Only the follower knows what it has handled.

use async_nats::jetstream::{self, consumer::pull};
use serde::{Deserialize, Serialize};
use shopzen_contracts::Service;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Failure, Refused, outbox::AGAIN_TOGETHER, passage::check_events, streams::durable_name,
};

/// Asks which of these events of `source`, all of them of a kind that the worker follows, it neither
/// handled nor set aside.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichMissed {
    pub(crate) source: Service,
    /// 1 to [`crate::EVENTS_MAX`].
    pub(crate) event_ids: Vec<Uuid>,
}

/// What a worker has not handled, and how far it has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Missed {
    pub event_ids: Vec<Uuid>,
    /// Up to this place of the source's stream it has seen everything; what it misses above it is still
    /// to come. `None`: there is nothing that it has not seen.
    pub passed: Option<i64>,
}

/// Asks a worker to publish these of its events again, but for those whose receipt says that the follower
/// has yet to come to them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Republish {
    /// 1 to [`crate::EVENTS_MAX`].
    pub(crate) event_ids: Vec<Uuid>,
    /// As in [`Missed`].
    pub(crate) passed: Option<i64>,
    /// Only name them.
    pub(crate) dry_run: bool,
}

/// The events that are published again, or would be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Republished {
    pub event_ids: Vec<Uuid>,
}

pub(crate) async fn missed(
    pool: &PgPool,
    client: &async_nats::Client,
    service: Service,
    asked: &WhichMissed,
) -> Result<Missed, Refused> {
    check_events(&asked.event_ids)?;
    // Asked before the inbox: what was acknowledged then is in it.
    let passed = passed(client, service, asked.source).await?;
    let event_ids = sqlx::query_scalar(
        "
        SELECT id FROM unnest($1::uuid[]) AS asked (id)
        WHERE NOT EXISTS (SELECT FROM inbox WHERE event_id = id)
            AND NOT EXISTS (SELECT FROM dead_letters WHERE event_id = id)
        ",
    )
    .bind(&asked.event_ids)
    .fetch_all(pool)
    .await?;
    Ok(Missed { event_ids, passed })
}

async fn passed(
    client: &async_nats::Client,
    service: Service,
    source: Service,
) -> Result<Option<i64>, Failure> {
    let consumer = jetstream::new(client.clone())
        .get_consumer_from_stream::<pull::Config, _, _>(
            durable_name(service, source),
            source.stream(),
        )
        .await
        .map_err(|error| Failure::Unavailable {
            what: "the consumer",
            why: error.to_string(),
        })?;
    let info = consumer.cached_info();
    let is_idle = info.num_pending == 0 && info.num_ack_pending == 0;
    let floor = i64::try_from(info.ack_floor.stream_sequence).unwrap_or(i64::MAX);
    Ok((!is_idle).then_some(floor))
}

pub(crate) async fn republish(pool: &PgPool, asked: &Republish) -> Result<Republished, Refused> {
    check_events(&asked.event_ids)?;
    let event_ids: Vec<Uuid> = sqlx::query_scalar(
        "
        WITH lost AS (
            SELECT event_id, row_number() OVER (ORDER BY event_id) AS number
            FROM outbox
            WHERE event_id = ANY($1)
                AND NOT EXISTS (SELECT FROM outbox_pending WHERE outbox.event_id = ANY (event_ids))
                AND NOT EXISTS (
                    SELECT FROM outbox_receipts AS receipt
                    WHERE receipt.stream_seq > $2 AND receipt.event_id = outbox.event_id
                )
        ),
        again AS (
            INSERT INTO outbox_pending (id, event_ids)
            SELECT gen_random_uuid(), array_agg(event_id ORDER BY event_id)
            FROM lost WHERE NOT $3 GROUP BY number / $4
        )
        SELECT event_id FROM lost ORDER BY event_id
        ",
    )
    .bind(&asked.event_ids)
    .bind(asked.passed.unwrap_or(i64::MAX))
    .bind(asked.dry_run)
    .bind(AGAIN_TOGETHER)
    .fetch_all(pool)
    .await?;
    if !event_ids.is_empty() && !asked.dry_run {
        tracing::warn!(
            events = event_ids.len(),
            "events that somebody never got are published again"
        );
    }
    Ok(Republished { event_ids })
}
