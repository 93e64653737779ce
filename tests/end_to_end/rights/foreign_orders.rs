//! Somebody else's order is not there, and nobody can tell it from one that never was.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use shopzen_contracts::Scope;
use shopzen_tests::shop::{Shop, order_of};

use super::{
    identities::{self, Held, Identity},
    nats::{self, Nats},
};

/// What was answered, but for the trace id.
async fn told(
    shop: &Shop,
    method: &Method,
    path: &str,
    identity: &Identity,
) -> Result<(u16, String)> {
    let mut request = shop.client.request(method.clone(), shop.url(path));
    if let Some(token) = &identity.token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let trace = answer.headers()["request-id"].to_str()?.to_owned();
    let body = answer.text().await?;
    ensure!(
        body.contains(&trace),
        "the problem has the trace id: {body}"
    );
    Ok((status, body.replace(&trace, "")))
}

async fn told_on_nats(
    nats: &Nats,
    subject: &str,
    id: &str,
    identity: &Identity,
) -> Result<(u16, Value)> {
    let body = match subject {
        "shop.qry.orders.v1.progress" => json!({ "id": id, "after": 0 }),
        _ => json!({ "id": id }),
    };
    let answer = nats
        .answer(
            "edge",
            subject,
            body.to_string().into(),
            identity.token.as_deref(),
        )
        .await?;
    let status = nats::status_of(&answer)?;
    let mut problem: Value = serde_json::from_slice(&answer.payload)?;
    problem["trace_id"] = Value::Null;
    Ok((status, problem))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_order_is_as_little_there_as_an_unknown_one() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let nats = Nats::connect(&shop).await?;
    let body = order_of(&[("LAMP-BRASS", 1)], "tok_ok");
    let guests = shop.accepted("a guest's", &body).await?;
    let shoppers = shop
        .order("a shopper's", &body)
        .bearer_auth(shop.token("shopper@demo.test")?)
        .send()
        .await?
        .json::<Value>()
        .await?;
    let mut looked = 0;
    for identity in identities::all(&shop).await? {
        let is_staff =
            matches!(&identity.held, Held::Scopes(scopes) if scopes.contains(&Scope::OrdersWrite));
        if is_staff || matches!(identity.held, Held::Bad) {
            continue;
        }
        for order in [&guests, &shoppers] {
            let foreign = order["id"].as_str().context("an order has an id")?;
            for (method, rest) in [
                (Method::GET, ""),
                (Method::GET, "/timeline"),
                (Method::GET, "/events"),
                (Method::POST, "/cancel"),
            ] {
                let path = |id: &str| format!("/api/v1/orders/{id}{rest}");
                let unknown = told(&shop, &method, &path(nats::UNKNOWN), &identity).await?;
                let foreign = told(&shop, &method, &path(foreign), &identity).await?;
                ensure!(unknown.0 == 404, "{unknown:?}");
                ensure!(
                    foreign == unknown,
                    "{}: {foreign:?} is not {unknown:?}",
                    identity.name
                );
                looked += 1;
            }
            for subject in [
                "shop.qry.orders.v1.get",
                "shop.qry.orders.v1.progress",
                "shop.cmd.orders.v1.cancel",
            ] {
                let unknown = told_on_nats(&nats, subject, nats::UNKNOWN, &identity).await?;
                let foreign = told_on_nats(&nats, subject, foreign, &identity).await?;
                ensure!(unknown.0 == 404, "{unknown:?}");
                ensure!(
                    foreign == unknown,
                    "{}: {foreign:?} is not {unknown:?}",
                    identity.name
                );
                looked += 1;
            }
        }
    }
    ensure!(looked >= 3 * 2 * 7, "{looked}");
    Ok(())
}
