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
    ensure!(return_to == asked, "{return_to}");
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
    let page = browser.post("/oauth2/authorize", &fields).await?;
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
