//! What each test token does.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{self, DEADLINE, Sandbox, new_uuid};

#[tokio::test]
async fn a_decline_is_402_with_the_charge_and_is_kept() {
    let sandbox = Sandbox::start().await;
    for (token, code) in [
        ("tok_declined", "card_declined"),
        ("tok_insufficient_funds", "insufficient_funds"),
    ] {
        let order_id = new_uuid();
        let first = sandbox.charge(token, &order_id, 100, token).await;
        assert_eq!(first.status, StatusCode::PAYMENT_REQUIRED);
        assert_eq!(
            (first.field("status"), first.field("decline_code")),
            ("declined", code)
        );
        let again = sandbox.charge(token, &order_id, 100, token).await;
        again.assert_replay_of(&first);
        let operation = sandbox.get(&format!("/v1/operations/{token}")).await;
        assert_eq!(
            operation.body,
            json!({"state": "done", "status": 402, "charge": first.body})
        );
        let step = sandbox
            .step("c", &first.id(), "capture", json!({"amount_minor": 100}))
            .await;
        step.assert_error(StatusCode::CONFLICT, "invalid_state");
    }
}

#[tokio::test]
async fn an_unknown_token_is_422() {
    let sandbox = Sandbox::start().await;
    for token in ["tok_unknown", "", "Ok", "tok_OK"] {
        let answer = sandbox.charge("key", &new_uuid(), 100, token).await;
        answer.assert_error(StatusCode::UNPROCESSABLE_ENTITY, "unknown_token");
    }
}

#[tokio::test]
async fn the_shopper_passes_or_fails_3d_secure() {
    let sandbox = Sandbox::start().await;
    for (result, status, decline_code) in [
        ("ok", "authorised", Value::Null),
        ("failed", "declined", json!("card_declined")),
    ] {
        let opened = sandbox
            .charge(result, &new_uuid(), 100, "tok_requires_action")
            .await;
        assert_eq!(opened.status, StatusCode::CREATED);
        assert_eq!(opened.field("status"), "requires_action");
        let id = opened.id();
        let early = sandbox
            .step("early", &id, "capture", json!({"amount_minor": 100}))
            .await;
        early.assert_error(StatusCode::CONFLICT, "invalid_state");

        let path = format!("/v1/charges/{id}/authenticate");
        let decided = sandbox.post(&path, None, &json!({"result": result})).await;
        assert_eq!(decided.status, StatusCode::OK);
        assert_eq!(decided.field("status"), status);
        assert_eq!(decided.body["decline_code"], decline_code);
        assert_eq!(decided.body["action_url"], Value::Null);
        let again = sandbox.post(&path, None, &json!({"result": result})).await;
        again.assert_error(StatusCode::CONFLICT, "invalid_state");
    }
}

#[tokio::test]
async fn the_action_page_works_in_a_browser() {
    let sandbox = Sandbox::start().await;
    for (result, status, word) in [
        ("ok", "authorised", "approved"),
        ("failed", "declined", "declined"),
    ] {
        let opened = sandbox
            .charge(result, &new_uuid(), 100, "tok_requires_action")
            .await;
        let url = opened.field("action_url").to_owned();
        assert_eq!(url, format!("{}/action/{}", sandbox.url, opened.id()));

        let page = sandbox.client.get(&url).send().await.unwrap();
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        let html = page.text().await.unwrap();
        assert!(html.contains(r#"name="result" value="ok""#), "{html}");
        assert!(html.contains(r#"name="result" value="failed""#), "{html}");

        // The second click is the other button, and comes too late.
        for choice in [result, if result == "ok" { "failed" } else { "ok" }] {
            let submit = sandbox.client.post(&url).body(format!("result={choice}"));
            let submit = submit.header("content-type", "application/x-www-form-urlencoded");
            let shown = submit.send().await.unwrap();
            assert_eq!(shown.status(), StatusCode::OK);
            assert!(shown.text().await.unwrap().contains(word));
        }
        let charge = sandbox.get(&format!("/v1/charges/{}", opened.id())).await;
        assert_eq!(charge.field("status"), status);
    }
}

#[tokio::test]
async fn a_capture_can_fail_and_the_charge_still_be_voided() {
    let sandbox = Sandbox::start().await;
    let id = sandbox
        .charge("open", &new_uuid(), 100, "tok_capture_fails")
        .await
        .id();
    let failed = sandbox
        .step("capture", &id, "capture", json!({"amount_minor": 100}))
        .await;
    failed.assert_error(StatusCode::PAYMENT_REQUIRED, "capture_failed");
    assert_eq!(
        sandbox
            .step("void", &id, "void", json!({}))
            .await
            .field("status"),
        "voided"
    );

    let again = sandbox
        .step("capture", &id, "capture", json!({"amount_minor": 100}))
        .await;
    again.assert_replay_of(&failed);
    let operation = sandbox.get("/v1/operations/capture").await;
    assert_eq!(operation.body["status"], 402);
    assert_eq!(operation.body["error"]["code"], "capture_failed");
    assert_eq!(operation.body["charge"]["status"], "authorised");
}

#[tokio::test]
async fn an_error_has_no_effect_and_the_same_key_works_then() {
    let sandbox = Sandbox::start().await;
    let order_id = new_uuid();
    let error = sandbox
        .charge("key", &order_id, 100, "tok_error_then_ok")
        .await;
    error.assert_error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error");
    assert!(sandbox.charges_of(&order_id).await.is_empty());
    sandbox
        .get("/v1/operations/key")
        .await
        .assert_error(StatusCode::NOT_FOUND, "not_found");

    let second = sandbox
        .charge("key", &order_id, 100, "tok_error_then_ok")
        .await;
    assert_eq!(second.status, StatusCode::CREATED);
    assert!(!second.replayed);
    sandbox
        .charge("key", &order_id, 100, "tok_error_then_ok")
        .await
        .assert_replay_of(&second);
    assert_eq!(sandbox.charges_of(&order_id).await.len(), 1);
}

#[tokio::test]
async fn a_slow_charge_is_processing_and_then_done() {
    let sandbox = Sandbox::start().await;
    let order_id = new_uuid();
    let first = sandbox.charge("key/with?odd chars", &order_id, 100, "tok_slow");
    let meanwhile = async {
        let operation = "/v1/operations/key%2Fwith%3Fodd%20chars";
        let processing = sandbox.wait_for(operation, StatusCode::ACCEPTED).await;
        assert_eq!(processing, json!({"state": "processing"}));
        assert!(sandbox.charges_of(&order_id).await.is_empty());
        let again = sandbox
            .charge("key/with?odd chars", &order_id, 100, "tok_slow")
            .await;
        again.assert_error(StatusCode::CONFLICT, "in_progress");
        let other = sandbox
            .charge("key/with?odd chars", &order_id, 101, "tok_slow")
            .await;
        other.assert_error(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused");
        sandbox.wait_for(operation, StatusCode::OK).await
    };
    let (first, operation) = tokio::join!(first, meanwhile);
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(
        operation,
        json!({"state": "done", "status": 201, "charge": first.body})
    );
    let again = sandbox
        .charge("key/with?odd chars", &order_id, 100, "tok_slow")
        .await;
    again.assert_replay_of(&first);
    assert_eq!(sandbox.charges_of(&order_id).await.len(), 1);
}

#[tokio::test]
async fn a_slow_charge_happens_though_the_client_hung_up() {
    let sandbox = Sandbox::start().await;
    let order_id = new_uuid();
    let call = sandbox.charge("key", &order_id, 100, "tok_slow");
    let processing = sandbox.wait_for("/v1/operations/key", StatusCode::ACCEPTED);
    tokio::select! {
        answer = call => panic!("too fast to be hung up on: {answer:?}"),
        _ = processing => {}
    }
    sandbox.wait_for("/v1/operations/key", StatusCode::OK).await;
    assert_eq!(sandbox.charges_of(&order_id).await.len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_found_under_its_key() {
    let sandbox = Sandbox::start().await;
    let order_id = new_uuid();
    let body = support::charge_body(&order_id, 100, "tok_timeout_then_ok");
    let lost = sandbox.raw_charge("key", &body);
    let meanwhile = async {
        let operation = sandbox.wait_for("/v1/operations/key", StatusCode::OK).await;
        let again = sandbox
            .charge("key", &order_id, 100, "tok_timeout_then_ok")
            .await;
        assert_eq!(again.status, StatusCode::CREATED);
        assert!(again.replayed);
        assert_eq!(operation["charge"], again.body);
    };
    let (received, ()) = tokio::join!(lost, meanwhile);
    assert_eq!(received, "", "the connection closes without a byte");
    assert_eq!(sandbox.charges_of(&order_id).await.len(), 1);
}

#[tokio::test]
async fn a_request_that_is_lost_never_has_an_effect() {
    let sandbox = Sandbox::start().await;
    let order_id = new_uuid();
    let body = support::charge_body(&order_id, 100, "tok_timeout_lost");
    for _ in 0..2 {
        assert_eq!(sandbox.raw_charge("key", &body).await, "");
        sandbox
            .get("/v1/operations/key")
            .await
            .assert_error(StatusCode::NOT_FOUND, "not_found");
        assert!(sandbox.charges_of(&order_id).await.is_empty());
    }
}

#[test]
fn the_delays_are_those_that_are_promised() {
    let delays = shopzen_sandbox_gateway::Delays::default();
    assert_eq!(delays.slow, Duration::from_secs(8));
    assert_eq!(delays.timeout, Duration::from_secs(30));
    assert!(DEADLINE > support::DELAYS.slow + support::DELAYS.timeout);
}
