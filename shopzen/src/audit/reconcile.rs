//! Reconciliation: the outboxes beside the inboxes of those who follow them. What a follower never got,
//! because it is missing in the middle of a stream or was acknowledged by mistake, its owner publishes
//! again.
//!
//! An event counts as lost where its follower has neither handled it nor set it aside, although it has
//! passed the place at which the stream has it, or the stream has it nowhere. A backlog is no loss,
//! however long. Who had the event after all drops it by its inbox.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp, civil::Time, tz::TimeZone};
use shopzen_chassis::{PublishedEvent, clock};
use shopzen_contracts::Service;
use tokio::time::{Instant as TokioInstant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    AuditError, Sources,
    sources::{event_of, last_id_before},
};

/// Events of one slice.
const SLICE: usize = 500;
/// After a slice it pauses so many times as long as that took, so that nobody waits for it.
const PAUSE_FACTOR: u32 = 9;
/// Younger events are left alone: for ten minutes the broker takes what is published again for a repeat.
pub const SETTLED_AFTER: Duration = Duration::from_mins(15);
/// Slices in a row of which a follower missed something and nothing was lost: it is behind, and what
/// comes after is still to come as well.
const BEHIND_SLICES: u32 = 3;
/// How often one looks whether it is time.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);
/// The pause after one that could not be completed.
const RETRY: Duration = Duration::from_mins(1);

/// What is looked at, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Only what was published later.
    pub since: Option<Timestamp>,
    /// Younger events are left alone.
    pub settled_after: Duration,
    /// Only count.
    pub dry_run: bool,
    /// Whether it takes its time, beside a shop that sells.
    pub gently: bool,
}

impl Plan {
    /// Everything that the outboxes keep.
    const NIGHTLY: Self = Self {
        since: None,
        settled_after: SETTLED_AFTER,
        dry_run: false,
        gently: true,
    };
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Reconciled {
    /// Events looked at.
    pub events: u64,
    /// Published again, or to be, by owner and follower.
    pub lost: BTreeMap<(Service, Service), u64>,
    /// Who has yet to come to events of whom.
    pub behind: Vec<(Service, Service)>,
}

/// How far it is: the service it is at, and when the event was published that it is at.
pub type Told<'a> = dyn FnMut(Service, Timestamp) + Send + 'a;

pub async fn reconcile(
    sources: &Sources,
    plan: Plan,
    tell: &mut Told<'_>,
) -> Result<Reconciled, AuditError> {
    let until = last_id_before(clock::now(), plan.settled_after);
    let mut done = Reconciled::default();
    for owner in Service::ALL {
        let mut after = plan
            .since
            .map(|since| last_id_before(since, Duration::ZERO));
        let mut behind: BTreeMap<Service, u32> = BTreeMap::new();
        loop {
            let began = Instant::now();
            let page = sources
                .published(owner, (after, Some(until)), SLICE)
                .await?;
            if let Some(last) = page.items.last() {
                tell(owner, time_of(last.event_id));
            }
            done.events += u64::try_from(page.items.len()).unwrap_or(0);
            for (follower, ids) in by_follower(sources, owner, &page.items) {
                let slices = behind.entry(follower).or_default();
                if *slices >= BEHIND_SLICES {
                    continue;
                }
                let missed = sources.missed(follower, owner, ids).await?;
                let lost = sources.republish(owner, &missed, plan.dry_run).await?;
                let count = u64::try_from(lost.len()).unwrap_or(u64::MAX);
                *done.lost.entry((owner, follower)).or_default() += count;
                let is_behind = lost.is_empty() && !missed.event_ids.is_empty();
                *slices = if is_behind { *slices + 1 } else { 0 };
            }
            after = page.next;
            if after.is_none() {
                break;
            }
            if plan.gently {
                sleep_until(TokioInstant::now() + began.elapsed() * PAUSE_FACTOR).await;
            }
        }
        let behind = behind.into_iter().filter(|(_, slices)| *slices > 0);
        done.behind
            .extend(behind.map(|(follower, _)| (owner, follower)));
    }
    done.lost.retain(|_, lost| *lost > 0);
    Ok(done)
}

fn by_follower(
    sources: &Sources,
    owner: Service,
    events: &[PublishedEvent],
) -> BTreeMap<Service, Vec<Uuid>> {
    let mut ids: BTreeMap<Service, Vec<Uuid>> = BTreeMap::new();
    for event in events {
        for follower in sources.followers(owner, event_of(&event.subject)) {
            ids.entry(*follower).or_default().push(event.event_id);
        }
    }
    ids
}

/// When a `UUIDv7` was made (RFC 9562, 5.7); for any other id, some time.
fn time_of(id: Uuid) -> Timestamp {
    let millis = i64::try_from(id.as_u128() >> 80).unwrap_or(0);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Reconciles every night at this time of UTC, until shutdown.
pub async fn nightly(sources: &Sources, at: Time, shutdown: &CancellationToken) {
    let mut next = next_after(clock::now(), at);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            // By the clock of the wall, which may be set.
            () = sleep_until(TokioInstant::now() + LOOK_AT_CLOCK) => {}
        }
        if clock::now() < next {
            continue;
        }
        let mut tell_nobody = |_, _| {};
        let reconciled = tokio::select! {
            () = shutdown.cancelled() => return,
            done = reconcile(sources, Plan::NIGHTLY, &mut tell_nobody) => done,
        };
        match reconciled {
            Ok(done) => {
                next = next_after(clock::now(), at);
                say(&done);
            }
            Err(error) => {
                tracing::warn!(%error, "the reconciliation could not be completed; will try again");
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sleep_until(TokioInstant::now() + RETRY) => {}
                }
            }
        }
    }
}

fn say(done: &Reconciled) {
    for ((owner, follower), lost) in &done.lost {
        metrics::counter!(
            "reconciliation_republished_total",
            "owner" => owner.name(), "follower" => follower.name()
        )
        .increment(*lost);
        tracing::error!(
            owner = owner.name(),
            follower = follower.name(),
            events = lost,
            "events that were never handled are published again"
        );
    }
    for (owner, follower) in &done.behind {
        tracing::warn!(
            owner = owner.name(),
            follower = follower.name(),
            "a worker is behind; what it has yet to come to was left alone"
        );
    }
    metrics::gauge!("reconciliation_last_completed_timestamp_seconds")
        .set(clock::now().as_duration().as_secs_f64());
    tracing::info!(events = done.events, "outboxes and inboxes were reconciled");
}

fn next_after(now: Timestamp, at: Time) -> Timestamp {
    let now = now.to_zoned(TimeZone::UTC);
    let today = now.date().to_datetime(at).to_zoned(TimeZone::UTC);
    let today = today.expect("UTC has every time of every day").timestamp();
    if today > now.timestamp() {
        today
    } else {
        today + SignedDuration::from_hours(24)
    }
}

#[cfg(test)]
mod tests {
    use shopzen_chassis::streams;

    use super::*;

    #[test]
    fn the_next_night_is_today_or_tomorrow() {
        let at: Time = "03:30".parse().unwrap();
        let next = |now: &str| next_after(now.parse().unwrap(), at).to_string();
        assert_eq!(next("2026-11-22T02:00:00Z"), "2026-11-22T03:30:00Z");
        assert_eq!(next("2026-11-22T03:30:00Z"), "2026-11-23T03:30:00Z");
        assert_eq!(next("2026-12-31T12:00:00Z"), "2027-01-01T03:30:00Z");
    }

    #[test]
    fn what_is_published_again_is_no_repeat_to_the_broker() {
        for service in Service::ALL {
            assert!(streams::definition(service).duplicate_window < SETTLED_AFTER);
        }
    }

    #[test]
    fn an_id_tells_its_time() {
        let at: Timestamp = "2026-11-22T15:16:12.345Z".parse().unwrap();
        let id = last_id_before(at, Duration::ZERO);
        let early = at.duration_since(time_of(id));
        assert!(early.as_millis() <= 1, "{early}");
    }
}
