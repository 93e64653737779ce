//! What is known of a person: theirs to take along, and gone when they go, wherever it lay.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shopzen_contracts::Service;
use shopzen_tests::{
    browser::Browser,
    invariants::{count, until_quiet},
    shop::{Shop, order_of, wait_for},
};

use crate::{
    accounts::{link, register_as},
    rights::nats::Nats,
    secrets::{Secret, everything, leaks, secret},
};

const NAME: &str = "Augusta Quillfeather";
const EMAIL: &str = "quillfeather@lovelace.example";
const NEW_EMAIL: &str = "inkwell@lovelace.example";
const STREET: &str = "1815 Marylebone Gardens";
const PASSWORD: &str = "copper-lantern-drizzle";

/// By which she would be known again. As what may stand in hexadecimal digits they are looked for as well.
fn marks() -> Vec<Secret> {
    let marks = [
        ("her name", "Quillfeather"),
        ("her e-mail", "quillfeather@"),
        ("an e-mail she wanted", "inkwell@"),
        ("her street", "Marylebone"),
    ];
    marks.map(|(name, text)| secret(name, text)).into()
}

fn order(card: &str) -> Value {
    let mut order = order_of(&[("LAMP-BRASS", 1)], card);
    order["email"] = EMAIL.into();
    order["shipping_address"] = address();
    order
}

fn address() -> Value {
    json!({
        "name": NAME, "line1": STREET, "postal_code": "NW1", "city": "London", "country": "GB",
    })
}

async fn total(shop: &Shop) -> Result<i64> {
    let total =
        "SELECT sum((body::jsonb #>> '{total,amount_minor}')::int8)::int8 FROM order_details";
    count(shop, "orders", total).await
}

async fn buy(shop: &Shop, token: &str, key: &str, card: &str) -> Result<String> {
    let answer = shop
        .order(key, &order(card))
        .bearer_auth(token)
        .header("Prefer", "wait=20")
        .send()
        .await?;
    ensure!(answer.status().is_success(), "{answer:?}");
    let order: Value = answer.json().await?;
    Ok(order["id"]
        .as_str()
        .context("an order has an id")?
        .to_owned())
}

/// Buys, changes things, and gets mails. Returns the ids of her orders.
async fn a_life(shop: &Shop, browser: &mut Browser, token: &str) -> Result<Vec<String>> {
    let mut orders = Vec::new();
    for card in ["tok_ok", "tok_declined", "tok_ok"] {
        let key = format!("hers {}", orders.len());
        orders.push(buy(shop, token, &key, card).await?);
    }
    let cancel = format!("/api/v1/orders/{}/cancel", orders[2]);
    let cancelled = shop.post(&cancel).bearer_auth(token).send().await?;
    ensure!(cancelled.status() == 200, "{cancelled:?}");
    let add = shop
        .post("/api/v1/me/addresses")
        .header("Idempotency-Key", "address")
        .json(&json!({ "address": address(), "is_default": true }));
    let added = add.bearer_auth(token).send().await?;
    ensure!(added.status() == 201, "{added:?}");
    let page = browser.get("/account/addresses").await?;
    ensure!(page.text.contains(STREET), "{page:?}");
    let change = shop.client.patch(shop.url("/api/v1/me"));
    let change = change
        .header("Idempotency-Key", "name")
        .json(&json!({ "name": NAME }));
    let changed = change.bearer_auth(token).send().await?;
    ensure!(changed.status() == 200, "{changed:?}");
    let wish = json!({ "current_password": PASSWORD, "email": NEW_EMAIL });
    let change = shop.client.put(shop.url("/api/v1/me/email")).json(&wish);
    let changed = change.bearer_auth(token).send().await?;
    ensure!(changed.status() == 204, "{changed:?}");
    link(shop, "confirm_new_email", NEW_EMAIL).await?;
    until_quiet(shop).await?;
    // Confirmed twice, rejected once, and cancelled once.
    wait_for("the mails are there", async || {
        let mails = "SELECT count(*) FROM mails WHERE order_id IS NOT NULL AND recipient LIKE 'quillfeather%'";
        Ok(count(shop, "notify", mails).await? == 4)
    })
    .await?;
    Ok(orders)
}

async fn exported(shop: &Shop, token: &str) -> Result<String> {
    let answer = shop.get("/api/v1/me/export").bearer_auth(token);
    let answer = answer.send().await?;
    ensure!(answer.status() == 200, "{answer:?}");
    let disposition = answer.headers()["content-disposition"].to_str()?;
    ensure!(disposition.starts_with("attachment;"), "{disposition}");
    Ok(answer.text().await?)
}

/// The file has all of it, and nobody else's has any.
async fn check_exports(
    shop: &Shop,
    browser: &mut Browser,
    token: &str,
    orders: &[String],
) -> Result<()> {
    let page = browser.get("/account/export").await?;
    let file: Value = serde_json::from_str(&page.text)?;
    ensure!(file["format"] == "shopzen-export-1" && file["is_complete"] == true);
    for text in [exported(shop, token).await?, page.text] {
        for held in [NAME, EMAIL, STREET, NEW_EMAIL, "tok_"]
            .into_iter()
            .chain(orders.iter().map(String::as_str))
        {
            ensure!(text.contains(held) == (held != "tok_"), "{held} in {text}");
        }
        ensure!(
            !text.contains("?token=0"),
            "a link that lets somebody in: {text}"
        );
    }
    let kinds: Vec<&str> = file["mails"]
        .as_array()
        .context("mails")?
        .iter()
        .filter_map(|mail| mail["kind"].as_str())
        .collect();
    for kind in [
        "order_confirmed",
        "order_rejected",
        "order_cancelled",
        "approve_new_email",
    ] {
        ensure!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    ensure!(
        file["orders"][0]["progress"]
            .as_array()
            .is_some_and(|it| it.len() > 1)
    );

    let others = exported(shop, &shop.token("shopper@demo.test")?).await?;
    ensure!(
        !others.contains("Quillfeather") && !others.contains(&orders[0]),
        "{others}"
    );
    let nats = Nats::connect(shop).await?;
    let token = shop.token("shopper@demo.test")?;
    for subject in [
        "shop.qry.auth.v1.export_me",
        "shop.qry.orders.v1.export",
        "shop.qry.notify.v1.own_mails",
    ] {
        let asked = nats.answer("edge", subject, "{}".into(), Some(&token));
        let others = String::from_utf8(asked.await?.payload.to_vec())?;
        ensure!(!others.contains("Quillfeather"), "{subject}: {others}");
        let body = format!("{{\"account_id\":\"{}\"}}", nats_id(shop).await?);
        let asked = nats
            .answer("edge", subject, body.into(), Some(&token))
            .await?;
        let refused = asked.headers.context("it is a refusal")?;
        ensure!(
            refused.get("Nats-Service-Error-Code").is_some(),
            "{subject}"
        );
    }
    Ok(())
}

async fn nats_id(shop: &Shop) -> Result<String> {
    use sqlx::Connection as _;
    let mut db = sqlx::PgConnection::connect(&shop.database_url(Service::Auth.name())?).await?;
    let id: sqlx::types::Uuid = sqlx::query_scalar("SELECT id FROM accounts WHERE email = $1")
        .bind(EMAIL)
        .fetch_one(&mut db)
        .await?;
    Ok(id.to_string())
}

fn audit_is_green(shop: &Shop) -> Result<()> {
    let output = shop.command(&["audit", "--json"])?.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}");
    Ok(())
}

async fn erase(browser: &mut Browser) -> Result<()> {
    let form_token = browser.get("/account/erase").await?.hidden("form_token")?;
    let with = |password| {
        [
            ("form_token", form_token.clone()),
            ("current_password", password),
        ]
    };
    for (password, expected) in [("wrong".to_owned(), 403), (PASSWORD.to_owned(), 200)] {
        let fields = with(password);
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, it)| (*name, it.as_str()))
            .collect();
        let page = browser.post("/account/erase", &fields).await?;
        ensure!(page.status == expected, "{page:?}");
        ensure!(
            page.text.contains("is erased") == (expected == 200),
            "{page:?}"
        );
    }
    ensure!(browser.cookies.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_takes_everything_along_and_leaves_nothing() -> Result<()> {
    let shop = Shop::start_with(
        &[],
        &[(
            "SHOPZEN_TELEMETRY__LOG",
            "info,shopzen=debug,async_nats=debug,sqlx=debug",
        )],
    )
    .await?;
    let mut browser = Browser::new(&shop)?;
    register_as(&shop, &mut browser, NAME, EMAIL).await?;
    ensure!(browser.sign_in(EMAIL, PASSWORD).await?.status == 303);
    let token = shop.token(EMAIL)?;
    let orders = a_life(&shop, &mut browser, &token).await?;
    check_exports(&shop, &mut browser, &token, &orders).await?;
    until_quiet(&shop).await?;
    audit_is_green(&shop)?;
    let total_before = total(&shop).await?;

    // Before she goes she is in databases only, and there in plain where she has to be.
    let before = leaks(&everything(&shop).await?, &marks());
    let is_outside = |leak: &&String| leak.contains("nats/") || leak.contains("logs/");
    let outside: Vec<&String> = before.iter().filter(is_outside).collect();
    ensure!(outside.is_empty(), "{outside:#?}");
    for place in [
        "auth.accounts",
        "auth.addresses",
        "orders.order_details",
        "notify.mails",
    ] {
        ensure!(
            before.iter().any(|leak| leak.ends_with(place)),
            "{place}: {before:#?}"
        );
    }
    ensure!(
        !before.iter().any(|leak| leak.ends_with("outbox")),
        "{before:#?}"
    );

    erase(&mut browser).await?;
    wait_for("the token is refused", async || {
        let asked = shop
            .get("/api/v1/orders")
            .bearer_auth(&token)
            .send()
            .await?;
        Ok(asked.status() == 401)
    })
    .await?;
    let mut left = Vec::new();
    let gone = wait_for("nothing is left", async || {
        left = leaks(&everything(&shop).await?, &marks());
        Ok(left.is_empty())
    });
    gone.await.with_context(|| format!("{left:#?}"))?;
    ensure!(total(&shop).await? == total_before);
    until_quiet(&shop).await?;
    audit_is_green(&shop)?;

    // The address is free, and has no history.
    register_as(&shop, &mut browser, "Somebody", EMAIL).await?;
    let token = shop.token(EMAIL)?;
    let file: Value = serde_json::from_str(&exported(&shop, &token).await?)?;
    ensure!(
        file["orders"] == json!([]) && file["addresses"] == json!([]),
        "{file}"
    );
    ensure!(file["account"]["name"] == "Somebody", "{file}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_address_is_not_there() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let (ada, eve) = (
        shop.token("shopper@demo.test")?,
        shop.token("staff@demo.test")?,
    );
    let added = shop
        .post("/api/v1/me/addresses")
        .json(&json!({ "address": address() }))
        .bearer_auth(&ada)
        .send()
        .await?;
    let place = added.headers()["location"].to_str()?.to_owned();
    let id = place.rsplit('/').next().context("an id")?.to_owned();
    let change = json!({ "address": address(), "is_default": true });
    let nats = Nats::connect(&shop).await?;
    for (token, expected) in [(&eve, 404), (&ada, 200)] {
        let requests = [
            shop.get(&place),
            shop.client.put(shop.url(&place)).json(&change),
        ];
        for request in requests {
            let answer = request.bearer_auth(token).send().await?;
            ensure!(answer.status() == expected, "{answer:?}");
        }
        for (subject, body) in [
            ("shop.qry.auth.v1.address", json!({ "id": id })),
            (
                "shop.cmd.auth.v1.change_address",
                json!({ "id": id, "address": address() }),
            ),
        ] {
            let body = body.to_string().into();
            let answer = nats.answer("edge", subject, body, Some(token)).await?;
            let headers = answer.headers.unwrap_or_default();
            let status = headers.get("Nats-Service-Error-Code").map(|it| it.as_str());
            ensure!(
                status.unwrap_or("200") == expected.to_string(),
                "{subject}: {status:?}"
            );
        }
    }
    let remove = async |token: &str| -> Result<u16> {
        let request = shop.client.delete(shop.url(&place)).bearer_auth(token);
        Ok(request.send().await?.status().as_u16())
    };
    ensure!(remove(&eve).await? == 404);
    ensure!(remove(&ada).await? == 204);
    ensure!(remove(&ada).await? == 404);

    // The demo's only owner cannot go, whatever the reason; and nobody goes without their password.
    let leave = async |token: &str, password: &str| -> Result<u16> {
        let request = shop.client.delete(shop.url("/api/v1/me"));
        let request = request.json(&json!({ "current_password": password }));
        Ok(request.bearer_auth(token).send().await?.status().as_u16())
    };
    ensure!(leave(&eve, "demo-staff").await? == 409);
    ensure!(leave(&ada, "wrong").await? == 403);
    ensure!(leave(&ada, "demo-shopper").await? == 204);
    Ok(())
}
