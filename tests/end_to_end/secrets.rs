//! What lets somebody in is kept by nobody: neither in a log, nor in the broker's store, nor in a database.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use shopzen_contracts::Service;
use shopzen_tests::shop::{Shop, order_of, wait_for};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{dead_letters, rights::nats::Nats};

/// Tokens of the sandbox that stand for cards.
const CARDS: [&str; 3] = ["tok_ok", "tok_declined", "tok_requires_action"];
/// `shopzen up` says on the terminal, and nowhere else, how to try the demo out.
const THE_DEMOS: &[&str] = &["logs/output"];
/// Shorter ones would be found by chance.
const SECRET_LENGTH_MIN: usize = 16;

/// Something that nobody may find, by the name under which it may be spoken of.
pub(crate) struct Secret {
    name: String,
    text: String,
    /// Places that have it for a reason.
    kept: &'static [&'static str],
}

pub(crate) fn secret(name: impl Into<String>, text: impl Into<String>) -> Secret {
    Secret {
        name: name.into(),
        text: text.into(),
        kept: &[],
    }
}

/// Text from somewhere.
pub(crate) struct Found {
    place: String,
    bytes: Vec<u8>,
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// Where which secret was found. Databases show bytes as hexadecimal digits.
pub(crate) fn leaks(everything: &[Found], secrets: &[Secret]) -> Vec<String> {
    let mut leaks = Vec::new();
    for Found { place, bytes } in everything {
        for Secret { name, text, kept } in secrets {
            let hidden = HEXLOWER.encode(text.as_bytes());
            let is_there = contains(bytes, text.as_bytes()) || contains(bytes, hidden.as_bytes());
            if is_there && !kept.iter().any(|kept| place.starts_with(kept)) {
                leaks.push(format!("{name} in {place}"));
            }
        }
    }
    leaks
}

fn files_below(folder: &Path, name: &str, found: &mut Vec<Found>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            files_below(&entry.path(), &name, found)?;
        } else {
            let bytes = fs::read(entry.path())?;
            found.push(Found { place: name, bytes });
        }
    }
    Ok(())
}

/// All logs, the broker's store, and every row of every table.
pub(crate) async fn everything(shop: &Shop) -> Result<Vec<Found>> {
    let mut found = vec![Found {
        place: "logs/output".to_owned(),
        bytes: shop.output().into_bytes(),
    }];
    for folder in ["logs", "nats"] {
        files_below(&shop.data_dir().join(folder), folder, &mut found)?;
    }
    for service in Service::ALL.map(Service::name) {
        let mut db = PgConnection::connect(&shop.database_url(service)?).await?;
        let tables = "SELECT relname::text FROM pg_class
            WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND NOT relispartition";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut db).await?;
        for table in tables {
            let rows = AssertSqlSafe(format!("SELECT t::text FROM {table} AS t"));
            let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut db).await?;
            found.push(Found {
                place: format!("{service}.{table}"),
                bytes: rows.join("\n").into_bytes(),
            });
        }
    }
    Ok(found)
}

/// What the shop was started with.
fn of_the_shop(shop: &Shop) -> Result<Vec<Secret>> {
    let mut secrets = Vec::new();
    for entry in fs::read_dir(shop.data_dir().join("secrets"))? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?.trim().to_owned();
        if text.len() >= SECRET_LENGTH_MIN {
            secrets.push(secret(entry.file_name().to_string_lossy(), text));
        }
    }
    ensure!(
        secrets.len() > 10,
        "the shop has more secrets than {}",
        secrets.len()
    );
    Ok(secrets)
}

/// Buys, fails, looks after things, over HTTP and over NATS. Returns what must not be found afterwards.
async fn a_day(shop: &Shop) -> Result<(Vec<Secret>, Value)> {
    let mut secrets = of_the_shop(shop)?;
    let nats = Nats::connect(shop).await?;
    let (staff, shopper) = (
        shop.token("staff@demo.test")?,
        shop.token("shopper@demo.test")?,
    );
    let operator = nats.operators_token().await?;
    let refused = format!("{}x", &staff[..staff.len() - 1]);

    let mut orders = Vec::new();
    for card in CARDS {
        let order = shop
            .accepted(card, &order_of(&[("LAMP-BRASS", 1)], card))
            .await?;
        let token = order["order_token"]
            .as_str()
            .context("a guest gets a token")?;
        secrets.push(Secret {
            // Whoever repeats the request under its key gets the whole answer again, for two days.
            kept: &["orders.idempotency_keys"],
            ..secret(format!("the order token of {card}"), token)
        });
        shop.seen(&order).await?;
        orders.push(order);
    }
    let own = shop.order("own", &order_of(&[("LAMP-BRASS", 1)], "tok_ok"));
    ensure!(own.bearer_auth(&shopper).send().await?.status() == 202);
    shop.add_stock("LAMP-BRASS", 5).await?;
    for token in [&staff, &shopper, &operator, &refused] {
        for path in [
            "/api/v1/orders",
            "/api/v1/admin/activity",
            "/api/v1/admin/dead-letters?limit=0",
        ] {
            shop.get(path).bearer_auth(token).send().await?;
        }
        let adjust = shop
            .post("/api/v1/admin/stock/NOTHING/adjustments")
            .bearer_auth(token);
        adjust.json(&json!({ "delta": 1 })).send().await?;
        // As a partner asks: a body that cannot be read, and one that is refused.
        for body in [
            "{",
            r#"{"sku":"NOTHING","location":"main","delta":1,"reason":"partner"}"#,
        ] {
            nats.answer("edge", "shop.cmd.stock.v1.adjust", body.into(), Some(token))
                .await?;
        }
    }
    let forged = shop
        .post("/webhooks/payments/sandbox")
        .header("webhook-signature", "v1,bm8=");
    forged.json(&json!({})).send().await?;
    shop.ask(&["account", "roles", "shopper@demo.test", "support"])?;
    shop.ask(&["keys", "rotate"])?;
    for (name, token) in [
        ("an access token of staff", staff),
        ("an access token of a shopper", shopper),
        ("an access token of the operator", operator),
        ("a token that was refused", refused),
    ] {
        // The signature is what makes it one.
        let signature = token.rsplit('.').next().context("a token has parts")?;
        secrets.push(secret(name, signature));
    }
    for password in ["demo-shopper", "demo-staff"] {
        secrets.push(Secret {
            kept: THE_DEMOS,
            ..secret("a password of the demo", password)
        });
    }
    for card in CARDS {
        secrets.push(Secret {
            // Payments learns it from the order's event; what it stands for the gateway alone knows.
            kept: &["logs/output", "nats/", "orders.", "payments.", "stock."],
            ..secret(format!("the card {card}"), card)
        });
    }
    Ok((secrets, orders.remove(0)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lets_somebody_in_is_written_down_nowhere() -> Result<()> {
    let shop = Shop::start_with(
        &[],
        &[(
            "SHOPZEN_TELEMETRY__LOG",
            "info,shopzen=debug,async_nats=debug,sqlx=debug",
        )],
    )
    .await?;
    let (secrets, order) = a_day(&shop).await?;
    let order_id = order["id"].as_str().context("an order has an id")?;
    let found = everything(&shop).await?;
    for place in ["nats/", "orders.outbox", "payments.inbox", "logs/"] {
        let is_read = found
            .iter()
            .any(|found| found.place.starts_with(place) && !found.bytes.is_empty());
        ensure!(is_read, "nothing was read of {place}");
    }
    let in_store = found
        .iter()
        .filter(|found| found.place.starts_with("nats/"));
    let is_readable = in_store
        .into_iter()
        .any(|found| contains(&found.bytes, order_id.as_bytes()));
    ensure!(
        is_readable,
        "the broker's store cannot be read, or lies elsewhere"
    );
    let leaked = leaks(&found, &secrets);
    ensure!(leaked.is_empty(), "{leaked:#?}");

    // A canary in each kind of place is found, so the others would have been.
    let canary = secret("the canary", "canary-0f1e2d3c4b5a69788796a5b4c3d2e1f0");
    let log = shop.data_dir().join("logs/shopzen.log");
    let mut text = fs::read_to_string(&log)?;
    text.push_str(&canary.text);
    fs::write(&log, text)?;
    let mut db = PgConnection::connect(&shop.database_url("stock")?).await?;
    let plant = sqlx::query("UPDATE activity SET reason = $1").bind(&canary.text);
    ensure!(plant.execute(&mut db).await?.rows_affected() > 0);
    // Nobody can read it, so it becomes a dead letter too, where it lies as bytes.
    let subject = format!("shop.evt.payments.v1.authorised.{order_id}");
    dead_letters::send(&shop, "payments", &subject, &canary.text).await?;
    wait_for("the canary is found everywhere", async || {
        let leaked = leaks(&everything(&shop).await?, std::slice::from_ref(&canary));
        let places = [
            "logs/shopzen.log",
            "nats/",
            "stock.activity",
            "orders.dead_letters",
        ];
        let is_leaked = |place: &str| leaked.iter().any(|leak| leak.contains(place));
        Ok(places.into_iter().all(is_leaked))
    })
    .await
}
