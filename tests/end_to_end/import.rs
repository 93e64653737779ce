//! Feeds as shops have them.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shopzen_tests::shop::{Shop, order_of, wait_for};

const FEEDS: [&str; 2] = ["shopify-apparel.csv", "shopify-home-and-garden.csv"];

#[expect(
    clippy::print_stdout,
    reason = "who runs the test shall see what was left out"
)]
#[tokio::test(flavor = "multi_thread")]
async fn the_feeds_of_real_shops_go_in_whole_and_once() -> Result<()> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if !data.exists() {
        println!("left out: {} is not on this machine", data.display());
        return Ok(());
    }
    let shop = Shop::start(&["--seed", "none"]).await?;
    for feed in FEEDS {
        let path = data.join(feed);
        let path = path.to_str().context("a path is text")?;
        let first = shop.ask(&["import", path])?;
        ensure!(first["created"].as_u64() > Some(0), "{feed}: {first}");
        ensure!(first["refused"] == 0, "{feed}: {first}");
        let again = shop.ask(&["import", path])?;
        ensure!(
            again["created"] == 0 && again["updated"] == 0,
            "{feed} again: {again}"
        );
        ensure!(
            again["unchanged"] == first["created"],
            "{feed} again: {again}"
        );
    }
    let pot: Value = shop
        .get("/api/v1/products/clay-plant-pot")
        .send()
        .await?
        .json()
        .await?;
    let variants = pot["variants"]
        .as_array()
        .context("a product has variants")?;
    ensure!(variants.len() == 2, "{pot}");
    let sku = variants[1]["sku"]
        .as_str()
        .context("a variant has a SKU")?
        .to_owned();
    wait_for("what was imported can be bought", async || {
        let order = shop
            .accepted("pot", &order_of(&[(&sku, 3)], "tok_ok"))
            .await;
        Ok(order.is_ok_and(|order| order["status"] == "confirmed"))
    })
    .await?;
    ensure!(shop.available(&sku).await? == 0, "the feed said 3");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_named_and_the_others_go_in() -> Result<()> {
    let shop = Shop::start(&["--seed", "none"]).await?;
    let feed = shop.data_dir().join("feed.jsonl");
    fs::write(
        &feed,
        concat!(
            r#"{"slug": "good", "name": "Good", "variants": [{"sku": "G", "price": {"amount_minor": 100, "currency": "EUR"}, "on_hand": 5}]}"#,
            "\n",
            r#"{"slug": "bad slug", "name": "Bad", "variants": []}"#,
            "\nnot JSON\n",
            r#"{"slug": "better", "name": "Better", "variants": [{"sku": "B", "price": {"amount_minor": 200, "currency": "EUR"}}]}"#,
            "\n",
        ),
    )?;
    let output = shop
        .command(&["import", feed.to_str().context("a path is text")?, "--json"])?
        .output()?;
    let said: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(said["created"] == 2 && said["refused"] == 2, "{said}");
    let refusals = said["refusals"].as_array().context("refusals are named")?;
    for (refusal, line) in refusals.iter().zip(["line 2", "line 3"]) {
        ensure!(
            refusal.as_str().is_some_and(|text| text.starts_with(line)),
            "{said}"
        );
    }
    ensure!(
        shop.available("G").await? == 5,
        "the level was not imported"
    );
    Ok(())
}
