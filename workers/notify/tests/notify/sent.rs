//! With a mail server: mails are handed over, whatever it does, and told once.

use std::sync::Mutex;

use shopzen_chassis::{
    Cause, Cx, DatabaseConfig, Failure, Process, Secret, Worker, harness::Harness,
};
use shopzen_contracts::{
    Event, Service,
    notify::{MailKind, MailSent},
    orders::OrderConfirmed,
};
use shopzen_notify::{Config, worker};
use shopzen_test_servers::servers;
use sqlx::migrate::Migrator;
use tokio::sync::MutexGuard;

use crate::{
    fixtures::{bus, config, confirmed, eventually, harness, new_order_id, states},
    mail_server::{Fate, MailServer, spawn},
};

/// Workers that run take their events from one durable consumer, so there is one at a time.
static RUNNING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A worker that runs, until it is dropped.
struct Running {
    process: Process,
    _alone: MutexGuard<'static, ()>,
}

impl Running {
    async fn start(config: Config) -> Self {
        let alone = RUNNING.lock().await;
        let process = Process::default();
        let (bus, running) = (bus().await, process.clone());
        spawn(async move {
            worker(config)
                .run(bus, &running)
                .await
                .expect("the worker starts");
        });
        Self {
            process,
            _alone: alone,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.shutdown.cancel();
    }
}

fn with(server: &MailServer, config: Config) -> Config {
    Config {
        smtp_url: server.url().parse().expect("it is an address"),
        ..config
    }
}

/// Lets the time pass that mails wait for.
async fn turn_the_clock(harness: &Harness) {
    sqlx::query("UPDATE mails SET next_at = now() WHERE state = 'pending'")
        .execute(harness.pool())
        .await
        .expect("mails can be changed");
}

async fn wait_until(harness: &Harness, state: &str) {
    eventually(state, async || {
        states(harness).await.iter().all(|found| found == state)
    })
    .await;
}

/// How many events say that a mail was sent.
async fn told(harness: &Harness) -> usize {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE subject = $1")
        .bind(MailSent::SUBJECT)
        .fetch_one(harness.pool())
        .await
        .expect("the outbox can be read");
    usize::try_from(count).expect("a count is not negative")
}

async fn attempts(harness: &Harness) -> i32 {
    sqlx::query_scalar("SELECT max(attempts) FROM mails")
        .fetch_one(harness.pool())
        .await
        .expect("mails can be read")
}

#[tokio::test]
async fn a_confirmed_order_on_the_broker_becomes_a_mail_in_the_inbox() {
    static NONE: Migrator = Migrator::DEFAULT;
    async fn confirm(cx: &mut Cx, orders: &Mutex<Vec<OrderConfirmed>>) -> Result<bool, Failure> {
        let placed = std::mem::take(&mut *orders.lock().expect("no test panics here"));
        for event in placed {
            cx.publish(&event, &Cause::none());
        }
        Ok(false)
    }

    let server = MailServer::start([]).await;
    let config = with(&server, config());
    let harness = harness(config.clone()).await;
    let running = Running::start(config).await;
    let order_id = new_order_id();
    let database = DatabaseConfig {
        database_url: Secret::new(servers().database_url()),
        ..DatabaseConfig::default()
    };
    let confirmed_orders = Mutex::new(vec![confirmed(order_id)]);
    let orders = Worker::builder(Service::Orders, &NONE, database, confirmed_orders)
        .at_start(confirm)
        .build();
    let (bus, process) = (bus().await, running.process.clone());
    spawn(async move {
        orders.run(bus, &process).await.expect("the worker starts");
    });

    eventually("the mail comes in", async || !server.seen().is_empty()).await;
    eventually("it is told", async || told(&harness).await == 1).await;
    assert_eq!(states(&harness).await, ["sent".to_owned()].into());
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].recipients, ["RCPT TO:<ada@example.com>"]);
    assert_eq!(seen[0].header("To"), "ada@example.com");
    assert_eq!(seen[0].header("From"), "ShopZen <shop@localhost>");
    assert_eq!(
        seen[0].header("Subject"),
        "Your order with ShopZen is confirmed"
    );
    assert_eq!(
        seen[0].header("Message-ID"),
        format!("<{order_id}.order_confirmed@localhost>")
    );
    assert!(seen[0].text.contains("59.88 EUR"));
}

#[tokio::test]
async fn a_mail_that_was_refused_is_sent_later() {
    let server = MailServer::start([Fate::Refused]).await;
    let config = with(&server, config());
    let harness = harness(config.clone()).await;
    assert!(
        harness.deliver(&confirmed(new_order_id())).await.is_empty(),
        "nothing is sent yet"
    );
    let _running = Running::start(config).await;
    turn_the_clock(&harness).await;
    eventually("it was refused", async || server.seen().len() == 1).await;
    eventually("the refusal is recorded", async || {
        attempts(&harness).await >= 2 && {
            // The first attempt was the harness's, which stopped before it sent anything.
            let waits: bool = sqlx::query_scalar(
            "SELECT bool_and(next_at BETWEEN now() AND now() + interval '15 seconds') FROM mails",
        )
        .fetch_one(harness.pool())
        .await
        .expect("mails can be read");
            waits
        }
    })
    .await;
    assert_eq!(told(&harness).await, 0);
    turn_the_clock(&harness).await;
    wait_until(&harness, "sent").await;
    assert_eq!(told(&harness).await, 1);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_server_that_dies_with_the_mail_gets_a_repeat_it_can_know() {
    let server = MailServer::start([Fate::TakenInSilence]).await;
    let config = with(&server, config());
    let harness = harness(config.clone()).await;
    harness.deliver(&confirmed(new_order_id())).await;
    let _running = Running::start(config).await;
    eventually("the mail is sent again", async || {
        turn_the_clock(&harness).await;
        server.seen().iter().any(|seen| seen.fate == Fate::Taken)
    })
    .await;
    wait_until(&harness, "sent").await;
    let seen = server.seen();
    assert_eq!(seen[0].fate, Fate::TakenInSilence);
    assert!(
        seen.iter().all(|again| again.text == seen[0].text),
        "Message-ID and all"
    );
    assert_eq!(told(&harness).await, 1);
}

#[tokio::test]
async fn mails_go_out_side_by_side_and_no_more_than_allowed() {
    let server = MailServer::start([]).await;
    let config = Config {
        sending_max: 3,
        ..with(&server, config())
    };
    let harness = harness(config.clone()).await;
    let batch: Vec<OrderConfirmed> = (0..60).map(|_| confirmed(new_order_id())).collect();
    harness.deliver_together(&batch).await;
    turn_the_clock(&harness).await;
    let _running = Running::start(config).await;
    eventually("all are sent", async || {
        states(&harness).await == ["sent".to_owned()].into()
    })
    .await;
    assert_eq!(told(&harness).await, 60);
    // The harness has sent a few by itself, over connections of its own.
    assert!(
        (2..=6).contains(&server.sessions_most()),
        "{}",
        server.sessions_most()
    );
}

#[tokio::test]
async fn a_mail_nobody_takes_is_kept_in_the_end() {
    let server = MailServer::start([Fate::Refused; 8]).await;
    let config = Config {
        attempts_max: 2,
        ..with(&server, config())
    };
    let harness = harness(config.clone()).await;
    harness.deliver(&confirmed(new_order_id())).await;
    let _running = Running::start(config).await;
    turn_the_clock(&harness).await;
    wait_until(&harness, "kept").await;
    assert_eq!(
        told(&harness).await,
        0,
        "nobody was told, so nobody may say so"
    );
}

#[tokio::test]
async fn what_is_no_address_is_kept_and_troubles_no_server() {
    let server = MailServer::start([]).await;
    let harness = harness(with(&server, config())).await;
    let mut event = confirmed(new_order_id());
    event.summary.email = "ada@example.com\r\nRCPT TO:<eve@example.com>".to_owned();
    assert!(harness.deliver(&event).await.is_empty());
    assert_eq!(states(&harness).await, ["kept".to_owned()].into());
}

#[tokio::test]
async fn mails_for_a_server_that_was_taken_away_are_kept() {
    let server = MailServer::start([]).await;
    let without = config();
    let harness = harness(with(&server, without.clone())).await;
    let order_id = new_order_id();
    assert!(harness.deliver(&confirmed(order_id)).await.is_empty());
    let _running = Running::start(without).await;
    wait_until(&harness, "kept").await;
    let body: String = sqlx::query_scalar("SELECT body FROM outbox WHERE subject = $1")
        .bind(MailSent::SUBJECT)
        .fetch_one(harness.pool())
        .await
        .unwrap();
    let told: MailSent = serde_json::from_str(&body).unwrap();
    assert_eq!(
        told,
        MailSent {
            order_id,
            kind: MailKind::OrderConfirmed
        }
    );
}
