//! `/api/v1/orders/{id}/events`: an order's progress as server-sent events.

use std::collections::VecDeque;

use axum::{
    http::{HeaderMap, HeaderName},
    response::{Response, sse::Event},
};
use serde_json::json;
use shopzen_contracts::{
    OrderId,
    orders::{GetProgress, OrderProgress, OrderStatus},
};
use uuid::Uuid;

use crate::{
    hub::Following,
    openapi::{Operation, Parameter},
    problem::Refusal,
    request::{Caller, Named},
    sse::{self, LOOK_EVERY, Lookout, Place},
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(crate) const WATCH: Operation = Operation::query::<GetProgress>(
    "watchOrder",
    "orders",
    "An order's progress",
)
.explains(
    "Server-sent events named `order`, one for each thing that happened; `id` is its number, and \
         `Last-Event-ID` goes on after it. Ends with `event: done` when the checkout is over.",
)
.takes(&[
    Parameter::ORDER_TOKEN,
    Parameter::ORDER_TOKEN_IN_LINK,
    Parameter::header(
        "Last-Event-ID",
        "The number of the last event that was seen.",
    ),
])
.streams::<OrderProgress>("Each `data` is such an object.")
.refuses(&[404]);

pub(crate) async fn watch(
    caller: Caller,
    Named(id): Named<Uuid>,
    headers: HeaderMap,
    place: Place,
) -> Result<Response, Refusal> {
    let id = OrderId(id);
    // First the news and then the past, so that nothing falls in between.
    let following = caller.edge.orders.follow(id);
    let lookout = Lookout::new(&caller.edge.asker, LOOK_EVERY);
    let log = caller.query_for(&GetProgress { id, after: 0 }).await?;
    let seen = headers
        .get(LAST_EVENT_ID)
        .and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let told = Told::start(log.items, seen.unwrap_or_default());
    Ok(sse::stream(
        OrderStream {
            caller,
            id,
            following,
            lookout,
            told,
        },
        place,
    ))
}

struct OrderStream {
    caller: Caller,
    id: OrderId,
    following: Following,
    lookout: Lookout,
    told: Told,
}

impl sse::Source for OrderStream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.told.next() {
                return Some(event);
            }
            if self.told.ended {
                return None;
            }
            tokio::select! {
                () = self.caller.edge.shutdown.cancelled() => return None,
                () = self.following.changed() => {
                    let gap = self.following.latest().is_some_and(|news| !self.told.hear(news));
                    if gap {
                        self.look().await;
                    }
                }
                () = self.lookout.due() => self.look().await,
            }
        }
    }
}

impl OrderStream {
    /// If the worker is away now, the next look will tell.
    async fn look(&mut self) {
        let query = GetProgress {
            id: self.id,
            after: self.told.heard,
        };
        if let Ok(log) = self.caller.query_for(&query).await {
            for progress in log.items {
                self.told.hear(progress);
            }
        }
    }
}

/// What the watcher has been told, and what is still to be said.
#[derive(Debug)]
struct Told {
    waiting: VecDeque<OrderProgress>,
    /// The number of the last thing heard of.
    heard: i64,
    status: Option<OrderStatus>,
    ended: bool,
}

impl Told {
    /// All that happened after event `seen`; all of it where there is no such event.
    fn start(log: Vec<OrderProgress>, seen: i64) -> Self {
        let heard = log.last().map_or(0, |last| last.version);
        let seen = if seen > heard { 0 } else { seen };
        let status = log.last().map(|last| last.status);
        let waiting = log
            .into_iter()
            .filter(|progress| progress.version > seen)
            .collect();
        Self {
            waiting,
            heard,
            status,
            ended: false,
        }
    }

    /// Takes what comes next or was known; says `false` where something is missing before it.
    fn hear(&mut self, progress: OrderProgress) -> bool {
        if progress.version > self.heard + 1 {
            return false;
        }
        if progress.version > self.heard {
            self.heard = progress.version;
            self.status = Some(progress.status);
            self.waiting.push_back(progress);
        }
        true
    }

    fn next(&mut self) -> Option<Event> {
        if let Some(progress) = self.waiting.pop_front() {
            return Some(framed(&progress));
        }
        let status = self
            .status
            .filter(|status| is_over(*status) && !self.ended)?;
        self.ended = true;
        let data = json!({ "status": status }).to_string();
        Some(
            Event::default()
                .event("done")
                .id(self.heard.to_string())
                .data(data),
        )
    }
}

fn framed(progress: &OrderProgress) -> Event {
    let data = serde_json::to_string(progress).expect("a contract is plain data");
    Event::default()
        .event("order")
        .id(progress.version.to_string())
        .data(data)
}

/// Whether the checkout has come to its end, good or bad.
fn is_over(status: OrderStatus) -> bool {
    status.is_settled() && status != OrderStatus::AwaitingDecision
}

#[cfg(test)]
mod tests {
    use axum::{body::to_bytes, response::IntoResponse};
    use futures::stream;
    use jiff::Timestamp;
    use shopzen_contracts::payments::PaymentStatus;

    use super::*;

    fn progress(version: i64, status: OrderStatus) -> OrderProgress {
        OrderProgress {
            id: OrderId(Uuid::from_u128(1)),
            version,
            status,
            reason: None,
            payment_status: PaymentStatus::Pending,
            shortages: Vec::new(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn log() -> Vec<OrderProgress> {
        vec![
            progress(1, OrderStatus::Placed),
            progress(2, OrderStatus::Reserved),
        ]
    }

    async fn said(told: &mut Told) -> Vec<String> {
        let events: Vec<_> = std::iter::from_fn(|| told.next())
            .map(Ok::<_, axum::Error>)
            .collect();
        let body = axum::response::sse::Sse::new(stream::iter(events))
            .into_response()
            .into_body();
        let text = String::from_utf8(to_bytes(body, 10_000).await.unwrap().to_vec()).unwrap();
        let line = |event: &str, name: &str| {
            let found = event
                .lines()
                .find_map(|line| line.strip_prefix(name).map(str::to_owned));
            found.unwrap_or_default()
        };
        text.split_terminator("\n\n")
            .map(|event| format!("{} {}", line(event, "event: "), line(event, "id: ")))
            .collect()
    }

    #[tokio::test]
    async fn the_past_is_told_and_then_what_happens_and_then_it_is_done() {
        let mut told = Told::start(log(), 0);
        assert_eq!(said(&mut told).await, ["order 1", "order 2"]);
        assert!(told.hear(progress(3, OrderStatus::Confirmed)));
        assert_eq!(said(&mut told).await, ["order 3", "done 3"]);
        assert!(told.ended);
    }

    #[tokio::test]
    async fn who_comes_back_is_told_what_they_missed() {
        assert_eq!(said(&mut Told::start(log(), 1)).await, ["order 2"]);
        let mut over = log();
        over.push(progress(3, OrderStatus::Rejected));
        assert_eq!(said(&mut Told::start(over, 3)).await, ["done 3"]);
        assert_eq!(
            said(&mut Told::start(log(), 99)).await,
            ["order 1", "order 2"]
        );
    }

    #[tokio::test]
    async fn a_gap_is_noticed_and_repeats_are_not_told() {
        let mut told = Told::start(log(), 2);
        assert!(
            !told.hear(progress(4, OrderStatus::Confirmed)),
            "3 is missing"
        );
        assert!(told.hear(progress(2, OrderStatus::Reserved)));
        assert!(told.hear(progress(3, OrderStatus::Reserved)));
        assert!(told.hear(progress(4, OrderStatus::Confirmed)));
        assert_eq!(said(&mut told).await, ["order 3", "order 4", "done 4"]);
    }

    #[tokio::test]
    async fn an_order_that_waits_for_the_shopper_is_not_done() {
        let mut told = Told::start(vec![progress(1, OrderStatus::AwaitingDecision)], 0);
        assert_eq!(said(&mut told).await, ["order 1"]);
        assert!(!told.ended);
    }
}
