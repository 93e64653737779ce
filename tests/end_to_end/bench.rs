//! `shopzen bench identity` on a real shop. What it measures is for people; that it measures is for a test.

use anyhow::{Context, Result, ensure};
use shopzen_tests::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn what_verifying_costs_can_be_measured() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let report = shop.ask(&["bench", "identity", "--rounds", "20"])?;
    ensure!(report["rounds"] == 20, "{report}");
    for kind in ["without_token", "cached", "fresh"] {
        let p50 = report[kind]["p50"].as_u64().context("a latency")?;
        let max = report[kind]["max"].as_u64().context("a latency")?;
        // No request crosses HTTP and NATS faster than that.
        ensure!(p50 > 100 && p50 <= max, "{kind}: {report}");
    }
    for kind in ["cached", "fresh"] {
        ensure!(report["added_us"][kind].is_i64(), "{kind}: {report}");
    }
    Ok(())
}
