//! Second factors, as people have them: in a browser without a script.

use anyhow::{Context, Result, ensure};
use shopzen_tests::{
    browser::{Browser, Page},
    shop::{Shop, wait_for},
};
use totp_rs::Totp;

use crate::accounts;

const ADA: &str = "ada@lovelace.example";
const PASSWORD: &str = "copper-lantern-drizzle";

/// What an authenticator app shows now that has read this.
fn code_of(uri: &str) -> Result<String> {
    Ok(Totp::from_url(uri)?.generate_current().to_string())
}

fn codes_on(page: &Page) -> Vec<String> {
    let codes = page.text.split("<li><code>").skip(1);
    let codes = codes.filter_map(|rest| rest.split_once('<'));
    codes.map(|(code, _)| code.to_owned()).collect()
}

/// Answers the question for a second factor that a page asks.
async fn show(browser: &mut Browser, asked: &Page, path: &str, code: &str) -> Result<Page> {
    let hidden = |name| asked.hidden(name);
    let (form_token, challenge, return_to) = (
        hidden("form_token")?,
        hidden("challenge")?,
        hidden("return_to")?,
    );
    let fields = [
        ("form_token", form_token.as_str()),
        ("challenge", challenge.as_str()),
        ("return_to", return_to.as_str()),
        ("code", code),
    ];
    browser.post(path, &fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_alone_signs_nobody_in_who_has_an_authenticator_app() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let mut browser = Browser::new(&shop)?;
    accounts::register_as(&shop, &mut browser, "Ada", ADA).await?;
    let page = browser.sign_in(ADA, PASSWORD).await?;
    ensure!(page.status == 303, "{page:?}");

    // This one stays signed in without having shown a factor.
    let mut older = Browser::new(&shop)?;
    older.sign_in(ADA, PASSWORD).await?;

    let page = browser.get("/account/security").await?;
    let form_token = page.hidden("form_token")?;
    let wrong = [
        ("form_token", form_token.as_str()),
        ("current_password", "not hers"),
    ];
    let page = browser.post("/account/security/totp", &wrong).await?;
    ensure!(page.status == 403, "{page:?}");
    let right = [
        ("form_token", form_token.as_str()),
        ("current_password", PASSWORD),
    ];
    let page = browser.post("/account/security/totp", &right).await?;
    ensure!(page.text.contains("<svg"), "{page:?}");
    let (secret, uri) = (page.hidden("secret")?, page.hidden("uri")?);
    let mut codes = Vec::new();
    for (code, is_right) in [("nonsense", false), (code_of(&uri)?.as_str(), true)] {
        let fields = [
            ("form_token", form_token.as_str()),
            ("secret", secret.as_str()),
            ("uri", uri.as_str()),
            ("code", code),
        ];
        let page = browser
            .post("/account/security/totp/confirm", &fields)
            .await?;
        ensure!(page.status.is_success() == is_right, "{code}: {page:?}");
        codes = codes_on(&page);
    }
    ensure!(codes.len() == 10, "{codes:?}");

    // Somewhere else the password is not enough, for the pages and for the account.
    let mut elsewhere = Browser::new(&shop)?;
    let asked = elsewhere.sign_in(ADA, PASSWORD).await?;
    ensure!(asked.text.contains("recovery code"), "{asked:?}");
    ensure!(elsewhere.get("/account").await?.status == 303);
    let path = "/sign-in/second-factor";
    let page = show(&mut elsewhere, &asked, path, "000 000 000").await?;
    ensure!(page.status.is_client_error(), "{page:?}");
    ensure!(elsewhere.get("/account").await?.status == 303);

    let (first, second) = (&codes[0], &codes[1]);
    let page = show(&mut elsewhere, &page, path, first).await?;
    ensure!(page.status == 303, "{page:?}");
    ensure!(elsewhere.get("/account").await?.status == 200);

    // What matters leads who has not shown one of late to where they do.
    let form_token = older.get("/account/erase").await?.hidden("form_token")?;
    let fields = [
        ("form_token", form_token.as_str()),
        ("current_password", PASSWORD),
    ];
    let page = older.post("/account/erase", &fields).await?;
    let step_up = "/account/step-up?return_to=%2Faccount%2Ferase";
    ensure!(page.location()? == step_up, "{page:?}");
    let asked = older.get(step_up).await?;
    let page = show(&mut older, &asked, "/account/step-up", &codes[2]).await?;
    ensure!(page.location()? == "/account/erase", "{page:?}");

    // A code is good once, and so is the question that it answered.
    let mut third = Browser::new(&shop)?;
    let again = third.sign_in(ADA, PASSWORD).await?;
    let page = show(&mut third, &again, path, first).await?;
    ensure!(page.status.is_client_error(), "{page:?}");
    let page = show(&mut third, &asked, path, second).await?;
    ensure!(page.status != 303, "{page:?}");
    ensure!(third.get("/account").await?.status == 303);

    // The app goes with a click, from where a factor was just shown.
    let form_token = elsewhere
        .get("/account/security")
        .await?
        .hidden("form_token")?;
    let fields = [("form_token", form_token.as_str())];
    let page = elsewhere
        .post("/account/security/totp/remove", &fields)
        .await?;
    ensure!(page.status == 303, "{page:?}");
    let page = third.sign_in(ADA, PASSWORD).await?;
    ensure!(page.status == 303, "{page:?}");
    wait_for("the owner was written to", async || {
        let mails = shop.ask(&["mail", "ls", "--limit", "100"])?;
        let items = mails["items"].as_array().context("a list")?;
        Ok(items
            .iter()
            .any(|mail| mail["kind"] == "second_factor_removed" && mail["recipient"] == ADA))
    })
    .await
}
