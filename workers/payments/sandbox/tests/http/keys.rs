//! One key, one effect.

use std::collections::HashSet;

use reqwest::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Answer, Sandbox, new_uuid};

#[tokio::test]
async fn fifty_parallel_calls_with_one_key_make_one_charge() {
    let sandbox = Sandbox::start().await;
    for token in ["tok_ok", "tok_slow", "tok_declined"] {
        let order_id = new_uuid();
        let mut calls = JoinSet::new();
        for _ in 0..50 {
            let (sandbox, order_id) = (sandbox.clone(), order_id.clone());
            calls.spawn(async move { sandbox.charge(token, &order_id, 100, token).await });
        }
        let answers = calls.join_all().await;
        let (done, refused): (Vec<&Answer>, Vec<&Answer>) = answers
            .iter()
            .partition(|answer| answer.status != StatusCode::CONFLICT);
        for answer in refused {
            answer.assert_error(StatusCode::CONFLICT, "in_progress");
        }
        let ids: HashSet<String> = done.iter().map(|answer| answer.id()).collect();
        assert_eq!(ids.len(), 1, "{token}");
        assert_eq!(done.iter().filter(|answer| !answer.replayed).count(), 1);
        assert_eq!(sandbox.charges_of(&order_id).await.len(), 1);
    }
}

#[tokio::test]
async fn fifty_parallel_captures_with_keys_of_their_own_capture_once() {
    let sandbox = Sandbox::start().await;
    let id = sandbox
        .charge("open", &new_uuid(), 100, "tok_ok")
        .await
        .id();
    let mut calls = JoinSet::new();
    for number in 0..50 {
        let (sandbox, id) = (sandbox.clone(), id.clone());
        calls.spawn(async move {
            let key = format!("capture-{number}");
            sandbox
                .step(&key, &id, "capture", json!({"amount_minor": 100}))
                .await
                .status
        });
    }
    let answers = calls.join_all().await;
    assert_eq!(
        answers
            .iter()
            .filter(|status| **status == StatusCode::OK)
            .count(),
        1
    );
    assert_eq!(
        answers
            .iter()
            .filter(|status| **status == StatusCode::CONFLICT)
            .count(),
        49
    );
}

#[tokio::test]
async fn a_key_stands_for_one_request_only() {
    let sandbox = Sandbox::start().await;
    let order_id = new_uuid();
    let first = sandbox.charge("open", &order_id, 100, "tok_ok").await;
    let id = first.id();
    sandbox
        .charge("open", &order_id, 100, "tok_ok")
        .await
        .assert_replay_of(&first);
    let captured = sandbox
        .step("capture", &id, "capture", json!({"amount_minor": 60}))
        .await;
    // What is replayed is the answer of then, not the charge of now.
    sandbox
        .charge("open", &order_id, 100, "tok_ok")
        .await
        .assert_replay_of(&first);

    let reused = [
        sandbox.charge("open", &new_uuid(), 100, "tok_ok").await,
        sandbox.charge("open", &order_id, 101, "tok_ok").await,
        sandbox.charge("open", &order_id, 100, "tok_declined").await,
        sandbox.charge("open", &order_id, 100, "tok_slow").await,
        sandbox
            .step("open", &id, "capture", json!({"amount_minor": 60}))
            .await,
        sandbox
            .step("capture", &id, "capture", json!({"amount_minor": 61}))
            .await,
        sandbox
            .step("capture", &id, "refund", json!({"amount_minor": 60}))
            .await,
        sandbox.charge("capture", &order_id, 100, "tok_ok").await,
    ];
    for answer in &reused {
        answer.assert_error(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused");
    }
    sandbox
        .step("capture", &id, "capture", json!({"amount_minor": 60}))
        .await
        .assert_replay_of(&captured);
    assert_eq!(sandbox.charges_of(&order_id).await, [captured.body]);
}
