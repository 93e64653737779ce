//! What every test here needs.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use serde_json::Value;
use shopzen_chassis::{
    Bus, NatsLogin, Process, Secret, clock,
    harness::{Harness, Published},
};
use shopzen_contracts::{
    Currency, Event, Money, OrderId, Quantity, Sku,
    orders::{
        EndReason, OrderCancelled, OrderConfirmed, OrderLineInput, OrderPlaced, OrderRejected,
        OrderSummary, PaymentInput,
    },
    stock::StockReserved,
};
use shopzen_payments::{Config, worker};
use shopzen_sandbox_gateway::{Delays, Gateway, router};
use shopzen_test_servers::servers;
use sqlx::PgPool;
use tokio::{
    net::TcpListener,
    sync::{RwLock, RwLockReadGuard},
    task::JoinHandle,
    time::{Instant, interval},
};

pub(crate) const TOTAL: Money = Money::new(5_498, Currency::EUR);

/// Much shorter than in production, and longer than any answer the sandbox means to give.
pub(crate) const GATEWAY_TIMEOUT_MS: u32 = 400;

/// Anybody may know it: it is for tests.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Delays of the sandbox that outlast our patience.
pub(crate) fn delays() -> Delays {
    Delays {
        slow: Duration::from_millis(1_500),
        timeout: Duration::from_secs(5),
    }
}

pub(crate) async fn bus() -> Bus {
    let login = NatsLogin {
        url: servers().nats_url(),
        user: "test".to_owned(),
        password: Secret::new(""),
    };
    Bus::connect(&login).await.expect("NATS answers")
}

/// An HTTP server on a free port, until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(routes: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        Self::serve(listener, routes)
    }

    pub(crate) fn serve(listener: TcpListener, routes: Router) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let task = spawn(async move {
            axum::serve(listener, routes).await.expect("it serves");
        });
        Self { address, task }
    }

    pub(crate) fn url(&self) -> String {
        url_at(self.address)
    }
}

pub(crate) fn url_at(address: SocketAddr) -> String {
    format!("http://{address}/sandbox-gateway")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[expect(clippy::disallowed_methods, reason = "it ends with its test")]
pub(crate) fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(task)
}

pub(crate) fn sandbox() -> Gateway {
    Gateway::open(None)
        .expect("books in memory need nothing")
        .with_delays(delays())
}

/// A worker under test, and a gateway.
///
/// The harness is a process that dies early: what `deliver` commits it does not ask the gateway for,
/// and what `deliver_once` asks for it does not record. [`Shop::open_for_business`] is the process
/// after it.
pub(crate) struct Shop {
    pub(crate) harness: Harness,
    pub(crate) config: Config,
    pub(crate) gateway: Server,
}

impl Shop {
    pub(crate) async fn new() -> Self {
        Self::with_gateway(Server::start(router(sandbox())).await).await
    }

    pub(crate) async fn with_gateway(gateway: Server) -> Self {
        let config = config(&gateway.url());
        Self {
            harness: harness(&config).await,
            config,
            gateway,
        }
    }

    pub(crate) async fn open_for_business(&self) -> Running {
        let together = RUNNING.read().await;
        Running::start(self.config.clone(), Some(together)).await
    }

    /// For who is alone, having locked [`RUNNING`]: what is asked of payments is asked of this worker.
    pub(crate) async fn open_alone(&self) -> Running {
        Running::start(self.config.clone(), None).await
    }

    /// Runs a worker until it has brought a payment so far.
    pub(crate) async fn run_until(&self, order_id: OrderId, wanted: &str) {
        let running = self.open_for_business().await;
        self.wait_for(order_id, wanted).await;
        running.stop().await;
    }

    pub(crate) async fn state(&self, order_id: OrderId) -> String {
        state(self.harness.pool(), order_id).await
    }

    pub(crate) async fn wait_for(&self, order_id: OrderId, wanted: &str) {
        eventually(wanted, async || self.state(order_id).await == wanted).await;
    }

    /// The gateway's own books of an order.
    pub(crate) async fn charges(&self, order_id: OrderId) -> Vec<Value> {
        charges(&self.gateway.url(), order_id).await
    }

    /// The one charge there is.
    pub(crate) async fn charge(&self, order_id: OrderId) -> Value {
        let mut charges = self.charges(order_id).await;
        assert_eq!(charges.len(), 1, "{charges:?}");
        charges.remove(0)
    }

    pub(crate) async fn wait_for_charge(&self, order_id: OrderId, status: &str) {
        eventually(status, async || {
            self.charges(order_id)
                .await
                .iter()
                .any(|charge| charge["status"] == status)
        })
        .await;
    }

    /// The kinds of event that were published about an order, in their order.
    pub(crate) async fn told(&self, order_id: OrderId) -> Vec<String> {
        told(self.harness.pool(), order_id).await
    }

    /// What the ledger says was kept of an order.
    pub(crate) async fn booked(&self, order_id: OrderId) -> i64 {
        sqlx::query_scalar(
            "
            SELECT coalesce(sum(amount_minor), 0)::int8 FROM ledger_entries
            WHERE order_id = $1 AND account = 'gateway_pending'
            ",
        )
        .bind(order_id.0)
        .fetch_one(self.harness.pool())
        .await
        .expect("the ledger can be read")
    }
}

pub(crate) fn config(gateway_url: &str) -> Config {
    Config {
        database_url: Secret::new(servers().database_url()),
        sandbox_url: gateway_url.parse().expect("it is an address"),
        webhook_secret: WEBHOOK_SECRET.parse().expect("it is a secret"),
        gateway_timeout_ms: GATEWAY_TIMEOUT_MS,
        ..Config::default()
    }
}

pub(crate) async fn harness(config: &Config) -> Harness {
    Harness::start(worker(config), &bus().await)
        .await
        .expect("the worker starts")
}

/// Running workers take their events from one durable consumer and answer on the same subjects, so who
/// publishes events or asks is alone.
pub(crate) static RUNNING: RwLock<()> = RwLock::const_new(());

/// A worker that runs until it is stopped.
pub(crate) struct Running {
    process: Process,
    task: JoinHandle<()>,
    _together: Option<RwLockReadGuard<'static, ()>>,
}

impl Running {
    async fn start(config: Config, together: Option<RwLockReadGuard<'static, ()>>) -> Self {
        let process = Process::default();
        let (bus, running) = (bus().await, process.clone());
        let task = spawn(async move {
            worker(&config)
                .run(bus, &running)
                .await
                .expect("the worker starts");
        });
        Self {
            process,
            task,
            _together: together,
        }
    }

    pub(crate) async fn stop(self) {
        self.process.shutdown.cancel();
        self.task.await.expect("the worker stops");
    }
}

pub(crate) async fn state(pool: &PgPool, order_id: OrderId) -> String {
    sqlx::query_scalar("SELECT state FROM payments WHERE order_id = $1")
        .bind(order_id.0)
        .fetch_optional(pool)
        .await
        .expect("payments can be read")
        .unwrap_or_else(|| "new".to_owned())
}

pub(crate) async fn told(pool: &PgPool, order_id: OrderId) -> Vec<String> {
    let subjects: Vec<String> =
        sqlx::query_scalar("SELECT subject FROM outbox WHERE key = $1 ORDER BY event_id")
            .bind(order_id.0)
            .fetch_all(pool)
            .await
            .expect("the outbox can be read");
    subjects
        .iter()
        .map(|subject| {
            subject
                .trim_start_matches("shop.evt.payments.v1.")
                .to_owned()
        })
        .collect()
}

pub(crate) async fn charges(gateway_url: &str, order_id: OrderId) -> Vec<Value> {
    let url = format!("{gateway_url}/v1/charges?order_id={order_id}");
    let answer = reqwest::get(url).await.expect("the gateway answers");
    let page: Value = answer.json().await.expect("in JSON");
    page["items"].as_array().expect("a list").clone()
}

pub(crate) fn new_order_id() -> OrderId {
    OrderId(clock::new_id())
}

pub(crate) fn placed(order_id: OrderId, total: Money, gateway: &str, token: &str) -> OrderPlaced {
    OrderPlaced {
        order_id,
        lines: vec![OrderLineInput {
            sku: Sku::parse("LAMP-BRASS").expect("it is a SKU"),
            quantity: Quantity::parse(2).expect("2 is a quantity"),
        }],
        total,
        payment: PaymentInput {
            gateway: gateway.to_owned(),
            token: token.to_owned(),
        },
    }
}

pub(crate) fn placed_with(order_id: OrderId, token: &str) -> OrderPlaced {
    placed(order_id, TOTAL, "sandbox", token)
}

pub(crate) fn reserved(order_id: OrderId) -> StockReserved {
    StockReserved { order_id }
}

fn summary() -> OrderSummary {
    OrderSummary {
        email: "ada@example.com".to_owned(),
        sealed_email: None,
        lines: Vec::new(),
        total: TOTAL,
    }
}

pub(crate) fn confirmed(order_id: OrderId) -> OrderConfirmed {
    OrderConfirmed {
        order_id,
        summary: summary(),
    }
}

pub(crate) fn rejected(order_id: OrderId, reason: EndReason) -> OrderRejected {
    OrderRejected {
        order_id,
        reason,
        shortages: Vec::new(),
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

/// The one event that was published.
pub(crate) fn only<E: Event>(published: &[Published]) -> E {
    assert_eq!(published.len(), 1, "{published:?}");
    published[0].is().unwrap_or_else(|| panic!("{published:?}"))
}

/// Waits for something to become true.
pub(crate) async fn eventually(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    const TIMEOUT: Duration = Duration::from_secs(30);
    let deadline = Instant::now() + TIMEOUT;
    let mut tick = interval(Duration::from_millis(20));
    while !is_true().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tick.tick().await;
    }
}
