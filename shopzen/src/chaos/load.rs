//! Shoppers: they buy, pay with all sorts of cards, change their minds, come back with the same request,
//! and write down what they were told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};
use reqwest::{Client, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use shopzen_chassis::clock;
use shopzen_contracts::{OrderId, Sku};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::book::{Accepted, Book, Checkout};
use crate::exit::{Exit, Failure, OrFail as _};

/// Longer than the shop may take for any answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The pause before somebody tries again.
const TRY_AGAIN: Duration = Duration::from_millis(150);
/// How long somebody tries to place one order. Whatever is broken is whole again by then.
const PLACE_LIMIT: Duration = Duration::from_mins(2);
/// Orders by which recovery is measured are placed so often, whether the last one was answered or not.
const PROBE_PERIOD: Duration = Duration::from_millis(250);
const PROBES_MAX: usize = 40;

/// What the shoppers want, and where.
#[derive(Debug)]
pub struct Market {
    pub url: Url,
    pub skus: Vec<Sku>,
    /// Of which there is too little for everybody.
    pub scarce: Sku,
    pub client: Client,
    pub book: Book,
}

impl Market {
    pub fn new(url: Url, skus: Vec<Sku>, scarce: Sku) -> Result<Self, Failure> {
        let client = Client::builder().no_proxy().timeout(ANSWER_LIMIT).build();
        Ok(Self {
            url,
            skus,
            scarce,
            client: client.or_fail(Exit::Software, "no HTTP client can be made", "report this")?,
            book: Book::default(),
        })
    }

    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url.as_str().trim_end_matches('/'))
    }

    /// How many of the scarce goods can be bought now, where somebody answers.
    pub async fn available_scarce(&self) -> Option<i64> {
        let path = self.path(&format!("/api/v1/stock?sku={}", self.scarce));
        let answer = self.client.get(path).send().await.ok()?;
        let body: Value = answer.json().await.ok()?;
        body["items"][0]["available"].as_i64()
    }

    /// Whether the scarce goods have their price: an order that is declined, so that none are sold.
    pub async fn quotes_scarce(&self) -> bool {
        let key = format!("chaos-price-{}", clock::new_id());
        let line = json!({ "sku": self.scarce, "quantity": 1 });
        let answer = self
            .place(&key, &order_of(&[line], "tok_declined"), 10)
            .await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn place(&self, key: &str, body: &Value, wait_s: u32) -> reqwest::Result<Response> {
        let request = self.client.post(self.path("/api/v1/orders")).json(body);
        let wait = format!("wait={wait_s}");
        let request = request
            .header("Idempotency-Key", key)
            .header("Prefer", wait);
        request.send().await
    }
}

/// What is needed of an order's JSON.
#[derive(Debug, Deserialize)]
struct Placed {
    id: OrderId,
    status: String,
    order_token: Option<String>,
}

/// How often each card is drawn.
const CARDS: [(&str, u32); 9] = [
    ("tok_ok", 70),
    ("tok_declined", 4),
    ("tok_insufficient_funds", 3),
    ("tok_requires_action", 2),
    ("tok_slow", 2),
    ("tok_timeout_then_ok", 5),
    ("tok_timeout_lost", 5),
    ("tok_error_then_ok", 5),
    ("tok_capture_fails", 4),
];

/// What a shopper is about to do.
struct Wish {
    body: Value,
    scarce: u64,
    cancels: bool,
    comes_back: bool,
    cheats: bool,
}

impl Wish {
    fn draw(market: &Market, rng: &mut SmallRng) -> Self {
        let mut lines = vec![json!({
            "sku": market.skus.choose(rng).expect("a shop has goods"), "quantity": 1
        })];
        let scarce = u64::from(rng.random_ratio(1, 10));
        if scarce > 0 {
            lines.push(json!({ "sku": market.scarce, "quantity": scarce }));
        }
        let (card, _) = CARDS
            .choose_weighted(rng, |(_, weight)| *weight)
            .expect("the weights are constants");
        Self {
            body: order_of(&lines, card),
            scarce,
            cancels: rng.random_ratio(1, 12),
            comes_back: rng.random_ratio(1, 12),
            cheats: rng.random_ratio(1, 40),
        }
    }
}

fn order_of(lines: &[Value], card: &str) -> Value {
    json!({
        "lines": lines,
        "email": "shopper@example.com",
        "shipping_address": {
            "name": "Ada Lovelace", "line1": "12 St James's Square", "postal_code": "SW1Y 4JH",
            "city": "London", "country": "GB",
        },
        "payment": { "gateway": "sandbox", "token": card },
    })
}

/// A crowd that buys until it is told to stop.
pub struct Crowd {
    shoppers: JoinSet<()>,
    stop: CancellationToken,
}

impl Crowd {
    pub fn start(market: &Arc<Market>, count: u16, seed: u64) -> Self {
        let stop = CancellationToken::new();
        let mut shoppers = JoinSet::new();
        for number in 0..count {
            let shopper = Shopper {
                market: Arc::clone(market),
                rng: SmallRng::seed_from_u64(seed ^ (u64::from(number) << 32)),
                name: format!("chaos-{seed}-{number}"),
                placed: 0,
            };
            shoppers.spawn(shopper.shop(stop.clone()));
        }
        shoppers.spawn(probe(
            Arc::clone(market),
            format!("probe-{seed}"),
            stop.clone(),
        ));
        Self { shoppers, stop }
    }

    /// Lets everybody finish what they are at.
    pub async fn finish(mut self) {
        self.stop.cancel();
        while self.shoppers.join_next().await.is_some() {}
    }
}

struct Shopper {
    market: Arc<Market>,
    rng: SmallRng,
    name: String,
    placed: u64,
}

impl Shopper {
    async fn shop(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.placed += 1;
            let key = format!("{}-{}", self.name, self.placed);
            let wish = Wish::draw(&self.market, &mut self.rng);
            let Some((id, token)) = self.place(&key, &wish).await else {
                continue;
            };
            if wish.cancels {
                sleep(Duration::from_millis(self.rng.random_range(0..300))).await;
                self.cancel(id, &token).await;
            }
            if wish.comes_back
                && let Some((again, _)) = self.place(&key, &wish).await
            {
                self.market.book.repeat(&key, id, again);
            }
            if wish.cheats {
                self.cheat(&key).await;
            }
        }
    }

    /// Places an order, with the same request until it is answered. None where it is refused for good.
    async fn place(&self, key: &str, wish: &Wish) -> Option<(OrderId, String)> {
        let first = Instant::now();
        loop {
            let began = Instant::now();
            let answer = self.market.place(key, &wish.body, 2).await;
            if let Some(placed) = hear(&self.market.book, began, answer).await {
                let token = placed.order_token.unwrap_or_default();
                let accepted = Accepted {
                    key: key.to_owned(),
                    token: token.clone(),
                    scarce: wish.scarce,
                };
                self.market.book.accept(placed.id, accepted);
                if placed.status == "confirmed" {
                    let confirmed = Instant::now();
                    self.market.book.confirm(Checkout { began, confirmed });
                }
                return Some((placed.id, token));
            }
            if first.elapsed() > PLACE_LIMIT {
                let book = &self.market.book;
                book.odd(format!("{key} found no answer within {PLACE_LIMIT:?}"));
                return None;
            }
            sleep(TRY_AGAIN).await;
        }
    }

    /// Cancels, once. It may be too late, and somebody may be away.
    async fn cancel(&self, id: OrderId, token: &str) {
        let began = Instant::now();
        let request = self
            .market
            .client
            .post(self.market.path(&format!("/api/v1/orders/{id}/cancel")));
        let Ok(answer) = request.header("Order-Token", token).send().await else {
            return self
                .market
                .book
                .answer("cancel: no answer", began.elapsed());
        };
        let status = answer.status().as_u16();
        self.market
            .book
            .answer(&format!("cancel: {status}"), began.elapsed());
        if !matches!(status, 200 | 202 | 409 | 503 | 504) {
            self.market.book.odd(format!("to cancel {id} is {status}"));
        }
    }

    /// Uses a key for something else. That must not be taken for the same request.
    async fn cheat(&self, key: &str) {
        let began = Instant::now();
        let line = json!({ "sku": self.market.skus[0], "quantity": 2 });
        let body = order_of(&[line], "tok_declined");
        let Ok(answer) = self.market.place(key, &body, 0).await else {
            return self
                .market
                .book
                .answer("other body: no answer", began.elapsed());
        };
        let status = answer.status().as_u16();
        self.market
            .book
            .answer(&format!("other body: {status}"), began.elapsed());
        if !matches!(status, 422 | 503 | 504) {
            self.market
                .book
                .odd(format!("{key} with another body is {status}"));
        }
    }
}

/// What was answered: an order, or nothing for now.
async fn hear(book: &Book, began: Instant, answer: reqwest::Result<Response>) -> Option<Placed> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let kind = if error.is_timeout() {
                "no answer in time"
            } else {
                "connection broken"
            };
            book.answer(kind, began.elapsed());
            return None;
        }
    };
    let status = answer.status().as_u16();
    let Ok(text) = answer.text().await else {
        book.answer("connection broken", began.elapsed());
        return None;
    };
    book.answer(&status.to_string(), began.elapsed());
    match (status, serde_json::from_str(&text)) {
        (200..=202, Ok(placed)) => Some(placed),
        // Nothing has happened, or it is not known; either way the same key is safe.
        (503 | 504, _) => None,
        _ => {
            book.odd(format!("an order was answered {status} {text}"));
            None
        }
    }
}

/// Orders that come whatever else happens, so that the first one after a fault is never late itself.
async fn probe(market: Arc<Market>, name: String, stop: CancellationToken) {
    let mut ticks = interval(PROBE_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut under_way = JoinSet::new();
    let number = AtomicU64::new(0);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= PROBES_MAX {
            continue;
        }
        let key = format!("{name}-{}", number.fetch_add(1, Ordering::Relaxed));
        let market = Arc::clone(&market);
        under_way.spawn(async move {
            let began = Instant::now();
            let line = json!({ "sku": market.skus[0], "quantity": 1 });
            let answer = market.place(&key, &order_of(&[line], "tok_ok"), 5).await;
            let Some(placed) = hear(&market.book, began, answer).await else {
                return;
            };
            if placed.status == "confirmed" {
                let confirmed = Instant::now();
                market.book.confirm(Checkout { began, confirmed });
            }
            let accepted = Accepted {
                key,
                token: placed.order_token.unwrap_or_default(),
                scarce: 0,
            };
            market.book.accept(placed.id, accepted);
        });
    }
    while under_way.join_next().await.is_some() {}
}
