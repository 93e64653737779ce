//! Whether what was noticed about an order is a violation: asked of this order alone, and with care.

use std::collections::{BTreeMap, BTreeSet};

use shopzen_chassis::EVENTS_MAX;
use shopzen_contracts::{OrderId, Service};
use uuid::Uuid;

use super::{
    AuditError, Sources, Violation,
    rules::{always, once_quiet},
};

/// Whose events lead an order on.
const LEADING: [Service; 3] = [Service::Orders, Service::Stock, Service::Payments];

/// What was found out about an order.
#[derive(Debug)]
pub struct Verdict {
    pub id: OrderId,
    pub violations: Vec<Violation>,
    /// False where something about it is still on its way, so that only part of the rules could be
    /// asked.
    pub is_quiet: bool,
}

/// Judges these orders.
///
/// An order is quiet if all its events have been handled by all who follow them, and if there are no
/// more of them after its facts were read than there were before. Whatever changes an order anywhere
/// is told in an event of the same transaction, so these facts belong together.
pub async fn judge(sources: &Sources, ids: &[OrderId]) -> Result<Vec<Verdict>, AuditError> {
    let before = events_of(sources, ids).await?;
    let unhandled = unhandled(sources, &before).await?;
    let facts = sources.facts_of(ids).await?;
    let mut charges = BTreeMap::new();
    for id in ids {
        if let Some(of_order) = sources.charges_of(*id).await? {
            charges.insert(*id, of_order);
        }
    }
    let after = events_of(sources, ids).await?;
    let verdicts = ids.iter().map(|id| {
        let view = facts.view(*id, charges.get(id).map(Vec::as_slice));
        let events = before.get(id);
        let is_quiet = events == after.get(id)
            && events
                .is_none_or(|events| events.iter().all(|event| !unhandled.contains(&event.id)));
        let mut violations = always(&view);
        if is_quiet {
            violations.extend(once_quiet(&view));
        }
        Verdict {
            id: *id,
            violations,
            is_quiet,
        }
    });
    Ok(verdicts.collect())
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    id: Uuid,
    service: Service,
    name: String,
}

/// By order.
type Events = BTreeMap<OrderId, BTreeSet<Event>>;

async fn events_of(sources: &Sources, ids: &[OrderId]) -> Result<Events, AuditError> {
    let mut events = Events::new();
    for id in ids {
        for service in LEADING {
            let history = sources.history(service, *id).await?;
            let of_order = history.into_iter().map(|entry| Event {
                id: entry.event_id,
                service,
                name: entry.event,
            });
            events.entry(*id).or_default().extend(of_order);
        }
    }
    Ok(events)
}

/// Events that somebody has yet to handle.
async fn unhandled(sources: &Sources, events: &Events) -> Result<BTreeSet<Uuid>, AuditError> {
    let mut asked: BTreeMap<Service, Vec<Uuid>> = BTreeMap::new();
    for event in events.values().flatten() {
        for follower in sources.followers(event.service, &event.name) {
            asked.entry(*follower).or_default().push(event.id);
        }
    }
    let mut unhandled = BTreeSet::new();
    for (follower, ids) in asked {
        for ids in ids.chunks(EVENTS_MAX) {
            let handled = sources.handled(follower, ids.to_vec()).await?;
            unhandled.extend(handled.missing);
        }
    }
    Ok(unhandled)
}
