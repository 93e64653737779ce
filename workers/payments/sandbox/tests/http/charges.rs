//! The life of a charge, and the books from outside.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{self, Sandbox, new_uuid};

#[tokio::test]
async fn a_charge_is_authorised_captured_and_refunded() {
    let sandbox = Sandbox::start().await;
    let order_id = new_uuid();
    let opened = sandbox.charge("open", &order_id, 1299, "tok_ok").await;
    assert_eq!(opened.status, StatusCode::CREATED);
    let id = opened.id();
    assert!(id.starts_with("ch_") && id.len() == 35, "{id}");
    let created_at = opened.body["created_at"].clone();
    assert!(created_at.as_str().unwrap().ends_with('Z'));
    let mut expected = json!({
        "id": id, "order_id": order_id, "amount_minor": 1299, "currency": "EUR",
        "status": "authorised", "captured_minor": 0, "refunded_minor": 0,
        "decline_code": null, "action_url": null, "created_at": created_at,
    });
    assert_eq!(opened.body, expected);

    let captured = sandbox
        .step("capture", &id, "capture", json!({"amount_minor": 1000}))
        .await;
    assert_eq!(captured.status, StatusCode::OK);
    expected["status"] = json!("captured");
    expected["captured_minor"] = json!(1000);
    assert_eq!(captured.body, expected);

    let partly = sandbox
        .step("refund-1", &id, "refund", json!({"amount_minor": 300}))
        .await;
    assert_eq!(partly.field("status"), "partly_refunded");
    let too_much = sandbox
        .step("refund-2", &id, "refund", json!({"amount_minor": 701}))
        .await;
    too_much.assert_error(StatusCode::UNPROCESSABLE_ENTITY, "amount_too_large");
    let refunded = sandbox
        .step("refund-2", &id, "refund", json!({"amount_minor": 700}))
        .await;
    assert_eq!(refunded.field("status"), "refunded");

    let shown = sandbox.get(&format!("/v1/charges/{id}")).await;
    assert_eq!(shown.body, refunded.body);
    assert_eq!(sandbox.charges_of(&order_id).await, [refunded.body]);
    let summary = sandbox.get("/v1/summary").await;
    assert_eq!(
        summary.body["items"],
        json!([{
            "currency": "EUR", "charges": 1, "declined_count": 0, "voided_count": 0,
            "authorised_count": 1, "authorised_minor": 1299,
            "captured_count": 1, "captured_minor": 1000,
            "refunded_count": 1, "refunded_minor": 1000,
        }])
    );
}

#[tokio::test]
async fn illegal_steps_and_unknown_charges_are_refused() {
    let sandbox = Sandbox::start().await;
    let id = sandbox
        .charge("open", &new_uuid(), 100, "tok_ok")
        .await
        .id();
    let too_much = sandbox
        .step("k1", &id, "capture", json!({"amount_minor": 101}))
        .await;
    too_much.assert_error(StatusCode::UNPROCESSABLE_ENTITY, "amount_too_large");
    let early = sandbox
        .step("k2", &id, "refund", json!({"amount_minor": 1}))
        .await;
    early.assert_error(StatusCode::CONFLICT, "invalid_state");
    assert_eq!(
        sandbox
            .step("k3", &id, "void", json!({}))
            .await
            .field("status"),
        "voided"
    );
    let late = sandbox
        .step("k4", &id, "capture", json!({"amount_minor": 100}))
        .await;
    late.assert_error(StatusCode::CONFLICT, "invalid_state");

    let nobody = format!("ch_{}", new_uuid().replace('-', ""));
    for unknown in [nobody.as_str(), "ch_1", "x", "%ff"] {
        let answer = sandbox.step("k5", unknown, "void", json!({})).await;
        answer.assert_error(StatusCode::NOT_FOUND, "not_found");
        let answer = sandbox.get(&format!("/v1/charges/{unknown}")).await;
        answer.assert_error(StatusCode::NOT_FOUND, "not_found");
    }
    // A refusal changes nothing and does not use its key up.
    sandbox
        .get("/v1/operations/k4")
        .await
        .assert_error(StatusCode::NOT_FOUND, "not_found");
}

#[tokio::test]
async fn a_list_is_paged_and_filtered() {
    let sandbox = Sandbox::start().await;
    let order_id = new_uuid();
    for number in 0..5 {
        let token = if number == 2 {
            "tok_ok"
        } else {
            "tok_declined"
        };
        sandbox
            .charge(&format!("k{number}"), &order_id, 100 + number, token)
            .await;
        sandbox
            .charge(&format!("x{number}"), &new_uuid(), 100, "tok_ok")
            .await;
    }
    let mut amounts = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = sandbox
            .get(&format!("/v1/charges?order_id={order_id}&limit=2{cursor}"))
            .await
            .body;
        amounts.extend(
            support::items(&page)
                .iter()
                .map(|item| item["amount_minor"].clone()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(amounts, [104, 103, 102, 101, 100]);

    let authorised = sandbox
        .get(&format!(
            "/v1/charges?order_id={order_id}&status=authorised"
        ))
        .await
        .body;
    assert_eq!(support::items(&authorised).len(), 1);
    assert_eq!(
        support::items(&sandbox.get("/v1/charges").await.body).len(),
        10
    );
}

#[tokio::test]
async fn a_restart_loses_nothing_and_keys_still_hold() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let order_id = new_uuid();

    let before = Sandbox::start_on(Some(&journal)).await;
    let opened = before.charge("open", &order_id, 100, "tok_ok").await;
    let captured = before
        .step("c", &opened.id(), "capture", json!({"amount_minor": 100}))
        .await;
    let asked = before
        .charge("ask", &order_id, 50, "tok_requires_action")
        .await;
    let authenticate = format!("/v1/charges/{}/authenticate", asked.id());
    let passed = before
        .post(&authenticate, None, &json!({"result": "ok"}))
        .await;
    let summary = before.get("/v1/summary").await;

    // What a `kill -9` leaves is what is in the file now, and perhaps half a line.
    let copy = folder.path().join("copy");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes.extend_from_slice(br#"{"at":"2026-01-02T"#);
    std::fs::write(&copy, bytes).unwrap();
    let after = Sandbox::start_on(Some(&copy)).await;

    assert_eq!(
        after.charges_of(&order_id).await,
        [passed.body, captured.body.clone()]
    );
    assert_eq!(after.get("/v1/summary").await.body, summary.body);
    after
        .charge("open", &order_id, 100, "tok_ok")
        .await
        .assert_replay_of(&opened);
    let again = after
        .step("c", &opened.id(), "capture", json!({"amount_minor": 100}))
        .await;
    again.assert_replay_of(&captured);
    let reused = after
        .charge("ask", &order_id, 51, "tok_requires_action")
        .await;
    reused.assert_error(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused");
}

#[tokio::test]
async fn the_largest_amounts_are_summed_without_overflow() {
    let sandbox = Sandbox::start().await;
    for key in ["a", "b", "c"] {
        let id = sandbox
            .charge(key, &new_uuid(), i64::MAX, "tok_ok")
            .await
            .id();
        let key = format!("capture-{key}");
        let captured = sandbox
            .step(&key, &id, "capture", json!({"amount_minor": i64::MAX}))
            .await;
        assert_eq!(captured.status, StatusCode::OK);
    }
    let text = sandbox
        .client
        .get(format!("{}/v1/summary", sandbox.url))
        .send()
        .await
        .unwrap();
    let text = text.text().await.unwrap();
    assert!(
        text.contains(r#""captured_minor":27670116110564327421"#),
        "{text}"
    );
}
