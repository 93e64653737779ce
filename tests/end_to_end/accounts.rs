//! Accounts, as people have them: in a browser, by e-mail, and over the API.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shopzen_tests::{
    browser::Browser,
    shop::{Shop, wait_for},
};

const ADA: &str = "ada@lovelace.example";
const PASSWORD: &str = "copper-lantern-drizzle";

/// The path of the link in the newest letter of a kind to an address.
pub(crate) async fn link(shop: &Shop, kind: &str, recipient: &str) -> Result<String> {
    let mut found = None;
    wait_for("the letter is there", async || {
        let mails = shop.ask(&["mail", "ls", "--limit", "100"])?;
        let items = mails["items"].as_array().context("a list")?;
        let letter = items
            .iter()
            .find(|mail| mail["kind"] == kind && mail["recipient"] == recipient);
        found = letter
            .and_then(|mail| mail["body"].as_str())
            .map(str::to_owned);
        Ok(found.is_some())
    })
    .await?;
    let body = found.context("it was there")?;
    let start = body.find(&shop.url("")).context("a link of this shop")?;
    let link = body[start..].split_whitespace().next().context("a link")?;
    Ok(link[shop.url("").len()..].to_owned())
}

/// Registers, and follows the link in the letter.
async fn register(shop: &Shop, browser: &mut Browser) -> Result<()> {
    register_as(shop, browser, "Ada", ADA).await
}

pub(crate) async fn register_as(
    shop: &Shop,
    browser: &mut Browser,
    name: &str,
    email: &str,
) -> Result<()> {
    let form_token = browser.get("/sign-up").await?.hidden("form_token")?;
    let fields = [
        ("form_token", form_token.as_str()),
        ("name", name),
        ("email", email),
        ("password", PASSWORD),
    ];
    let page = browser.post("/sign-up", &fields).await?;
    ensure!(page.text.contains("Look into your mail"), "{page:?}");
    let link = link(shop, "confirm_email", email).await?;
    let page = browser.get(&link).await?;
    let token = page.hidden("token")?;
    // A mail program that looks at the link confirms nothing.
    let refused = browser.sign_in(email, PASSWORD).await?;
    ensure!(refused.status == 422, "{refused:?}");
    let form_token = page.hidden("form_token")?;
    let fields = [
        ("form_token", form_token.as_str()),
        ("token", token.as_str()),
    ];
    let page = browser.post("/confirm-email", &fields).await?;
    ensure!(page.text.contains("Confirmed"), "{page:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_registers_signs_in_and_out_and_gets_a_new_password() -> Result<()> {
    let shop = Shop::start(&["--split"]).await?;
    let mut browser = Browser::new(&shop)?;
    register(&shop, &mut browser).await?;

    let page = browser.sign_in(ADA, PASSWORD).await?;
    ensure!(
        page.status == 303 && page.location()? == "/account",
        "{page:?}"
    );
    let page = browser.get("/account").await?;
    ensure!(
        page.text.contains("Ada") && page.text.contains(ADA),
        "{page:?}"
    );
    ensure!(page.headers["cache-control"] == "no-store", "{page:?}");

    // Somewhere else a new password is set by letter: here she is signed out.
    let mut elsewhere = Browser::new(&shop)?;
    let form_token = elsewhere
        .get("/reset-password")
        .await?
        .hidden("form_token")?;
    let fields = [("form_token", form_token.as_str()), ("email", ADA)];
    elsewhere.post("/reset-password", &fields).await?;
    let path = link(&shop, "reset_password", ADA).await?;
    let token = elsewhere.get(&path).await?.hidden("token")?;
    let weak = [("token", token.as_str()), ("password", "password1")];
    let page = elsewhere.post("/new-password", &weak).await?;
    ensure!(
        page.status == 422 && page.text.contains("too easily guessed"),
        "{page:?}"
    );
    let good = [
        ("token", token.as_str()),
        ("password", "tangerine-orbit-velvet"),
    ];
    let page = elsewhere.post("/new-password", &good).await?;
    ensure!(page.text.contains("It is set"), "{page:?}");
    wait_for("the session has ended", async || {
        Ok(browser.get("/account").await?.status == 303)
    })
    .await?;
    ensure!(browser.sign_in(ADA, PASSWORD).await?.status == 422);
    ensure!(browser.sign_in(ADA, "tangerine-orbit-velvet").await?.status == 303);

    let form_token = browser.get("/account").await?.hidden("form_token")?;
    let page = browser
        .post("/sign-out", &[("form_token", &form_token)])
        .await?;
    ensure!(page.status == 303 && browser.cookies.is_empty(), "{page:?}");
    ensure!(browser.get("/account").await?.status == 303);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_site_acts_in_somebodys_name_and_no_cookie_is_kept_over_a_sign_in() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let mut browser = Browser::new(&shop)?;
    // A cookie that somebody planted is not the one of the session that begins.
    let planted = "x".repeat(43);
    browser
        .cookies
        .insert("shopzen_dev".to_owned(), planted.clone());
    let page = browser.sign_in("shopper@demo.test", "demo-shopper").await?;
    ensure!(page.status == 303, "{page:?}");
    let mine = browser.cookies["shopzen_dev"].clone();
    ensure!(mine != planted);
    let form_token = browser.get("/account").await?.hidden("form_token")?;

    let whole = [("form_token", form_token.as_str())];
    for (origin, fields) in [
        (Some("https://evil.example"), &whole[..]),
        (Some("null"), &whole),
        (None, &whole),
        (Some(shop.url("").as_str()), &[]),
        (Some(shop.url("").as_str()), &[("form_token", "x")]),
    ] {
        let page = browser.post_from(origin, "/sign-out", fields).await?;
        ensure!(page.status == 403, "{origin:?} {fields:?}: {page:?}");
    }
    ensure!(
        browser.get("/account").await?.status == 200,
        "still signed in"
    );
    // The API does not look at cookies at all.
    let cookie = format!("shopzen_dev={mine}");
    let answer = shop
        .get("/api/v1/me")
        .header("cookie", cookie)
        .send()
        .await?;
    ensure!(answer.status() == 401, "{answer:?}");

    for bad in ["//evil.example", "https://evil.example", "/\\evil.example"] {
        let fields = [
            ("email", "shopper@demo.test"),
            ("password", "demo-shopper"),
            ("return_to", bad),
            ("form_token", form_token.as_str()),
        ];
        let mut other = Browser::new(&shop)?;
        let page = other.post("/sign-in", &fields).await?;
        ensure!(page.location()? == "/account", "{bad}: {page:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_tells_nobody_who_has_an_account() -> Result<()> {
    let shop = Shop::start_with(&[], &[("SHOPZEN_LIMITS__ENABLED", "true")]).await?;
    let post = async |path: &str, body: Value| -> Result<(u16, String)> {
        let answer = shop.client.post(shop.url(path)).json(&body).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    };
    let wish = |email: &str| json!({"email": email, "password": PASSWORD, "name": "Eve"});
    let known = post("/api/v1/accounts", wish("shopper@demo.test")).await?;
    let unknown = post("/api/v1/accounts", wish("nobody@lovelace.example")).await?;
    ensure!(known == unknown && known.0 == 202, "{known:?} {unknown:?}");
    let wish = |email: &str| json!({ "email": email });
    let path = "/api/v1/accounts/request-password-reset";
    let known = post(path, wish("shopper@demo.test")).await?;
    let unknown = post(path, wish("nobody@lovelace.example")).await?;
    ensure!(known == unknown && known.0 == 202, "{known:?} {unknown:?}");
    // Too much was asked for is said of an address, whoever it is about.
    let mut refused = None;
    for _ in 0..40 {
        let answer = shop
            .client
            .post(shop.url(path))
            .json(&wish(ADA))
            .send()
            .await?;
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.context("attempts have a limit")?;
    ensure!(refused.headers().contains_key("retry-after"), "{refused:?}");
    ensure!(refused.json::<Value>().await?["code"] == "too_many_attempts");
    // Others, and other things, are not held up by it.
    ensure!(shop.get("/api/v1/products").send().await?.status() == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_read_and_changed_by_its_owner_over_the_api() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let token = shop.token("shopper@demo.test")?;
    let me = || shop.get("/api/v1/me").bearer_auth(&token);
    let account: Value = me().send().await?.error_for_status()?.json().await?;
    ensure!(account["email"] == "shopper@demo.test", "{account}");
    let change = |body: Value| {
        shop.client
            .patch(shop.url("/api/v1/me"))
            .bearer_auth(&token)
            .json(&body)
    };
    let changed: Value = change(json!({"name": "Grace"}))
        .send()
        .await?
        .json()
        .await?;
    ensure!(changed["name"] == "Grace", "{changed}");
    for hostile in [
        json!({"name": "Grace", "roles": ["owner"]}),
        json!({"name": "Grace", "id": account["id"]}),
        json!({"name": ""}),
        json!({"name": 1}),
    ] {
        let answer = change(hostile.clone()).send().await?;
        ensure!(answer.status().is_client_error(), "{hostile}: {answer:?}");
    }
    let put = |password: &str| {
        let body = json!({"current_password": password, "password": PASSWORD});
        shop.client
            .put(shop.url("/api/v1/me/password"))
            .bearer_auth(&token)
            .json(&body)
    };
    let wrong = put("not it").send().await?;
    ensure!(wrong.status() == 403, "{wrong:?}");
    ensure!(wrong.json::<Value>().await?["code"] == "password_wrong");
    ensure!(put("demo-shopper").send().await?.status() == 204);
    // Without a token there is nobody.
    for path in ["/api/v1/me", "/api/v1/me/sessions"] {
        ensure!(shop.get(path).send().await?.status() == 401, "{path}");
    }
    Ok(())
}
