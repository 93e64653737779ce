//! Whole checkouts over the real broker, with each of the sandbox's tokens (API.md, 3). Orders and
//! stock are played by two small workers that decide as the real ones do.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex},
};

use serde_json::{Value, json};
use shopzen_chassis::{
    Cause, Cx, DatabaseConfig, Failure, Process, Queue, Received, Secret, Worker, queue, streams,
};
use shopzen_contracts::{
    Currency, Money, OrderId, Service,
    orders::{EndReason, OrderPlaced},
    payments::{PaymentAuthorised, PaymentCaptureFailed, PaymentDeclined},
};
use shopzen_payments::worker;
use shopzen_sandbox_gateway::router;
use shopzen_test_servers::servers;
use sqlx::migrate::Migrator;
use tokio::task::JoinHandle;

use crate::audits;
use crate::fixtures::{
    RUNNING, Server, Shop, TOTAL, bus, cancelled, confirmed, new_order_id, placed, placed_with,
    rejected, reserved, sandbox, spawn,
};

/// What the shopper or the clock says to the orders worker.
enum Say {
    Place(OrderPlaced),
    Cancel(OrderId),
}

/// The orders worker's orders, and whether each is still alive.
#[derive(Default)]
struct Orders(Mutex<BTreeMap<OrderId, bool>>);

impl Orders {
    fn open(&self, order_id: OrderId) {
        self.0.lock().unwrap().insert(order_id, true);
    }

    fn is_alive(&self, order_id: OrderId) -> bool {
        self.0.lock().unwrap().get(&order_id) == Some(&true)
    }

    /// False where it has ended, or is none of ours.
    fn end(&self, order_id: OrderId) -> bool {
        self.0
            .lock()
            .unwrap()
            .get_mut(&order_id)
            .is_some_and(std::mem::take)
    }
}

async fn say(cx: &mut Cx, orders: &Orders, said: &[Say]) -> Result<(), Failure> {
    for say in said {
        match say {
            Say::Place(event) => {
                orders.open(event.order_id);
                cx.publish(event, &Cause::none());
            }
            Say::Cancel(order_id) if orders.end(*order_id) => {
                cx.publish(&cancelled(*order_id), &Cause::none());
            }
            Say::Cancel(_) => {}
        }
    }
    Ok(())
}

async fn on_authorised(
    cx: &mut Cx,
    orders: &Orders,
    events: &[Received<PaymentAuthorised>],
) -> Result<(), Failure> {
    for Received { event, cause } in events {
        if orders.is_alive(event.order_id) {
            cx.publish(&confirmed(event.order_id), cause);
        }
    }
    Ok(())
}

async fn on_declined(
    cx: &mut Cx,
    orders: &Orders,
    events: &[Received<PaymentDeclined>],
) -> Result<(), Failure> {
    for Received { event, cause } in events {
        if orders.end(event.order_id) {
            cx.publish(&rejected(event.order_id, EndReason::PaymentDeclined), cause);
        }
    }
    Ok(())
}

async fn on_capture_failed(
    cx: &mut Cx,
    orders: &Orders,
    events: &[Received<PaymentCaptureFailed>],
) -> Result<(), Failure> {
    for Received { event, cause } in events {
        if orders.end(event.order_id) {
            cx.publish(&cancelled(event.order_id), cause);
        }
    }
    Ok(())
}

async fn on_placed(cx: &mut Cx, (): &(), events: &[Received<OrderPlaced>]) -> Result<(), Failure> {
    for Received { event, cause } in events {
        cx.publish(&reserved(event.order_id), cause);
    }
    Ok(())
}

static NO_TABLES: LazyLock<Migrator> = LazyLock::new(|| Migrator::with_migrations(Vec::new()));

fn database() -> DatabaseConfig {
    DatabaseConfig {
        database_url: Secret::new(servers().database_url()),
        ..DatabaseConfig::default()
    }
}

/// Three workers on one broker.
struct Choreography {
    shop: Shop,
    orders: Queue<Say>,
    process: Process,
    workers: Vec<JoinHandle<()>>,
}

impl Choreography {
    async fn start() -> Self {
        let shop = Shop::with_gateway(Server::start(router(sandbox())).await).await;
        let (orders, said) = queue(1_024);
        let process = Process::default();
        let admin = bus().await;
        for service in [Service::Orders, Service::Stock, Service::Payments] {
            streams::ensure(&admin.admin(), service).await.unwrap();
        }
        let played_orders =
            Worker::builder(Service::Orders, &NO_TABLES, database(), Orders::default())
                .on_event::<PaymentAuthorised, _>(on_authorised)
                .on_event::<PaymentDeclined, _>(on_declined)
                .on_event::<PaymentCaptureFailed, _>(on_capture_failed)
                .drain(said, |_| true, say)
                .build();
        let played_stock = Worker::builder(Service::Stock, &NO_TABLES, database(), ())
            .on_event::<OrderPlaced, _>(on_placed)
            .build();
        let mut workers = vec![run(played_orders, &process).await];
        workers.push(run(played_stock, &process).await);
        workers.push(run(worker(&shop.config), &process).await);
        Self {
            shop,
            orders,
            process,
            workers,
        }
    }

    async fn place(&self, token: &str) -> OrderId {
        let order_id = new_order_id();
        self.orders
            .put(Say::Place(placed_with(order_id, token)))
            .await;
        order_id
    }

    async fn cancel(&self, order_id: OrderId) {
        self.orders.put(Say::Cancel(order_id)).await;
    }

    async fn stop(self) {
        self.process.shutdown.cancel();
        for worker in self.workers {
            worker.await.unwrap();
        }
    }
}

async fn run(worker: Worker, process: &Process) -> JoinHandle<()> {
    let (bus, process) = (bus().await, process.clone());
    spawn(async move { worker.run(bus, &process).await.unwrap() })
}

fn as_in_books(charge: &Value) -> Value {
    json!([
        charge["status"],
        charge["captured_minor"],
        charge["refunded_minor"]
    ])
}

#[expect(
    clippy::too_many_lines,
    reason = "all tokens go through one shop together"
)]
#[tokio::test]
async fn every_token_comes_to_its_end_and_the_books_agree() {
    let _alone = RUNNING.write().await;
    let play = Choreography::start().await;
    let shop = &play.shop;

    let ok = play.place("tok_ok").await;
    let declined = play.place("tok_declined").await;
    let no_funds = play.place("tok_insufficient_funds").await;
    let no_token = play.place("tok_of_nobody").await;
    let acting = play.place("tok_requires_action").await;
    let failing = play.place("tok_requires_action").await;
    let leaving = play.place("tok_requires_action").await;
    let slow = play.place("tok_slow").await;
    let slow_left = play.place("tok_slow").await;
    let answer_lost = play.place("tok_timeout_then_ok").await;
    let request_lost = play.place("tok_timeout_lost").await;
    let error_first = play.place("tok_error_then_ok").await;
    let not_captured = play.place("tok_capture_fails").await;
    let free = new_order_id();
    let nothing = Money::zero(Currency::EUR);
    play.orders
        .put(Say::Place(placed(free, nothing, "sandbox", "tok_ok")))
        .await;

    for order_id in [acting, failing, leaving] {
        shop.wait_for(order_id, "action_required").await;
    }
    authenticate(shop, acting, "ok").await;
    authenticate(shop, failing, "failed").await;
    play.cancel(leaving).await;
    shop.wait_for(slow_left, "authorisation_unknown").await;
    play.cancel(slow_left).await;
    shop.wait_for(request_lost, "authorisation_unknown").await;
    play.cancel(request_lost).await;

    let captured = json!(["captured", 5_498, 0]);
    let voided = json!(["voided", 0, 0]);
    for (name, order_id, state, books, told) in [
        (
            "ok",
            ok,
            "captured",
            &captured,
            &["authorised", "captured"][..],
        ),
        (
            "acting",
            acting,
            "captured",
            &captured,
            &["action_required", "authorised", "captured"],
        ),
        (
            "slow",
            slow,
            "captured",
            &captured,
            &["unknown", "authorised", "captured"],
        ),
        (
            "answer lost",
            answer_lost,
            "captured",
            &captured,
            &["unknown", "authorised", "captured"],
        ),
        (
            "error first",
            error_first,
            "captured",
            &captured,
            &["unknown", "authorised", "captured"],
        ),
        (
            "leaving",
            leaving,
            "voided",
            &voided,
            &["action_required", "voided"],
        ),
        (
            "slow, left",
            slow_left,
            "voided",
            &voided,
            &["unknown", "authorised", "voided"],
        ),
        (
            "not captured",
            not_captured,
            "voided",
            &voided,
            &["authorised", "capture_failed", "voided"],
        ),
        (
            "declined",
            declined,
            "declined",
            &json!(["declined", 0, 0]),
            &["declined"],
        ),
        (
            "no funds",
            no_funds,
            "declined",
            &json!(["declined", 0, 0]),
            &["declined"],
        ),
        (
            "failing",
            failing,
            "declined",
            &json!(["declined", 0, 0]),
            &["action_required", "declined"],
        ),
    ] {
        shop.wait_for(order_id, state).await;
        assert_eq!(as_in_books(&shop.charge(order_id).await), *books, "{name}");
        assert_eq!(shop.told(order_id).await, told, "{name}");
        let kept = if state == "captured" {
            TOTAL.amount_minor
        } else {
            0
        };
        assert_eq!(shop.booked(order_id).await, kept, "{name}");
    }
    for (name, order_id, state, told) in [
        ("no token", no_token, "declined", &["declined"][..]),
        (
            "request lost",
            request_lost,
            "voided",
            &["unknown", "voided"],
        ),
        ("free", free, "captured", &["authorised", "captured"]),
    ] {
        shop.wait_for(order_id, state).await;
        assert!(shop.charges(order_id).await.is_empty(), "{name}");
        assert_eq!(shop.told(order_id).await, told, "{name}");
    }

    let pool = shop.harness.pool();
    let (open, dead, ledger): (i64, i64, i64) = sqlx::query_as(
        "
        SELECT (SELECT count(*) FROM payment_attempts WHERE next_at IS NOT NULL),
            (SELECT count(*) FROM dead_letters),
            (SELECT coalesce(sum(amount_minor), 0)::int8 FROM ledger_entries WHERE account = 'gateway_pending')
        ",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!((open, dead), (0, 0), "nothing is left over");
    let url = format!("{}/v1/summary", shop.gateway.url());
    let books: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(
        books["items"][0]["captured_minor"], ledger,
        "the ledger is the gateway's books"
    );

    assert_eq!(
        audits::odd(shop).await,
        [],
        "payments, attempts and ledger agree"
    );

    // What follows the gateway's answer belongs to the event that asked for it.
    let causes: Vec<Option<uuid::Uuid>> =
        sqlx::query_scalar("SELECT cause_id FROM outbox WHERE key = $1")
            .bind(answer_lost.0)
            .fetch_all(pool)
            .await
            .unwrap();
    assert!(causes.iter().all(Option::is_some), "{causes:?}");
    play.stop().await;
}

/// The shopper passes 3-D Secure, or does not.
pub(crate) async fn authenticate(shop: &Shop, order_id: OrderId, result: &str) {
    let charge = shop.charge(order_id).await;
    assert!(charge["action_url"].is_string());
    let id = charge["id"].as_str().unwrap();
    let url = format!("{}/v1/charges/{id}/authenticate", shop.gateway.url());
    let answer = reqwest::Client::new()
        .post(url)
        .json(&json!({ "result": result }))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
}
