//! What staff are told of the audit over HTTP.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shopzen_tests::shop::{Shop, wait_for};

use crate::audit::{busy_shop, lay_hands, names, turns};

/// What staff are told of a round that began after this call.
async fn told(shop: &Shop, staff: &str) -> Result<Value> {
    let ask = async || {
        let request = shop.get("/api/v1/admin/audit").bearer_auth(staff);
        let answer = request.send().await?.error_for_status()?;
        anyhow::Ok(answer.json::<Value>().await?)
    };
    let mut report = ask().await?;
    // The round that is under way may have looked already, so the one after it counts.
    let (mut rounds, mut last) = (0, report["completed_at"].clone());
    wait_for("the audit completes two rounds", async || {
        report = ask().await?;
        if report["completed_at"] != last {
            last = report["completed_at"].clone();
            rounds += 1;
        }
        Ok(rounds == 2)
    })
    .await?;
    Ok(report)
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_are_told_what_the_audit_found_and_shoppers_are_not() -> Result<()> {
    let (shop, id) = busy_shop(&["--split"]).await?;
    let staff = shop.token("staff@demo.test")?;
    wait_for("the first round is completed", async || {
        let request = shop.get("/api/v1/admin/audit").bearer_auth(&staff);
        Ok(request.send().await?.status().is_success())
    })
    .await?;
    let healthy = told(&shop, &staff).await?;
    ensure!(healthy["ok"] == true, "{healthy}");
    ensure!(healthy["violations"] == json!([]), "{healthy}");
    ensure!(healthy["gateway_compared"] == true, "{healthy}");
    let invariants = healthy["invariants"].as_array();
    ensure!(invariants.is_some_and(|all| all.len() == 11), "{healthy}");

    let void = format!("UPDATE payments SET state = 'voided' WHERE order_id = '{id}'");
    lay_hands(&shop, "payments", &void).await?;
    turns(&shop, true, &id).await?;
    let broken = told(&shop, &staff).await?;
    ensure!(broken["ok"] == false, "{broken}");
    ensure!(names(&broken, "I7", ("order", &id)), "{broken}");
    let counted = broken["invariants"].as_array().context("a list")?;
    let counted = counted.iter().find(|it| it["invariant"] == "I7");
    ensure!(
        counted.is_some_and(|it| it["violations"].as_u64() > Some(0)),
        "{broken}"
    );

    let ask = |token: Option<&str>| {
        let request = shop.get("/api/v1/admin/audit");
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    };
    let shopper = shop.token("shopper@demo.test")?;
    ensure!(ask(Some(&shopper)).send().await?.status() == 403);
    ensure!(ask(None).send().await?.status() == 401);

    let _supervisor = shop.freeze_supervisor().await?;
    shop.kill("/roles/audit")?;
    let away = ask(Some(&staff)).send().await?;
    ensure!(away.status() == 503, "{away:?}");
    ensure!(away.headers().contains_key("retry-after"), "{away:?}");
    let problem: Value = away.json().await?;
    ensure!(problem["code"] == "temporarily_unavailable", "{problem}");
    Ok(())
}
