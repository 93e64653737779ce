//! What others try on accounts: forms of other sites, fields that are not theirs to set, ways out of the shop.

use anyhow::{Result, ensure};
use reqwest::Url;
use serde_json::{Value, json};
use shopzen_contracts::Service;
use shopzen_tests::{browser::Browser, shop::Shop};
use sqlx::{Connection, PgConnection};

const PASSWORD: &str = "copper-lantern-drizzle";
const UNKNOWN: &str = "019aab00-0000-7000-8000-000000000099";

#[tokio::test(flavor = "multi_thread")]
async fn no_form_of_an_account_is_taken_from_another_site() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let mut browser = Browser::new(&shop)?;
    browser.sign_in("shopper@demo.test", "demo-shopper").await?;
    let form_token = browser.get("/account").await?.hidden("form_token")?;
    let (session, unlink) = (
        format!("/account/sessions/{UNKNOWN}/end"),
        format!("/account/identities/{UNKNOWN}/unlink"),
    );
    let own = shop.url("");
    for path in [
        "/sign-in",
        "/sign-out",
        "/sign-up",
        "/confirm-email",
        "/reset-password",
        "/new-password",
        "/oauth2/consent",
        "/sign-in/with/any",
        "/account/identities/link",
        "/account/password",
        &session,
        &unlink,
    ] {
        let whole = [("form_token", form_token.as_str()), ("answer", "yes")];
        for (origin, fields) in [
            (Some("https://evil.example"), &whole[..]),
            (Some("null"), &whole),
            (None, &whole),
            (Some(own.as_str()), &[]),
            (Some(own.as_str()), &[("form_token", "x")]),
        ] {
            let page = browser.post_from(origin, path, fields).await?;
            ensure!(page.status == 403, "{path} {origin:?}: {page:?}");
        }
    }
    ensure!(
        browser.get("/account").await?.status == 200,
        "still signed in"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_themselves_more_than_they_are() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let token = shop.token("shopper@demo.test")?;
    let before = shop.get("/api/v1/me").bearer_auth(&token);
    let before = before.send().await?.error_for_status()?;
    ensure!(
        before.headers()["cache-control"] == "no-store",
        "{before:?}"
    );
    let before: Value = before.json().await?;
    for (name, value) in [
        ("roles", json!(["owner"])),
        ("scopes", json!(["ops:write"])),
        ("id", json!(UNKNOWN)),
        ("email_verified", json!(true)),
        ("is_demo", json!(true)),
        ("password_hash", json!("x")),
        ("created_at", json!("2020-01-01T00:00:00Z")),
    ] {
        let mut wish = json!({ "email": "eve@evil.example", "password": PASSWORD, "name": "Eve" });
        wish[name] = value.clone();
        let answer = shop.post("/api/v1/accounts").json(&wish).send().await?;
        ensure!(answer.status().is_client_error(), "{name}: {answer:?}");
        let mut change = json!({ "name": "Eve" });
        change[name] = value;
        let answer = shop.client.patch(shop.url("/api/v1/me"));
        let answer = answer.bearer_auth(&token).json(&change).send().await?;
        ensure!(answer.status().is_client_error(), "{name}: {answer:?}");
    }
    let after = shop.get("/api/v1/me").bearer_auth(&token).send().await?;
    ensure!(after.json::<Value>().await? == before);
    let mut db = PgConnection::connect(&shop.database_url(Service::Auth.name())?).await?;
    let wishes: i64 = sqlx::query_scalar("SELECT count(*) FROM registrations")
        .fetch_one(&mut db)
        .await?;
    ensure!(wishes == 0, "{wishes}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_return_address_leads_out_of_the_shop() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    for bad in [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "evil.example",
    ] {
        let mut browser = Browser::new(&shop)?;
        let asked = Url::parse_with_params("http://x/", [("return_to", bad)])?;
        let query = asked.query().unwrap_or_default();
        let page = browser.get(&format!("/sign-in?{query}")).await?;
        ensure!(page.hidden("return_to")? == "/account", "{bad}: {page:?}");
        let form_token = page.hidden("form_token")?;
        let fields = [
            ("form_token", form_token.as_str()),
            ("email", "shopper@demo.test"),
            ("password", "demo-shopper"),
            ("return_to", bad),
        ];
        let page = browser.post("/sign-in", &fields).await?;
        ensure!(page.location()? == "/account", "{bad}: {page:?}");
        ensure!(page.headers["referrer-policy"] == "no-referrer", "{page:?}");
    }
    Ok(())
}
