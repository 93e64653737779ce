//! Whether events may be published, and whether what the broker said of them still holds.
//!
//! Receipts and stream are compared (`tail_guard.rs`) on one connection, and with one stream. Another
//! connection may lead to a broker that has forgotten something. A stream that was deleted and made anew
//! is another one under the same name, and costs no connection. So a receipt counts only where
//!
//! - the connection and the stream are, after it came, those of before the event was published; and
//! - nobody, in any process, has compared on another connection or with another stream since: whoever has
//!   may have found the event missing, and used its place for another one.

use std::sync::{Mutex, PoisonError};

use async_nats::jetstream::{self, stream::Info};
use shopzen_contracts::Service;
use tokio::sync::Notify;

use crate::Bus;

/// What receipts were compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    /// [`Bus::connects`].
    connects: u64,
    /// When the stream was made, in nanoseconds.
    stream_made_at: i128,
    /// `tail_guard.epoch`.
    pub(crate) epoch: i64,
}

impl Compared {
    pub(crate) fn on(connects: u64, stream: &Info, epoch: i64) -> Self {
        Self {
            connects,
            stream_made_at: stream.created.unix_timestamp_nanos(),
            epoch,
        }
    }

    pub(crate) fn is_of(&self, connects: u64, stream: &Info) -> bool {
        *self == Self::on(connects, stream, self.epoch)
    }
}

#[cfg(test)]
impl Compared {
    pub(crate) fn connects(&self) -> u64 {
        self.connects
    }
}

/// Closed until receipts and stream have been compared, and on any other connection than that.
#[derive(Debug)]
pub(crate) struct Gate {
    bus: Bus,
    jetstream: jetstream::Context,
    pub(crate) service: Service,
    compared: Mutex<Option<Compared>>,
    /// Rung when the stream is not as it should be: it may be gone, or another one.
    doubt: Notify,
}

impl Gate {
    pub(crate) fn closed(bus: &Bus, service: Service) -> Self {
        Self {
            bus: bus.clone(),
            jetstream: bus.publisher(),
            service,
            compared: Mutex::new(None),
            doubt: Notify::new(),
        }
    }

    /// Opens it, or with None closes it.
    pub(crate) fn set(&self, compared: Option<Compared>) {
        *self.compared.lock().unwrap_or_else(PoisonError::into_inner) = compared;
    }

    /// What receipts were compared with last, whether or not that is still there.
    pub(crate) fn last(&self) -> Option<Compared> {
        *self.compared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What receipts were compared with, where events may be published now.
    pub(crate) fn open(&self) -> Option<Compared> {
        self.last()
            .filter(|it| it.connects == self.bus.connects() && self.bus.is_connected())
    }

    /// The same, once the broker has said that the stream is still that one.
    pub(crate) async fn confirmed(&self) -> Option<Compared> {
        let compared = self.open()?;
        let stream = self
            .jetstream
            .get_stream_no_info(self.service.stream())
            .await;
        let is_that_one = match stream {
            Ok(stream) => stream
                .get_info()
                .await
                .is_ok_and(|info| compared.is_of(compared.connects, &info)),
            Err(_) => false,
        };
        if !is_that_one {
            self.doubt();
            return None;
        }
        // The broker answered on the connection that is there now.
        self.open().filter(|now| *now == compared)
    }

    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }

    pub(crate) async fn doubted(&self) {
        self.doubt.notified().await;
    }
}
