//! People sign in with accounts elsewhere: at oidc-provider, which others wrote.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Stdio},
};

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Url, header, redirect::Policy};
use serde_json::{Value, json};
use shopzen_test_servers::free_port;
use shopzen_tests::{
    browser::{Browser, Page},
    shop::Shop,
};

use crate::foreign::Runtime;

const ADA: &str = "ada@lovelace.example";

/// A provider that runs.
struct Provider {
    child: Child,
    /// What it says later goes nowhere, but has somewhere to go.
    _said: BufReader<ChildStdout>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        // It is a test's; nothing of it is kept.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Provider {
    fn start(node: &Runtime, shop: &Shop, name: &str, port: u16) -> Result<Self> {
        let mut script = node.script("provider");
        script
            .arg(issuer(port))
            .arg(shop.url(&format!("/sign-in/with/{name}/back")))
            .stdout(Stdio::piped());
        let mut child = script.spawn()?;
        let mut said = BufReader::new(child.stdout.take().context("what it says")?);
        let mut line = String::new();
        while line.trim() != "listening" {
            line.clear();
            if said.read_line(&mut line)? == 0 {
                child.wait()?;
                anyhow::bail!("the provider did not start");
            }
        }
        Ok(Self { child, _said: said })
    }
}

fn issuer(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Somebody's browser at providers: cookies there, and who they are.
struct Elsewhere {
    client: Client,
    cookies: BTreeMap<String, String>,
    person: Value,
}

impl Elsewhere {
    fn new(person: Value) -> Result<Self> {
        Ok(Self {
            client: Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                .build()?,
            cookies: BTreeMap::new(),
            person,
        })
    }

    /// Follows a provider's redirects until it sends the browser back to the shop; says where to, as a path.
    async fn go(&mut self, shop: &Shop, address: &str) -> Result<String> {
        let mut address = Url::parse(address)?;
        for _ in 0..10 {
            let pairs = self.cookies.iter().map(|(n, v)| format!("{n}={v}"));
            let cookies = pairs.collect::<Vec<_>>().join("; ");
            let asked = self.client.get(address.clone());
            let asked = asked
                .header(header::COOKIE, cookies)
                .header("x-person", self.person.to_string());
            let answer = asked.send().await?;
            for cookie in answer.headers().get_all(header::SET_COOKIE) {
                let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
                let (name, value) = pair.split_once('=').context("a pair")?;
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
            let location = answer.headers().get(header::LOCATION);
            let Some(location) = location.and_then(|it| it.to_str().ok()) else {
                anyhow::bail!("{address}: {}", answer.text().await?);
            };
            address = address.join(location)?;
            if let Some(back) = address.as_str().strip_prefix(&shop.url("")) {
                return Ok(back.to_owned());
            }
        }
        anyhow::bail!("it leads around in circles: {address}")
    }
}

fn person(sub: &str, email: &str, is_verified: bool) -> Value {
    json!({ "sub": sub, "email": email, "email_verified": is_verified, "name": "Ada" })
}

/// Where a page leads on to.
fn onward(page: &Page) -> Result<String> {
    let (_, rest) = page
        .text
        .split_once("<a class=\"button\" href=\"")
        .with_context(|| format!("a way on: {page:?}"))?;
    let (address, _) = rest.split_once('"').context("an open value")?;
    Ok(address.replace("&#38;", "&").replace("&amp;", "&"))
}

/// Sets out for a provider; says where the browser is led.
async fn set_out(browser: &mut Browser, provider: &str, purpose: &str) -> Result<String> {
    let from = if purpose == "link" {
        "/account"
    } else {
        "/sign-in"
    };
    let form_token = browser.get(from).await?.hidden("form_token")?;
    let fields = [
        ("form_token", form_token.as_str()),
        ("purpose", purpose),
        ("return_to", "/account"),
    ];
    let path = format!("/sign-in/with/{provider}");
    onward(&browser.post(&path, &fields).await?)
}

/// Signs in with an account elsewhere, and says what came of it.
async fn sign_in(
    shop: &Shop,
    browser: &mut Browser,
    person: &Value,
    purpose: &str,
) -> Result<Page> {
    let address = set_out(browser, "one", purpose).await?;
    let back = Elsewhere::new(person.clone())?.go(shop, &address).await?;
    browser.get(&back).await
}

/// Says yes where somebody is asked whether to link what they have shown.
async fn link(browser: &mut Browser) -> Result<Page> {
    let page = browser.get("/account/identities/link").await?;
    let form_token = page.hidden("form_token")?;
    let fields = [("form_token", form_token.as_str()), ("answer", "yes")];
    browser.post("/account/identities/link", &fields).await
}

struct Setting {
    shop: Shop,
    node: Runtime,
    ports: [u16; 2],
}

/// A shop that knows two providers, where there is Node.js.
#[expect(
    clippy::print_stderr,
    reason = "a test that tests less than it could says so"
)]
async fn setting() -> Result<Option<Setting>> {
    let runtimes = Runtime::all()?;
    let Some(node) = runtimes.into_iter().find(|it| it.name() == "Node.js") else {
        eprintln!("not tested with a provider: there is no Node.js here");
        return Ok(None);
    };
    let ports = [free_port()?, free_port()?];
    let [one, two] = ports.map(issuer);
    let secret = "the-shops-secret-at-this-provider";
    let shop = Shop::start_with(
        &[],
        &[
            ("SHOPZEN_AUTH__PROVIDERS__ONE__ISSUER", &one),
            ("SHOPZEN_AUTH__PROVIDERS__ONE__CLIENT_ID", "shop"),
            ("SHOPZEN_AUTH__PROVIDERS__ONE__CLIENT_SECRET", secret),
            ("SHOPZEN_AUTH__PROVIDERS__ONE__TITLE", "One"),
            ("SHOPZEN_AUTH__PROVIDERS__TWO__ISSUER", &two),
            ("SHOPZEN_AUTH__PROVIDERS__TWO__CLIENT_ID", "shop"),
            ("SHOPZEN_AUTH__PROVIDERS__TWO__CLIENT_SECRET", secret),
        ],
    )
    .await?;
    Ok(Some(Setting { shop, node, ports }))
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_up_sign_in_link_and_unlink_with_an_account_elsewhere() -> Result<()> {
    let Some(Setting { shop, node, ports }) = setting().await? else {
        return Ok(());
    };
    // It is away: that is said, and nobody is left waiting.
    let mut browser = Browser::new(&shop)?;
    let page = browser.get("/sign-in").await?;
    ensure!(page.text.contains("Sign in with One"), "{page:?}");
    let form_token = page.hidden("form_token")?;
    let fields = [("form_token", form_token.as_str())];
    let page = browser.post("/sign-in/with/one", &fields).await?;
    ensure!(
        page.status == 503 && page.text.contains("cannot be reached"),
        "{page:?}"
    );
    let page = browser.post("/sign-in/with/three", &fields).await?;
    ensure!(page.status == 404, "{page:?}");

    let _one = Provider::start(&node, &shop, "one", ports[0])?;
    let ada = person("ada", ADA, true);
    let page = sign_in(&shop, &mut browser, &ada, "").await?;
    ensure!(
        page.status == 303 && page.location()? == "/account",
        "{page:?}"
    );
    let page = browser.get("/account").await?;
    ensure!(page.text.contains(ADA), "{page:?}");
    ensure!(page.text.contains("No password"), "{page:?}");
    ensure!(
        !browser.cookies.contains_key("shopzen_dev_trip"),
        "the trip is over"
    );

    // The same account once more, in another browser, and also when the address there is another by now.
    let mut elsewhere = Browser::new(&shop)?;
    let moved = person("ada", "ada@byron.example", true);
    sign_in(&shop, &mut elsewhere, &moved, "").await?;
    ensure!(elsewhere.get("/account").await?.text.contains(ADA));

    // The only way in cannot be given up.
    let page = browser.get("/account").await?;
    let (_, rest) = page
        .text
        .split_once("/account/identities/")
        .context("an identity")?;
    let (id, _) = rest.split_once('/').context("an id")?;
    let form_token = page.hidden("form_token")?;
    let fields = [("form_token", form_token.as_str())];
    let path = format!("/account/identities/{id}/unlink");
    let page = browser.post(&path, &fields).await?;
    ensure!(page.status == 409, "{page:?}");
    ensure!(
        browser
            .post_from(Some("https://evil.example"), &path, &fields)
            .await?
            .status
            == 403
    );

    // Whoever the provider does not vouch for gets no account, whether there is one with that address or not.
    let mut told = Vec::new();
    for email in ["shopper@demo.test", "nobody@demo.test"] {
        let mut eve = Browser::new(&shop)?;
        let page = sign_in(&shop, &mut eve, &person("eve", email, false), "").await?;
        ensure!(
            page.status == 200 && page.text.contains("Make an account first"),
            "{page:?}"
        );
        ensure!(
            !eve.cookies.contains_key("shopzen_dev"),
            "{:?}",
            eve.cookies
        );
        told.push(page.text);
    }
    ensure!(told[0] == told[1], "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_there_is_linked_by_its_owner_alone() -> Result<()> {
    let Some(Setting { shop, node, ports }) = setting().await? else {
        return Ok(());
    };
    let _one = Provider::start(&node, &shop, "one", ports[0])?;
    let shopper = person("s", "shopper@demo.test", true);
    let mut browser = Browser::new(&shop)?;
    let page = sign_in(&shop, &mut browser, &shopper, "").await?;
    let to = "/sign-in?return_to=/account/identities/link";
    ensure!(page.status == 303 && page.location()? == to, "{page:?}");
    ensure!(
        !browser.cookies.contains_key("shopzen_dev"),
        "not signed in yet"
    );
    // Nothing is linked before its owner says so.
    ensure!(browser.get("/account/identities/link").await?.status == 303);
    browser.sign_in("shopper@demo.test", "demo-shopper").await?;
    let page = browser.get("/account/identities/link").await?;
    ensure!(
        page.text.contains("shopper@demo.test") && page.text.contains("One"),
        "{page:?}"
    );
    let bare = [("answer", "yes")];
    ensure!(
        browser
            .post("/account/identities/link", &bare)
            .await?
            .status
            == 403
    );
    let page = link(&mut browser).await?;
    ensure!(
        page.status == 303 && page.location()? == "/account",
        "{page:?}"
    );

    let token = shop.token("shopper@demo.test")?;
    let list = async || -> Result<Value> {
        let asked = shop.get("/api/v1/me/identities").bearer_auth(&token);
        let answer = asked.send().await?.error_for_status()?;
        ensure!(answer.headers()["cache-control"] == "no-store");
        Ok(answer.json().await?)
    };
    let linked = list().await?;
    ensure!(linked["has_password"] == true, "{linked}");
    ensure!(linked["items"][0]["provider"]["title"] == "One", "{linked}");
    let mut other = Browser::new(&shop)?;
    sign_in(&shop, &mut other, &shopper, "").await?;
    ensure!(
        other
            .get("/account")
            .await?
            .text
            .contains("shopper@demo.test")
    );

    // What is one account's cannot be made another's.
    let mut staff = Browser::new(&shop)?;
    staff.sign_in("staff@demo.test", "demo-staff").await?;
    let page = sign_in(&shop, &mut staff, &shopper, "link").await?;
    ensure!(page.location()? == "/account/identities/link", "{page:?}");
    let page = link(&mut staff).await?;
    ensure!(page.status == 409, "{page:?}");

    let id = linked["items"][0]["id"]
        .as_str()
        .context("an id")?
        .to_owned();
    let unlink = async |token: &str| -> Result<u16> {
        let path = shop.url(&format!("/api/v1/me/identities/{id}"));
        let answer = shop.client.delete(path).bearer_auth(token).send().await?;
        Ok(answer.status().as_u16())
    };
    ensure!(
        unlink(&shop.token("staff@demo.test")?).await? == 404,
        "not theirs"
    );
    ensure!(unlink(&token).await? == 204);
    ensure!(list().await?["items"] == json!([]));
    ensure!(unlink(&token).await? == 404);
    Ok(())
}

/// An address with one of its parameters changed or left out.
fn with(path: &str, name: &str, value: Option<&str>) -> Result<String> {
    let url = Url::parse(&format!("http://x{path}"))?;
    let mut changed = url.clone();
    changed.query_pairs_mut().clear();
    for (known, old) in url.query_pairs() {
        if known != name {
            changed.query_pairs_mut().append_pair(&known, &old);
        }
    }
    if let Some(value) = value {
        changed.query_pairs_mut().append_pair(name, value);
    }
    let query = changed.query().unwrap_or_default();
    Ok(format!("{}?{query}", changed.path()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_once_in_the_browser_that_asked_for_it_and_from_who_was_asked()
-> Result<()> {
    let Some(Setting { shop, node, ports }) = setting().await? else {
        return Ok(());
    };
    let _one = Provider::start(&node, &shop, "one", ports[0])?;
    let _two = Provider::start(&node, &shop, "two", ports[1])?;
    let ada = person("ada", ADA, true);
    let refused = |page: &Page, code: &str| -> Result<()> {
        ensure!(
            page.status == 400 && page.text.contains(code),
            "{code}: {page:?}"
        );
        Ok(())
    };
    let mut browser = Browser::new(&shop)?;
    let address = set_out(&mut browser, "one", "").await?;
    let taken_along = browser.cookies.clone();
    let back = Elsewhere::new(ada.clone())?.go(&shop, &address).await?;
    ensure!(back.contains("iss=") && back.contains("state="), "{back}");
    // Another browser, which has asked for something of its own, or for nothing.
    let mut other = Browser::new(&shop)?;
    refused(&other.get(&back).await?, "another browser")?;
    set_out(&mut other, "one", "").await?;
    refused(&other.get(&back).await?, "another browser")?;
    // Another state, another issuer, none, and another provider's address.
    let there = back.replace("/with/one/", "/with/two/");
    let two = issuer(ports[1]);
    for (bad, code) in [
        (with(&back, "state", Some("x"))?, "another browser"),
        (with(&back, "state", None)?, "another browser"),
        (with(&back, "iss", Some(&two))?, "not from the provider"),
        (with(&back, "iss", None)?, "not from the provider"),
        (there.clone(), "another browser"),
        (with(&there, "iss", Some(&two))?, "another browser"),
    ] {
        browser.cookies.clone_from(&taken_along);
        refused(&browser.get(&bad).await?, code)?;
    }
    // A code that the other provider has given, sent to where the first is expected.
    let mut at_two = Browser::new(&shop)?;
    let address = set_out(&mut at_two, "two", "").await?;
    let of_two = Elsewhere::new(ada.clone())?.go(&shop, &address).await?;
    let code = Url::parse(&format!("http://x{of_two}"))?;
    let code = code.query_pairs().find(|(name, _)| name == "code");
    let (_, code) = code.context("a code")?;
    browser.cookies.clone_from(&taken_along);
    let page = browser.get(&with(&back, "code", Some(&code))?).await?;
    ensure!(page.status == 422, "{page:?}");
    // That trip is over, whatever came of it.
    browser.cookies.clone_from(&taken_along);
    refused(&browser.get(&back).await?, "finished")?;

    // A trip that ends well ends once.
    let address = set_out(&mut browser, "one", "").await?;
    let taken_along = browser.cookies.clone();
    let back = Elsewhere::new(ada)?.go(&shop, &address).await?;
    ensure!(browser.get(&back).await?.location()? == "/account");
    browser.cookies.clone_from(&taken_along);
    refused(&browser.get(&back).await?, "finished")?;
    // Whoever says no is not signed in, and is told.
    let mut shy = Browser::new(&shop)?;
    let address = set_out(&mut shy, "one", "").await?;
    let back = Elsewhere::new(Value::Null)?.go(&shop, &address).await?;
    ensure!(back.contains("error=access_denied"), "{back}");
    let page = shy.get(&back).await?;
    ensure!(
        page.status == 200 && page.text.contains("Not signed in"),
        "{page:?}"
    );
    Ok(())
}
