//! What is always true (DESIGN §5), asked of the databases and of the gateway's own books once the
//! shop is quiet. Only tests look into tables; everybody else asks by messages.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::shop::{Shop, wait_for};

/// Workers that publish and follow events of a checkout.
const WORKERS: [&str; 5] = ["orders", "stock", "payments", "notify", "catalog"];

/// Waits until nothing moves any more: every order has ended, nothing is unpublished, no attempt open.
pub async fn until_quiet(shop: &Shop) -> Result<()> {
    wait_for("the shop is quiet", async || {
        let counted = async {
            let mut moving = 0;
            moving += count(shop, "orders", "SELECT count(*) FROM orders WHERE open").await?;
            moving += count(
                shop,
                "orders",
                "SELECT count(*) FROM orders WHERE status = 'confirmed' AND payment_status <> 'captured'",
            )
            .await?;
            moving += count(
                shop,
                "payments",
                "SELECT count(*) FROM payment_attempts WHERE next_at IS NOT NULL",
            )
            .await?;
            // Whoever is confirmed has its goods, and nobody else has any.
            let confirmed = "SELECT count(*) FROM orders WHERE status = 'confirmed'";
            let held = "SELECT count(*) FROM reservations WHERE state IN ('reserved', 'allocated')";
            moving += (count(shop, "orders", confirmed).await? - count(shop, "stock", held).await?).abs();
            for worker in WORKERS {
                moving += count(shop, worker, "SELECT count(*) FROM outbox_pending").await?;
            }
            anyhow::Ok(moving)
        };
        // A database that is just coming back is not quiet yet.
        Ok(counted.await.is_ok_and(|moving| moving == 0))
    })
    .await
}

async fn connect(shop: &Shop, worker: &str) -> Result<PgConnection> {
    Ok(PgConnection::connect(&shop.database_url(worker)?).await?)
}

/// The number that a statement finds in a worker's database.
pub async fn count(shop: &Shop, worker: &str, statement: &str) -> Result<i64> {
    let mut db = connect(shop, worker).await?;
    Ok(sqlx::query_scalar(AssertSqlSafe(statement.to_owned()))
        .fetch_one(&mut db)
        .await?)
}

/// Checks I1 to I4, I6, I8 and I11, and I5 for the orders that somebody saw accepted.
pub async fn check(shop: &Shop, accepted: &[Value]) -> Result<()> {
    until_quiet(shop).await?;
    stock_adds_up(shop).await?;
    let orders = ended_orders(shop, accepted).await?;
    money_adds_up(shop, &orders).await?;
    events_arrived(shop).await?;
    let twice = "SELECT count(*) - count(DISTINCT (order_id, letter_id, kind)) FROM mails";
    ensure!(
        count(shop, "notify", twice).await? == 0,
        "I8: somebody was told twice"
    );
    for worker in WORKERS {
        let open = "SELECT count(*) FROM dead_letters WHERE decided_at IS NULL";
        let dead = count(shop, worker, open).await?;
        ensure!(dead == 0, "{worker} has {dead} dead letters");
    }
    Ok(())
}

/// I1 and I2.
async fn stock_adds_up(shop: &Shop) -> Result<()> {
    let oversold = "
        SELECT count(*) FROM stock_levels
        WHERE reserved < 0 OR allocated < 0 OR reserved + allocated > on_hand";
    ensure!(
        count(shop, "stock", oversold).await? == 0,
        "I1: a level is oversold"
    );
    let off_the_ledger = "
        SELECT count(*) FROM stock_levels AS level
        WHERE (on_hand, reserved, allocated) <> (
            SELECT coalesce(sum(on_hand_delta), 0), coalesce(sum(reserved_delta), 0),
                coalesce(sum(allocated_delta), 0)
            FROM stock_movements AS m WHERE m.sku = level.sku AND m.location = level.location)";
    ensure!(
        count(shop, "stock", off_the_ledger).await? == 0,
        "I1: a level is not its movements"
    );
    let unheld = "
        SELECT count(*) FROM stock_levels AS level
        WHERE reserved + allocated <> (
            SELECT coalesce(sum(line.quantity), 0)
            FROM reservations, unnest(skus, quantities) AS line (sku, quantity)
            WHERE state IN ('reserved', 'allocated') AND line.sku = level.sku)";
    ensure!(
        count(shop, "stock", unheld).await? == 0,
        "I2: a level is not its reservations"
    );
    Ok(())
}

/// An order's end: its status and its total.
type Ended = HashMap<Uuid, (String, i64)>;

/// I2 across workers, and I5.
async fn ended_orders(shop: &Shop, accepted: &[Value]) -> Result<Ended> {
    let mut db = connect(shop, "orders").await?;
    let rows: Vec<(Uuid, String, i64)> = sqlx::query_as(
        "
        SELECT id, status, (body::jsonb #>> '{total,amount_minor}')::int8
        FROM orders JOIN order_details ON order_id = id
        ",
    )
    .fetch_all(&mut db)
    .await?;
    let orders: Ended = rows
        .into_iter()
        .map(|(id, status, total)| (id, (status, total)))
        .collect();
    for order in accepted {
        let id: Uuid = order["id"].as_str().unwrap_or_default().parse()?;
        let ended = orders.get(&id).map(|(status, _)| status.as_str());
        ensure!(
            matches!(ended, Some("confirmed" | "rejected" | "cancelled")),
            "I5: the accepted order {id} is {ended:?}"
        );
    }
    let mut db = connect(shop, "stock").await?;
    let held: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT order_id, state FROM reservations WHERE state IN ('reserved', 'allocated')",
    )
    .fetch_all(&mut db)
    .await?;
    for (id, state) in &held {
        let status = orders.get(id).map(|(status, _)| status.as_str());
        ensure!(
            status == Some("confirmed"),
            "I2: {state} for {id}, which is {status:?}"
        );
    }
    let confirmed = orders
        .values()
        .filter(|(status, _)| status == "confirmed")
        .count();
    ensure!(
        confirmed == held.len(),
        "I2: {confirmed} confirmed and {} held",
        held.len()
    );
    Ok(orders)
}

/// I3, I4 and I11, by the gateway's own books.
async fn money_adds_up(shop: &Shop, orders: &Ended) -> Result<()> {
    let mut kept: BTreeMap<Uuid, i64> = BTreeMap::new();
    let mut captures: BTreeMap<Uuid, u32> = BTreeMap::new();
    for charge in shop.books().await? {
        let id = charge.order_id;
        *kept.entry(id).or_default() += charge.captured_minor - charge.refunded_minor;
        *captures.entry(id).or_default() += u32::from(charge.captured_minor > 0);
        let confirmed = orders
            .get(&id)
            .is_some_and(|(status, _)| status == "confirmed");
        ensure!(
            confirmed || charge.status != "authorised",
            "I3: money is held for {id}, which has ended"
        );
    }
    for (id, count) in captures {
        ensure!(count <= 1, "I4: {count} captures for {id}");
    }
    for (id, (status, total)) in orders {
        let expected = if status == "confirmed" { *total } else { 0 };
        let kept = kept.remove(id).unwrap_or(0);
        ensure!(
            kept == expected,
            "I3: {kept} kept for {id}, which is {status} over {total}"
        );
    }
    ensure!(
        kept.values().all(|kept| *kept == 0),
        "I3: money was kept without an order"
    );
    let booked = "
        SELECT coalesce(sum(CASE movement WHEN 'capture' THEN amount_minor ELSE -amount_minor END), 0)::int8
        FROM ledger_transfers";
    let ours = count(shop, "payments", booked).await?;
    let theirs: i64 = orders
        .values()
        .filter(|(status, _)| status == "confirmed")
        .map(|(_, total)| total)
        .sum();
    ensure!(
        ours == theirs,
        "I11: our ledger says {ours}, the books say {theirs}"
    );
    Ok(())
}

/// I6: what was published for others to follow was handled by them, once. (An inbox has one row an
/// event, so "once" is its primary key.)
async fn events_arrived(shop: &Shop) -> Result<()> {
    const FOLLOWED: [(&str, &str, &[&str]); 6] = [
        (
            "orders",
            "stock",
            &["placed", "confirmed", "rejected", "cancelled"],
        ),
        (
            "orders",
            "payments",
            &["placed", "confirmed", "rejected", "cancelled"],
        ),
        ("orders", "notify", &["confirmed", "rejected", "cancelled"]),
        ("stock", "orders", &["reserved", "rejected"]),
        ("stock", "payments", &["reserved"]),
        (
            "payments",
            "orders",
            &[
                "authorised",
                "declined",
                "captured",
                "capture_failed",
                "voided",
            ],
        ),
    ];
    for (sender, follower, events) in FOLLOWED {
        wait_for("every event has arrived", async || {
            let mut db = connect(shop, sender).await?;
            let subjects: Vec<String> = events
                .iter()
                .map(|event| format!("shop.evt.{sender}.v1.{event}"))
                .collect();
            let sent: Vec<Uuid> =
                sqlx::query_scalar("SELECT event_id FROM outbox WHERE subject = ANY($1)")
                    .bind(&subjects)
                    .fetch_all(&mut db)
                    .await?;
            let mut db = connect(shop, follower).await?;
            let handled: i64 =
                sqlx::query_scalar("SELECT count(*) FROM inbox WHERE event_id = ANY($1)")
                    .bind(&sent)
                    .fetch_one(&mut db)
                    .await?;
            Ok(usize::try_from(handled)? == sent.len())
        })
        .await?;
    }
    Ok(())
}
