//! Publishes what was committed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, message::PublishMessage};
use futures::future::join_all;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    OutboxRow, headers_of,
    receipts::{PUBLISHED_MAX, Published, Receipt},
};
use crate::{
    Bus,
    failpoint::{self, Failpoint},
    gate::Gate,
};

/// A broker that takes nothing for longer than this has not just been started again: its disk may be full.
const REFUSED_MAX: Duration = Duration::from_secs(20);
/// Who is refused tries again all the time; a refusal from before that says nothing of now.
const REFUSED_NEWS: Duration = Duration::from_secs(30);

/// Publishes what was committed, and records where it went.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    jetstream: jetstream::Context,
    pub(super) gate: Arc<Gate>,
    receipts: mpsc::Sender<Published>,
    /// None while the broker takes something.
    refused: Arc<Mutex<Option<Refused>>>,
}

/// The broker took nothing of what it was sent.
#[derive(Clone, Copy, Debug)]
struct Refused {
    since: Instant,
    /// Where another replica gets through, this one has nothing left to try.
    last: Instant,
}

impl Relay {
    pub(crate) fn new(bus: &Bus, gate: Arc<Gate>) -> (Self, mpsc::Receiver<Published>) {
        let (receipts, received) = mpsc::channel(PUBLISHED_MAX * 4);
        (
            Self {
                jetstream: bus.publisher(),
                gate,
                receipts,
                refused: Arc::default(),
            },
            received,
        )
    }

    pub(crate) fn is_open(&self) -> bool {
        self.gate.open().is_some()
    }

    /// For how long the broker has taken nothing, where that is no hiccup any more.
    pub(crate) fn is_refused_for(&self) -> Option<Duration> {
        let refused = (*self.refused())?;
        let is_news = refused.last.elapsed() < REFUSED_NEWS;
        let passed = refused.since.elapsed();
        (is_news && passed > REFUSED_MAX).then_some(passed)
    }

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_refusal(&self) {
        let now = Instant::now();
        let mut refused = self.refused();
        let since = refused.map_or(now, |refused| refused.since);
        *refused = Some(Refused { since, last: now });
    }

    /// Publishes the events of a transaction that is committed. What cannot be published now stays
    /// pending.
    pub(crate) async fn publish_committed(&self, pending: Uuid, rows: Vec<OutboxRow>) {
        let Some(compared) = self.gate.open() else {
            return;
        };
        let receipts = self.publish(&rows).await;
        let settled = (receipts.len() == rows.len()).then_some(pending);
        // The recorder outlives every relay but for the last moment of a shutdown; what it misses then
        // is published again, under the same id.
        let published = Published {
            compared,
            receipts,
            settled,
        };
        let _ = self.receipts.send(published).await;
    }

    pub(super) async fn publish(&self, rows: &[OutboxRow]) -> Vec<Receipt> {
        let service = self.gate.service;
        let mut acks = Vec::with_capacity(rows.len());
        for row in rows {
            let message = PublishMessage::build()
                .headers(headers_of(row, service))
                .payload(row.body.clone().into());
            let subject = format!("{}.{}", row.subject, row.key);
            match self.jetstream.send_publish(subject, message).await {
                Ok(ack) => acks.push(async { (row.event_id, ack.await) }),
                Err(error) => {
                    metrics::counter!("outbox_publish_failures_total").increment(1);
                    tracing::warn!(error = %error, "the broker takes no events; they wait in the outbox");
                    break;
                }
            }
        }
        let mut receipts = Vec::with_capacity(acks.len());
        let mut failure = None;
        for (event_id, ack) in join_all(acks).await {
            match ack {
                Ok(ack) if ack.stream == service.stream() => receipts.push(Receipt {
                    event_id,
                    stream_seq: i64::try_from(ack.sequence).unwrap_or(i64::MAX),
                }),
                Ok(ack) => failure = Some(format!("stored in the wrong stream {}", ack.stream)),
                Err(error) => failure = Some(error.to_string()),
            }
        }
        if let Some(failure) = failure {
            let missing = rows.len() - receipts.len();
            metrics::counter!("outbox_publish_failures_total")
                .increment(u64::try_from(missing).unwrap_or(u64::MAX));
            self.gate.doubt();
            tracing::warn!(
                missing,
                failure,
                "events were not acknowledged; they wait in the outbox"
            );
        }
        if receipts.is_empty() && !rows.is_empty() {
            self.note_refusal();
        } else {
            *self.refused() = None;
        }
        failpoint::pass(Failpoint::AfterPublish);
        receipts
    }
}
