//! The audit: quiet while all is well, and loud within ten seconds when somebody lays hands on a row.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shopzen_tests::{
    invariants,
    shop::{Shop, order_of, wait_for},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

/// Far longer than the ten seconds within which a change by hand of a stock or payment row is seen on a machine
/// that is not at the same time starting and killing other shops.
const SEEN_WITHIN: Duration = Duration::from_mins(2);

/// What `shopzen audit` found, and its exit code.
fn audit(shop: &Shop) -> Result<(Value, Option<i32>)> {
    let output = shop.command(&["audit", "--json"])?.output()?;
    let report = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "shopzen audit says {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    Ok((report, output.status.code()))
}

fn green(shop: &Shop) -> Result<()> {
    let (report, code) = audit(shop)?;
    ensure!(code == Some(0) && report["ok"] == true, "{report}");
    ensure!(report["unsure"] == 0, "{report}");
    Ok(())
}

/// That the audit ends with 1, and names a violation of this invariant about this.
fn red(shop: &Shop, invariant: &str, about: (&str, &str)) -> Result<()> {
    let (report, code) = audit(shop)?;
    ensure!(
        code == Some(1) && report["ok"] == false,
        "{code:?}: {report}"
    );
    ensure!(
        names(&report, invariant, about),
        "{invariant} of {about:?} is not in {report}"
    );
    Ok(())
}

pub(crate) fn names(report: &Value, invariant: &str, (kind, name): (&str, &str)) -> bool {
    report["violations"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|violation| violation["invariant"] == invariant && violation["about"][kind] == name)
}

/// How `/readyz` stands with the audit: what it complains of.
async fn complaint(shop: &Shop) -> Result<Option<String>> {
    let answer = shop.client.get(shop.ops_url("/readyz")).send().await?;
    let is_ready = answer.status().is_success();
    let body: Value = answer.json().await?;
    let checks = body["checks"].as_array().context("checks are a list")?;
    let check = checks
        .iter()
        .find(|check| check["name"] == "audit")
        .context("there is an audit")?;
    let complaint = check["detail"].as_str().map(str::to_owned);
    ensure!(complaint.is_none() || !is_ready, "red, and ready: {body}");
    Ok(complaint)
}

pub(crate) async fn turns(shop: &Shop, red: bool, word: &str) -> Result<()> {
    let deadline = Instant::now() + SEEN_WITHIN;
    let mut tick = interval(Duration::from_millis(100));
    loop {
        let now = complaint(shop).await?;
        let is_so = match &now {
            Some(complaint) => red && complaint.contains(word),
            None => !red,
        };
        if is_so {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "/readyz did not turn {} within {SEEN_WITHIN:?}: {now:?}",
            if red { "red" } else { "green" }
        );
        tick.tick().await;
    }
}

async fn metric(shop: &Shop, invariant: &str) -> Result<String> {
    let page = shop.client.get(shop.ops_url("/metrics")).send().await?;
    let page = page.text().await?;
    let label = format!("invariant=\"{invariant}\"");
    let line = page
        .lines()
        .find(|line| line.starts_with("audit_violations") && line.contains(&label));
    let line = line.with_context(|| format!("no audit_violations of {invariant}"))?;
    Ok(line.rsplit(' ').next().unwrap_or_default().to_owned())
}

pub(crate) async fn lay_hands(shop: &Shop, worker: &str, statement: &str) -> Result<()> {
    let mut db = PgConnection::connect(&shop.database_url(worker)?).await?;
    let changed = sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(&mut db)
        .await?;
    ensure!(changed.rows_affected() > 0, "{statement} changed nothing");
    db.close().await?;
    Ok(())
}

/// A shop with orders of every end.
pub(crate) async fn busy_shop(options: &[&str]) -> Result<(Shop, String)> {
    let shop = Shop::start(options).await?;
    let mut accepted = Vec::new();
    for (key, token) in [
        ("a", "tok_ok"),
        ("b", "tok_declined"),
        ("c", "tok_ok"),
        ("d", "tok_capture_fails"),
    ] {
        accepted.push(
            shop.accepted(key, &order_of(&[("LAMP-BRASS", 2)], token))
                .await?,
        );
    }
    invariants::check(&shop, &accepted).await?;
    let id = accepted[0]["id"].as_str().context("an order has an id")?;
    let id = id.to_owned();
    Ok((shop, id))
}

/// One change by hand: where, the hand, what undoes it, and which invariant it breaks about what.
struct Hand<'a> {
    worker: &'a str,
    change: String,
    undo: String,
    invariant: &'a str,
    about: (&'a str, &'a str),
}

fn stock_and_payment_hands(id: &str) -> Vec<Hand<'_>> {
    let lamp = "sku = 'LAMP-BRASS'";
    let sku = ("sku", "LAMP-BRASS");
    let order = ("order", id);
    let hand = |worker, change: String, undo: String, invariant, about| Hand {
        worker,
        change,
        undo,
        invariant,
        about,
    };
    let level = |set: &str| format!("UPDATE stock_levels SET {set} WHERE {lamp}");
    let payment = |set: &str| format!("UPDATE payments SET {set} WHERE order_id = '{id}'");
    let goods = |set: &str| format!("UPDATE reservations SET {set} WHERE order_id = '{id}'");
    let amount = |sign| payment(&format!("amount_minor = amount_minor {sign} 1"));
    vec![
        hand(
            "stock",
            level("reserved = reserved + 1"),
            level("reserved = reserved - 1"),
            "I2",
            sku,
        ),
        hand(
            "stock",
            level("on_hand = on_hand + 5"),
            level("on_hand = on_hand - 5"),
            "I1",
            sku,
        ),
        hand(
            "stock",
            goods("state = 'ended'"),
            goods("state = 'allocated'"),
            "I2",
            sku,
        ),
        hand(
            "payments",
            payment("state = 'voided'"),
            payment("state = 'captured'"),
            "I7",
            order,
        ),
        hand("payments", amount("+"), amount("-"), "I3", order),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_hand_is_named_and_turns_the_shop_red() -> Result<()> {
    let (shop, id) = busy_shop(&[]).await?;
    green(&shop)?;
    turns(&shop, false, "").await?;
    for hand in stock_and_payment_hands(&id) {
        lay_hands(&shop, hand.worker, &hand.change).await?;
        turns(&shop, true, hand.about.1).await?;
        ensure!(
            metric(&shop, hand.invariant).await? != "0",
            "{}",
            hand.change
        );
        red(&shop, hand.invariant, hand.about).with_context(|| hand.change.clone())?;
        lay_hands(&shop, hand.worker, &hand.undo).await?;
        turns(&shop, false, "").await?;
        ensure!(metric(&shop, hand.invariant).await? == "0", "{}", hand.undo);
    }
    green(&shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_invariant_is_looked_after() -> Result<()> {
    let (shop, id) = busy_shop(&[]).await?;
    green(&shop)?;
    let of_order = format!("WHERE order_id = '{id}'");

    // I8: a mail that is gone.
    lay_hands(&shop, "notify", &format!("DELETE FROM mails {of_order}")).await?;
    red(&shop, "I8", ("order", &id))?;

    // I7: a line of an order's history that is gone.
    let change = format!("DELETE FROM order_progress {of_order} AND version = 2");
    lay_hands(&shop, "orders", &change).await?;
    red(&shop, "I7", ("order", &id))?;

    // I11 and I3: the ledger loses a capture that the gateway made.
    let change =
        format!("SET session_replication_role = replica; DELETE FROM ledger_transfers {of_order}");
    let postgres = shop.database_url("payments")?;
    let mut db = PgConnection::connect(&postgres).await?;
    if sqlx::raw_sql(AssertSqlSafe(change))
        .execute(&mut db)
        .await
        .is_err()
    {
        // Only superusers may switch the rule off; the owner may take it away.
        let change = format!(
            "ALTER TABLE ledger_transfers DISABLE TRIGGER ledger_transfers_only_grows; \
             DELETE FROM ledger_transfers {of_order}"
        );
        sqlx::raw_sql(AssertSqlSafe(change))
            .execute(&mut db)
            .await?;
    }
    red(&shop, "I3", ("order", &id))?;
    red(&shop, "I11", ("currency", "EUR"))?;
    let charge = shop.charges(&id).await?.remove(0);
    let charge = charge["id"].as_str().context("a charge has an id")?;
    red(&shop, "I11", ("charge", charge))?;

    // I5 and I10: the order itself is gone.
    let change = format!("DELETE FROM order_details {of_order}");
    lay_hands(&shop, "orders", &change).await?;
    red(&shop, "I5", ("key", "a"))?;
    red(&shop, "I2", ("order", &id))?;
    Ok(())
}

/// The event by which orders said that this one is confirmed.
async fn confirmation(db: &mut PgConnection, order_id: &str) -> Result<String> {
    let statement = "
        SELECT event_id::text FROM outbox
        WHERE key = $1::uuid AND subject = 'shop.evt.orders.v1.confirmed'";
    let event = sqlx::query_scalar(statement).bind(order_id);
    Ok(event.fetch_one(db).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_looked_after() -> Result<()> {
    let (shop, id) = busy_shop(&[]).await?;
    let mut db = PgConnection::connect(&shop.database_url("orders")?).await?;
    let event = confirmation(&mut db, &id).await?;
    // I6: stock has forgotten that it handled it.
    let forget = format!("DELETE FROM inbox WHERE event_id = '{event}'");
    lay_hands(&shop, "stock", &forget).await?;
    red(&shop, "I6", ("event", &event))?;
    let handle = format!("INSERT INTO inbox VALUES ('{event}')");
    lay_hands(&shop, "stock", &handle).await?;
    green(&shop)?;
    // I9: orders does not know what lies in its stream.
    let forget = format!("DELETE FROM outbox WHERE event_id = '{event}'");
    lay_hands(&shop, "orders", &forget).await?;
    red(&shop, "I9", ("event", &event))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_never_got_is_found_by_a_reconciliation() -> Result<()> {
    let (shop, id) = busy_shop(&[]).await?;
    let reconcile = |options: &[&str]| -> Result<Value> {
        let command = [&["reconcile", "--json", "--settled-after", "0s"], options].concat();
        let output = shop.command(&command)?.output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    green(&shop)?;
    let all_is_well = reconcile(&[])?;
    ensure!(all_is_well["lost"] == json!([]), "{all_is_well}");
    ensure!(all_is_well["behind"] == json!([]), "{all_is_well}");
    ensure!(all_is_well["events"].as_u64() > Some(20), "{all_is_well}");

    let mut db = PgConnection::connect(&shop.database_url("orders")?).await?;
    let event = confirmation(&mut db, &id).await?;
    let forget = format!("DELETE FROM inbox WHERE event_id = '{event}'");
    lay_hands(&shop, "stock", &forget).await?;
    let lost = json!([{ "owner": "orders", "follower": "stock", "events": 1 }]);
    let tried = reconcile(&["--dry-run"])?;
    ensure!(tried["lost"] == lost, "{tried}");
    let long_ago = reconcile(&["--dry-run", "--since", "0s"])?;
    ensure!(long_ago["lost"] == json!([]), "{long_ago}");
    let done = reconcile(&["--since", "1h"])?;
    ensure!(done["lost"] == lost, "{done}");
    // It was published again; the broker still knows it, and takes it for a repeat.
    let pending = "SELECT count(*) FROM outbox_pending";
    wait_for("it has its receipt again", async || {
        let pending: i64 = sqlx::query_scalar(pending).fetch_one(&mut db).await?;
        Ok(pending == 0)
    })
    .await?;
    let handle = format!("INSERT INTO inbox VALUES ('{event}')");
    lay_hands(&shop, "stock", &handle).await?;
    let mended = reconcile(&["--dry-run"])?;
    ensure!(mended["lost"] == json!([]), "{mended}");
    green(&shop)
}

/// Shoppers who buy at the same time. Where something is down they are turned away, and go on.
fn crowd(shop: &Shop, name: &'static str) -> JoinSet<Result<()>> {
    let mut shoppers = JoinSet::new();
    for shopper in 0..8 {
        let (client, url) = (shop.client.clone(), shop.url("/api/v1/orders"));
        shoppers.spawn(async move {
            for number in 0..40 {
                let token = if number % 4 == 0 {
                    "tok_declined"
                } else {
                    "tok_ok"
                };
                let request = client
                    .post(&url)
                    .header("Idempotency-Key", format!("{name}-{shopper}-{number}"))
                    .json(&order_of(&[("LAMP-BRASS", 1)], token));
                let status = request.send().await?.status();
                ensure!(
                    status == 202 || status == 503 || status == 504,
                    "{status} for {name}-{shopper}-{number}"
                );
            }
            Ok(())
        });
    }
    shoppers
}

/// That the audit never complains while these shoppers buy.
async fn no_alarm(shop: &Shop, mut shoppers: JoinSet<Result<()>>) -> Result<()> {
    let mut tick = interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            done = shoppers.join_next() => match done {
                Some(done) => done??,
                None => return Ok(()),
            },
            _ = tick.tick() => {
                // While the process of the audit itself is down nobody complains.
                let complaint = complaint(shop).await.unwrap_or(None);
                // Where somebody is away for long the audit says that it knows nothing. That is no alarm.
                let is_alarm = complaint.as_deref().is_some_and(|complaint| {
                    !complaint.starts_with("no audit was completed")
                });
                ensure!(!is_alarm, "{complaint:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_load_nor_an_outage_raises_an_alarm() -> Result<()> {
    let (shop, id) = busy_shop(&["--split"]).await?;
    turns(&shop, false, "").await?;
    no_alarm(&shop, crowd(&shop, "load")).await?;
    green(&shop)?;
    for of in ["/roles/orders", "/roles/stock", "/nats", "/postgres"] {
        let shoppers = crowd(&shop, of);
        shop.kill(of)?;
        no_alarm(&shop, shoppers).await?;
        wait_for("all is well again", async || {
            let ready = shop.client.get(shop.ops_url("/readyz")).send().await?;
            Ok(ready.status().is_success())
        })
        .await?;
        green(&shop).with_context(|| of.to_owned())?;
    }
    // And it still looks.
    let payment = format!("UPDATE payments SET state = 'declined' WHERE order_id = '{id}'");
    lay_hands(&shop, "payments", &payment).await?;
    turns(&shop, true, &id).await
}
