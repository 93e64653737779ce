//! The plug is pulled in the middle of five hundred checkouts: every accepted order ends, and what is
//! always true is true.

use std::fs;

use anyhow::{Result, ensure};
use shopzen_tests::{
    crowd::Crowd,
    invariants,
    shop::{Shop, copy_folder, order_of, wait_for},
};

/// Checkouts in one run.
const CHECKOUTS: usize = 500;
const SHOPPERS: usize = 16;
/// Accepted checkouts after which the plug is pulled.
const PULL_AFTER: usize = 150;

fn crowd(shop: &Shop) -> Crowd {
    Crowd::start(shop, CHECKOUTS, SHOPPERS, |_| {
        order_of(&[("LAMP-BRASS", 1)], "tok_ok")
    })
}

/// Waits for everybody, and that what is always true is true.
async fn settle(shop: &Shop, crowd: Crowd) -> Result<()> {
    let accepted = crowd.finish().await?.accepted;
    ensure!(accepted.len() == CHECKOUTS, "{} accepted", accepted.len());
    invariants::check(shop, &accepted).await
}

/// Enough lamps for everybody.
async fn stocked(options: &[&str]) -> Result<Shop> {
    let shop = Shop::start(options).await?;
    shop.add_stock("LAMP-BRASS", u32::try_from(CHECKOUTS)?)
        .await?;
    Ok(shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_shop_is_killed() -> Result<()> {
    let mut shop = stocked(&[]).await?;
    let mut crowd = crowd(&shop);
    crowd.until_accepted(PULL_AFTER).await?;
    shop.kill_all().await?;
    shop.start_again().await?;
    settle(&shop, crowd).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_is_killed() -> Result<()> {
    let shop = stocked(&["--split"]).await?;
    let mut crowd = crowd(&shop);
    crowd.until_accepted(PULL_AFTER).await?;
    for role in ["orders", "stock", "payments", "notify", "catalog", "edge"] {
        let of = format!("/roles/{role}");
        let before = shop.pid(&of)?;
        shop.kill(&of)?;
        wait_for("the role is there again", async || {
            Ok(shop.pid(&of)? != before)
        })
        .await?;
    }
    settle(&shop, crowd).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_killed() -> Result<()> {
    let shop = stocked(&[]).await?;
    let mut crowd = crowd(&shop);
    crowd.until_accepted(PULL_AFTER).await?;
    shop.kill("/nats")?;
    settle(&shop, crowd).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_killed() -> Result<()> {
    let shop = stocked(&[]).await?;
    let mut crowd = crowd(&shop);
    crowd.until_accepted(PULL_AFTER).await?;
    shop.kill("/postgres")?;
    settle(&shop, crowd).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_gets_an_older_store() -> Result<()> {
    let mut shop = stocked(&[]).await?;
    let store = shop.data_dir().join("nats");
    let copy = shop.data_dir().join("nats-copy");
    shop.accepted("before", &order_of(&[("LAMP-BRASS", 1)], "tok_ok"))
        .await?;
    shop.kill_all().await?;
    copy_folder(&store, &copy)?;
    shop.start_again().await?;
    let mut crowd = crowd(&shop);
    crowd.until_accepted(PULL_AFTER).await?;
    shop.kill_all().await?;
    fs::remove_dir_all(&store)?;
    fs::rename(&copy, &store)?;
    shop.start_again().await?;
    settle(&shop, crowd).await
}
