//! From the streams to the engine and back: one lane a worker, many messages a transaction.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{self, AckKind, consumer::pull::MessagesErrorKind, message::Acker};
use futures::StreamExt;
use rand::RngExt as _;
use shopzen_contracts::Service;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    bus::Bus,
    engine::{Engine, StopAt, Verdict},
    failpoint::{self, Failpoint},
    failure::backoff,
    gather::Pace,
    message::Message,
    progress::{Place, Progress},
    streams,
};

/// Messages handled in one transaction.
const BATCH_MAX: usize = 256;
/// Messages that wait in this process; the consumer's ack time runs for them already.
const QUEUE_MAX: usize = 512;
/// Messages that one pull request asks for.
const PULL_MAX: usize = 512;
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// A broker that is silent for two of these is asked anew. It may not know of our request: the client does not
/// always send it again when a connection was lost for a few milliseconds only.
const PULL_HEARTBEAT: Duration = Duration::from_secs(2);
/// Errors in a row after which the consumer is looked up anew; it may have been deleted.
const PULL_ERRORS_MAX: u32 = 2;
/// The longest pause between two look-ups.
const LOOK_UP_DELAY_MAX: Duration = Duration::from_secs(2);

pub(crate) struct Delivery {
    message: Message,
    place: Option<Place>,
    acker: Acker,
}

/// Pulls from one stream until shutdown, whatever becomes of the consumer, the stream or the broker.
pub(crate) async fn follow(
    bus: Bus,
    progress: Arc<Progress>,
    source: Service,
    filters: Vec<String>,
    queue: mpsc::Sender<Delivery>,
    shutdown: CancellationToken,
) {
    let jetstream = bus.retried_admin();
    let mut failures = 0_u32;
    loop {
        let ended = tokio::select! {
            () = shutdown.cancelled() => return,
            ended = pull(&jetstream, &progress, source, &filters, &queue, &mut failures) => ended,
        };
        failures = failures.saturating_add(1);
        if failures > 3 {
            tracing::warn!(
                stream = source.stream(),
                error = ended,
                "cannot pull; will try again"
            );
        } else {
            tracing::debug!(
                stream = source.stream(),
                error = ended,
                "cannot pull; will try again"
            );
        }
        let longest =
            (Duration::from_millis(50) * 2_u32.pow(failures.min(6))).min(LOOK_UP_DELAY_MAX);
        let pause = rand::rng().random_range(longest / 2..=longest);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep_until(Instant::now() + pause) => {}
        }
    }
}

/// Pulls until something is wrong, and says what.
async fn pull(
    jetstream: &jetstream::Context,
    progress: &Progress,
    source: Service,
    filters: &[String],
    queue: &mpsc::Sender<Delivery>,
    failures: &mut u32,
) -> String {
    let consumer = match streams::ensure_consumer(jetstream, progress, source, filters).await {
        Ok(consumer) => consumer,
        Err(error) => return error.to_string(),
    };
    let messages = consumer
        .stream()
        .max_messages_per_batch(PULL_MAX)
        .expires(PULL_EXPIRES)
        .heartbeat(PULL_HEARTBEAT)
        .messages()
        .await;
    let mut messages = match messages {
        Ok(messages) => messages,
        Err(error) => return error.to_string(),
    };
    tracing::debug!(stream = source.stream(), "following");
    let mut errors = 0;
    while let Some(next) = messages.next().await {
        match next {
            Ok(message) => {
                errors = 0;
                *failures = 0;
                let (deliveries, place) = match message.info() {
                    Ok(info) => (info.delivered, Place::of(source, &info)),
                    Err(_) => (1, None),
                };
                let (message, acker) = message.split();
                let delivery = Delivery {
                    message: Message {
                        subject: message.subject.into_string(),
                        headers: message.headers.unwrap_or_default(),
                        payload: message.payload,
                        deliveries,
                    },
                    place,
                    acker,
                };
                if queue.send(delivery).await.is_err() {
                    return "this worker is stopping".to_owned();
                }
            }
            Err(error) => {
                errors += 1;
                let is_silent = error.kind() == MessagesErrorKind::MissingHeartbeat;
                if is_silent || errors >= PULL_ERRORS_MAX {
                    return error.to_string();
                }
            }
        }
    }
    "the consumer is gone".to_owned()
}

/// Handles what the followers bring, batch by batch, until they are gone.
pub(crate) async fn handle(
    engine: Arc<Engine>,
    progress: Arc<Progress>,
    mut queue: mpsc::Receiver<Delivery>,
    shutdown: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut pace = Pace::new();
    loop {
        let is_urgent = |it: &Delivery| engine.routes.is_urgent(it.message.event_subject());
        let taken = pace.gather(&mut queue, &mut batch, BATCH_MAX, is_urgent);
        if taken.await == 0 {
            return;
        }
        if shutdown.is_cancelled() {
            // Another replica, or the next start, takes them at once.
            for delivery in batch.drain(..) {
                let _ = delivery.acker.ack_with(AckKind::Nak(None)).await;
            }
            continue;
        }
        let (messages, replies): (Vec<_>, Vec<_>) = batch
            .drain(..)
            .map(|delivery| (delivery.message, (delivery.place, delivery.acker)))
            .unzip();
        let verdicts = engine.consume(&messages, StopAt::Never).await;
        failpoint::pass(Failpoint::BeforeAck);
        for ((message, (place, acker)), verdict) in messages.iter().zip(replies).zip(verdicts) {
            let kind = match verdict {
                Verdict::Done => AckKind::Ack,
                Verdict::Again => AckKind::Nak(Some(backoff(message.deliveries))),
                Verdict::Dead => AckKind::Term,
            };
            // A lost acknowledgement costs one repeat, which the inbox drops.
            if let Err(error) = acker.ack_with(kind).await {
                tracing::debug!(%error, "an acknowledgement was lost");
            }
            if let (Verdict::Done | Verdict::Dead, Some(place)) = (verdict, place) {
                progress.acknowledge(place);
            }
        }
        pace.rest(messages.len());
    }
}

pub(crate) fn queue() -> (mpsc::Sender<Delivery>, mpsc::Receiver<Delivery>) {
    mpsc::channel(QUEUE_MAX)
}
