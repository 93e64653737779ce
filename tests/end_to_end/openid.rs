//! People sign in to other programs with their account here. The programs use libraries that others wrote, and are told only
//! where the shop is.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use reqwest::Url;
use serde_json::{Value, json};
use shopzen_tests::{browser::Browser, shop::Shop};

use crate::foreign::Runtime;

const BACK: &str = "https://app.example/back";

/// The path and the query of an address in the shop.
fn path_of(address: &str) -> Result<String> {
    let url = Url::parse(address)?;
    Ok(format!(
        "{}?{}",
        url.path(),
        url.query().unwrap_or_default()
    ))
}

/// Signs in where the program has sent the browser, agrees, and says where the browser is sent back to.
async fn agree(browser: &mut Browser, address: &str) -> Result<String> {
    let asked = path_of(address)?;
    let page = browser.get(&asked).await?;
    let sign_in = page.location()?.to_owned();
    ensure!(sign_in.starts_with("/sign-in?return_to="), "{sign_in}");
    let page = browser.get(&sign_in).await?;
    let (return_to, form_token) = (page.hidden("return_to")?, page.hidden("form_token")?);
    ensure!(return_to.starts_with(&asked), "{return_to}");
    let fields = [
        ("form_token", form_token.as_str()),
        ("return_to", return_to.as_str()),
        ("email", "shopper@demo.test"),
        ("password", "demo-shopper"),
    ];
    let page = browser.post("/sign-in", &fields).await?;
    ensure!(page.text.contains("http-equiv=\"refresh\""), "{page:?}");
    let page = browser.get(&return_to).await?;
    ensure!(page.text.contains("Let Companion"), "{page:?}");
    ensure!(page.text.contains("app.example"), "{page:?}");
    let (query, form_token) = (page.hidden("query")?, page.hidden("form_token")?);
    let fields = [
        ("form_token", form_token.as_str()),
        ("query", query.as_str()),
        ("answer", "yes"),
    ];
    let page = browser.post("/oauth2/consent", &fields).await?;
    let (_, rest) = page
        .text
        .split_once("<a class=\"button\" href=\"")
        .context("a way on")?;
    let (back, _) = rest.split_once('"').context("an open value")?;
    Ok(back.replace("&#38;", "&").replace("&amp;", "&"))
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_to_other_programs_and_what_was_used_once_is_refused() -> Result<()> {
    let runtimes = Runtime::all()?;
    let shop = Shop::start(&["--split"]).await?;
    for runtime in &runtimes {
        let name = format!("Companion of {}", runtime.name());
        let added = shop.ask(&[
            "client",
            "add",
            &name,
            "--grant",
            "authorization_code,refresh_token",
            "--allow",
            "orders:read",
            "--redirect-uri",
            BACK,
        ])?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (id, secret) = (text(&added["client"]["id"]), text(&added["client_secret"]));
        let mut script = runtime.script("sign_in");
        script.args([&shop.url(""), &id, &secret, BACK]);
        let mut script = script
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(script.stdout.take().context("what it says")?).lines();
        let address = said.next().context("an address")??;
        let mut browser = Browser::new(&shop)?;
        let back = agree(&mut browser, &address).await?;
        let mut told = script.stdin.take().context("what it is told")?;
        writeln!(told, "{back}")?;
        drop(told);
        let result = said.next().context("what came of it")??;
        ensure!(script.wait()?.success(), "{runtime:?}");
        let result: Value = serde_json::from_str(&result)?;
        let expected = json!({
            "name": "Demo Shopper", "email": "shopper@demo.test",
            "scope": "email openid orders:read profile",
            "reused": "invalid_grant", "ended": "invalid_grant", "replayed": "invalid_grant",
        });
        ensure!(result == expected, "{runtime:?}: {result}");
        // Once agreed to, nobody is asked again: a browser that is signed in is sent back at once.
        let page = browser.get(&path_of(&address)?).await?;
        ensure!(page.location()?.starts_with(BACK), "{page:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_on_to_where_nothing_is_registered() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let added = shop.ask(&[
        "client",
        "add",
        "App",
        "--grant",
        "authorization_code",
        "--allow",
        "orders:read",
        "--redirect-uri",
        BACK,
        "--public",
    ])?;
    ensure!(added.get("client_secret").is_none(), "{added}");
    let id = added["client"]["id"].as_str().context("an id")?;
    let mut browser = Browser::new(&shop)?;
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let asked = |client: &str, back: &str, rest: &str| {
        let address = Url::parse_with_params(
            "http://x/oauth2/authorize",
            [
                ("client_id", client),
                ("redirect_uri", back),
                ("response_type", "code"),
                ("scope", "openid"),
                ("code_challenge", challenge),
                ("code_challenge_method", "S256"),
            ],
        );
        let query = address.map(|it| it.query().unwrap_or_default().to_owned());
        query.map(|query| format!("/oauth2/authorize?{query}{rest}"))
    };
    for (client, back) in [
        (id, "https://evil.example/back"),
        (id, "https://app.example/back/.."),
        (id, "javascript:alert(1)"),
        (id, ""),
        ("00000000-0000-0000-0000-000000000000", BACK),
        ("nobody", BACK),
    ] {
        let page = browser.get(&asked(client, back, "")?).await?;
        ensure!(page.status == 400, "{client} {back}: {page:?}");
        ensure!(page.location().is_err(), "{page:?}");
    }
    // To where something is registered whatever is wrong is said, with the name of who says it.
    let page = browser
        .get(&asked(id, BACK, "&prompt=none&state=s")?)
        .await?;
    let back = Url::parse(page.location()?)?;
    let pairs: Vec<(String, String)> = back.query_pairs().into_owned().collect();
    let has = |name: &str, value: &str| pairs.iter().any(|(n, v)| n == name && v == value);
    ensure!(
        has("error", "login_required") && has("state", "s"),
        "{pairs:?}"
    );
    ensure!(has("iss", &shop.url("")), "{pairs:?}");
    Ok(())
}

/// A trusted public app, a browser that is signed in, and the query that the app sends it with.
async fn app(shop: &Shop) -> Result<(String, Browser, String)> {
    let added = shop.ask(&[
        "client",
        "add",
        "App",
        "--grant",
        "authorization_code",
        "--allow",
        "orders:read",
        "--redirect-uri",
        BACK,
        "--public",
    ])?;
    let id = added["client"]["id"].as_str().context("an id")?.to_owned();
    let address = Url::parse_with_params(
        "http://x/",
        [
            ("client_id", id.as_str()),
            ("redirect_uri", BACK),
            ("response_type", "code"),
            ("scope", "openid profile"),
            ("state", "s"),
            (
                "code_challenge",
                "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            ),
            ("code_challenge_method", "S256"),
        ],
    )?;
    let query = address.query().unwrap_or_default().to_owned();
    let mut browser = Browser::new(shop)?;
    browser.sign_in("shopper@demo.test", "demo-shopper").await?;
    let page = browser.get(&format!("/oauth2/authorize?{query}")).await?;
    let form_token = page.hidden("form_token")?;
    let fields = [
        ("form_token", form_token.as_str()),
        ("query", query.as_str()),
        ("answer", "yes"),
    ];
    let bare = [("query", query.as_str()), ("answer", "yes")];
    ensure!(browser.post("/oauth2/consent", &bare).await?.status == 403);
    let evil = Some("https://evil.example");
    let page = browser.post_from(evil, "/oauth2/consent", &fields).await?;
    ensure!(page.status == 403, "{page:?}");
    browser.post("/oauth2/consent", &fields).await?;
    Ok((id, browser, query))
}

fn parameter(address: &str, wanted: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    let mut pairs = url.query_pairs();
    let found = pairs.find(|(name, _)| name == wanted)?;
    Some(found.1.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_of_programs_that_change_nothing_do_no_harm() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let (_, mut browser, query) = app(&shop).await?;
    for more in [
        "display=page",
        "display=popup",
        "ui_locales=fr-CA+fr+en",
        "claims_locales=se",
        "acr_values=1+2",
        "login_hint=shopper%40demo.test",
        "extra=foobar",
        "claims=%7B%22userinfo%22%3A%7B%22name%22%3A%7B%22essential%22%3Atrue%7D%7D%7D",
    ] {
        let page = browser
            .get(&format!("/oauth2/authorize?{query}&{more}"))
            .await?;
        let location = page.location().with_context(|| more.to_owned())?;
        ensure!(parameter(location, "code").is_some(), "{more}: {page:?}");
    }
    // As a form of the program's own page: it is led on, and no cookie was needed on the way.
    let asked: Vec<(String, String)> = Url::parse(&format!("http://x/?{query}"))?
        .query_pairs()
        .into_owned()
        .collect();
    let fields: Vec<(&str, &str)> = asked
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let theirs = Some("https://app.example");
    let mut nobody = Browser::new(&shop)?;
    let page = nobody
        .post_from(theirs, "/oauth2/authorize", &fields)
        .await?;
    let led_on = page.location()?.to_owned();
    ensure!(
        page.status == 303 && led_on.starts_with("/oauth2/authorize?"),
        "{page:?}"
    );
    let page = browser.get(&led_on).await?;
    ensure!(parameter(page.location()?, "code").is_some(), "{page:?}");
    // Whoever is not signed in finds their address filled in.
    let page = nobody
        .get(&format!("{led_on}&login_hint=a%40b.example"))
        .await?;
    let sign_in = page.location()?.to_owned();
    ensure!(nobody.get(&sign_in).await?.text.contains("a@b.example"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn userinfo_is_asked_in_each_way_there_is_and_in_one_at_a_time() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let (id, mut browser, query) = app(&shop).await?;
    let page = browser.get(&format!("/oauth2/authorize?{query}")).await?;
    let code = parameter(page.location()?, "code").context("a code")?;
    let form = |pairs: &[(&str, &str)]| -> Result<String> {
        let address = Url::parse_with_params("http://form/", pairs)?;
        Ok(address.query().unwrap_or_default().to_owned())
    };
    let post = |path: &str, body: String| {
        let asked = shop.post(path).body(body);
        asked.header("content-type", "application/x-www-form-urlencoded")
    };
    let exchange = form(&[
        ("grant_type", "authorization_code"),
        ("client_id", &id),
        ("redirect_uri", BACK),
        ("code", &code),
        (
            "code_verifier",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
    ])?;
    let issued = post("/oauth2/token", exchange).send().await?;
    let issued: Value = issued.error_for_status()?.json().await?;
    let token = issued["access_token"].as_str().context("a token")?;
    let path = "/oauth2/userinfo";
    let in_form = form(&[("access_token", token)])?;
    let asked = [
        shop.get(path).bearer_auth(token),
        shop.post(path).bearer_auth(token),
        post(path, in_form.clone()),
    ];
    for asked in asked {
        let answer = asked.send().await?.error_for_status()?;
        ensure!(
            answer.headers()["cache-control"] == "no-store",
            "{answer:?}"
        );
        let info: Value = answer.json().await?;
        ensure!(
            info["name"] == "Demo Shopper" && info["sub"].is_string(),
            "{info}"
        );
    }
    for (asked, status) in [
        (post(path, in_form.clone()).bearer_auth(token), 400),
        (post(path, String::new()), 401),
        (post(path, "access_token=x".to_owned()), 401),
        (post(path, "access_token=a%0d%0ab".to_owned()), 401),
        (post(path, format!("{in_form}&{in_form}")), 400),
        (shop.post(path), 401),
        // In an address it would be in logs and histories.
        (shop.get(&format!("{path}?{in_form}")), 401),
    ] {
        let answer = asked.send().await?;
        ensure!(answer.status() == status, "{status}: {answer:?}");
    }
    Ok(())
}
