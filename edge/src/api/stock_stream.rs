//! `/api/v1/stock/stream`: the present, and then each change.

use std::collections::{HashMap, VecDeque};

use axum::response::{Response, sse::Event};
use schemars::JsonSchema;
use serde::Serialize;
use shopzen_contracts::{
    Sku,
    stock::{Availability, GetLevels, Level},
};
use tokio::sync::broadcast::error::RecvError;

use crate::{
    api::stock,
    openapi::{Operation, Parameter},
    params::Params,
    problem::Refusal,
    request::Caller,
    sse::{self, LOOK_EVERY, Lookout, Place},
    stock_feed::Changes,
};

/// SKUs in one stream.
const SKUS_MAX: usize = 50;

/// The data of an `event: stock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct StockEvent {
    sku: Sku,
    available: i64,
}

pub(crate) const WATCH: Operation =
    Operation::query::<GetLevels>("watchStock", "stock", "Availability as it changes")
        .explains(
            "Server-sent events named `stock`: first one for each SKU, then one for each change. \
             A comment is sent every 15 s. After an interruption the present is sent again.",
        )
        .takes(&[Parameter::query::<Vec<Sku>>("sku", "1 to 50 SKUs: `sku=A&sku=B`.").required()])
        .streams::<StockEvent>("Each `data` is such an object.")
        .refuses(&[422]);

pub(crate) async fn watch(
    mut caller: Caller,
    params: Params,
    place: Place,
) -> Result<Response, Refusal> {
    let skus = stock::skus(params, SKUS_MAX)?;
    // First the changes and then the present, so that nothing falls in between.
    let changes = caller.edge.stock.subscribe();
    let lookout = Lookout::new(&caller.edge.asker, LOOK_EVERY);
    caller.asking.idempotency_key = None;
    let mut present = Present::default();
    let levels = caller.query_for(&GetLevels { skus: skus.clone() }).await?;
    present.look_at(levels.items);
    Ok(sse::stream(
        StockStream {
            caller,
            skus,
            changes,
            lookout,
            present,
        },
        place,
    ))
}

struct StockStream {
    caller: Caller,
    skus: Vec<Sku>,
    changes: Changes,
    lookout: Lookout,
    present: Present,
}

impl sse::Source for StockStream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((number, event)) = self.present.next() {
                return Some(framed(number, &event));
            }
            tokio::select! {
                () = self.caller.edge.shutdown.cancelled() => return None,
                change = self.changes.recv() => match change {
                    Ok(levels) => self.present.change(&self.skus, &levels),
                    Err(RecvError::Lagged(_)) => self.look().await,
                    Err(RecvError::Closed) => return None,
                },
                () = self.lookout.due() => self.look().await,
            }
        }
    }
}

impl StockStream {
    /// If the worker is away now, the next look will tell.
    async fn look(&mut self) {
        let query = GetLevels {
            skus: self.skus.clone(),
        };
        if let Ok(levels) = self.caller.query_for(&query).await {
            self.present.look_at(levels.items);
        }
    }
}

fn framed(number: u64, event: &StockEvent) -> Event {
    let data = serde_json::to_string(event).expect("it is plain data");
    Event::default()
        .event("stock")
        .id(number.to_string())
        .data(data)
}

/// What the watcher has been told, and what is still to be said.
#[derive(Debug, Default)]
struct Present {
    said: HashMap<Sku, i64>,
    /// Of the newest change of each SKU: a late one must not undo it.
    versions: HashMap<Sku, i64>,
    waiting: VecDeque<StockEvent>,
    number: u64,
}

impl Present {
    fn look_at(&mut self, levels: Vec<Level>) {
        for level in levels {
            self.say(level.sku, level.available);
        }
    }

    fn change(&mut self, skus: &[Sku], levels: &[Availability]) {
        for level in levels.iter().filter(|level| skus.contains(&level.sku)) {
            let newest = self.versions.entry(level.sku.clone()).or_insert(i64::MIN);
            if level.version > *newest {
                *newest = level.version;
                self.say(level.sku.clone(), level.available);
            }
        }
    }

    fn say(&mut self, sku: Sku, available: i64) {
        if self.said.insert(sku.clone(), available) != Some(available) {
            self.waiting.push_back(StockEvent { sku, available });
        }
    }

    fn next(&mut self) -> Option<(u64, StockEvent)> {
        let event = self.waiting.pop_front()?;
        self.number += 1;
        Some((self.number, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sku(text: &str) -> Sku {
        Sku::parse(text).unwrap()
    }

    fn level(text: &str, available: i64) -> Level {
        Level {
            sku: sku(text),
            available,
            backorderable: false,
        }
    }

    fn change(text: &str, available: i64, version: i64) -> Availability {
        Availability {
            sku: sku(text),
            available,
            version,
        }
    }

    fn said(present: &mut Present) -> Vec<(u64, String, i64)> {
        std::iter::from_fn(|| present.next())
            .map(|(number, event)| (number, event.sku.to_string(), event.available))
            .collect()
    }

    #[test]
    fn first_the_present_and_then_each_change_of_a_watched_sku() {
        let mut present = Present::default();
        let skus = [sku("A"), sku("B")];
        present.look_at(vec![level("A", 5), level("B", 0)]);
        assert_eq!(
            said(&mut present),
            [(1, "A".to_owned(), 5), (2, "B".to_owned(), 0)]
        );
        present.change(&skus, &[change("A", 4, 2), change("C", 1, 9)]);
        assert_eq!(said(&mut present), [(3, "A".to_owned(), 4)]);
    }

    #[test]
    fn a_late_or_repeated_change_is_not_said() {
        let mut present = Present::default();
        let skus = [sku("A")];
        present.change(&skus, &[change("A", 3, 7)]);
        present.change(&skus, &[change("A", 4, 6), change("A", 3, 7)]);
        present.look_at(vec![level("A", 3)]);
        assert_eq!(said(&mut present), [(1, "A".to_owned(), 3)]);
    }
}
