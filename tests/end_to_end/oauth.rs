//! Tokens for programs: over HTTP, from one that nobody has told anything but where the shop is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::{Value, json};
use shopzen_tests::shop::{Shop, wait_for};
use tokio::time::Instant;

/// What was withdrawn is believed by nobody after this long.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(10);
const MOVEMENTS: &str = "/api/v1/admin/stock/LAMP-BRASS/movements";

/// A client as the operator registers it.
struct Registered {
    id: String,
    secret: String,
}

fn register(shop: &Shop, name: &str, allow: &str) -> Result<Registered> {
    let added = shop.ask(&["client", "add", name, "--allow", allow])?;
    Ok(Registered {
        id: text(&added["client"]["id"])?,
        secret: text(&added["client_secret"])?,
    })
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("a text")?.to_owned())
}

async fn request(shop: &Shop, client: &Registered, fields: &[(&str, &str)]) -> Result<Response> {
    let asked = Client::new().post(shop.url("/oauth2/token"));
    let asked = asked.basic_auth(&client.id, Some(&client.secret));
    Ok(with_form(asked, fields)?.send().await?)
}

/// A body as forms have it, which is what the query of an address looks like.
fn with_form(asked: RequestBuilder, fields: &[(&str, &str)]) -> Result<RequestBuilder> {
    let address = Url::parse_with_params("http://form/", fields)?;
    let body = address.query().unwrap_or_default().to_owned();
    let content_type = "application/x-www-form-urlencoded";
    Ok(asked.header("content-type", content_type).body(body))
}

const FOR_ITSELF: (&str, &str) = ("grant_type", "client_credentials");

async fn token(shop: &Shop, client: &Registered) -> Result<String> {
    let answer = request(shop, client, &[FOR_ITSELF]).await?;
    let issued: Value = answer.error_for_status()?.json().await?;
    text(&issued["access_token"])
}

async fn status(shop: &Shop, token: &str) -> Result<u16> {
    let answer = shop.get(MOVEMENTS).bearer_auth(token).send().await?;
    Ok(answer.status().as_u16())
}

fn challenge(answer: &Response) -> &str {
    let header = answer.headers().get("www-authenticate");
    header.and_then(|it| it.to_str().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_knows_the_shops_address_finds_the_rest_and_acts_within_its_scopes()
-> Result<()> {
    let shop = Shop::start(&["--split"]).await?;
    let metadata = |path: &'static str| {
        let shop = &shop;
        async move {
            let answer = shop.get(path).send().await?.error_for_status()?;
            anyhow::Ok(answer.json::<Value>().await?)
        }
    };
    let found = metadata("/.well-known/oauth-authorization-server").await?;
    ensure!(found == metadata("/.well-known/openid-configuration").await?);
    ensure!(found["issuer"] == shop.url("").as_str(), "{found}");
    ensure!(found["token_endpoint"] == shop.url("/oauth2/token").as_str());

    let stock = register(&shop, "Stock", "stock:write")?;
    let answer = request(&shop, &stock, &[FOR_ITSELF]).await?;
    ensure!(
        answer.headers()["cache-control"] == "no-store",
        "{answer:?}"
    );
    let issued: Value = answer.error_for_status()?.json().await?;
    ensure!(issued["token_type"] == "Bearer" && issued["scope"] == "stock:write");
    let its = text(&issued["access_token"])?;
    wait_for("the stock worker believes it", async || {
        Ok(status(&shop, &its).await? == 200)
    })
    .await?;
    let other = shop.get("/api/v1/admin/dead-letters").bearer_auth(&its);
    let other = other.send().await?;
    ensure!(other.status() == 403, "{other:?}");
    ensure!(
        challenge(&other).contains("insufficient_scope"),
        "{other:?}"
    );
    let bad = shop.get(MOVEMENTS).bearer_auth("x").send().await?;
    ensure!(challenge(&bad).contains("invalid_token"), "{bad:?}");
    let none = shop.get(MOVEMENTS).send().await?;
    ensure!(challenge(&none) == "Bearer realm=\"shopzen\"", "{none:?}");

    // Its own token, asked about and given back.
    let of_token = [("token", its.as_str())];
    let ask = async |path: &str| {
        let asked = Client::new().post(shop.url(path));
        let asked = asked.basic_auth(&stock.id, Some(&stock.secret));
        let asked = with_form(asked, &of_token)?;
        anyhow::Ok(asked.send().await?.error_for_status()?)
    };
    let said: Value = ask("/oauth2/introspect").await?.json().await?;
    ensure!(said["active"] == true && said["sub"] == stock.id, "{said}");
    let since = Instant::now();
    ask("/oauth2/revoke").await?;
    wait_for("nobody believes it", async || {
        Ok(status(&shop, &its).await? == 401)
    })
    .await?;
    ensure!(since.elapsed() < WITHDRAWN_WITHIN, "{:?}", since.elapsed());

    // A client that is ended, and all it has.
    let next = token(&shop, &stock).await?;
    ensure!(status(&shop, &next).await? == 200);
    let since = Instant::now();
    shop.ask(&["client", "revoke", "Stock"])?;
    wait_for("nobody believes the client", async || {
        Ok(status(&shop, &next).await? == 401)
    })
    .await?;
    ensure!(since.elapsed() < WITHDRAWN_WITHIN, "{:?}", since.elapsed());
    let refused = request(&shop, &stock, &[FOR_ITSELF]).await?;
    ensure!(refused.status() == 401, "{refused:?}");
    Ok(())
}

/// Who asks with what, and what they are told.
type Case<'a> = (&'a Registered, &'a [(&'a str, &'a str)], u16, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_what_oauth_clients_read() -> Result<()> {
    let shop = Shop::start(&["--seed", "none"]).await?;
    let client = register(&shop, "Stock", "stock:write")?;
    let stranger = Registered {
        id: client.id.clone(),
        secret: "szs_x".to_owned(),
    };
    let wide = ("scope", "catalog:write");
    let cases: [Case; 5] = [
        (&stranger, &[FOR_ITSELF], 401, "invalid_client"),
        (&client, &[], 400, "invalid_request"),
        (&client, &[FOR_ITSELF, FOR_ITSELF], 400, "invalid_request"),
        (
            &client,
            &[("grant_type", "password")],
            400,
            "unsupported_grant_type",
        ),
        (&client, &[FOR_ITSELF, wide], 400, "invalid_scope"),
    ];
    for (client, fields, status, error) in cases {
        let answer = request(&shop, client, fields).await?;
        ensure!(answer.status() == status, "{fields:?}: {answer:?}");
        ensure!(answer.headers()["content-type"] == "application/json");
        ensure!(answer.headers()["cache-control"] == "no-store");
        let is_challenged = challenge(&answer).starts_with("Basic ");
        ensure!(is_challenged == (status == 401), "{answer:?}");
        let problem: Value = answer.json().await?;
        ensure!(problem["error"] == error, "{problem}");
        ensure!(problem["error_description"].is_string(), "{problem}");
        ensure!(problem["status"] == status, "{problem}");
    }
    let json = Client::new().post(shop.url("/oauth2/token"));
    let json = json.json(&json!({ "grant_type": "client_credentials" }));
    ensure!(json.send().await?.status() == 415);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_register_rotate_and_end_clients_over_http() -> Result<()> {
    let shop = Shop::start(&["--seed", "none"]).await?;
    let staff = shop.token("staff@demo.test")?;
    let post = async |path: &str, body: Value| {
        let asked = Client::new().post(shop.url(path)).bearer_auth(&staff);
        anyhow::Ok(asked.json(&body).send().await?)
    };
    let wanted = json!({
        "name": "ACME", "grants": ["client_credentials"], "scopes": ["stock:write"],
    });
    let added = post("/api/v1/admin/clients", wanted.clone()).await?;
    ensure!(added.status() == 201, "{added:?}");
    let location = added.headers()["location"].to_str()?.to_owned();
    let added: Value = added.json().await?;
    let first = Registered {
        id: text(&added["client"]["id"])?,
        secret: text(&added["client_secret"])?,
    };
    ensure!(location == format!("/api/v1/admin/clients/{}", first.id));
    ensure!(post("/api/v1/admin/clients", wanted).await?.status() == 409);
    let read = shop.get(&location).bearer_auth(&staff).send().await?;
    let read: Value = read.error_for_status()?.json().await?;
    ensure!(read == added["client"], "{read}");
    ensure!(shop.get(&location).send().await?.status() == 401);

    let rotated = post(&format!("{location}/secrets"), json!({ "overlap_s": 0 })).await?;
    let rotated: Value = rotated.error_for_status()?.json().await?;
    let second = Registered {
        id: first.id.clone(),
        secret: text(&rotated["client_secret"])?,
    };
    ensure!(request(&shop, &first, &[FOR_ITSELF]).await?.status() == 401);
    token(&shop, &second).await?;
    post(&format!("{location}/revoke"), json!({}))
        .await?
        .error_for_status()?;
    ensure!(request(&shop, &second, &[FOR_ITSELF]).await?.status() == 401);
    Ok(())
}
