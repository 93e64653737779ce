//! The way of events, as audits ask for it: which a worker has published, which it has handled, and
//! which its stream holds that it never published.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use async_nats::StatusCode;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shopzen_contracts::{FieldError, Problem, Service, header};
use sqlx::PgPool;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::{Failure, Refused};

/// Events in one page of what was published, and in one question what was handled.
pub const EVENTS_MAX: usize = 1_000;
/// Messages of a stream that are looked at for one question.
pub const STREAM_MESSAGES_MAX: usize = 500;
/// The broker's status after the last message of a batch, which says how many are left.
const END_OF_BATCH: u16 = 204;
/// How long the broker may take to read them.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks which events a worker published with ids after `after` and up to `until`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListPublished {
    pub(crate) after: Option<Uuid>,
    pub(crate) until: Option<Uuid>,
    /// 1 to [`EVENTS_MAX`].
    pub(crate) limit: usize,
}

/// Events of one worker, in the order of their ids, which is that of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Published {
    pub items: Vec<PublishedEvent>,
    /// Where the next page begins; None where this one reaches `until`.
    pub next: Option<Uuid>,
}

#[derive(Clone, Debug, Serialize, Deserialize, sqlx::FromRow)]
pub struct PublishedEvent {
    pub event_id: Uuid,
    /// Without the key.
    pub subject: String,
    pub key: Uuid,
}

/// Asks which of these events a worker has handled.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichHandled {
    /// 1 to [`EVENTS_MAX`].
    pub(crate) event_ids: Vec<Uuid>,
}

/// What became of events at one worker. Those in neither list were handled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handled {
    pub missing: Vec<Uuid>,
    /// Set aside: dead letters, and those that wait behind one.
    pub buried: Vec<Uuid>,
    /// The newest event it has handled: who is behind is not yet to be blamed for what is missing.
    pub newest: Option<Uuid>,
}

/// Asks for messages of the worker's own stream after sequence `after` that are not in its outbox.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListStrays {
    pub(crate) after: u64,
    /// Messages to look at: 1 to [`STREAM_MESSAGES_MAX`].
    pub(crate) limit: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Strays {
    pub items: Vec<Stray>,
    /// How far the stream was looked at.
    pub seen_to: u64,
    pub more: bool,
}

/// A message that its owner did not publish.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stray {
    pub stream_seq: u64,
    pub subject: String,
    /// As its sender wrote it.
    pub event_id: String,
}

fn check(count: usize, max: usize, pointer: &str) -> Result<(), Problem> {
    if (1..=max).contains(&count) {
        return Ok(());
    }
    let detail = format!("must be 1 to {max}");
    Err(Problem::invalid(vec![FieldError::new(
        pointer,
        "out_of_range",
        detail,
    )]))
}

pub(crate) fn check_events(event_ids: &[Uuid]) -> Result<(), Problem> {
    check(event_ids.len(), EVENTS_MAX, "/event_ids")
}

pub(crate) async fn published(pool: &PgPool, asked: ListPublished) -> Result<Published, Refused> {
    check(asked.limit, EVENTS_MAX, "/limit")?;
    let items: Vec<PublishedEvent> = sqlx::query_as(
        "
        SELECT event_id, subject, key FROM outbox
        WHERE event_id > $1 AND event_id <= $2
        ORDER BY event_id LIMIT $3
        ",
    )
    .bind(asked.after.unwrap_or_default())
    .bind(asked.until.unwrap_or(Uuid::max()))
    .bind(i64::try_from(asked.limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    let next = (items.len() == asked.limit)
        .then(|| items.last().map(|event| event.event_id))
        .flatten();
    Ok(Published { items, next })
}

pub(crate) async fn handled(pool: &PgPool, asked: &WhichHandled) -> Result<Handled, Refused> {
    check_events(&asked.event_ids)?;
    let missing = sqlx::query_scalar(
        "
        SELECT id FROM unnest($1::uuid[]) AS asked (id)
        WHERE NOT EXISTS (SELECT FROM inbox WHERE event_id = id)
        ",
    )
    .bind(&asked.event_ids)
    .fetch_all(pool)
    .await?;
    let buried = sqlx::query_scalar(
        "SELECT DISTINCT event_id FROM dead_letters WHERE event_id = ANY($1) AND decided_at IS NULL",
    )
    .bind(&asked.event_ids)
    .fetch_all(pool)
    .await?;
    let newest = sqlx::query_scalar("SELECT event_id FROM inbox ORDER BY event_id DESC LIMIT 1")
        .fetch_optional(pool)
        .await?;
    Ok(Handled {
        missing,
        buried,
        newest,
    })
}

/// A message of a stream: its subject, and the event's id as its sender wrote it.
type Stored = (String, String);

/// Messages of a service's stream after `after`, by sequence, and whether there are more. All with one
/// request (ADR-31, batched): the client has no name for it.
async fn read_stream(
    client: &async_nats::Client,
    service: Service,
    after: u64,
    limit: usize,
) -> Result<(BTreeMap<u64, Stored>, bool), Failure> {
    let away = |why: String| Failure::Unavailable {
        what: "the event stream",
        why,
    };
    let inbox = client.new_inbox();
    let mut answers = client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| away(error.to_string()))?;
    let asked = json!({
        "seq": after + 1, "batch": limit, "next_by_subj": ">",
    });
    let subject = format!("$JS.API.DIRECT.GET.{}", service.stream());
    client
        .publish_with_reply(subject, inbox, asked.to_string().into())
        .await
        .map_err(|error| away(error.to_string()))?;
    let mut found = BTreeMap::new();
    let deadline = Instant::now() + STREAM_TIMEOUT;
    loop {
        let answer = timeout_at(deadline, answers.next())
            .await
            .map_err(|_| away(format!("no answer within {STREAM_TIMEOUT:?}")))?
            .ok_or_else(|| away("the connection was closed".to_owned()))?;
        let header = |name: &str| {
            let value = answer.headers.as_ref()?.get(name)?;
            Some(value.as_str().to_owned())
        };
        match answer.status {
            None => {
                let sequence = header("Nats-Sequence")
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| away("a message without its sequence".to_owned()))?;
                let subject = header("Nats-Subject").unwrap_or_default();
                found.insert(
                    sequence,
                    (subject, header(header::EVENT_ID).unwrap_or_default()),
                );
            }
            Some(StatusCode::NOT_FOUND) => return Ok((found, false)),
            Some(status) if status.as_u16() == END_OF_BATCH => {
                let pending = header("Nats-Num-Pending");
                return Ok((found, pending.is_some_and(|pending| pending != "0")));
            }
            Some(status) => return Err(away(format!("{status}"))),
        }
    }
}

pub(crate) async fn strays(
    pool: &PgPool,
    client: &async_nats::Client,
    service: Service,
    asked: ListStrays,
) -> Result<Strays, Refused> {
    check(asked.limit, STREAM_MESSAGES_MAX, "/limit")?;
    let (found, more) = read_stream(client, service, asked.after, asked.limit).await?;
    let seen_to = found.keys().next_back().copied().unwrap_or(asked.after);
    let ids: Vec<Uuid> = found
        .values()
        .filter_map(|(_, id)| Uuid::try_parse(id).ok())
        .collect();
    // Read after the stream: what is in the stream was committed before.
    let ours: Vec<Uuid> =
        sqlx::query_scalar("SELECT event_id FROM outbox WHERE event_id = ANY($1)")
            .bind(&ids)
            .fetch_all(pool)
            .await?;
    let ours: HashSet<Uuid> = ours.into_iter().collect();
    let items = found
        .into_iter()
        .filter(|(_, (_, id))| !Uuid::try_parse(id).is_ok_and(|id| ours.contains(&id)))
        .map(|(stream_seq, (subject, event_id))| Stray {
            stream_seq,
            subject,
            event_id,
        })
        .collect();
    Ok(Strays {
        items,
        seen_to,
        more,
    })
}
