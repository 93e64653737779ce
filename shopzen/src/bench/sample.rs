//! Orders picked from a run, to see afterwards whether the shop kept its word.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};
use shopzen_contracts::{OrderId, orders::OrderStatus};
use tokio::time::interval;

use super::{
    connection::{Broken, Connection},
    target::Target,
};

/// How long after a run all its orders must have an end. A shop that fell may stand up meanwhile.
const SETTLE_LIMIT: Duration = Duration::from_mins(1);
/// How often an order that has none is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// What is needed of an order's JSON.
#[derive(Debug, Deserialize)]
pub struct Placed<'a> {
    pub id: OrderId,
    pub status: OrderStatus,
    pub order_token: Option<&'a str>,
}

/// An order, and what was said of it.
#[derive(Clone, Debug)]
pub struct Sample {
    id: OrderId,
    token: Option<String>,
    status: OrderStatus,
}

/// Some of the orders of one shopper, each with the same probability (reservoir sampling).
#[derive(Debug)]
pub struct Sampler {
    size_max: usize,
    seen: usize,
    kept: Vec<Sample>,
}

impl Sampler {
    pub fn new(size_max: usize) -> Self {
        Self {
            size_max,
            seen: 0,
            kept: Vec::new(),
        }
    }

    pub fn offer(&mut self, placed: &Placed<'_>, rng: &mut impl Rng) {
        let sample = || Sample {
            id: placed.id,
            token: placed.order_token.map(str::to_owned),
            status: placed.status,
        };
        self.seen += 1;
        if self.kept.len() < self.size_max {
            self.kept.push(sample());
        } else if let Some(other) = self.kept.get_mut(rng.random_range(0..self.seen)) {
            *other = sample();
        }
    }

    pub fn into_samples(self) -> Vec<Sample> {
        self.kept
    }
}

/// What became of a sample.
#[derive(Debug, Default, Serialize)]
pub struct Checked {
    pub orders: usize,
    /// Orders that are not there, have no end, or another one than was answered.
    pub wrong: Vec<String>,
}

/// Looks the orders up: each must be there, with the end that was answered, or with one by now.
pub async fn check(target: &Target, samples: &[Sample]) -> Checked {
    let mut checked = Checked {
        orders: samples.len(),
        wrong: Vec::new(),
    };
    let mut connection = None;
    let settled_by = Instant::now() + SETTLE_LIMIT;
    let mut ticks = interval(LOOK_PERIOD);
    for sample in samples {
        let found = loop {
            let found = look_up(target, &mut connection, sample).await;
            let may_change = match &found {
                Ok(Found::Order(status)) => !status.is_settled(),
                Ok(Found::Else(_)) => false,
                Err(_) => {
                    connection = None;
                    true
                }
            };
            if !may_change || Instant::now() >= settled_by {
                break found.unwrap_or_else(|error| Found::Else(error.to_string()));
            }
            ticks.tick().await;
        };
        checked.wrong.extend(sample.complaint(&found));
    }
    checked
}

#[derive(Debug)]
enum Found {
    Order(OrderStatus),
    /// Anything else, in words.
    Else(String),
}

async fn look_up(
    target: &Target,
    connection: &mut Option<Connection>,
    sample: &Sample,
) -> Result<Found, Broken> {
    let token = sample
        .token
        .as_ref()
        .map(|token| format!("Order-Token: {token}\r\n"));
    let path = format!("/api/v1/orders/{}", sample.id);
    let request = target.get(&path, &token.unwrap_or_default());
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(target.address).await?),
    };
    let answer = open.exchange(&request).await?;
    let order = serde_json::from_slice(answer.body);
    Ok(match (answer.status, order) {
        (200, Ok(Placed { id, status, .. })) if id == sample.id => Found::Order(status),
        _ => Found::Else(answer.excerpt()),
    })
}

impl Sample {
    /// What is wrong with it, if anything is.
    fn complaint(&self, found: &Found) -> Option<String> {
        let is = match found {
            Found::Order(now) => {
                if now.is_settled() && (*now == self.status || !self.status.is_settled()) {
                    return None;
                }
                now.as_str()
            }
            Found::Else(what) => what,
        };
        Some(format!(
            "{} was {} and is now {is}",
            self.id,
            self.status.as_str()
        ))
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::SmallRng};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_sample_has_its_size_and_comes_from_the_whole_run() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut sampler = Sampler::new(100);
        for number in 0..10_000 {
            let id = OrderId(Uuid::from_u128(number));
            let placed = Placed {
                id,
                status: OrderStatus::Confirmed,
                order_token: None,
            };
            sampler.offer(&placed, &mut rng);
        }
        let samples = sampler.into_samples();
        assert_eq!(samples.len(), 100);
        let late = samples
            .iter()
            .filter(|sample| sample.id.0.as_u128() >= 5_000)
            .count();
        assert!(
            (30..=70).contains(&late),
            "{late} of 100 are from the second half"
        );
    }

    #[test]
    fn an_order_must_keep_the_end_that_was_answered() {
        let sample = |status| Sample {
            id: OrderId(Uuid::nil()),
            token: None,
            status,
        };
        let (placed, confirmed) = (sample(OrderStatus::Placed), sample(OrderStatus::Confirmed));
        assert_eq!(
            confirmed.complaint(&Found::Order(OrderStatus::Confirmed)),
            None
        );
        assert_eq!(
            placed.complaint(&Found::Order(OrderStatus::Cancelled)),
            None
        );
        assert!(
            placed
                .complaint(&Found::Order(OrderStatus::Placed))
                .is_some()
        );
        let cancelled = confirmed
            .complaint(&Found::Order(OrderStatus::Cancelled))
            .unwrap();
        assert!(
            cancelled.ends_with("was confirmed and is now cancelled"),
            "{cancelled}"
        );
        assert!(
            confirmed
                .complaint(&Found::Else("404 {}".to_owned()))
                .unwrap()
                .ends_with("404 {}")
        );
    }
}
