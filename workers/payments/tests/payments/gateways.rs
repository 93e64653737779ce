//! Gateways that are away, that lie, and that hear late.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::Request,
    http::{Method, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use serde_json::json;
use shopzen_sandbox_gateway::router;
use tokio::net::TcpListener;

use crate::fixtures::{
    Server, Shop, cancelled, config, eventually, harness, new_order_id, placed_with, reserved,
    sandbox, spawn, url_at,
};

#[tokio::test]
async fn a_gateway_that_is_away_is_no_doubt_and_no_decline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = config(&url_at(address));
    let away = harness(&config).await;
    let order_id = new_order_id();
    away.deliver_once(&placed_with(order_id, "tok_ok")).await;
    away.deliver(&reserved(order_id)).await;
    // The worker's own calls find nobody there, more than once.
    let gateway = Server::start(Router::new()).await;
    let shop = Shop {
        harness: away,
        config,
        gateway,
    };
    let running = shop.open_for_business().await;
    eventually("it was tried again", async || {
        let calls: i32 = sqlx::query_scalar("SELECT calls FROM payment_attempts")
            .fetch_one(shop.harness.pool())
            .await
            .unwrap();
        calls >= 3
    })
    .await;
    assert_eq!(shop.state(order_id).await, "authorising");
    let listener = TcpListener::bind(address).await.unwrap();
    let gateway = Server::serve(listener, router(sandbox()));
    let shop = Shop { gateway, ..shop };
    shop.wait_for(order_id, "authorised").await;
    assert_eq!(shop.told(order_id).await, ["authorised"]);
    running.stop().await;
}

#[tokio::test]
async fn a_gateway_that_speaks_of_another_amount_freezes_the_payment() {
    let liar = Router::new().fallback(async || {
        let charge = json!({
            "id": "ch_1", "order_id": "00000000-0000-0000-0000-000000000000",
            "amount_minor": 1, "currency": "EUR", "status": "authorised", "captured_minor": 0,
            "refunded_minor": 0, "decline_code": null, "action_url": null,
        });
        (StatusCode::CREATED, Json(charge))
    });
    let liar = Router::new().nest("/sandbox-gateway", liar.layer(from_fn(only_posts)));
    let shop = Shop::with_gateway(Server::start(liar).await).await;
    let order_id = new_order_id();
    shop.harness.deliver(&placed_with(order_id, "tok_ok")).await;
    shop.harness.deliver(&reserved(order_id)).await;
    shop.run_until(order_id, "authorisation_unknown").await;
    let (state, next_at_is_null): (String, bool) =
        sqlx::query_as("SELECT state, next_at IS NULL FROM payment_attempts")
            .fetch_one(shop.harness.pool())
            .await
            .unwrap();
    assert_eq!((state.as_str(), next_at_is_null), ("failed", true));
    assert_eq!(shop.told(order_id).await, ["unknown"]);
}

/// Knows nothing of anything that was ever asked.
async fn only_posts(request: Request, next: Next) -> Response {
    if request.method() == Method::POST {
        return next.run(request).await;
    }
    let body = json!({ "error": { "code": "not_found", "message": "nothing came of it" } });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

/// Lets each charge arrive long after its caller has hung up, and after the next process has asked
/// for it: its first look comes a second after the time-out.
async fn late(request: Request, next: Next) -> Response {
    const LATE: Duration = Duration::from_millis(2_500);
    if request.method() != Method::POST || !request.uri().path().ends_with("/charges") {
        return next.run(request).await;
    }
    // Whether or not the caller still listens.
    let arrives = spawn(async move {
        pause(LATE).await;
        next.run(request).await
    });
    arrives.await.unwrap()
}

#[expect(clippy::disallowed_methods, reason = "being late is the point")]
async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}

#[tokio::test]
async fn a_call_that_arrives_after_the_end_is_undone() {
    let gateway = Server::start(router(sandbox()).layer(from_fn(late))).await;
    let shop = Shop::with_gateway(gateway).await;
    let order_id = new_order_id();
    shop.harness.deliver(&placed_with(order_id, "tok_ok")).await;
    shop.harness.deliver_once(&reserved(order_id)).await;
    // The caller gives up, and the shop too, before the gateway has heard of it.
    shop.harness.deliver(&cancelled(order_id)).await;
    let running = shop.open_for_business().await;
    eventually("it was not heard of", async || {
        let state: String = sqlx::query_scalar("SELECT state FROM payment_attempts")
            .fetch_one(shop.harness.pool())
            .await
            .unwrap();
        state == "unheard"
    })
    .await;
    assert!(shop.charges(order_id).await.is_empty());
    shop.wait_for(order_id, "voided").await;
    running.stop().await;
    assert_eq!(shop.charge(order_id).await["status"], "voided");
}
