//! What access tokens are signed with, as operators and other programs see it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shopzen_tests::shop::{Shop, wait_for};
use tokio::time::Instant;

/// A key that was withdrawn is believed by nobody after this long.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(10);
/// What only those with a token may ask, of each who verifies tokens.
const GUARDED: [&str; 4] = [
    "/api/v1/admin/stock/LAMP-BRASS/movements",
    "/api/v1/orders",
    "/api/v1/admin/audit",
    "/api/v1/admin/dead-letters",
];

async fn published(shop: &Shop) -> Result<Vec<Value>> {
    let answer = shop.get("/.well-known/jwks.json").send().await?;
    let caching = answer.headers().get("cache-control");
    ensure!(
        caching.is_some_and(|it| it == "public, max-age=300"),
        "{answer:?}"
    );
    let keys: Value = answer.error_for_status()?.json().await?;
    Ok(keys["keys"].as_array().context("a list")?.clone())
}

/// That everybody believes a token.
async fn believed(shop: &Shop, token: &str) -> Result<()> {
    let statuses = statuses(shop, token).await?;
    ensure!(statuses.iter().all(|it| *it == 200), "{statuses:?}");
    Ok(())
}

async fn statuses(shop: &Shop, token: &str) -> Result<Vec<u16>> {
    let mut statuses = Vec::new();
    for path in GUARDED {
        let answer = shop.get(path).bearer_auth(token).send().await?;
        statuses.push(answer.status().as_u16());
    }
    Ok(statuses)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_without_a_break_and_withdrawn_within_seconds() -> Result<()> {
    let shop = Shop::start(&["--split"]).await?;
    let staff = shop.token("staff@demo.test")?;
    wait_for("everybody believes the token", async || {
        Ok(statuses(&shop, &staff).await?.iter().all(|it| *it == 200))
    })
    .await?;
    let before = published(&shop).await?;
    ensure!(before.len() == 1, "{before:?}");
    ensure!(
        before[0]["kty"] == "EC" && before[0].get("d").is_none(),
        "{before:?}"
    );

    let rotated = shop.ask(&["keys", "rotate"])?;
    ensure!(
        rotated["items"].as_array().map(Vec::len) == Some(2),
        "{rotated}"
    );
    ensure!(shop.ask(&["keys", "ls"])? == rotated, "{rotated}");
    ensure!(published(&shop).await?.len() == 2);
    let still = shop.token("staff@demo.test")?;
    believed(&shop, &staff).await.context("issued before")?;
    believed(&shop, &still).await.context("issued since")?;

    let withdrawn = shop.ask(&["keys", "rotate", "--withdraw"])?;
    let since = Instant::now();
    ensure!(
        withdrawn["items"].as_array().map(Vec::len) == Some(1),
        "{withdrawn}"
    );
    wait_for("nobody believes the old token", async || {
        Ok(statuses(&shop, &staff).await?.iter().all(|it| *it == 401))
    })
    .await?;
    ensure!(since.elapsed() < WITHDRAWN_WITHIN, "{:?}", since.elapsed());
    let new = shop.token("staff@demo.test")?;
    believed(&shop, &new).await.context("of the new key")?;
    ensure!(published(&shop).await?.len() == 1);
    Ok(())
}
