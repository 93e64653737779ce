//! A message that nobody can read comes in the middle of a checkout: that order waits, the others do not, the audit
//! sees what hangs on it, and an operator mends it. Staff can do the same over HTTP.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use shopzen_tests::shop::{Shop, order_of, wait_for};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::audit;

const LETTERS: &str = "/api/v1/admin/dead-letters";
/// Only orders follows it.
const AUTHORISED: &str = "shop.evt.payments.v1.authorised";
/// stock, payments and notify follow it.
const CANCELLED: &str = "shop.evt.orders.v1.cancelled";
const WHY: &str = "the sender was updated too early";

/// Sends an event as a worker whose program is broken would.
pub(crate) async fn send(shop: &Shop, worker: &str, subject: &str, body: &str) -> Result<()> {
    let password = fs::read_to_string(shop.data_dir().join(format!("secrets/nats-{worker}")))?;
    let url = shop.state["nats"]["url"]
        .as_str()
        .context("NATS has an address")?;
    let client = async_nats::ConnectOptions::new()
        .user_and_password(worker.to_owned(), password.trim().to_owned())
        .custom_inbox_prefix(format!("_INBOX_{worker}"))
        .connect(url)
        .await?;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("ce-id", shopzen_chassis::clock::new_id().to_string());
    let stream = async_nats::jetstream::new(client);
    let sent = stream.publish_with_headers(subject.to_owned(), headers, body.to_owned().into());
    sent.await?.await?;
    Ok(())
}

/// What payments published about an order.
async fn authorised(shop: &Shop, order_id: &str) -> Result<String> {
    let mut db = PgConnection::connect(&shop.database_url("payments")?).await?;
    let find = "SELECT body FROM outbox WHERE key = $1 AND subject = $2";
    let found = sqlx::query_scalar(find)
        .bind(Uuid::parse_str(order_id)?)
        .bind(AUTHORISED);
    Ok(found.fetch_one(&mut db).await?)
}

fn letters_about(shop: &Shop, order_id: &str) -> Result<Vec<Value>> {
    let answer = shop.ask(&["dead-letters", "ls", "--order", order_id])?;
    let letters = answer["letters"].as_array().context("letters are a list")?;
    Ok(letters.clone())
}

fn states(letters: &[Value]) -> Vec<&str> {
    let states = letters.iter().map(|letter| letter["state"].as_str());
    states.map(Option::unwrap_or_default).collect()
}

/// What a command says to a person, and its exit code.
fn said(mut command: Command) -> Result<(String, Option<i32>)> {
    let output = command.output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((String::from_utf8(text)?, output.status.code()))
}

async fn metric(shop: &Shop, name: &str) -> Result<String> {
    let page = shop.client.get(shop.ops_url("/metrics")).send().await?;
    let page = page.text().await?;
    let wanted = format!("{name}{{worker=\"orders\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&wanted));
    Ok(line.unwrap_or_default().to_owned())
}

/// An order whose payment takes its time, and about which orders got a message that it cannot read.
async fn poisoned(shop: &Shop) -> Result<(Value, String)> {
    let order: Value = shop
        .post("/api/v1/orders")
        .header("Idempotency-Key", "slow")
        .json(&order_of(&[("LAMP-BRASS", 1)], "tok_slow"))
        .send()
        .await?
        .json()
        .await?;
    let id = order["id"]
        .as_str()
        .context("an order has an id")?
        .to_owned();
    let subject = format!("{AUTHORISED}.{id}");
    send(shop, "payments", &subject, "{\"order_id\": \"gar").await?;
    wait_for("the message is set aside", async || {
        Ok(!letters_about(shop, &id)?.is_empty())
    })
    .await?;
    Ok((order, id))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_waits_behind_a_dead_letter_until_it_is_mended_and_the_others_do_not() -> Result<()>
{
    let shop = Shop::start_with(&[], &[("SHOPZEN_ORDERS__DEADLINE_S", "600")]).await?;
    let (order, id) = poisoned(&shop).await?;
    let other = order_of(&[("LAMP-BRASS", 1)], "tok_ok");
    let other = shop.accepted("other", &other).await?;
    wait_for("the other order is confirmed", async || {
        Ok(shop.seen(&other).await?["status"] == "confirmed")
    })
    .await?;

    // What payments says about it has come by now, and has not been taken.
    wait_for("the payment's event waits", async || {
        let subject = format!("{AUTHORISED}.{id}");
        let letters = letters_about(&shop, &id)?;
        Ok(letters
            .iter()
            .any(|letter| letter["state"] == "waiting" && letter["subject"] == subject.as_str()))
    })
    .await?;
    let seen = shop.seen(&order).await?;
    ensure!(seen["status"] != "confirmed", "{seen}");
    let letters = letters_about(&shop, &id)?;
    ensure!(states(&letters)[0] == "dead", "{letters:?}");
    let letter = letters[0]["id"].as_str().context("a letter has an id")?;
    wait_for("it is counted", async || {
        Ok(metric(&shop, "dead_letters_open").await? == "1"
            && metric(&shop, "dead_letters_waiting").await? != "0")
    })
    .await?;

    looks_right(&shop, letter)?;
    mend(&shop, &id, letter).await?;
    wait_for("the order is confirmed", async || {
        Ok(shop.seen(&order).await?["status"] == "confirmed")
    })
    .await?;
    ensure!(
        letters_about(&shop, &id)?.is_empty(),
        "something still waits"
    );
    wait_for("nothing is left to count", async || {
        Ok(metric(&shop, "dead_letters_open").await? == "0"
            && metric(&shop, "dead_letters_waiting").await? == "0")
    })
    .await?;
    let whole = shop.ask(&["dead-letters", "show", letter])?;
    ensure!(whole["payload"] == "{\"order_id\": \"gar", "{whole}");
    let acts: Vec<&str> = whole["actions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|it| it["why"] == WHY)
        .filter_map(|it| it["action"].as_str())
        .collect();
    ensure!(acts == ["replay", "edit", "replay"], "{whole}");
    let who = whole["actions"][0]["who"].as_str().unwrap_or_default();
    ensure!(
        who.len() > "operator:".len() && who.starts_with("operator:"),
        "{whole}"
    );
    let charges = shop.charges(&id).await?;
    ensure!(charges.len() == 1, "charged once: {charges:?}");
    Ok(())
}

/// What a person is shown.
fn looks_right(shop: &Shop, letter: &str) -> Result<()> {
    let (text, code) = said(shop.command(&["dead-letters", "ls"])?)?;
    ensure!(code == Some(0), "{text}");
    for part in ["1 dead", "orders", AUTHORISED, "--all"] {
        ensure!(text.contains(part), "{part} is not in {text}");
    }
    let groups = shop.ask(&["dead-letters", "ls"])?;
    ensure!(groups["groups"][0]["count"].is_i64(), "{groups}");
    let (text, code) = said(shop.command(&["dead-letters", "ls", "--all"])?)?;
    ensure!(code == Some(0) && text.contains(letter), "{text}");
    let (text, code) = said(shop.command(&["dead-letters", "show", letter])?)?;
    ensure!(code == Some(0), "{text}");
    for part in ["unreadable", "behind it", "{\"order_id\": \"gar", "ce-id"] {
        ensure!(text.contains(part), "{part} is not in {text}");
    }
    let nobody = Uuid::nil().to_string();
    let (text, code) = said(shop.command(&["dead-letters", "show", &nobody])?)?;
    ensure!(code == Some(64) && text.contains("next: "), "{text}");
    Ok(())
}

async fn mend(shop: &Shop, order_id: &str, letter: &str) -> Result<()> {
    let why = ["--why", WHY];
    let run = |arguments: &[&str]| {
        let arguments = [&["dead-letters"], arguments, &why].concat();
        said(shop.command(&arguments)?)
    };
    // For practice, and then in vain.
    let (text, code) = run(&["replay", letter, "--dry-run"])?;
    ensure!(code == Some(1) && text.contains("still fails"), "{text}");
    let (text, code) = run(&["replay", letter])?;
    ensure!(code == Some(1) && text.contains("still fails"), "{text}");

    let file = shop.data_dir().join("payload.json");
    let name = file.to_str().context("a path is text")?;
    fs::write(&file, "{\"order_id\": 1}")?;
    let (text, code) = run(&["edit", letter, "--payload", name])?;
    ensure!(code == Some(64) && text.contains("/payload"), "{text}");
    fs::write(&file, authorised(shop, order_id).await?)?;
    let (text, code) = run(&["edit", letter, "--payload", name, "--dry-run"])?;
    ensure!(code == Some(0), "{text}");
    let mut piped = shop.command(&["dead-letters", "edit", letter, "--payload", "-"])?;
    piped
        .args(why)
        .arg("--dry-run")
        .stdin(fs::File::open(&file)?);
    let (text, code) = said(piped)?;
    ensure!(code == Some(0), "{text}");
    let edit_with = |editor: &str| {
        let mut edit = shop.command(&["dead-letters", "edit", letter])?;
        edit.args(why).env_remove("VISUAL").env("EDITOR", editor);
        said(edit)
    };
    // Looked at, and left as it was; and an editor that cannot be started.
    for editor in ["true", "no-such-editor"] {
        let (text, code) = edit_with(editor)?;
        ensure!(code == Some(64) && text.contains("not changed"), "{text}");
    }
    let (text, code) = edit_with(&format!("cp '{name}'"))?;
    ensure!(code == Some(0), "{text}");

    let (text, code) = run(&["replay", letter, "--dry-run"])?;
    ensure!(
        code == Some(0) && text.contains("nothing was changed"),
        "{text}"
    );
    let letters = letters_about(shop, order_id)?;
    ensure!(
        letters.len() > 1 && states(&letters)[0] == "dead",
        "{letters:?}"
    );
    let (text, code) = run(&["replay", "--order", order_id, "--worker", "orders"])?;
    ensure!(code == Some(0) && text.contains("handled"), "{text}");
    let (text, code) = run(&["replay", letter])?;
    ensure!(code == Some(1) && text.contains("before"), "{text}");
    Ok(())
}

/// The order has ended, and stock cannot be told: its goods stay held, which must not stay unseen.
#[tokio::test(flavor = "multi_thread")]
async fn goods_that_wait_behind_a_dead_letter_turn_the_audit_red_until_it_is_decided() -> Result<()>
{
    let shop = Shop::start(&[]).await?;
    let available = shop.available("LAMP-BRASS").await?;
    let body = order_of(&[("LAMP-BRASS", 1)], "tok_requires_action");
    let order = shop.accepted("held", &body).await?;
    wait_for("the shopper is asked to act", async || {
        Ok(shop.seen(&order).await?["payment"]["status"] == "requires_action")
    })
    .await?;
    let id = order["id"].as_str().context("an order has an id")?;
    send(
        &shop,
        "orders",
        &format!("{CANCELLED}.{id}"),
        "{\"order_id\": \"gar",
    )
    .await?;
    let of_stock = |letters: &[Value], state: &str| {
        let mut letters = letters.iter();
        letters.any(|letter| letter["worker"] == "stock" && letter["state"] == state)
    };
    wait_for("stock sets the message aside", async || {
        Ok(of_stock(&letters_about(&shop, id)?, "dead"))
    })
    .await?;
    audit::turns(&shop, false, "").await?;

    let token = order["order_token"]
        .as_str()
        .context("a guest has a token")?;
    let cancelled = shop
        .post(&format!("/api/v1/orders/{id}/cancel"))
        .header("Order-Token", token)
        .send()
        .await?;
    ensure!(cancelled.status().is_success(), "{}", cancelled.status());
    wait_for("the cancellation waits at stock", async || {
        Ok(of_stock(&letters_about(&shop, id)?, "waiting"))
    })
    .await?;
    audit::turns(&shop, true, id).await?;
    ensure!(shop.available("LAMP-BRASS").await? == available - 1);

    let (text, code) =
        said(shop.command(&["dead-letters", "drop", "--order", id, "--why", WHY])?)?;
    ensure!(code == Some(0), "{text}");
    audit::turns(&shop, false, "").await?;
    ensure!(shop.available("LAMP-BRASS").await? == available);
    Ok(())
}

/// A request of somebody, with its status and its body.
async fn call(
    shop: &Shop,
    token: &str,
    (method, path): (Method, &str),
    body: Option<&Value>,
) -> Result<(u16, Value)> {
    let mut request = shop
        .client
        .request(method, shop.url(&format!("{LETTERS}{path}")))
        .bearer_auth(token);
    if let Some(body) = body {
        let key = format!("{path} {} {}", body["why"], body["dry_run"]);
        request = request.header("Idempotency-Key", key).json(body);
    }
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_look_after_dead_letters_over_http() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    for _ in 0..5 {
        let subject = format!(
            "shop.evt.stock.v1.reserved.{}",
            shopzen_chassis::clock::new_id()
        );
        send(&shop, "stock", &subject, "{}").await?;
    }
    let (staff, shopper) = (
        shop.token("staff@demo.test")?,
        shop.token("shopper@demo.test")?,
    );
    let list = async |path: &str| {
        let (status, body) = call(&shop, &staff, (Method::GET, path), None).await?;
        ensure!(status == 200, "{path}: {body}");
        let items = body["items"].as_array().context("items are a list")?;
        Ok((
            items.clone(),
            body["next_cursor"].as_str().map(str::to_owned),
        ))
    };
    // payments follows what stock reserves as well.
    wait_for("they are set aside", async || {
        Ok(list("?worker=orders").await?.0.len() == 5
            && list("?worker=payments").await?.0.len() == 5)
    })
    .await?;
    let mut ids = Vec::new();
    let mut path = "?limit=3".to_owned();
    loop {
        let (items, next) = list(&path).await?;
        ids.extend(
            items
                .iter()
                .filter_map(|item| item["id"].as_str().map(str::to_owned)),
        );
        let Some(next) = next else { break };
        path = format!("?limit=3&cursor={next}");
    }
    ensure!(ids.len() == 10 && ids.is_sorted(), "{ids:?}");
    let (groups, _) = list("/groups").await?;
    let count: i64 = groups
        .iter()
        .filter_map(|group| group["count"].as_i64())
        .sum();
    ensure!(count == 10, "{groups:?}");

    let one = format!("/{}", ids[0]);
    let (status, letter) = call(&shop, &staff, (Method::GET, &one), None).await?;
    ensure!(status == 200 && letter["payload"] == "{}", "{letter}");
    let drop_it = json!({ "why": WHY });
    let drop_one = format!("{one}/drop");
    for path in [
        (Method::GET, ""),
        (Method::GET, one.as_str()),
        (Method::POST, drop_one.as_str()),
    ] {
        let body = (path.0 == Method::POST).then_some(&drop_it);
        let (status, problem) = call(&shop, &shopper, path.clone(), body).await?;
        ensure!(status == 403, "{path:?}: {problem}");
    }
    let tried = json!({ "why": WHY, "dry_run": true });
    let replay = format!("{one}/replay");
    let (status, tried) = call(&shop, &staff, (Method::POST, &replay), Some(&tried)).await?;
    ensure!(status == 200 && tried["failure"].is_string(), "{tried}");
    let edit = json!({ "why": WHY, "payload": "{}" });
    let path = format!("{one}/edit");
    let (status, no_event) = call(&shop, &staff, (Method::POST, &path), Some(&edit)).await?;
    ensure!(
        status == 422 && no_event["errors"][0]["pointer"] == "/payload",
        "{no_event}"
    );

    let dropped = call(&shop, &staff, (Method::POST, &drop_one), Some(&drop_it)).await?;
    ensure!(
        dropped.0 == 200 && dropped.1["state"] == "dropped",
        "{dropped:?}"
    );
    let again = call(&shop, &staff, (Method::POST, &drop_one), Some(&drop_it)).await?;
    ensure!(again == dropped, "the same key: {again:?}");
    let other = json!({ "why": "once more" });
    let (status, problem) = call(&shop, &staff, (Method::POST, &drop_one), Some(&other)).await?;
    ensure!(
        status == 409 && problem["code"] == "already_decided",
        "{problem}"
    );

    let all = json!({ "ids": ids, "why": WHY });
    let (status, many) = call(&shop, &staff, (Method::POST, "/drop"), Some(&all)).await?;
    ensure!(
        status == 200 && many["items"][0]["problem"]["code"] == "already_decided",
        "{many}"
    );
    ensure!(many["items"][9]["decided"]["state"] == "dropped", "{many}");
    ensure!(list("").await?.0.is_empty(), "something is left");
    ensure!(list("?state=dropped").await?.0.len() == 10, "they are kept");
    let (_, letter) = call(&shop, &staff, (Method::GET, &one), None).await?;
    let who = letter["actions"][0]["who"].as_str().unwrap_or_default();
    ensure!(who.starts_with("account:"), "{letter}");
    Ok(())
}
