//! The connection to NATS, with the settings that measurement asked for (research, nats.md §8).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event, connection::State, jetstream};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::Secret;

/// Where NATS is, and who we are there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NatsLogin {
    /// `nats://host:port`, several parted by commas; `tls://` for TLS. No user in it.
    pub url: String,
    pub user: String,
    pub password: Secret,
}

/// A peer that is gone is noticed after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait between two attempts to reconnect. There is no end to attempts.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
/// Commands that wait for the socket before a caller has to.
const CLIENT_CAPACITY: usize = 8_192;
/// How long an event's acknowledgement is waited for.
pub(crate) const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long JetStream's own API may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for those who try again at once: what was asked on a connection that is lost is never answered.
const RETRIED_ADMIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Events without an acknowledgement; further ones wait their turn.
const UNACKED_MAX: usize = 8_192;

/// A connection of one role.
#[derive(Clone, Debug)]
pub struct Bus {
    pub(crate) client: Client,
    /// Changes when the connection is lost and when it is there again.
    pub(crate) connections: watch::Receiver<u64>,
    login: Arc<NatsLogin>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to NATS at {url} as {user}: {source}")]
pub struct ConnectError {
    url: String,
    user: String,
    source: async_nats::ConnectError,
}

impl Bus {
    /// Connects, or says why not. Later interruptions are healed without an end.
    pub async fn connect(login: &NatsLogin) -> Result<Self, ConnectError> {
        let (count, connections) = watch::channel(0_u64);
        let count = Arc::new(count);
        let role = login.user.clone();
        let options = ConnectOptions::new()
            .name(format!("shopzen-{role}"))
            .user_and_password(login.user.clone(), login.password.expose().to_owned())
            // An inbox of its own: nobody else may read our replies.
            .custom_inbox_prefix(inbox_prefix(&login.user))
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECT_TIMEOUT)
            .client_capacity(CLIENT_CAPACITY)
            .reconnect_delay_callback(|attempts| {
                let doubled = Duration::from_millis(25)
                    * 2_u32.pow(u32::try_from(attempts.min(6)).unwrap_or(6));
                let longest = doubled.min(RECONNECT_DELAY_MAX);
                // Full jitter, so that a shop's roles do not come back all at once.
                rand::rng().random_range(Duration::ZERO..=longest)
            })
            .event_callback(move |event| {
                let (role, count) = (role.clone(), Arc::clone(&count));
                async move { on_event(&role, &count, &event) }
            });
        let client = options
            .connect(&login.url)
            .await
            .map_err(|source| ConnectError {
                url: login.url.clone(),
                user: login.user.clone(),
                source,
            })?;
        Ok(Self {
            client,
            connections,
            login: Arc::new(login.clone()),
        })
    }

    /// Another connection of the same role, which does not end with this one.
    pub(crate) async fn beside(&self) -> Result<Self, ConnectError> {
        Self::connect(&self.login).await
    }

    /// How often there was a connection. The client counts before it sends anything on a new one, so
    /// whoever reads the same number twice has been on one connection in between.
    pub(crate) fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Acquire)
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// For publishing events.
    pub(crate) fn publisher(&self) -> jetstream::Context {
        jetstream::context::ContextBuilder::new()
            .timeout(PUBLISH_TIMEOUT)
            .ack_timeout(PUBLISH_TIMEOUT)
            .max_ack_inflight(UNACKED_MAX)
            .backpressure_on_inflight(true)
            .build(self.client.clone())
    }

    /// For streams and consumers.
    pub fn admin(&self) -> jetstream::Context {
        self.admin_within(ADMIN_TIMEOUT)
    }

    /// For streams and consumers, where whoever asks tries again at once.
    pub(crate) fn retried_admin(&self) -> jetstream::Context {
        self.admin_within(RETRIED_ADMIN_TIMEOUT)
    }

    fn admin_within(&self, timeout: Duration) -> jetstream::Context {
        jetstream::context::ContextBuilder::new()
            .timeout(timeout)
            .build(self.client.clone())
    }
}

/// The subjects under which a user gets its replies.
pub fn inbox_prefix(user: &str) -> String {
    format!("_INBOX_{user}")
}

/// async-nats tells of refusals here and nowhere else: a forbidden publish looks like a time-out.
fn on_event(role: &str, count: &watch::Sender<u64>, event: &Event) {
    match event {
        Event::Connected => {
            count.send_modify(|connections| *connections += 1);
            tracing::info!(role, "connected to NATS");
        }
        Event::Disconnected => {
            count.send_modify(|connections| *connections += 1);
            tracing::warn!(role, "lost the connection to NATS");
        }
        Event::SlowConsumer(_) => {
            metrics::counter!("nats_slow_consumer_total", "role" => role.to_owned()).increment(1);
            tracing::warn!(role, "messages were dropped: a subscription was too slow");
        }
        Event::ServerError(error) => {
            metrics::counter!("nats_server_errors_total", "role" => role.to_owned()).increment(1);
            tracing::error!(role, %error, "NATS refused something");
        }
        Event::ClientError(error) => tracing::warn!(role, %error, "the NATS client failed"),
        Event::LameDuckMode => tracing::warn!(role, "NATS is about to stop"),
        Event::Draining | Event::Closed => tracing::debug!(role, %event, "leaving NATS"),
    }
}
