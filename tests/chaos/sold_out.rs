//! What everybody wants is sold once, whatever dies meanwhile.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use shopzen_tests::{
    crowd::Crowd,
    invariants::{self, count},
    shop::{Shop, order_of, wait_for},
};
use uuid::Uuid;

use crate::{alone, draws::Draws};

/// The demo has this many of them.
const UNITS: i64 = 100;
const SCARCE: &str = "MUG-LIMITED";
const BUYERS: usize = 10_000;
const AT_ONCE: usize = 64;
const SEED: u64 = 1;
/// Everybody who dies in a run: a checkout goes through all of them.
const VICTIMS: [&str; 12] = [
    "/roles/orders",
    "/roles/stock",
    "/roles/payments",
    "/nats",
    "/postgres",
    "/roles/edge",
    "/roles/orders",
    "/roles/stock",
    "/roles/payments",
    "/nats",
    "/roles/catalog",
    "/roles/notify",
];

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_buyers_of_a_hundred_units() -> Result<()> {
    let _alone = alone().await;
    let shop = Shop::start(&["--split"]).await?;
    ensure!(shop.available(SCARCE).await? == UNITS, "the demo changed");
    let before = ever_confirmed(&shop).await?;
    let mut crowd = Crowd::start(&shop, BUYERS, AT_ONCE, |_| {
        order_of(&[(SCARCE, 1)], "tok_ok")
    });
    let mut victims = VICTIMS;
    Draws::new(SEED).shuffle(&mut victims);
    for (number, of) in (1..).zip(victims) {
        crowd
            .until_accepted(BUYERS * number / (victims.len() + 1))
            .await?;
        let before = shop.pid(of)?;
        shop.kill(of)?;
        wait_for(&format!("{of} is there again"), async || {
            Ok(shop.pid(of)? != before)
        })
        .await?;
    }
    let accepted = crowd.finish().await?.accepted;
    ensure!(accepted.len() == BUYERS, "{} accepted", accepted.len());
    invariants::check(&shop, &accepted).await?;

    // Who was confirmed once and then was not has been promised what was not there.
    let ever = ever_confirmed(&shop).await? - before;
    let confirmed = "SELECT count(*) FROM orders WHERE status = 'confirmed'";
    let confirmed = count(&shop, "orders", confirmed).await?;
    ensure!(
        (ever, confirmed) == (UNITS, UNITS),
        "{ever} were confirmed, and {confirmed} are"
    );
    ensure!(shop.available(SCARCE).await? == 0, "some are left");
    let ids: HashSet<Uuid> = accepted
        .iter()
        .filter_map(|order| order["id"].as_str()?.parse().ok())
        .collect();
    let books = shop.books().await?;
    let of_crowd = books.iter().filter(|charge| ids.contains(&charge.order_id));
    let captures = of_crowd.filter(|it| it.captured_minor > 0).count();
    ensure!(captures == 100, "{captures} captures in the books");
    Ok(())
}

/// How many orders were confirmed at any time. The order that a shop places at its start, to see that it
/// sells, is one of them.
async fn ever_confirmed(shop: &Shop) -> Result<i64> {
    let statement =
        "SELECT count(DISTINCT order_id) FROM order_progress WHERE status = 'confirmed'";
    count(shop, "orders", statement).await
}
