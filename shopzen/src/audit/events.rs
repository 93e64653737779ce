//! The way of events: each was handled by all who follow it (I6), and none lies in a stream that its
//! owner did not publish (I9).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use shopzen_chassis::{EVENTS_MAX, PublishedEvent, STREAM_MESSAGES_MAX};
use shopzen_contracts::Service;
use uuid::Uuid;

use super::{About, AuditError, Invariant, Sources, Thoroughness, Violation, sources::event_of};

/// After so long it is asked of an event whether it is lost, where somebody has handled newer ones
/// meanwhile. Longer than the broker waits for an acknowledgement (30 s) and than the longest pause after a
/// failure, so that hardly any other is asked about.
const PATIENCE: Duration = Duration::from_mins(1);
/// Unhandled events that are watched; more are found again by the next pass.
const WATCHED_MAX: usize = 1_000;
/// Messages of a stream that one round looks at. Each costs the broker some 25 µs.
const MESSAGES_PER_ROUND: usize = 200;
/// Violations of one pass that are kept.
const FOUND_MAX: usize = 100;

/// An event somebody has not handled.
#[derive(Debug)]
struct Watched {
    service: Service,
    event: PublishedEvent,
    since: Instant,
    is_lost: bool,
}

#[derive(Debug, Default)]
struct Cursors {
    /// How far the events that are new since the audit began were looked at.
    head: Option<Uuid>,
    /// How far the pass over all of them is.
    pass: Option<Uuid>,
    stream_pass: u64,
}

#[derive(Debug, Default)]
pub struct EventsAudit {
    /// Rounds so far: each looks at another service.
    rounds: usize,
    cursors: BTreeMap<Service, Cursors>,
    /// By who has yet to handle it.
    watched: BTreeMap<(Service, Uuid), Watched>,
    strays: BTreeMap<Service, Pass>,
}

/// Violations of something that is looked at bit by bit, from one end to the other, again and again.
#[derive(Debug, Default)]
pub struct Pass {
    found: Vec<Violation>,
    found_last: Vec<Violation>,
}

impl Pass {
    pub fn add(&mut self, violation: Violation) {
        if self.found.len() < FOUND_MAX {
            self.found.push(violation);
        }
    }

    /// The other end was reached.
    pub fn turn(&mut self) {
        self.found_last = std::mem::take(&mut self.found);
    }

    pub fn violations(&self) -> Vec<Violation> {
        let mut all = [self.found.as_slice(), &self.found_last].concat();
        all.sort();
        all.dedup();
        all
    }
}

impl EventsAudit {
    /// Looks at the next events of one service, or at all of each, up to `until`.
    pub async fn look(
        &mut self,
        sources: &Sources,
        until: Uuid,
        how: Thoroughness,
    ) -> Result<(), AuditError> {
        let turn = self.rounds % Service::ALL.len();
        self.rounds += 1;
        let services = match how {
            Thoroughness::Round => &Service::ALL[turn..=turn],
            Thoroughness::Whole => &Service::ALL,
        };
        for service in services.iter().copied() {
            let mut cursors = self.cursors.remove(&service).unwrap_or_default();
            let looked = self
                .look_at(sources, service, until, how, &mut cursors)
                .await;
            self.cursors.insert(service, cursors);
            looked?;
        }
        self.ask_again(sources).await?;
        self.tell_lost_from_late(sources).await
    }

    async fn look_at(
        &mut self,
        sources: &Sources,
        service: Service,
        until: Uuid,
        how: Thoroughness,
        cursors: &mut Cursors,
    ) -> Result<(), AuditError> {
        let mut is_whole = false;
        loop {
            let page = sources
                .published(service, (cursors.pass, Some(until)), EVENTS_MAX)
                .await?;
            is_whole |= cursors.pass.is_none() && page.next.is_none();
            cursors.pass = page.next;
            self.sift(sources, service, page.items).await?;
            if how == Thoroughness::Round || cursors.pass.is_none() {
                break;
            }
        }
        // Where one round sees everything, what is new is in it.
        let head = cursors.head.unwrap_or(until);
        cursors.head = Some(head);
        if how == Thoroughness::Round && !is_whole {
            let page = sources
                .published(service, (Some(head), Some(until)), EVENTS_MAX)
                .await?;
            cursors.head = Some(page.next.unwrap_or(until));
            self.sift(sources, service, page.items).await?;
        }
        self.look_at_stream(sources, service, how, cursors).await
    }

    /// Watches those of these events that somebody has not handled.
    async fn sift(
        &mut self,
        sources: &Sources,
        service: Service,
        events: Vec<PublishedEvent>,
    ) -> Result<(), AuditError> {
        let mut asked: BTreeMap<Service, Vec<Uuid>> = BTreeMap::new();
        for event in &events {
            for follower in sources.followers(service, event_of(&event.subject)) {
                asked.entry(*follower).or_default().push(event.event_id);
            }
        }
        for (follower, ids) in asked {
            let missing = sources.handled(follower, ids).await?.missing;
            for id in missing {
                let event = events.iter().find(|event| event.event_id == id);
                if let Some(event) = event.filter(|_| self.watched.len() < WATCHED_MAX) {
                    self.watched
                        .entry((follower, id))
                        .or_insert_with(|| Watched {
                            service,
                            event: event.clone(),
                            since: Instant::now(),
                            is_lost: false,
                        });
                }
            }
        }
        Ok(())
    }

    async fn ask_again(&mut self, sources: &Sources) -> Result<(), AuditError> {
        let mut asked: BTreeMap<Service, Vec<Uuid>> = BTreeMap::new();
        for (follower, id) in self.watched.keys() {
            asked.entry(*follower).or_default().push(*id);
        }
        for (follower, ids) in asked {
            for ids in ids.chunks(EVENTS_MAX) {
                let handled = sources.handled(follower, ids.to_vec()).await?;
                for id in ids {
                    let key = (follower, *id);
                    if !handled.missing.contains(id) {
                        self.watched.remove(&key);
                    } else if let Some(watched) = self.watched.get_mut(&key) {
                        // Who has not come so far yet has lost nothing.
                        if handled.newest.is_none_or(|newest| newest < *id) {
                            watched.since = Instant::now();
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Of what has not been handled for long, finds out what never will be: the follower has passed the
    /// place where the stream has it, or the stream has it nowhere. However long something takes, in flight it is not
    /// lost.
    async fn tell_lost_from_late(&mut self, sources: &Sources) -> Result<(), AuditError> {
        let mut late: BTreeMap<(Service, Service), Vec<Uuid>> = BTreeMap::new();
        for ((follower, id), watched) in &self.watched {
            if !watched.is_lost && watched.since.elapsed() >= PATIENCE {
                let pair = (*follower, watched.service);
                late.entry(pair).or_default().push(*id);
            }
        }
        for ((follower, owner), ids) in late {
            for ids in ids.chunks(EVENTS_MAX) {
                let missed = sources.missed(follower, owner, ids.to_vec()).await?;
                let lost = sources.republish(owner, &missed, true).await?;
                for id in ids {
                    if let Some(watched) = self.watched.get_mut(&(follower, *id)) {
                        watched.is_lost = lost.contains(id);
                        watched.since = Instant::now();
                    }
                }
            }
        }
        Ok(())
    }

    async fn look_at_stream(
        &mut self,
        sources: &Sources,
        service: Service,
        how: Thoroughness,
        cursors: &mut Cursors,
    ) -> Result<(), AuditError> {
        let limit = match how {
            Thoroughness::Round => MESSAGES_PER_ROUND,
            Thoroughness::Whole => STREAM_MESSAGES_MAX,
        };
        let pass = self.strays.entry(service).or_default();
        loop {
            let page = sources.strays(service, cursors.stream_pass, limit).await?;
            for stray in page.items {
                pass.add(Violation {
                    invariant: Invariant::I9,
                    about: About::Event(stray.event_id),
                    what: format!(
                        "{} at {} of {} was not published by {}",
                        stray.subject,
                        stray.stream_seq,
                        service.stream(),
                        service.name()
                    ),
                });
            }
            cursors.stream_pass = page.seen_to;
            if !page.more {
                cursors.stream_pass = 0;
                pass.turn();
            }
            if how == Thoroughness::Round || !page.more {
                return Ok(());
            }
        }
    }

    /// Nobody could be asked: patience begins anew once they are back.
    pub fn interrupted(&mut self) {
        for watched in self.watched.values_mut() {
            watched.since = Instant::now();
        }
    }

    /// Events that may still turn out to be lost.
    pub fn unsure(&self) -> usize {
        self.watched.values().filter(|w| !w.is_lost).count()
    }

    pub fn violations(&self) -> Vec<Violation> {
        let lost = self.watched.iter().filter(|(_, watched)| watched.is_lost);
        let lost = lost.map(|((follower, id), watched)| Violation {
            invariant: Invariant::I6,
            about: About::Event(id.to_string()),
            what: format!(
                "{} of {} {} was never handled by {}",
                event_of(&watched.event.subject),
                watched.service.name(),
                watched.event.key,
                follower.name()
            ),
        });
        lost.chain(self.strays.values().flat_map(Pass::violations))
            .collect()
    }
}
