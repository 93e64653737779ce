//! What shoppers see while a part of the shop is away, and how soon it is over.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use shopzen_tests::{
    invariants,
    shop::{Frozen, Shop, order_of, wait_for},
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::alone;

/// Who asks for something of a part that is away knows that after so long (API.md §1).
const AWAY_WITHIN: Duration = Duration::from_secs(2);
/// What needs nothing of what is away is answered well within this.
const FAST: Duration = Duration::from_secs(1);

/// How a process is gone for good.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It still holds its connections, so that nobody but who asks it can notice.
    Hangs,
    /// Killed, and nobody starts it again.
    Dead,
}

impl End {
    /// Lasts until the guard is dropped.
    async fn of(self, shop: &Shop, process: &str) -> Result<Frozen> {
        match self {
            Self::Hangs => shop.freeze(process).await,
            Self::Dead => shop.kill_for_good(process).await,
        }
    }
}

async fn timed(request: RequestBuilder) -> Result<(Response, Duration)> {
    let began = Instant::now();
    let answer = request.send().await?;
    Ok((answer, began.elapsed()))
}

/// That this is refused in time, with a problem that says when to come back.
async fn refused(request: RequestBuilder) -> Result<()> {
    let (answer, took) = timed(request).await?;
    let url = answer.url().clone();
    ensure!(took < AWAY_WITHIN, "{url} took {took:?}");
    let status = answer.status();
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{url}: {status}");
    ensure!(is_clear(&answer), "{url}: {answer:?}");
    let problem: Value = answer.json().await?;
    ensure!(
        problem["status"] == 503 && problem["code"] == "temporarily_unavailable",
        "{url}: {problem}"
    );
    Ok(())
}

/// Whether a refusal is a problem document with a time to come back at.
fn is_clear(answer: &Response) -> bool {
    let header = |name| answer.headers().get(name).and_then(|it| it.to_str().ok());
    let is_problem = header("content-type") == Some("application/problem+json");
    let seconds = header("retry-after").and_then(|it| it.parse::<u64>().ok());
    is_problem && seconds.is_some_and(|seconds| seconds > 0)
}

/// That this is answered as if nothing were wrong.
async fn served(request: RequestBuilder) -> Result<()> {
    let (answer, took) = timed(request).await?;
    let url = answer.url().clone();
    ensure!(answer.status().is_success(), "{url}: {}", answer.status());
    ensure!(took < FAST, "{url} took {took:?}");
    Ok(())
}

/// What shoppers do, by whom it needs.
struct Calls<'a> {
    shop: &'a Shop,
    order_path: String,
    order_token: &'a str,
}

impl<'a> Calls<'a> {
    fn about(shop: &'a Shop, order: &'a Value) -> Result<Self> {
        let id = order["id"].as_str().context("an order has an id")?;
        let token = order["order_token"].as_str();
        Ok(Self {
            shop,
            order_path: format!("/api/v1/orders/{id}"),
            order_token: token.context("a guest gets a token")?,
        })
    }

    fn place(&self, key: &str) -> RequestBuilder {
        let request = self.shop.post("/api/v1/orders");
        request
            .header("Idempotency-Key", key)
            .json(&order_of(&[("LAMP-BRASS", 1)], "tok_ok"))
    }

    fn read_order(&self) -> RequestBuilder {
        let request = self.shop.get(&self.order_path);
        request.header("Order-Token", self.order_token)
    }

    fn of_catalog(&self) -> Vec<RequestBuilder> {
        let paths = [
            "/api/v1/products",
            "/api/v1/products/halden-table-lamp",
            "/api/v1/categories",
            "/api/v1/suggest?q=la",
        ];
        paths.map(|path| self.shop.get(path)).into()
    }

    fn of_orders(&self, key: &str) -> Vec<RequestBuilder> {
        let timeline = self.shop.get(&format!("{}/timeline", self.order_path));
        let cancel = self.shop.post(&format!("{}/cancel", self.order_path));
        vec![
            self.place(key),
            self.read_order(),
            timeline.header("Order-Token", self.order_token),
            cancel
                .header("Order-Token", self.order_token)
                .header("Idempotency-Key", format!("cancel-{key}")),
        ]
    }
}

/// Waits until this is served again.
async fn back(request: impl Fn() -> RequestBuilder) -> Result<()> {
    wait_for("it is served again", async || {
        Ok(request().send().await?.status().is_success())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_worker_gives_503_and_leaves_the_rest_fast() -> Result<()> {
    let _alone = alone().await;
    let shop = Shop::start(&["--split"]).await?;
    let order = shop
        .accepted("first", &order_of(&[("LAMP-BRASS", 1)], "tok_ok"))
        .await?;
    let mut accepted = vec![order.clone()];
    let calls = Calls::about(&shop, &order)?;
    for end in [End::Hangs, End::Dead] {
        let key = format!("orders {end:?}");
        let gone = end.of(&shop, "/roles/orders").await?;
        for request in calls.of_orders(&key) {
            refused(request).await.context(key.clone())?;
        }
        for request in calls.of_catalog() {
            served(request).await.context(key.clone())?;
        }
        served(shop.get("/api/v1/stock?sku=LAMP-BRASS")).await?;
        drop(gone);
        back(|| calls.read_order()).await?;
        // Whoever was refused comes back with the same key.
        back(|| calls.place(&key)).await?;
        accepted.push(calls.place(&key).send().await?.json().await?);

        let key = format!("catalog {end:?}");
        let gone = end.of(&shop, "/roles/catalog").await?;
        for request in calls.of_catalog() {
            refused(request).await.context(key.clone())?;
        }
        served(calls.read_order()).await.context(key.clone())?;
        // orders knows the prices itself.
        served(calls.place(&key)).await.context(key.clone())?;
        accepted.push(calls.place(&key).send().await?.json().await?);
        drop(gone);
        back(|| shop.get("/api/v1/products")).await?;
    }
    invariants::check(&shop, &accepted).await
}

// ---- the broker

/// How long the broker hangs, and then is dead.
const HANGS_FOR: Duration = Duration::from_secs(30);
const DEAD_FOR: Duration = Duration::from_secs(30);
/// Shoppers who buy, and as many who look.
const SHOPPERS: u32 = 8;
/// How often each of them does something.
const PACE: Duration = Duration::from_millis(200);
/// How long a shopper waits for an order's end.
const WAIT: &str = "wait=5";
/// The longest that a request may last: the five seconds that a command is given and that a shopper here
/// waits, with room for a busy machine.
const REQUEST_DEADLINE: Duration = Duration::from_secs(6);
/// Orders that have to be confirmed before and after the outage.
const CONFIRMED_BEFORE: usize = 20;
/// After an outage of the broker orders are confirmed again within so long (ARCHITECTURE.md, Promised).
const RECOVERY: Duration = Duration::from_secs(10);
/// What a role's memory may grow by in an outage.
const GROWTH_MAX_KB: u64 = 64 * 1024;
const ROLES: [&str; 8] = [
    "auth", "catalog", "orders", "stock", "payments", "notify", "edge", "audit",
];

/// A request and what came of it.
struct Seen {
    what: String,
    began: Instant,
    ended: Instant,
    /// `None` where the connection broke.
    status: Option<StatusCode>,
    is_clear: bool,
    /// What was accepted.
    order: Option<Value>,
}

impl Seen {
    fn is_confirmed(&self) -> bool {
        let order = self.order.as_ref();
        order.is_some_and(|order| order["status"] == "confirmed")
    }
}

async fn see(what: String, request: RequestBuilder) -> Seen {
    let began = Instant::now();
    let answer = request.send().await;
    let mut seen = Seen {
        what,
        began,
        ended: began,
        status: None,
        is_clear: false,
        order: None,
    };
    if let Ok(answer) = answer {
        seen.status = Some(answer.status());
        seen.is_clear = is_clear(&answer);
        if answer.status() == StatusCode::ACCEPTED {
            seen.order = answer.json().await.ok();
        }
    }
    seen.ended = Instant::now();
    seen
}

/// Shoppers who buy and look, each at a steady pace, whatever they are answered.
struct Load {
    shoppers: JoinSet<()>,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: watch::Sender<bool>,
}

impl Load {
    fn start(shop: &Arc<Shop>, order: &Value) -> Self {
        let mut load = Self {
            shoppers: JoinSet::new(),
            seen: Arc::default(),
            stop: watch::Sender::new(false),
        };
        for shopper in 0..SHOPPERS {
            load.shop(shop, order, move |calls, number| {
                let key = format!("load-{shopper}-{number}");
                (key.clone(), calls.place(&key).header("Prefer", WAIT))
            });
            load.shop(shop, order, |calls, number| {
                let mut reads = calls.of_catalog();
                reads.push(calls.read_order());
                let of_turn = usize::try_from(number).unwrap_or_default() % reads.len();
                (format!("read {of_turn}"), reads.swap_remove(of_turn))
            });
        }
        load
    }

    /// One shopper.
    fn shop(
        &mut self,
        shop: &Arc<Shop>,
        order: &Value,
        next: impl Fn(&Calls<'_>, u32) -> (String, RequestBuilder) + Send + 'static,
    ) {
        let (shop, order) = (Arc::clone(shop), order.clone());
        let (seen, stop) = (Arc::clone(&self.seen), self.stop.subscribe());
        self.shoppers.spawn(async move {
            let calls = Calls::about(&shop, &order).expect("this order is whole");
            let mut ticks = interval(PACE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for number in 0.. {
                ticks.tick().await;
                if *stop.borrow() {
                    return;
                }
                let (what, request) = next(&calls, number);
                let one = see(what, request).await;
                seen.lock().await.push(one);
            }
        });
    }

    /// Waits until so many orders that were placed after `since` are confirmed; returns when the first was.
    async fn until_confirmed(&self, since: Instant, count: usize) -> Result<Instant> {
        let mut first = None;
        wait_for("orders are confirmed", async || {
            let seen = self.seen.lock().await;
            let since = seen
                .iter()
                .filter(|it| it.began > since && it.is_confirmed());
            let confirmed: Vec<Instant> = since.map(|it| it.ended).collect();
            first = confirmed.iter().min().copied();
            Ok(confirmed.len() >= count)
        })
        .await?;
        first.context("somebody was the first")
    }

    async fn finish(mut self) -> Result<Vec<Seen>> {
        self.stop.send_replace(true);
        while let Some(shopper) = self.shoppers.join_next().await {
            shopper?;
        }
        Ok(std::mem::take(&mut *self.seen.lock().await))
    }
}

/// Who runs in each role, and how much memory it has, in KiB.
fn memory(shop: &Shop) -> Result<Vec<(i32, u64)>> {
    let of = |role: &&str| {
        let pid = shop.pid(&format!("/roles/{role}"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kb = line.context("a process has memory")?.trim_end_matches("kB");
        Ok((pid, kb.trim().parse()?))
    };
    ROLES.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_broker_of_a_minute() -> Result<()> {
    let _alone = alone().await;
    let shop = Arc::new(Shop::start(&["--split"]).await?);
    shop.add_stock("LAMP-BRASS", 100_000).await?;
    let order = shop
        .accepted("first", &order_of(&[("LAMP-BRASS", 1)], "tok_ok"))
        .await?;
    let load = Load::start(&shop, &order);
    load.until_confirmed(Instant::now(), CONFIRMED_BEFORE)
        .await?;
    let before = memory(&shop)?;

    let supervisor = shop.freeze_supervisor().await?;
    let nats = shop.freeze("/nats").await?;
    let away = Instant::now();
    // An outage is a length of time, and nothing else is waited for while it passes.
    sleep_until(away + HANGS_FOR).await;
    shop.kill("/nats")?;
    sleep_until(away + HANGS_FOR + DEAD_FOR).await;
    let after = memory(&shop)?;
    drop(nats);
    let over = Instant::now();
    drop(supervisor);

    let confirmed = load.until_confirmed(over, CONFIRMED_BEFORE).await?;
    let recovery = confirmed - over;
    ensure!(recovery < RECOVERY, "confirmed again after {recovery:?}");
    for ((role, (pid, was)), (still, is)) in ROLES.iter().zip(&before).zip(&after) {
        ensure!(pid == still, "{role} did not live through it");
        ensure!(
            is.saturating_sub(*was) < GROWTH_MAX_KB,
            "{role} grew from {was} to {is} KiB"
        );
    }
    let seen = load.finish().await?;
    let mut refused = 0;
    for it in &seen {
        let (what, status, took) = (&it.what, it.status, it.ended - it.began);
        ensure!(took < REQUEST_DEADLINE, "{what}: {status:?} after {took:?}");
        if it.began > away && it.ended < over {
            ensure!(
                status == Some(StatusCode::SERVICE_UNAVAILABLE) && it.is_clear,
                "{what} was answered {status:?} after {took:?}, {:?} into the outage",
                it.began - away
            );
            refused += 1;
        }
    }
    ensure!(refused > 0, "nobody asked for anything in the outage");
    let accepted: Vec<Value> = seen.into_iter().filter_map(|it| it.order).collect();
    ensure!(accepted.len() > 2 * CONFIRMED_BEFORE, "{}", accepted.len());
    invariants::check(&shop, &accepted).await
}
