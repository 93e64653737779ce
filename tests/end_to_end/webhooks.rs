//! What the gateway says by itself, and what anybody says in its name.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shopzen_chassis::clock;
use shopzen_tests::{
    invariants,
    shop::{Shop, order_of, wait_for},
};
use sqlx::{Connection, PgConnection, Row};

const LAMP: &str = "LAMP-BRASS";

/// The payments worker's database.
async fn payments(shop: &Shop) -> Result<PgConnection> {
    Ok(PgConnection::connect(&shop.database_url("payments")?).await?)
}

async fn stored(db: &mut PgConnection, order_id: &str) -> Result<i64> {
    let row = sqlx::query("SELECT count(*) FROM webhooks WHERE order_id = $1::uuid")
        .bind(order_id)
        .fetch_one(db)
        .await?;
    Ok(row.try_get(0)?)
}

/// An order whose shopper is asked to act.
async fn asked(shop: &Shop) -> Result<(Value, String)> {
    let answer = shop
        .post("/api/v1/orders")
        .header("Idempotency-Key", "k")
        .json(&order_of(&[(LAMP, 1)], "tok_requires_action"));
    let order: Value = answer.send().await?.json().await?;
    let id = order["id"].as_str().context("an order has an id")?;
    let id = id.to_owned();
    wait_for("the shopper is asked", async || {
        Ok(shop.seen(&order).await?["payment"]["status"] == "requires_action")
    })
    .await?;
    Ok((order, id))
}

/// From here on payments does not look by itself.
async fn stop_looking(db: &mut PgConnection) -> Result<()> {
    sqlx::query(
        "UPDATE payment_attempts SET next_at = now() + interval '1 hour' WHERE next_at IS NOT NULL",
    )
    .execute(db)
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shopper_who_has_acted_waits_for_no_poll() -> Result<()> {
    let long = ("SHOPZEN_ORDERS__ACTION_DEADLINE_S", "600");
    let shop = Shop::start_with(&[], &[long]).await?;
    let mut db = payments(&shop).await?;
    let (order, id) = asked(&shop).await?;
    stop_looking(&mut db).await?;
    ensure!(stored(&mut db, &id).await? == 0, "an answer has told it");
    shop.authenticate(&id).await?;
    wait_for("the order is confirmed", async || {
        Ok(shop.seen(&order).await?["status"] == "confirmed")
    })
    .await?;
    wait_for("the webhook is stored", async || {
        Ok(stored(&mut db, &id).await? == 1)
    })
    .await?;
    invariants::check(&shop, &[order]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_webhook_changes_nothing_and_says_nothing_of_the_inside() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let mut db = payments(&shop).await?;
    let (order, id) = asked(&shop).await?;
    let now = clock::now().as_second().to_string();
    let body = json!({
        "id": "evt_1", "type": "charge.authorised", "created_at": "2026-11-26T00:00:00Z",
        "data": { "charge_id": "ch_1", "order_id": id },
    });
    let forged = [
        (
            "sandbox",
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            401,
            "webhook_unverified",
        ),
        ("sandbox", "nonsense", 401, "webhook_unverified"),
        (
            "stripe",
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            404,
            "not_found",
        ),
    ];
    for (gateway, signature, status, code) in forged {
        let answer = shop
            .post(&format!("/webhooks/payments/{gateway}"))
            .header("webhook-id", "evt_1")
            .header("webhook-timestamp", &now)
            .header("webhook-signature", signature)
            .json(&body)
            .send()
            .await?;
        let refused = answer.status();
        let problem: Value = answer.json().await?;
        ensure!(
            refused == status && problem["code"] == code,
            "{refused}: {problem}"
        );
    }
    ensure!(
        stored(&mut db, &id).await? == 0,
        "a forged webhook was stored"
    );
    let seen = shop.seen(&order).await?;
    ensure!(seen["payment"]["status"] == "requires_action", "{seen}");
    let metrics = shop.client.get(shop.ops_url("/metrics")).send().await?;
    let metrics = metrics.text().await?;
    let counted = "webhooks_total{outcome=\"refused\"}";
    ensure!(metrics.contains(counted), "{counted} is not in {metrics}");
    let path = format!("/api/v1/orders/{id}/cancel");
    let token = order["order_token"].as_str().unwrap_or_default();
    let cancelled = shop.post(&path).header("Order-Token", token).send().await?;
    ensure!(cancelled.status() == 200, "{}", cancelled.text().await?);
    invariants::check(&shop, &[order]).await
}
