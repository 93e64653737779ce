//! What a page sees without asking again.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use reqwest::Response;
use serde_json::Value;
use shopzen_tests::shop::{LIMIT, Shop, order_of};
use tokio::time::timeout;

/// Reads server-sent events until one satisfies `found`, or the stream ends.
async fn read_until(
    answer: Response,
    mut found: impl FnMut(&str, &str, &str) -> bool,
) -> Result<bool> {
    let read = async {
        let (mut bytes, mut text) = (answer.bytes_stream(), String::new());
        while let Some(chunk) = bytes.next().await {
            text.push_str(std::str::from_utf8(&chunk?)?);
            while let Some(end) = text.find("\n\n") {
                let block: String = text.drain(..end + 2).collect();
                let field = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                        .map_or("", str::trim)
                };
                if found(field("event"), field("id"), field("data")) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    };
    match timeout(LIMIT, read).await {
        Ok(result) => result,
        Err(_) => bail!("the stream says nothing for {LIMIT:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orders_page_follows_it_to_its_end() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let body = order_of(&[("LAMP-BRASS", 1)], "tok_ok");
    let order: Value = shop
        .post("/api/v1/orders")
        .header("Idempotency-Key", "k")
        .json(&body)
        .send()
        .await?
        .json()
        .await?;
    let id = order["id"].as_str().context("an order has an id")?;
    let token = order["order_token"]
        .as_str()
        .context("a guest gets a token")?;
    let path = format!("/api/v1/orders/{id}/events");
    let stream = async |after: Option<&str>| {
        let mut request = shop.get(&path).header("Order-Token", token);
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        anyhow::Ok(request.send().await?)
    };
    let mut seen: Vec<(i64, String)> = Vec::new();
    let answer = stream(None).await?;
    let kind = answer.headers()["content-type"].to_str()?.to_owned();
    ensure!(kind.starts_with("text/event-stream"), "{kind}");
    let done = read_until(answer, |event, id, data| {
        if event == "order" {
            let progress: Value = serde_json::from_str(data).unwrap_or_default();
            seen.push((id.parse().unwrap_or(0), progress["status"].to_string()));
        }
        event == "done"
    })
    .await?;
    ensure!(done, "the stream ended without saying so: {seen:?}");
    ensure!(
        seen.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "not in order: {seen:?}"
    );
    ensure!(
        seen.first().map(|first| first.0) == Some(1),
        "the beginning is missing: {seen:?}"
    );
    ensure!(
        seen.iter().any(|(_, status)| status.contains("confirmed")),
        "{seen:?}"
    );

    let mut again = Vec::new();
    read_until(stream(Some("2")).await?, |event, id, _| {
        if event == "order" {
            again.push(id.parse::<i64>().unwrap_or(0));
        }
        event == "done"
    })
    .await?;
    ensure!(again.first() == Some(&3), "resumed after 2 at {again:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_on_a_page_falls_when_somebody_buys() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let before = shop.available("LAMP-BRASS").await?;
    let answer = shop
        .get("/api/v1/stock/stream?sku=LAMP-BRASS")
        .timeout(Duration::from_mins(5))
        .send()
        .await?;
    shop.accepted("k", &order_of(&[("LAMP-BRASS", 2)], "tok_ok"))
        .await?;
    let mut levels = Vec::new();
    let fell = read_until(answer, |event, _, data| {
        let level: Value = serde_json::from_str(data).unwrap_or_default();
        if event == "stock" {
            levels.extend(level["available"].as_i64());
        }
        levels.last() == Some(&(before - 2))
    })
    .await?;
    ensure!(fell, "{levels:?}");
    Ok(())
}
