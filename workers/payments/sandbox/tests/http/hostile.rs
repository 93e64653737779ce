//! Input that means no good: 4xx with a JSON error, and nothing changed.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{self, Answer, Sandbox, new_uuid};

#[tokio::test]
async fn hostile_bodies_get_4xx_and_change_nothing() {
    let sandbox = Sandbox::start().await;
    let order_id = new_uuid();
    let body = |change: Value| {
        let mut body = support::charge_body(&order_id, 100, "tok_ok");
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        body.to_string().into_bytes()
    };
    let bodies: Vec<Vec<u8>> = vec![
        body(json!({"amount_minor": 0})),
        body(json!({"amount_minor": -1})),
        body(json!({"amount_minor": 1.5})),
        body(json!({"amount_minor": "100"})),
        body(json!({"amount_minor": u64::MAX})),
        body(json!({"amount_minor": null})),
        body(json!({"currency": "eur"})),
        body(json!({"currency": "€"})),
        body(json!({"currency": "EUR\r\nX: y"})),
        body(json!({"currency": ["EUR"]})),
        body(json!({"order_id": "1"})),
        body(json!({"order_id": {}})),
        body(json!({"token": 7})),
        body(json!({"token": "\u{0}"})),
        body(json!({"unknown": true})),
        body(json!({"token": "x".repeat(17 * 1024)})),
        br#"{"amount_minor": 1e999}"#.to_vec(),
        br#"{"amount_minor": 99999999999999999999999999}"#.to_vec(),
        b"{\"token\": \"\xff\xfe\"}".to_vec(),
        b"[[[[[[[[".repeat(1000),
        b"null".to_vec(),
        b"{".to_vec(),
        b"".to_vec(),
        b"\x00".to_vec(),
    ];
    let id = sandbox
        .charge("legal", &new_uuid(), 100, "tok_ok")
        .await
        .id();
    for body in bodies {
        for path in [
            "/v1/charges".to_owned(),
            format!("/v1/charges/{id}/capture"),
            format!("/v1/charges/{id}/refund"),
            format!("/v1/charges/{id}/void"),
            format!("/v1/charges/{id}/authenticate"),
            format!("/action/{id}"),
        ] {
            let request = sandbox.client.post(format!("{}{path}", sandbox.url));
            let request = request.header("content-type", "application/json");
            let request = request
                .header("idempotency-key", "hostile")
                .body(body.clone());
            let answer = Answer::of(request.send().await.unwrap()).await;
            let text = String::from_utf8_lossy(&body);
            let text = text.chars().take(60).collect::<String>();
            assert!(answer.status.is_client_error(), "{path} {text}: {answer:?}");
            assert!(
                answer.body["error"]["code"].is_string(),
                "{path} {text}: {answer:?}"
            );
        }
    }

    assert!(sandbox.charges_of(&order_id).await.is_empty());
    assert_eq!(
        sandbox
            .get(&format!("/v1/charges/{id}"))
            .await
            .field("status"),
        "authorised"
    );
}

#[tokio::test]
async fn a_key_is_required_and_must_be_printable() {
    let sandbox = Sandbox::start().await;
    let order_id = new_uuid();
    let charge = support::charge_body(&order_id, 100, "tok_ok");
    let no_key = sandbox.post("/v1/charges", None, &charge).await;
    no_key.assert_error(StatusCode::BAD_REQUEST, "invalid_idempotency_key");
    for key in ["", "\u{e9}", "tab\tbed", &"k".repeat(256)] {
        let answer = sandbox.post("/v1/charges", Some(key), &charge).await;
        answer.assert_error(StatusCode::BAD_REQUEST, "invalid_idempotency_key");
    }
    assert!(sandbox.charges_of(&order_id).await.is_empty());
}

#[tokio::test]
async fn wrong_queries_paths_and_methods_get_4xx() {
    let sandbox = Sandbox::start().await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "cursor=x",
        "cursor=99999999999999999999999",
        "cursor=7",
        "status=done",
        "order_id=1",
        "order=1",
        "order_id=%ff",
    ] {
        let answer = sandbox.get(&format!("/v1/charges?{query}")).await;
        answer.assert_error(StatusCode::BAD_REQUEST, "invalid_query");
    }
    for path in [
        "",
        "/v1",
        "/v1/charges/",
        "/v1/operations/%ff",
        "/v1/operations/none",
    ] {
        sandbox
            .get(path)
            .await
            .assert_error(StatusCode::NOT_FOUND, "not_found");
    }
    let method = sandbox.post("/v1/summary", None, &json!({})).await;
    method.assert_error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
}
