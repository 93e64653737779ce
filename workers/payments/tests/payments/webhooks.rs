//! Webhooks: who is believed, and what they lead to.

use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::Sha256;
use shopzen_chassis::{Asker, Asking, clock};
use shopzen_contracts::{
    Command, OrderId,
    payments::{ReceiveWebhook, StoredWebhook},
};

use crate::{
    fixtures::{
        RUNNING, Shop, WEBHOOK_SECRET, bus, cancelled, eventually, new_order_id, placed_with,
        reserved,
    },
    tokens::authenticate,
};

/// So late that nothing happens for want of a webhook.
const NOT_IN_THIS_TEST: &str =
    "UPDATE payment_attempts SET next_at = now() + interval '1 hour' WHERE next_at IS NOT NULL";

const NEW: StoredWebhook = StoredWebhook { repeated: false };
const REPEATED: StoredWebhook = StoredWebhook { repeated: true };

/// As the gateway signs it.
fn sign(id: &str, sent_at: Timestamp, body: &str) -> ReceiveWebhook {
    let key = WEBHOOK_SECRET.strip_prefix("whsec_").unwrap();
    let key = BASE64.decode(key.as_bytes()).unwrap();
    let timestamp = sent_at.as_second().to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    let signature = BASE64.encode(&mac.finalize().into_bytes());
    ReceiveWebhook {
        gateway: "sandbox".to_owned(),
        id: id.to_owned(),
        timestamp,
        signature: format!("v1,{signature}"),
        body: body.to_owned(),
    }
}

fn about(order_id: OrderId) -> ReceiveWebhook {
    let id = format!("evt_{}", clock::new_id().simple());
    let body = json!({
        "id": id, "type": "charge.authorised", "created_at": clock::now(),
        "data": { "charge_id": "ch_1", "order_id": order_id },
    });
    sign(&id, clock::now(), &body.to_string())
}

/// Over the broker, as the edge does.
async fn send(webhook: &ReceiveWebhook) -> StoredWebhook {
    let asker = Asker::new(bus().await);
    let asking = Asking {
        deadline: Duration::from_secs(10),
        ..Asking::default()
    };
    // The worker may have just been started.
    let mut answered = None;
    eventually("the worker answers", async || {
        answered = asker.command(webhook, &asking).await.ok();
        answered.is_some()
    })
    .await;
    answered.unwrap()
}

/// Until it has come so far by what a webhook led to. A gateway that is too slow to be asked is asked again
/// only because of the next one.
async fn tell_until(shop: &Shop, order_id: OrderId, wanted: &str) {
    eventually(wanted, async || {
        assert_eq!(send(&about(order_id)).await, NEW);
        shop.state(order_id).await == wanted
    })
    .await;
}

async fn stored(shop: &Shop) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM webhooks")
        .fetch_one(shop.harness.pool())
        .await
        .unwrap()
}

/// State, calls and time of the one attempt that a payment has.
async fn attempt(shop: &Shop, order_id: OrderId) -> (String, i32, String) {
    sqlx::query_as("SELECT state, calls, next_at::text FROM payment_attempts WHERE order_id = $1")
        .bind(order_id.0)
        .fetch_one(shop.harness.pool())
        .await
        .unwrap()
}

async fn execute(shop: &Shop, statement: &'static str) {
    sqlx::query(statement)
        .execute(shop.harness.pool())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_webhook_is_stored_once_whoever_it_is_about() {
    let shop = Shop::new().await;
    let asking = Asking::default();
    let early = about(new_order_id());
    for expected in [NEW, REPEATED, REPEATED] {
        let answer = shop.harness.command(&early, &asking).await;
        assert_eq!(answer.unwrap(), expected);
    }
    // A gateway signs anew each time it sends the same.
    let again = sign(
        &early.id,
        clock::now() + SignedDuration::from_secs(7),
        &early.body,
    );
    assert_eq!(
        shop.harness.command(&again, &asking).await.unwrap(),
        REPEATED
    );
    let other = about(new_order_id());
    assert_eq!(shop.harness.command(&other, &asking).await.unwrap(), NEW);
    assert_eq!(stored(&shop).await, 2);
    // Nothing was made of an order that nobody has placed.
    let payments: i64 = sqlx::query_scalar("SELECT count(*) FROM payments")
        .fetch_one(shop.harness.pool())
        .await
        .unwrap();
    assert_eq!(payments, 0);
}

#[tokio::test]
async fn what_the_gateway_did_not_sign_just_now_is_refused_and_leaves_nothing() {
    let shop = Shop::new().await;
    let right = about(new_order_id());
    let forged = ReceiveWebhook {
        body: right.body.replace("authorised", "captured"),
        ..right.clone()
    };
    let old = clock::now() - SignedDuration::from_mins(6);
    let old = sign(&right.id, old, &right.body);
    let elsewhere = ReceiveWebhook {
        gateway: "stripe".to_owned(),
        ..right.clone()
    };
    let now = clock::now();
    let long_id = "e".repeat(256);
    for (webhook, status, code) in [
        (forged, 401, "webhook_unverified"),
        (old, 401, "webhook_unverified"),
        (elsewhere, 404, "not_found"),
        (sign("evt_1", now, "{"), 400, "malformed_json"),
        (sign("evt_1", now, "{}"), 400, "malformed_json"),
        (
            sign("evt_1", now, r#"{"data":{"order_id":"1"}}"#),
            400,
            "malformed_json",
        ),
        (sign(&long_id, now, &right.body), 422, "invalid_request"),
        (sign("", now, &right.body), 422, "invalid_request"),
    ] {
        let refused = shop.harness.command(&webhook, &Asking::default()).await;
        let problem = refused.unwrap_err();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (status, code),
            "{webhook:?}"
        );
    }
    assert_eq!(stored(&shop).await, 0);
    let nonsense = shop
        .harness
        .ask_bytes(ReceiveWebhook::SUBJECT, b"{}", &Asking::default())
        .await;
    assert_eq!(nonsense.unwrap_err().status, 422);
}

#[tokio::test]
async fn a_webhook_has_the_gateway_asked_at_once() {
    let _alone = RUNNING.write().await;
    let shop = Shop::new().await;
    // A call whose answer died with its process, and a shopper who will act.
    let (lost, acting) = (new_order_id(), new_order_id());
    for (order_id, token) in [(lost, "tok_ok"), (acting, "tok_requires_action")] {
        shop.harness
            .deliver_once(&placed_with(order_id, token))
            .await;
        shop.harness.deliver_once(&reserved(order_id)).await;
    }
    shop.wait_for_charge(lost, "authorised").await;
    shop.wait_for_charge(acting, "requires_action").await;
    execute(&shop, NOT_IN_THIS_TEST).await;
    let running = shop.open_alone().await;

    tell_until(&shop, acting, "action_required").await;
    execute(&shop, NOT_IN_THIS_TEST).await;
    authenticate(&shop, acting, "ok").await;
    tell_until(&shop, acting, "authorised").await;

    assert_eq!(shop.state(lost).await, "authorising");
    tell_until(&shop, lost, "authorised").await;
    assert_eq!(shop.told(lost).await, ["authorised"]);
    assert_eq!(shop.told(acting).await, ["action_required", "authorised"]);
    running.stop().await;
}

#[tokio::test]
async fn a_webhook_without_news_changes_nothing() {
    let _alone = RUNNING.write().await;
    let shop = Shop::new().await;
    // Neither call has left. One is still wanted; of the other the gateway has never heard.
    let (wanted, unheard) = (new_order_id(), new_order_id());
    for order_id in [wanted, unheard] {
        shop.harness.deliver(&placed_with(order_id, "tok_ok")).await;
        shop.harness.deliver(&reserved(order_id)).await;
    }
    shop.harness.deliver(&cancelled(unheard)).await;
    sqlx::query("UPDATE payment_attempts SET state = 'unheard' WHERE order_id = $1")
        .bind(unheard.0)
        .execute(shop.harness.pool())
        .await
        .unwrap();
    execute(&shop, NOT_IN_THIS_TEST).await;
    let before = (attempt(&shop, wanted).await, attempt(&shop, unheard).await);
    let running = shop.open_alone().await;
    for order_id in [unheard, wanted, unheard] {
        assert_eq!(send(&about(order_id)).await, NEW);
    }
    // Answers are recorded in the order in which they come.
    let last = new_order_id();
    shop.harness
        .deliver_once(&placed_with(last, "tok_ok"))
        .await;
    shop.harness.deliver_once(&reserved(last)).await;
    shop.wait_for_charge(last, "authorised").await;
    tell_until(&shop, last, "authorised").await;

    let after = (attempt(&shop, wanted).await, attempt(&shop, unheard).await);
    assert_eq!(before, after);
    assert_eq!(shop.state(wanted).await, "authorising");
    assert_eq!(shop.state(unheard).await, "authorisation_unwanted");
    assert!(
        shop.charges(wanted).await.is_empty(),
        "a hint sends nothing"
    );
    running.stop().await;
}

#[tokio::test]
async fn old_webhooks_are_forgotten() {
    let shop = Shop::new().await;
    let asking = Asking::default();
    for days in [31, 29, 0] {
        let webhook = about(new_order_id());
        shop.harness.command(&webhook, &asking).await.unwrap();
        sqlx::query(
            "
            UPDATE webhooks SET received_at = now() - make_interval(days => $2)
            WHERE event_id = $1
            ",
        )
        .bind(&webhook.id)
        .bind(days)
        .execute(shop.harness.pool())
        .await
        .unwrap();
    }
    let running = shop.open_for_business().await;
    eventually("the oldest is forgotten", async || stored(&shop).await == 2).await;
    running.stop().await;
    assert_eq!(stored(&shop).await, 2);
}
