//! What may go wrong with a broker and with what lies in it, done on purpose: for `shopzen chaos`.
//!
//! It takes a NATS user that may do anything in the shop's account. No role has one.

use async_nats::{
    HeaderMap,
    jetstream::{self, message::PublishMessage},
};
use bytes::Bytes;
use shopzen_contracts::{Service, header};

use crate::{
    Bus, clock,
    outbox::{OutboxRow, headers_of},
    streams::durable_name,
    trace::TraceParent,
};

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TamperError(String);

fn failed(error: impl std::fmt::Display) -> TamperError {
    TamperError(error.to_string())
}

/// A message that nobody can handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Poison {
    BrokenJson,
    WrongTypes,
    /// A version of a contract that nobody knows.
    UnknownVersion,
    /// An event without the id by which repeats are known.
    WithoutId,
    /// 1 MiB, of which a stream takes a quarter.
    TooLarge,
}

impl Poison {
    pub const ALL: [Self; 5] = [
        Self::BrokenJson,
        Self::WrongTypes,
        Self::UnknownVersion,
        Self::WithoutId,
        Self::TooLarge,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::BrokenJson => "broken JSON",
            Self::WrongTypes => "wrong types",
            Self::UnknownVersion => "unknown version",
            Self::WithoutId => "no id",
            Self::TooLarge => "1 MiB",
        }
    }

    /// Such a message, as if `service` had published it.
    pub fn message(self, service: Service, subject: &'static str) -> Poisoned {
        let subject = match self {
            Self::UnknownVersion => subject.replace(".v1.", ".v99.").into(),
            _ => subject.into(),
        };
        let body = match self {
            Self::BrokenJson => "{\"order_id\": ".to_owned(),
            Self::TooLarge => "x".repeat(1 << 20),
            _ => r#"{"order_id": 7, "total": "much"}"#.to_owned(),
        };
        let row = OutboxRow {
            event_id: clock::new_id(),
            key: clock::new_id(),
            subject,
            cause_id: None,
            attempt: 1,
            trace_parent: TraceParent::start().as_str().to_owned(),
            body,
            created_at: clock::now(),
        };
        let (headers, id) = match self {
            Self::WithoutId => (HeaderMap::new(), String::new()),
            _ => (headers_of(&row, service), row.event_id.to_string()),
        };
        Poisoned {
            id,
            subject: format!("{}.{}", row.subject, row.key),
            message: PublishMessage::build()
                .headers(headers)
                .payload(Bytes::from(row.body)),
        }
    }
}

/// A message that nobody can handle, yet to be planted.
#[derive(Debug)]
pub struct Poisoned {
    /// Empty where it has none.
    pub id: String,
    subject: String,
    message: PublishMessage,
}

/// A hand on the broker.
#[derive(Clone, Debug)]
pub struct Tamper {
    jetstream: jetstream::Context,
}

impl Tamper {
    pub fn new(bus: &Bus) -> Self {
        Self {
            jetstream: bus.admin(),
        }
    }

    /// Takes a service's stream away, with all that lies in it and all who follow it.
    pub async fn delete_stream(&self, service: Service) -> Result<(), TamperError> {
        let deleted = self.jetstream.delete_stream(service.stream()).await;
        deleted.map(|_| ()).map_err(failed)
    }

    /// Makes the broker forget how far `service` has come with what `source` published.
    pub async fn delete_consumer(
        &self,
        service: Service,
        source: Service,
    ) -> Result<(), TamperError> {
        let name = durable_name(service, source);
        let stream = self.jetstream.get_stream(source.stream()).await;
        let deleted = stream.map_err(failed)?.delete_consumer(&name).await;
        deleted.map(|_| ()).map_err(failed)
    }

    /// Lets a service's stream take nothing more, until [`crate::streams::apply`].
    pub async fn fill_stream(&self, service: Service) -> Result<(), TamperError> {
        let stream = self.jetstream.get_stream(service.stream()).await;
        let info = stream.map_err(failed)?.cached_info().clone();
        let mut config = info.config;
        config.max_messages = i64::try_from(info.state.messages)
            .unwrap_or(i64::MAX)
            .max(1);
        let updated = self.jetstream.update_stream(config).await;
        updated.map(|_| ()).map_err(failed)
    }

    /// Stores messages of a stream once more, in the order that `order` makes of them, so that the broker
    /// does not know them again. Returns how many.
    pub async fn repeat_last(
        &self,
        service: Service,
        count: u64,
        order: impl FnOnce(&mut Vec<u64>) + Send,
    ) -> Result<usize, TamperError> {
        let stream = self.jetstream.get_stream(service.stream()).await;
        let stream = stream.map_err(failed)?;
        let state = &stream.cached_info().state;
        let (first, last) = (state.first_sequence.max(1), state.last_sequence);
        let mut sequences: Vec<u64> = (first..=last)
            .rev()
            .take(usize::try_from(count).unwrap_or(0))
            .collect();
        order(&mut sequences);
        let mut repeated = 0;
        for sequence in sequences {
            let Ok(message) = stream.get_raw_message(sequence).await else {
                continue;
            };
            let mut headers = HeaderMap::new();
            for (name, values) in message.headers.iter() {
                let name: &str = name.as_ref();
                // By this one the broker knows repeats.
                if name != header::MESSAGE_ID {
                    for value in values {
                        headers.append(name, value.as_str());
                    }
                }
            }
            let message_of = PublishMessage::build()
                .headers(headers)
                .payload(message.payload);
            let stored = self
                .jetstream
                .send_publish(message.subject, message_of)
                .await;
            stored.map_err(failed)?.await.map_err(failed)?;
            repeated += 1;
        }
        Ok(repeated)
    }

    /// Puts a message into its stream. It may be there although this fails: an answer can be lost.
    pub async fn plant(&self, poisoned: Poisoned) -> Result<(), TamperError> {
        let stored = self
            .jetstream
            .send_publish(poisoned.subject, poisoned.message)
            .await;
        stored.map_err(failed)?.await.map_err(failed)?;
        Ok(())
    }
}

/// Whether the broker lets `bus` publish an event that is another's. It must not.
pub async fn can_forge(bus: &Bus, subject: &str) -> bool {
    let subject = format!("{subject}.{}", clock::new_id());
    let forged = bus.publisher().publish(subject, "{}".into()).await;
    match forged {
        Ok(stored) => stored.await.is_ok(),
        Err(_) => false,
    }
}
