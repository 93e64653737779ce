//! What the gateway tells the shop by itself, and how badly.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use reqwest::StatusCode;
use serde_json::json;
use shopzen_sandbox_gateway::Delivery;
use tokio::sync::Notify;

use crate::receiver::{Hook, REFUSE, Reaction, Receiver, TAKE};
use crate::support::{DEADLINE, Sandbox, charge_body, new_uuid};

/// More than are on their way at a time.
const MANY: usize = 300;

/// The number of the webhook that is early: the first effect is told once, the second twice.
const EARLY_AT: usize = 3;

/// A call that is not held back has been answered while these were.
const CALLS_MEANWHILE: usize = 10;

/// A gateway of which the next effect is told early.
async fn up_to_an_early_one(shop: &mut Receiver) -> Sandbox {
    let sandbox = Sandbox::start_with(shop.webhooks(Delivery::Mixed)).await;
    for key in ["once", "twice"] {
        sandbox.charge(key, &new_uuid(), 100, "tok_ok").await;
    }
    for _ in 0..EARLY_AT {
        shop.next().await;
    }
    sandbox
}

fn ids(hooks: &[Hook]) -> HashSet<&str> {
    hooks.iter().map(|hook| hook.id.as_str()).collect()
}

#[tokio::test]
async fn every_effect_is_told_once_and_signed() {
    let mut shop = Receiver::start(|_| TAKE).await;
    let sandbox = Sandbox::start_with(shop.webhooks(Delivery::Once)).await;
    let amount = json!({"amount_minor": 100});
    let opened = async |token: &str| {
        let order_id = new_uuid();
        let answer = sandbox.charge(&new_uuid(), &order_id, 100, token).await;
        (answer.id(), order_id)
    };

    let (paid, order_id) = opened("tok_ok").await;
    let authorised = shop.next().await;
    assert_eq!(authorised.content_type, "application/json");
    assert!(authorised.is_genuine);
    assert!(authorised.id.starts_with("evt_") && authorised.id.len() == 36);
    let created_at = authorised.body["created_at"].as_str().unwrap();
    let created_at: jiff::Timestamp = created_at.parse().unwrap();
    assert!((0..=60).contains(&(authorised.timestamp - created_at.as_second())));
    assert_eq!(
        authorised.body,
        json!({
            "id": authorised.id, "type": "charge.authorised",
            "created_at": authorised.body["created_at"],
            "data": {"charge_id": paid, "order_id": order_id},
        })
    );

    // Each step, and what is told of it. One after the other, so that they come in this order.
    let part = json!({"amount_minor": 40});
    let (rest, none) = (json!({"amount_minor": 60}), json!({}));
    let (passed, _) = opened("tok_requires_action").await;
    assert_eq!(shop.next().await.told(), "charge.requires_action");
    let (failed, _) = opened("tok_requires_action").await;
    assert_eq!(shop.next().await.told(), "charge.requires_action");
    let (uncapturable, _) = opened("tok_capture_fails").await;
    assert_eq!(shop.next().await.told(), "charge.authorised");
    let (declined, _) = opened("tok_declined").await;
    let told = shop.next().await;
    assert_eq!(
        (told.told(), told.charge_id()),
        ("charge.declined", declined.as_str())
    );
    for (id, step, body, wanted) in [
        (&paid, "capture", &amount, "charge.captured"),
        (&paid, "refund", &part, "charge.refunded"),
        (&paid, "refund", &rest, "charge.refunded"),
        (
            &passed,
            "authenticate",
            &json!({"result": "ok"}),
            "charge.authorised",
        ),
        (
            &failed,
            "authenticate",
            &json!({"result": "failed"}),
            "charge.declined",
        ),
        (&passed, "void", &none, "charge.voided"),
        (&uncapturable, "capture", &amount, "charge.capture_failed"),
    ] {
        sandbox.step(&new_uuid(), id, step, body.clone()).await;
        let told = shop.next().await;
        assert_eq!((told.told(), told.charge_id()), (wanted, id.as_str()));
        assert!(told.is_genuine);
    }
    assert!(shop.arrived().is_none());
}

#[tokio::test]
async fn what_had_no_effect_and_what_is_repeated_is_not_told() {
    let mut shop = Receiver::start(|_| TAKE).await;
    let sandbox = Sandbox::start_with(shop.webhooks(Delivery::Once)).await;
    let order_id = new_uuid();
    let id = sandbox.charge("a", &order_id, 100, "tok_ok").await.id();
    assert_eq!(shop.next().await.charge_id(), id);

    assert!(sandbox.charge("a", &order_id, 100, "tok_ok").await.replayed);
    let refused = [
        sandbox.charge("a", &order_id, 101, "tok_ok").await,
        sandbox.charge("b", &order_id, 1, "tok_unknown").await,
        sandbox.charge("c", &order_id, 1, "tok_error_then_ok").await,
        sandbox
            .step("d", &id, "refund", json!({"amount_minor": 1}))
            .await,
        sandbox
            .step("e", &id, "capture", json!({"amount_minor": 101}))
            .await,
    ];
    for answer in &refused {
        assert!(answer.body["error"].is_object(), "{answer:?}");
    }
    sandbox.step("f", &id, "void", json!({})).await;
    assert_eq!(shop.next().await.told(), "charge.voided");
}

#[tokio::test]
async fn what_is_not_taken_comes_again_the_same_with_a_new_signature() {
    // A redirection takes it to nowhere, so it is not taken either.
    let reactions = [REFUSE, Reaction::Answer(StatusCode::TEMPORARY_REDIRECT)];
    let mut shop =
        Receiver::start(move |number| reactions.get(number).unwrap_or(&TAKE).clone()).await;
    let sandbox = Sandbox::start_with(shop.webhooks(Delivery::Once)).await;
    sandbox.charge("a", &new_uuid(), 100, "tok_ok").await;

    let (first, second, third) = (shop.next().await, shop.next().await, shop.next().await);
    for again in [&second, &third] {
        assert_eq!((&again.id, &again.body), (&first.id, &first.body));
        assert!(again.is_genuine && again.timestamp > first.timestamp);
    }
    assert!(third.timestamp > second.timestamp);
    // It was taken, so the next that comes is of something else.
    sandbox.charge("b", &new_uuid(), 100, "tok_declined").await;
    assert_eq!(shop.next().await.told(), "charge.declined");
}

#[tokio::test]
async fn by_itself_it_tells_only_what_no_answer_tells_in_time() {
    let mut shop = Receiver::start(|_| TAKE).await;
    let sandbox = Sandbox::start_with(shop.webhooks(Delivery::default())).await;
    for token in ["tok_ok", "tok_declined", "tok_error_then_ok"] {
        sandbox.charge(token, &new_uuid(), 100, token).await;
    }
    let slow = sandbox
        .charge("slow", &new_uuid(), 100, "tok_slow")
        .await
        .id();
    assert_eq!(shop.next().await.charge_id(), slow);

    let order_id = new_uuid();
    let body = charge_body(&order_id, 100, "tok_timeout_then_ok");
    assert_eq!(sandbox.raw_charge("lost", &body).await, "");
    let told = shop.next().await;
    assert_eq!(told.told(), "charge.authorised");
    assert_eq!(told.body["data"]["order_id"], json!(order_id));

    let asked = sandbox
        .charge("asked", &new_uuid(), 100, "tok_requires_action")
        .await
        .id();
    sandbox
        .step(&new_uuid(), &asked, "authenticate", json!({"result": "ok"}))
        .await;
    assert_eq!(shop.next().await.charge_id(), asked);
}

#[tokio::test]
async fn a_mixed_delivery_is_once_twice_early_never_and_forged_in_turn() {
    let mut shop = Receiver::start(|_| TAKE).await;
    let sandbox = Sandbox::start_with(shop.webhooks(Delivery::Mixed)).await;
    for round in 0..3 {
        let open = async |manner: &str| {
            let key = format!("{manner}-{round}");
            sandbox.charge(&key, &new_uuid(), 100, "tok_ok").await.id()
        };
        let once = open("once").await;
        let hook = shop.next().await;
        assert!(hook.is_genuine && hook.charge_id() == once);

        let twice = open("twice").await;
        let hooks = [shop.next().await, shop.next().await];
        assert_eq!(ids(&hooks).len(), 1);
        assert!(
            hooks
                .iter()
                .all(|it| it.is_genuine && it.charge_id() == twice)
        );

        let early = open("early").await;
        let hook = shop.arrived().expect("it is here before the answer");
        assert!(hook.is_genuine && hook.charge_id() == early);

        open("never").await;

        let forged = open("forged").await;
        let hooks = shop.next_by_type(2).await;
        let (honest, lie) = (&hooks["charge.authorised"][0], &hooks["charge.declined"][0]);
        assert!(honest.is_genuine && !lie.is_genuine);
        assert_ne!(honest.id, lie.id);
        assert!(honest.charge_id() == forged && lie.charge_id() == forged);
        assert_eq!(honest.body["data"], lie.body["data"]);
    }
    assert!(shop.arrived().is_none());
}

#[tokio::test]
async fn a_forged_webhook_is_not_sent_again() {
    let mut shop = Receiver::start(|_| REFUSE).await;
    let sandbox = Sandbox::start_with(shop.webhooks(Delivery::Mixed)).await;
    let mut order_ids = Vec::new();
    for number in 0..5 {
        order_ids.push(new_uuid());
        sandbox
            .charge(&number.to_string(), &order_ids[number], 100, "tok_ok")
            .await;
    }
    // The true one of the fifth comes three times, with a pause after each; the other came once.
    let (mut honest, mut forged) = (0, 0);
    while honest < 3 {
        let hook = shop.next().await;
        if hook.is_genuine {
            honest += usize::from(hook.body["data"]["order_id"] == json!(order_ids[4]));
        } else {
            forged += 1;
        }
    }
    assert_eq!(forged, 1);
}

#[tokio::test]
async fn an_answer_goes_out_when_its_early_webhook_has_been_taken() {
    let go = Arc::new(Notify::new());
    let reaction = {
        let go = Arc::clone(&go);
        move |number| {
            if number < EARLY_AT {
                TAKE
            } else {
                Reaction::TakeAfter(Arc::clone(&go))
            }
        }
    };
    let mut shop = Receiver::start(reaction).await;
    let sandbox = up_to_an_early_one(&mut shop).await;
    let order_id = new_uuid();
    let mut call = pin!(sandbox.charge("early", &order_id, 100, "tok_ok"));
    // The books show it and the shop has been told, and other calls have come and gone.
    let meanwhile = async {
        shop.next().await;
        for _ in 0..CALLS_MEANWHILE {
            assert_eq!(sandbox.charges_of(&order_id).await.len(), 1);
        }
    };
    tokio::select! {
        answer = &mut call => panic!("{answer:?} did not wait"),
        () = meanwhile => {}
    }
    go.notify_one();
    assert_eq!(call.await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_early_webhook_that_is_refused_holds_its_answer_back_for_one_try_only() {
    // For good.
    let reaction = |number| if number < EARLY_AT { TAKE } else { REFUSE };
    let mut shop = Receiver::start(reaction).await;
    let sandbox = up_to_an_early_one(&mut shop).await;
    let answer = sandbox.charge("early", &new_uuid(), 100, "tok_ok").await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let first = shop.arrived().expect("it was tried before the answer");
    assert_eq!(first.charge_id(), answer.id());
    let second = shop.next().await;
    assert_eq!((second.id, second.body), (first.id, first.body));
}

#[tokio::test]
async fn a_shop_that_hangs_does_not_stop_charges() {
    let mut shop = Receiver::start(|_| Reaction::Hang).await;
    let sandbox = Sandbox::start_with(shop.webhooks(Delivery::Once)).await;
    // One after the other: if each waited for its webhook, this would take ten minutes.
    let charging = async {
        for number in 0..MANY {
            let key = number.to_string();
            let answer = sandbox.charge(&key, &new_uuid(), 100, "tok_ok").await;
            assert_eq!(answer.status, StatusCode::CREATED);
        }
    };
    tokio::time::timeout(DEADLINE, charging)
        .await
        .expect("charges do not wait");
    shop.next().await;
}

#[tokio::test]
async fn an_answer_waits_for_an_early_webhook_no_longer_than_a_try_takes() {
    let shop = Receiver::start(|_| Reaction::Hang).await;
    let sandbox = Sandbox::start_with(shop.webhooks(Delivery::Mixed)).await;
    for key in ["once", "twice", "early"] {
        let answer = sandbox.charge(key, &new_uuid(), 100, "tok_ok").await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn every_webhook_of_many_arrives() {
    let mut shop = Receiver::start(|_| TAKE).await;
    let sandbox = Sandbox::start_with(shop.webhooks(Delivery::Once)).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..MANY {
        let sandbox = sandbox.clone();
        calls.spawn(async move {
            let key = number.to_string();
            sandbox.charge(&key, &new_uuid(), 100, "tok_ok").await.id()
        });
    }
    let charged: HashSet<String> = calls.join_all().await.into_iter().collect();
    let mut told = HashSet::new();
    for _ in 0..MANY {
        told.insert(shop.next().await.charge_id().to_owned());
    }
    assert_eq!(told, charged);
}

#[tokio::test]
async fn nothing_is_sent_where_webhooks_are_off() {
    let mut shop = Receiver::start(|_| TAKE).await;
    let off = Sandbox::start_with(shop.webhooks(Delivery::Off)).await;
    off.charge("a", &new_uuid(), 100, "tok_declined").await;
    // What comes first is of another gateway.
    let once = Sandbox::start_with(shop.webhooks(Delivery::Once)).await;
    once.charge("a", &new_uuid(), 100, "tok_ok").await;
    assert_eq!(shop.next().await.told(), "charge.authorised");
    assert!(shop.arrived().is_none());
}

#[tokio::test]
async fn a_gateway_that_ends_takes_its_webhooks_along() {
    let mut shop = Receiver::start(|_| REFUSE).await;
    let ending = Sandbox::start_with(shop.webhooks(Delivery::Once)).await;
    ending.charge("a", &new_uuid(), 100, "tok_declined").await;
    assert_eq!(shop.next().await.told(), "charge.declined");
    drop(ending);

    // While another gateway, begun later, tries three times, one that had not ended would have tried
    // twice more. Once it may: on a busy machine a pause is over before the gateway is.
    let lasting = Sandbox::start_with(shop.webhooks(Delivery::Once)).await;
    lasting.charge("a", &new_uuid(), 100, "tok_ok").await;
    let (mut of_lasting, mut of_ended) = (0, 0);
    while of_lasting < 3 {
        match shop.next().await.told() {
            "charge.authorised" => of_lasting += 1,
            _ => of_ended += 1,
        }
    }
    assert!(of_ended <= 1, "it came {of_ended} times more");
}
