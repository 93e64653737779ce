//! What a worker published about one thing. The outbox is the history; nothing else is kept for it.

use std::sync::Arc;

use async_nats::service::endpoint::Endpoint;
use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shopzen_contracts::{Problem, Service, header, orders::TimelineEntry};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Failure, engine::Engine, failure, message::decode_request};

/// Events of one key that are shown.
const ENTRIES_MAX: i64 = 200;

/// Every event whose last subject token is `key`. Answered by each worker about its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetHistory {
    pub(crate) key: Uuid,
}

pub(crate) fn subject(service: Service) -> String {
    format!("shop.qry.{}.v1.history", service.name())
}

async fn find(pool: &PgPool, service: Service, key: Uuid) -> Result<Vec<TimelineEntry>, Failure> {
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

/// Answers until shutdown.
pub(crate) async fn answer<S: Send + Sync + 'static>(
    engine: Arc<Engine<S>>,
    mut requests: Endpoint,
    shutdown: CancellationToken,
) {
    loop {
        let request = tokio::select! {
            () = shutdown.cancelled() => return,
            request = requests.next() => request,
        };
        let Some(request) = request else { return };
        let answered = async {
            let asked: GetHistory = decode_request(&request.message.payload)
                .map_err(|problem| (problem.status, problem))?;
            find(&engine.pool, engine.service, asked.key)
                .await
                .map_err(|error| {
                    tracing::warn!(
                        error = failure::chain(&error),
                        "a history could not be read"
                    );
                    (
                        503,
                        Problem::new(503, "temporarily_unavailable", "try again in a moment"),
                    )
                })
        };
        let mut headers = async_nats::HeaderMap::new();
        let body = match answered.await {
            Ok(entries) => serde_json::to_vec(&entries),
            Err((status, problem)) => {
                headers.insert(header::SERVICE_ERROR, problem.code.as_str());
                headers.insert(header::SERVICE_ERROR_CODE, status.to_string());
                serde_json::to_vec(&problem)
            }
        }
        .expect("a contract is plain data");
        if let Err(error) = request.respond_with_headers(Ok(body.into()), headers).await {
            tracing::debug!(%error, "a reply was lost");
        }
    }
}
