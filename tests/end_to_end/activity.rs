//! What staff did can be read afterwards, from all workers together.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shopzen_tests::shop::{Shop, order_of};

async fn page(shop: &Shop, staff: &str, query: &str) -> Result<Value> {
    let path = format!("/api/v1/admin/activity{query}");
    let answer = shop.get(&path).bearer_auth(staff).send().await?;
    ensure!(answer.status() == 200, "{query}: {}", answer.text().await?);
    Ok(answer.json().await?)
}

fn things(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["thing"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_staff_do_can_be_read_newest_first() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let staff = shop.token("staff@demo.test")?;
    let body = order_of(&[("LAMP-BRASS", 1)], "tok_requires_action");
    let order = shop.accepted("to be cancelled", &body).await?;
    let id = order["id"].as_str().context("an order has an id")?;

    shop.add_stock("LAMP-BRASS", 3).await?;
    let product = json!({
        "slug": "kept-lamp", "name": "Kept lamp", "published": false,
        "variants": [{ "sku": "KEPT-LAMP", "price": { "amount_minor": 999, "currency": "EUR" } }],
    });
    let put = shop
        .post("/api/v1/admin/products")
        .bearer_auth(&staff)
        .header("Reason", "for the window")
        .json(&product);
    ensure!(put.send().await?.status() == 201);
    let cancel = shop.post(&format!("/api/v1/orders/{id}/cancel"));
    let cancelled = cancel.bearer_auth(&staff).send().await?;
    ensure!(cancelled.status() == 200, "{}", cancelled.text().await?);
    shop.ask(&["account", "roles", "shopper@demo.test", "support"])?;

    let all = page(&shop, &staff, "?limit=4").await?;
    let of_order = format!("order {id}");
    let found = things(&all);
    ensure!(found[0].starts_with("account "), "{all:#}");
    ensure!(
        found[1..] == [of_order.as_str(), "product kept-lamp", "SKU LAMP-BRASS"],
        "{all:#}"
    );
    let [roles, order, product, level] = &all["items"].as_array().context("a list")?[..] else {
        anyhow::bail!("not four: {all:#}")
    };
    ensure!(
        roles["actor"]
            .as_str()
            .is_some_and(|actor| actor.starts_with("operator:")),
        "{roles:#}"
    );
    ensure!(roles["before"]["roles"] == json!(["shopper"]), "{roles:#}");
    ensure!(roles["after"]["roles"] == json!(["support"]), "{roles:#}");
    let feeds = page(&shop, &staff, "?thing=products%20of%20a%20feed").await?;
    let operator = feeds["items"][0]["actor"].as_str().unwrap_or_default();
    ensure!(operator.len() > "operator:".len(), "{feeds:#}");
    ensure!(order["after"]["status"] == "cancelled", "{order:#}");
    ensure!(
        order["route"] == format!("POST /api/v1/orders/{id}/cancel"),
        "{order:#}"
    );
    ensure!(
        product["before"].is_null() && product["after"]["name"] == "Kept lamp",
        "{product:#}"
    );
    ensure!(product["reason"] == "for the window", "{product:#}");
    ensure!(level["reason"] == "for a test", "{level:#}");
    let on_hand = |of: &str| level[of]["on_hand"].as_i64();
    ensure!(
        on_hand("after") == on_hand("before").map(|before| before + 3),
        "{level:#}"
    );

    // Page by page it is the same, and one account's is its own.
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let next = page(&shop, &staff, &format!("?limit=1{cursor}")).await?;
        paged.extend(next["items"].as_array().context("a list")?.clone());
        match next["next_cursor"].as_str() {
            Some(next) if paged.len() < 4 => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    ensure!(all["items"] == json!(paged), "{paged:#?}");
    let actor = level["actor"]
        .as_str()
        .and_then(|actor| actor.strip_prefix("account:"));
    let own = page(
        &shop,
        &staff,
        &format!("?actor={}", actor.context("an account")?),
    )
    .await?;
    ensure!(things(&own) == found[1..], "{own:#}");
    let none = page(&shop, &staff, "?since=2100-01-01T00:00:00Z").await?;
    ensure!(things(&none).is_empty(), "{none:#}");
    let by_command = shop.ask(&["activity", "--thing", "product kept-lamp"])?;
    ensure!(by_command["items"] == json!([product]), "{by_command:#}");
    Ok(())
}
