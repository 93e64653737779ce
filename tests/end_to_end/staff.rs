//! What staff do, and what keeps them from undoing each other's work.

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use shopzen_tests::shop::Shop;

const SLUG: &str = "draft-lamp";

fn lamp(name: &str) -> Value {
    json!({
        "name": name,
        "published": false,
        "variants": [{"sku": "DRAFT-LAMP", "price": {"amount_minor": 2499, "currency": "EUR"}}],
    })
}

async fn put(shop: &Shop, product: &Value, if_match: Option<&str>) -> Result<Response> {
    let mut request = Client::new()
        .put(shop.url(&format!("/api/v1/admin/products/{SLUG}")))
        .bearer_auth(shop.token("staff@demo.test")?)
        .json(product);
    if let Some(tag) = if_match {
        request = request.header("If-Match", tag);
    }
    Ok(request.send().await?)
}

/// Nobody but staff sees a draft: whether it exists cannot be asked of the shop's public side.
#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_not_overwritten_by_who_has_not_read_it() -> Result<()> {
    let shop = Shop::start(&["--seed", "none"]).await?;
    let created = put(&shop, &lamp("Lamp"), None).await?;
    ensure!(created.status() == 201, "{created:?}");
    let tag = created.headers()["etag"].to_str()?.to_owned();

    let unread = put(&shop, &lamp("Other lamp"), None).await?;
    ensure!(unread.status() == 428, "{unread:?}");
    let problem: Value = unread.json().await?;
    ensure!(problem["code"] == "if_match_required", "{problem}");

    let read = put(&shop, &lamp("Better lamp"), Some(&tag)).await?;
    ensure!(read.status() == 200, "{read:?}");
    let product: Value = read.json().await?;
    ensure!(product["name"] == "Better lamp", "{product}");

    let stale = put(&shop, &lamp("Worse lamp"), Some(&tag)).await?;
    ensure!(stale.status() == 412, "{stale:?}");
    let problem: Value = stale.json().await?;
    let code = problem["code"].as_str().context("a problem has a code")?;
    ensure!(code == "out_of_date", "{problem}");
    Ok(())
}

/// Anybody knows the demo accounts' passwords, so a shop that others can reach has none.
#[tokio::test(flavor = "multi_thread")]
async fn operators_work_in_a_shop_without_demo_accounts() -> Result<()> {
    let shop = Shop::start_with(&[], &[("SHOPZEN_AUTH__DEMO_ACCOUNTS", "false")]).await?;
    ensure!(shop.token("staff@demo.test").is_err());
    let products: Value = shop.get("/api/v1/products").send().await?.json().await?;
    let items = products["items"].as_array().context("a list")?;
    ensure!(!items.is_empty(), "the demo's products were imported");
    shop.ask(&["seed", "--products", "10"])?;
    let mails = shop.ask(&["mail", "ls"])?;
    ensure!(mails["items"].is_array(), "{mails}");
    Ok(())
}

/// Roles are given by the operator or by staff who have them, and hold from the next token on.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_given_a_role_may_what_it_allows() -> Result<()> {
    const SHOPPER: &str = "shopper@demo.test";
    let shop = Shop::start(&[]).await?;
    let movements = "/api/v1/admin/stock/LAMP-BRASS/movements";
    let status = async |path: &str| -> Result<u16> {
        let request = shop.get(path).bearer_auth(shop.token(SHOPPER)?);
        Ok(request.send().await?.status().as_u16())
    };
    ensure!(status(movements).await? == 403);
    let given = shop.ask(&["account", "roles", SHOPPER, "warehouse", "shopper"])?;
    ensure!(given["roles"] == json!(["shopper", "warehouse"]), "{given}");
    ensure!(shop.ask(&["account", "roles", SHOPPER])? == given);
    ensure!(status(movements).await? == 200);
    ensure!(status("/api/v1/admin/roles").await? == 403);

    let staff = shop.token("staff@demo.test")?;
    let id = given["account_id"].as_str().context("an id")?;
    let path = format!("/api/v1/admin/customers/{id}/roles");
    let read = shop.get(&path).bearer_auth(&staff).send().await?;
    let tag = read.headers()["etag"].to_str()?.to_owned();
    let put = async |if_match: Option<&str>, roles: Value| -> Result<(u16, Value)> {
        let request = Client::new().put(shop.url(&path)).bearer_auth(&staff);
        let mut request = request.json(&json!({ "roles": roles }));
        if let Some(tag) = if_match {
            request = request.header("If-Match", tag);
        }
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    let (status, problem) = put(None, json!(["shopper"])).await?;
    ensure!(status == 428, "{problem}");
    let (status, problem) = put(Some(&tag), json!(["king"])).await?;
    ensure!(status == 422, "{problem}");
    let (status, set) = put(Some(&tag), json!(["merchandiser"])).await?;
    ensure!(
        status == 200 && set["roles"] == json!(["merchandiser"]),
        "{set}"
    );
    let (status, problem) = put(Some(&tag), json!(["shopper"])).await?;
    ensure!(status == 412, "{problem}");
    ensure!(
        shop.ask(&["account", "roles", "staff@demo.test", "admin"])
            .is_err()
    );
    Ok(())
}
