//! One shopper: every way in which a checkout can go.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shopzen_tests::{
    invariants,
    shop::{Shop, order_of, wait_for},
};

/// Two variants of the demo catalogue.
const LAMP: &str = "LAMP-BRASS";

/// A SKU of the demo catalogue that there is enough of, besides the lamp.
async fn another_sku(shop: &Shop) -> Result<String> {
    let page: Value = shop
        .get("/api/v1/products?limit=100")
        .send()
        .await?
        .json()
        .await?;
    for summary in page["items"].as_array().context("a list has items")? {
        let path = format!(
            "/api/v1/products/{}",
            summary["slug"].as_str().unwrap_or_default()
        );
        let product: Value = shop.get(&path).send().await?.json().await?;
        for variant in product["variants"].as_array().into_iter().flatten() {
            let sku = variant["sku"].as_str().unwrap_or_default();
            if sku != LAMP && variant["available"].as_i64() > Some(20) {
                return Ok(sku.to_owned());
            }
        }
    }
    anyhow::bail!("the demo catalogue has one SKU only")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_runs_through() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let other = another_sku(&shop).await?;
    let (lamps, others) = (shop.available(LAMP).await?, shop.available(&other).await?);
    let order = shop
        .accepted("k", &order_of(&[(LAMP, 2), (&other, 1)], "tok_ok"))
        .await?;
    ensure!(order["status"] == "confirmed", "{order}");
    ensure!(
        order["lines"].as_array().map(Vec::len) == Some(2),
        "{order}"
    );
    ensure!(
        shop.available(LAMP).await? == lamps - 2,
        "stock did not fall"
    );
    ensure!(
        shop.available(&other).await? == others - 1,
        "stock did not fall"
    );

    invariants::check(&shop, std::slice::from_ref(&order)).await?;
    let id = order["id"].as_str().context("an order has an id")?;
    let charges = shop.charges(id).await?;
    ensure!(
        charges.len() == 1 && charges[0]["status"] == "captured",
        "{charges:?}"
    );
    ensure!(
        charges[0]["captured_minor"] == order["total"]["amount_minor"],
        "{charges:?}"
    );
    let mails = shop.ask(&["mail", "ls", "--order", id])?;
    ensure!(
        mails["items"].as_array().map(Vec::len) == Some(1),
        "{mails}"
    );

    let token = order["order_token"]
        .as_str()
        .context("a guest gets a token")?;
    let path = format!("/api/v1/orders/{id}/timeline");
    let timeline: Value = shop
        .get(&path)
        .header("Order-Token", token)
        .send()
        .await?
        .json()
        .await?;
    let events: Vec<&str> = timeline["items"]
        .as_array()
        .context("a timeline has items")?
        .iter()
        .filter_map(|entry| entry["event"].as_str())
        .collect();
    for event in [
        "placed",
        "reserved",
        "authorised",
        "confirmed",
        "allocated",
        "captured",
        "mail_sent",
    ] {
        ensure!(
            events.contains(&event),
            "the timeline lacks {event}: {events:?}"
        );
    }
    let stranger = shop.get(&path).send().await?.status();
    ensure!(stranger == 404, "a stranger sees the timeline: {stranger}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_of_the_sandbox_has_its_end() -> Result<()> {
    let deadline = [("SHOPZEN_ORDERS__DEADLINE_S", "12")];
    let shop = Shop::start_with(&[], &deadline).await?;
    let ends = [
        ("tok_ok", "confirmed", None),
        ("tok_declined", "rejected", Some("payment_declined")),
        (
            "tok_insufficient_funds",
            "rejected",
            Some("payment_declined"),
        ),
        ("tok_slow", "confirmed", None),
        ("tok_timeout_then_ok", "confirmed", None),
        ("tok_timeout_lost", "cancelled", Some("timed_out")),
        ("tok_error_then_ok", "confirmed", None),
        ("tok_capture_fails", "cancelled", Some("payment_declined")),
    ];
    let mut accepted = Vec::new();
    for (token, ..) in ends {
        let body = order_of(&[(LAMP, 1)], token);
        let answer = shop
            .post("/api/v1/orders")
            .header("Idempotency-Key", token)
            .json(&body)
            .send()
            .await?;
        let order: Value = answer.json().await?;
        ensure!(order["status"] == "placed", "{token}: {order}");
        accepted.push(order);
    }
    for (order, (token, status, reason)) in accepted.iter().zip(ends) {
        wait_for(&format!("{token} ends {status}"), async || {
            let seen = shop.seen(order).await?;
            Ok(seen["status"] == status && seen["reason"].as_str() == reason)
        })
        .await?;
    }
    invariants::check(&shop, &accepted).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shopper_who_has_to_act_acts() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let body = order_of(&[(LAMP, 1)], "tok_requires_action");
    let answer = shop
        .post("/api/v1/orders")
        .header("Idempotency-Key", "a")
        .json(&body);
    let order: Value = answer.send().await?.json().await?;
    wait_for("the shopper is asked", async || {
        Ok(shop.seen(&order).await?["payment"]["status"] == "requires_action")
    })
    .await?;
    shop.authenticate(order["id"].as_str().unwrap_or_default())
        .await?;
    wait_for("the order is confirmed", async || {
        Ok(shop.seen(&order).await?["status"] == "confirmed")
    })
    .await?;
    invariants::check(&shop, &[order]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_at_once() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let left = shop.available("MUG-LIMITED").await?;
    let order = shop
        .accepted("k", &order_of(&[("MUG-LIMITED", 9_999)], "tok_ok"))
        .await?;
    ensure!(
        order["status"] == "rejected" && order["reason"] == "out_of_stock",
        "{order}"
    );
    ensure!(
        order["lines"][0]["shortage"]["available"] == left,
        "{order}"
    );
    invariants::check(&shop, &[order]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_gives_everything_back() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let lamps = shop.available(LAMP).await?;
    let mut accepted = Vec::new();
    // Before, while and after the gateway is asked.
    for (token, wait) in [("tok_slow", false), ("tok_ok", false), ("tok_ok", true)] {
        let key = format!("{token}-{wait}");
        let body = order_of(&[(LAMP, 1)], token);
        let mut request = shop
            .post("/api/v1/orders")
            .header("Idempotency-Key", &key)
            .json(&body);
        if wait {
            request = request.header("Prefer", "wait=10");
        }
        let order: Value = request.send().await?.json().await?;
        let path = format!(
            "/api/v1/orders/{}/cancel",
            order["id"].as_str().unwrap_or_default()
        );
        let token = order["order_token"].as_str().unwrap_or_default();
        let cancelled = shop.post(&path).header("Order-Token", token).send().await?;
        let status = cancelled.status();
        let cancelled: Value = cancelled.json().await?;
        ensure!(status == 200, "{status}: {cancelled}");
        ensure!(cancelled["reason"] == "cancelled_by_shopper", "{cancelled}");
        accepted.push(order);
    }
    invariants::check(&shop, &accepted).await?;
    ensure!(
        shop.available(LAMP).await? == lamps,
        "stock was not given back"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_adjusts_stock_and_changes_products() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let (staff, shopper) = (
        shop.token("staff@demo.test")?,
        shop.token("shopper@demo.test")?,
    );
    let path = format!("/api/v1/admin/stock/{LAMP}/adjustments");
    let body = json!({ "location": "main", "delta": 7, "reason": "found behind the shelf" });
    let before = shop.available(LAMP).await?;
    for (token, expected) in [(None, 401), (Some(&shopper), 403), (Some(&staff), 200)] {
        let mut request = shop.post(&path).json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let status = request.send().await?.status();
        ensure!(status == expected, "{status} and not {expected}");
    }
    ensure!(
        shop.available(LAMP).await? == before + 7,
        "the adjustment was not made once"
    );
    let movements: Value = shop
        .get(&format!("/api/v1/admin/stock/{LAMP}/movements"))
        .bearer_auth(&staff)
        .send()
        .await?
        .json()
        .await?;
    ensure!(
        movements["items"][0]["reason"] == "found behind the shelf",
        "{movements}"
    );

    let product = json!({
        "slug": "test-stool", "name": "Test stool", "categories": ["Furniture"],
        "variants": [{ "sku": "STOOL", "price": { "amount_minor": 4_900, "currency": "EUR" } }],
    });
    let created = shop
        .post("/api/v1/admin/products")
        .bearer_auth(&staff)
        .json(&product);
    let created = created.send().await?;
    ensure!(created.status().is_success(), "{}", created.text().await?);
    // It is in the shop, and orders knows its price, as soon as the event has arrived.
    wait_for("the stool can be ordered", async || {
        let answer = shop
            .order("stool", &order_of(&[("STOOL", 1)], "tok_ok"))
            .send()
            .await?;
        Ok(answer.status() == 202)
    })
    .await?;
    let page = shop.get("/api/v1/products/test-stool").send().await?;
    ensure!(
        page.headers().contains_key("etag"),
        "a resource has an ETag"
    );
    Ok(())
}
