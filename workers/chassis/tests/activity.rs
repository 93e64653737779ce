//! What staff do is kept with what it did, and what keeps nothing does not happen.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shopzen_chassis::{
    Act, Answers, Asking, Bus, Cx, DatabaseConfig, NatsLogin, Request, Secret, Worker,
    harness::Harness,
};
use shopzen_contracts::{Access, Command, Problem, Scope, Service};
use shopzen_test_servers::servers;
use sqlx::migrate::Migrator;
use uuid::Uuid;

static NONE: Migrator = Migrator::DEFAULT;

/// A command of staff that does as it is told.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Paint {
    colour: String,
    /// Whether it says what it did.
    #[serde(default)]
    silent: bool,
    /// Whether it is refused after it said so.
    #[serde(default)]
    refused: bool,
    #[serde(default)]
    why: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Painted {}

impl Command for Paint {
    const SUBJECT: &'static str = "shop.cmd.notify.v1.paint";
    const ACCESS: Access = Access::Scope(Scope::CatalogWrite);
    type Reply = Painted;
}

async fn paint(cx: &mut Cx, (): &(), requests: &[Request<Paint>]) -> Answers<Painted> {
    let mut answers = Vec::new();
    for request in requests {
        let Paint {
            colour,
            silent,
            refused,
            ..
        } = &request.body;
        if !silent {
            let act = Act::on("fence").from(&json!("white")).to(colour);
            cx.record(request, act);
        }
        answers.push(if *refused {
            Err(Problem::new(409, "wet", "it is still wet"))
        } else {
            Ok(Painted {})
        });
    }
    Ok(answers)
}

async fn worker() -> Harness {
    let login = NatsLogin {
        url: servers().nats_url(),
        user: "test".to_owned(),
        password: Secret::new(""),
    };
    let bus = Bus::connect(&login).await.unwrap();
    let database = DatabaseConfig {
        database_url: Secret::new(servers().database_url()),
        ..Default::default()
    };
    let worker = Worker::builder(Service::Notify, &NONE, database, ())
        .on_commands::<Paint, _>(paint)
        .build();
    Harness::start(worker, &bus).await.unwrap()
}

fn painter(worker: &Harness, key: &str) -> Asking {
    Asking {
        identity: Some(worker.token(Uuid::from_u128(7), "catalog:write")),
        idempotency_key: Some(key.to_owned()),
        route: Some("PUT /fence".to_owned()),
        ..Asking::default()
    }
}

fn red() -> Paint {
    Paint {
        colour: "red".to_owned(),
        silent: false,
        refused: false,
        why: String::new(),
    }
}

/// The harness stops it before the commit, and lets it come twice.
#[tokio::test]
async fn who_did_what_to_what_and_why_is_kept_once() {
    let worker = worker().await;
    let asking = painter(&worker, "1");
    worker.command(&red(), &asking).await.unwrap();
    let kept = worker.activity().await;
    let [one] = &kept[..] else {
        panic!("not one: {kept:?}")
    };
    assert_eq!(one.actor, format!("account:{}", Uuid::from_u128(7)));
    assert_eq!(one.client_id.as_deref(), Some("harness"));
    assert!(one.token_id.is_some());
    assert_eq!(
        (one.worker.as_str(), one.subject.as_str()),
        ("notify", Paint::SUBJECT)
    );
    assert_eq!(one.route.as_deref(), Some("PUT /fence"));
    assert_eq!(
        (one.thing.as_str(), &one.before, &one.after),
        ("fence", &json!("white"), &json!("red"))
    );
    assert_eq!(one.reason.as_deref(), Some(""));
    assert_eq!(one.trace_id.len(), 32);

    // The header goes before the body.
    let because = Asking {
        reason: Some("the mayor comes".to_owned()),
        ..painter(&worker, "2")
    };
    worker.command(&red(), &because).await.unwrap();
    assert_eq!(
        worker.activity().await[0].reason.as_deref(),
        Some("the mayor comes")
    );
}

#[tokio::test]
async fn a_command_of_staff_that_says_nothing_does_not_happen() {
    let worker = worker().await;
    let silent = Paint {
        silent: true,
        ..red()
    };
    let untouched = worker.snapshot().await;
    let problem = worker
        .command(&silent, &painter(&worker, "1"))
        .await
        .unwrap_err();
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (500, "internal_error")
    );
    assert_eq!(worker.snapshot().await, untouched);
}

#[tokio::test]
async fn what_is_refused_leaves_no_record() {
    let worker = worker().await;
    let untouched = worker.snapshot().await;
    let refused = Paint {
        refused: true,
        ..red()
    };
    let problem = worker
        .command(&refused, &painter(&worker, "1"))
        .await
        .unwrap_err();
    assert_eq!(problem.code, "wet");
    for nobody in [None, Some(worker.token(Uuid::from_u128(7), "stock:write"))] {
        let asking = Asking {
            identity: nobody,
            ..painter(&worker, "2")
        };
        assert!(matches!(
            worker.command(&red(), &asking).await.unwrap_err().status,
            401 | 403
        ));
    }
    assert_eq!(worker.snapshot().await, untouched);
}

#[tokio::test]
async fn what_staff_did_is_forgotten_after_400_days() {
    let worker = worker().await;
    worker
        .command(&red(), &painter(&worker, "1"))
        .await
        .unwrap();
    let turn = async |by: &'static str| {
        sqlx::query("UPDATE activity SET at = at - $1::interval")
            .bind(by)
            .execute(worker.pool())
            .await
            .unwrap();
        worker.tidy().await.unwrap();
        worker.activity().await.len()
    };
    assert_eq!(turn("399 days 23 hours").await, 1);
    assert_eq!(turn("1 hour").await, 0);
}

#[tokio::test]
async fn a_state_that_is_not_there_is_null() {
    let worker = worker().await;
    worker
        .command(&red(), &painter(&worker, "1"))
        .await
        .unwrap();
    sqlx::query("UPDATE activity SET before = NULL")
        .execute(worker.pool())
        .await
        .unwrap();
    assert_eq!(worker.activity().await[0].before, Value::Null);
}
