//! How far a worker has come in the streams it follows, kept beside what it did there.
//!
//! How far a consumer has come is known to the broker alone. Where the broker has lost it, the stream would
//! come again from its beginning: the inbox drops what was handled, but what is new has to wait until that
//! is done. So each worker keeps a time up to which everything is handled, and a consumer that has to be made
//! anew begins there.
//!
//! A time, because places are used again by a broker that has lost its tail or a whole stream. What is
//! published again after that is later than any time that was kept, and so it is delivered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{
    datetime,
    jetstream::{
        self,
        consumer::{DeliverPolicy, pull},
        message::Info,
    },
};
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx as _;
use shopzen_contracts::Service;
use sqlx::PgPool;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{Bus, Failure, failure, streams::durable_name};

/// How often the time is kept, while there is something to handle.
const KEEP_EVERY: Duration = Duration::from_secs(2);
/// A consumer begins so much earlier, as the broker's clock may have been set back meanwhile.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// Where and when a stream took a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    source: Service,
    stream_seq: u64,
    published_at: Timestamp,
}

impl Place {
    pub(crate) fn of(source: Service, info: &Info<'_>) -> Option<Self> {
        Some(Self {
            source,
            stream_seq: info.stream_sequence,
            published_at: Timestamp::from_nanosecond(info.published.unix_timestamp_nanos()).ok()?,
        })
    }
}

#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) service: Service,
    pool: PgPool,
    /// The newest message of each stream that this process has acknowledged since the last round.
    acknowledged: Mutex<BTreeMap<Service, Place>>,
}

impl Progress {
    pub(crate) fn new(service: Service, pool: PgPool) -> Self {
        Self {
            service,
            pool,
            acknowledged: Mutex::default(),
        }
    }

    /// A message was handled, and the broker is told.
    pub(crate) fn acknowledge(&self, place: Place) {
        let mut acknowledged = self.acknowledged();
        let newest = acknowledged.entry(place.source).or_insert(place);
        // What is delivered again may be old.
        if newest.published_at < place.published_at {
            *newest = place;
        }
    }

    fn acknowledged(&self) -> MutexGuard<'_, BTreeMap<Service, Place>> {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a consumer that has to be made anew begins.
    pub(crate) async fn beginning(&self, source: Service) -> Result<DeliverPolicy, Failure> {
        let handled_until: Option<jiff_sqlx::Timestamp> =
            sqlx::query_scalar("SELECT handled_until FROM progress WHERE source = $1")
                .bind(source.name())
                .fetch_optional(&self.pool)
                .await?;
        let start_time = handled_until
            .and_then(|until| until.to_jiff().checked_sub(CLOCK_MARGIN).ok())
            .and_then(|begin| datetime::from_nanos(begin.as_nanosecond()).ok());
        Ok(match start_time {
            Some(start_time) => DeliverPolicy::ByStartTime { start_time },
            None => DeliverPolicy::All,
        })
    }

    /// Keeps the time of a place that everybody has passed, all replicas together.
    ///
    /// It holds for any stream that bears the name by now. If a message of that place is no longer in it,
    /// then the broker forgot this one and all after it, and what it took since is later.
    async fn keep(&self, place: Place) -> Result<(), Failure> {
        sqlx::query(
            "
            INSERT INTO progress (source, handled_until) VALUES ($1, $2)
            ON CONFLICT (source) DO UPDATE SET handled_until = excluded.handled_until
            ",
        )
        .bind(place.source.name())
        .bind(place.published_at.to_sqlx())
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// Keeps how far this worker has come, until shutdown.
pub(crate) async fn keep(progress: Arc<Progress>, bus: Bus, shutdown: CancellationToken) {
    let jetstream = bus.retried_admin();
    let mut tick = interval(KEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Acknowledged by this process, and not known yet to be behind everybody.
    let mut ahead = BTreeMap::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = keep_once(&progress, &jetstream, &mut ahead) => {}
        }
    }
}

async fn keep_once(
    progress: &Progress,
    jetstream: &jetstream::Context,
    ahead: &mut BTreeMap<Service, Place>,
) {
    for (source, place) in std::mem::take(&mut *progress.acknowledged()) {
        let waiting = ahead.entry(source).or_insert(place);
        let is_newer = waiting.published_at < place.published_at;
        // The stream has begun anew, and may never reach the place that was waited for.
        if is_newer && place.stream_seq < waiting.stream_seq {
            *waiting = place;
        }
    }
    for place in ahead.values().copied().collect::<Vec<_>>() {
        let durable = durable_name(progress.service, place.source);
        let consumer = jetstream
            .get_consumer_from_stream::<pull::Config, _, _>(durable, place.source.stream())
            .await;
        // Where it cannot be asked just now, the next round asks again.
        let is_behind =
            consumer.is_ok_and(|it| it.cached_info().ack_floor.stream_sequence >= place.stream_seq);
        if !is_behind {
            continue;
        }
        ahead.remove(&place.source);
        if let Err(error) = progress.keep(place).await {
            tracing::debug!(
                worker = progress.service.name(),
                error = failure::chain(&error),
                "how far a stream is handled was not kept"
            );
        }
    }
}
