//! Many shoppers at once.

use std::{collections::HashSet, sync::Arc};

use anyhow::{Result, ensure};
use serde_json::Value;
use shopzen_tests::{
    crowd::Crowd,
    invariants,
    shop::{Shop, order_of},
};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_buyers_of_a_hundred_units() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    ensure!(
        shop.available("MUG-LIMITED").await? == 100,
        "the demo has 100 limited mugs"
    );
    let crowd = Crowd::start(&shop, 1_000, 64, |_| {
        order_of(&[("MUG-LIMITED", 1)], "tok_ok")
    });
    let bought = crowd.finish().await?;
    ensure!(
        bought.turned_away == 0,
        "{} turned away",
        bought.turned_away
    );
    invariants::check(&shop, &bought.accepted).await?;
    let (mut confirmed, mut sold_out) = (0, 0);
    for order in &bought.accepted {
        let seen = shop.seen(order).await?;
        confirmed += u32::from(seen["status"] == "confirmed");
        sold_out += u32::from(seen["reason"] == "out_of_stock");
    }
    ensure!(
        (confirmed, sold_out) == (100, 900),
        "{confirmed} confirmed, {sold_out} sold out"
    );
    ensure!(shop.available("MUG-LIMITED").await? == 0, "some are left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_with_one_key_are_one_order() -> Result<()> {
    let shop = Arc::new(Shop::start(&[]).await?);
    let before = shop.available("LAMP-BRASS").await?;
    // Two lines of one SKU are summed.
    let body = order_of(&[("LAMP-BRASS", 1), ("LAMP-BRASS", 2)], "tok_ok");
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        let (shop, body) = (Arc::clone(&shop), body.clone());
        requests.spawn(async move {
            let request = shop
                .post("/api/v1/orders")
                .header("Idempotency-Key", "one")
                .json(&body);
            let answer = request.send().await?;
            let replayed = answer.headers().contains_key("idempotent-replayed");
            anyhow::Ok((answer.status().as_u16(), replayed, answer.text().await?))
        });
    }
    let (mut bodies, mut firsts) = (HashSet::new(), 0);
    while let Some(answer) = requests.join_next().await {
        let (status, replayed, body) = answer??;
        ensure!(status == 202, "{status}: {body}");
        firsts += u32::from(!replayed);
        bodies.insert(body);
    }
    ensure!(bodies.len() == 1, "{} different bodies", bodies.len());
    ensure!(firsts == 1, "{firsts} answers claim to be the first");
    let order: Value = serde_json::from_str(bodies.iter().next().map_or("", String::as_str))?;
    ensure!(
        order["lines"].as_array().map(Vec::len) == Some(1),
        "{order}"
    );
    ensure!(order["lines"][0]["quantity"] == 3, "{order}");
    invariants::check(&shop, &[order]).await?;
    ensure!(
        shop.available("LAMP-BRASS").await? == before - 3,
        "more than one order was placed"
    );
    let other = shop
        .order("one", &order_of(&[("LAMP-BRASS", 1)], "tok_ok"))
        .send()
        .await?;
    ensure!(other.status() == 422, "{}", other.status());
    let problem: Value = other.json().await?;
    ensure!(problem["code"] == "idempotency_key_reused", "{problem}");
    Ok(())
}
