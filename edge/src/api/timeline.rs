//! `/api/v1/orders/{id}/timeline`: everything that happened, whoever did it.

use axum::{http::StatusCode, response::Response};
use futures::future::join_all;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use shopzen_contracts::{
    OrderId, Service,
    orders::{GetOrder, TimelineEntry},
};
use uuid::Uuid;

use crate::{
    answer,
    api::orders,
    openapi::{Operation, Parameter},
    problem::Refusal,
    request::{Caller, Named, encode},
};

/// Who publishes events about an order.
const SERVICES: [Service; 4] = [
    Service::Orders,
    Service::Stock,
    Service::Payments,
    Service::Notify,
];

/// Every event of an order, the first first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Timeline {
    items: Vec<Step>,
    /// Services that did not answer; their events are not in the list.
    missing: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Step {
    /// From 1.
    number: u32,
    #[schemars(with = "String")]
    time: Timestamp,
    service: String,
    event: String,
    event_id: Uuid,
    /// The id of the event that led to this one.
    cause: Option<Uuid>,
    /// How many times it was handed to the broker.
    attempt: i32,
}

pub(crate) const GET: Operation =
    Operation::query::<GetOrder>("getTimeline", "orders", "An order's timeline")
        .explains("Every event of this order in order: time, service, event, cause, attempt.")
        .takes(&[Parameter::ORDER_TOKEN, Parameter::ORDER_TOKEN_IN_LINK])
        .answers::<Timeline>(200, "The events.")
        .refuses(&[404]);

pub(crate) async fn get(caller: Caller, Named(id): Named<Uuid>) -> Result<Response, Refusal> {
    orders::check_access(&caller, OrderId(id)).await?;
    let histories = SERVICES.map(async |service| {
        (
            service,
            caller.edge.asker.history(service, id, &caller.asking).await,
        )
    });
    let mut entries = Vec::new();
    let mut missing = Vec::new();
    for (service, history) in join_all(histories).await {
        match history {
            Ok(history) => entries.extend(history),
            Err(error) => {
                tracing::warn!(service = service.name(), %error, "a timeline has a gap");
                missing.push(service.name().to_owned());
            }
        }
    }
    let timeline = Timeline {
        items: in_order(entries),
        missing,
    };
    Ok(answer::json(StatusCode::OK, encode(&timeline)))
}

/// By time, and where two clocks agree by id, which grows with time.
fn in_order(mut entries: Vec<TimelineEntry>) -> Vec<Step> {
    entries.sort_by_key(|entry| (entry.at, entry.event_id));
    (1..)
        .zip(entries)
        .map(|(number, entry)| Step {
            number,
            time: entry.at,
            service: entry.service,
            event: entry.event,
            event_id: entry.event_id,
            cause: entry.cause,
            attempt: entry.attempt,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_by_time_and_then_by_id() {
        let entry = |id: u128, second: i64| TimelineEntry {
            event_id: Uuid::from_u128(id),
            at: Timestamp::from_second(second).unwrap(),
            service: "orders".to_owned(),
            event: "placed".to_owned(),
            cause: None,
            attempt: 1,
        };
        let steps = in_order(vec![entry(3, 2), entry(2, 1), entry(1, 2)]);
        let seen: Vec<_> = steps
            .iter()
            .map(|s| (s.number, s.event_id.as_u128()))
            .collect();
        assert_eq!(seen, [(1, 2), (2, 1), (3, 3)]);
    }
}
