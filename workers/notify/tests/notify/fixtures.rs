//! What every test here needs.

use std::{collections::HashSet, time::Duration};

use shopzen_chassis::{Bus, NatsLogin, Secret, clock, harness::Harness};
use shopzen_contracts::{
    Currency, Money, OrderId, Quantity, Sku,
    orders::{EndReason, OrderCancelled, OrderConfirmed, OrderRejected, OrderSummary, SummaryLine},
    stock::Shortage,
};
use shopzen_notify::{Config, worker};
use shopzen_test_servers::servers;
use tokio::time::{Instant, interval};

use crate::desk;

pub(crate) async fn bus() -> Bus {
    let login = NatsLogin {
        url: servers().nats_url(),
        user: "test".to_owned(),
        password: Secret::new(""),
    };
    Bus::connect(&login).await.expect("NATS answers")
}

/// A configuration with a new database and no mail server.
pub(crate) fn config() -> Config {
    Config {
        database_url: Secret::new(servers().database_url()),
        ..Config::default()
    }
}

pub(crate) async fn harness(config: Config) -> Harness {
    desk::open().await;
    Harness::start(worker(config), &bus().await)
        .await
        .expect("the worker starts")
}

pub(crate) fn new_order_id() -> OrderId {
    OrderId(clock::new_id())
}

pub(crate) fn summary() -> OrderSummary {
    OrderSummary {
        email: "ada@example.com".to_owned(),
        sealed_email: None,
        lines: vec![SummaryLine {
            name: "Brass lamp".to_owned(),
            quantity: Quantity::parse(2).expect("2 is a quantity"),
            line_total: Money::new(5_498, Currency::EUR),
        }],
        total: Money::new(5_988, Currency::EUR),
    }
}

pub(crate) fn confirmed(order_id: OrderId) -> OrderConfirmed {
    OrderConfirmed {
        order_id,
        summary: summary(),
    }
}

pub(crate) fn rejected(order_id: OrderId) -> OrderRejected {
    OrderRejected {
        order_id,
        reason: EndReason::OutOfStock,
        shortages: vec![Shortage {
            sku: Sku::parse("LAMP-BRASS").expect("it is a SKU"),
            requested: Quantity::parse(2).expect("2 is a quantity"),
            available: 1,
        }],
        summary: summary(),
    }
}

pub(crate) fn cancelled(order_id: OrderId) -> OrderCancelled {
    OrderCancelled {
        order_id,
        reason: EndReason::TimedOut,
        summary: summary(),
    }
}

/// The states that a worker's mails are in now.
pub(crate) async fn states(harness: &Harness) -> HashSet<String> {
    let states: Vec<String> = sqlx::query_scalar("SELECT DISTINCT state FROM mails")
        .fetch_all(harness.pool())
        .await
        .expect("mails can be read");
    states.into_iter().collect()
}

/// Waits for something to become true.
pub(crate) async fn eventually(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    const TIMEOUT: Duration = Duration::from_secs(20);
    let deadline = Instant::now() + TIMEOUT;
    let mut tick = interval(Duration::from_millis(10));
    while !is_true().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tick.tick().await;
    }
}
