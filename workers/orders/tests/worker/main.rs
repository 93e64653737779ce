//! The orders worker on a real database: every handler, each message twice, stopped before and after
//! the commit.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod people;

use std::collections::BTreeMap;

use shopzen_chassis::{
    Asking, Bus, NatsLogin, Secret,
    harness::{Harness, Together},
};
use shopzen_contracts::{
    Currency, Money, OrderId, Problem, ProductId, Quantity, Sku, Slug,
    audit::OrderSpan,
    catalog::{Product, ProductChanged, Variant},
    orders::{
        AcceptedOrder, AuditAnswers, AuditDeadlines, AuditOrders, CancelOrder, EndReason, GetOrder,
        GetProgress, ListOrders, Order, OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected,
        OrderStatus, PlaceOrder,
    },
    payments::{
        PaymentActionRequired, PaymentAuthorised, PaymentCaptureFailed, PaymentCaptured,
        PaymentDeclined, PaymentRefunded, PaymentStatus, PaymentUnknown, PaymentVoided,
    },
    stock::{Shortage, StockRejected, StockReserved},
};
use shopzen_orders::{Config, worker};
use shopzen_test_servers::servers;
use uuid::Uuid;

/// A shop that sells lamps for 10.00 and mugs for 2.50.
async fn shop_with(config: Config) -> Harness {
    let login = NatsLogin {
        url: servers().nats_url(),
        user: "orders".to_owned(),
        password: Secret::default(),
    };
    let bus = Bus::connect(&login).await.unwrap();
    let config = Config {
        database_url: Secret::new(servers().database_url()),
        key_encryption_key: Secret::new("k".repeat(32)),
        ..config
    };
    let harness = Harness::start(worker(config), &bus).await.unwrap();
    harness
        .deliver(&product(1, 1, &[("LAMP", 1_000), ("MUG", 250)]))
        .await;
    harness
}

async fn shop() -> Harness {
    shop_with(Config::default()).await
}

fn money(minor: i64) -> Money {
    Money::new(minor, Currency::EUR)
}

fn product(id: u128, version: i64, variants: &[(&str, i64)]) -> ProductChanged {
    let variants = variants
        .iter()
        .map(|(sku, price)| Variant {
            sku: Sku::parse(*sku).unwrap(),
            price: money(*price),
            compare_at_price: None,
            options: BTreeMap::new(),
            available: 0,
            weight_grams: None,
            taxable: true,
        })
        .collect();
    let product = Product {
        id: ProductId(Uuid::from_u128(id)),
        slug: Slug::parse(format!("product-{id}")).unwrap(),
        name: "Thing".into(),
        description: String::new(),
        brand: None,
        categories: vec![],
        images: vec![],
        options: BTreeMap::new(),
        variants,
        version,
    };
    ProductChanged {
        product,
        published: true,
    }
}

fn order(lines: &[(&str, i64)]) -> PlaceOrder {
    let lines: Vec<_> = lines
        .iter()
        .map(|(sku, quantity)| serde_json::json!({ "sku": sku, "quantity": quantity }))
        .collect();
    serde_json::from_value(serde_json::json!({
        "lines": lines,
        "email": "ada@example.com",
        "shipping_address": {
            "name": "Ada", "line1": "1 Row", "postal_code": "N1", "city": "London", "country": "GB",
        },
        "payment": { "gateway": "sandbox", "token": "tok_ok" },
    }))
    .unwrap()
}

fn with_key(key: &str) -> Asking {
    Asking {
        idempotency_key: Some(key.to_owned()),
        ..Asking::default()
    }
}

async fn placed(shop: &Harness, key: &str) -> (OrderId, Asking) {
    let accepted = shop
        .command(&order(&[("LAMP", 2)]), &with_key(key))
        .await
        .unwrap();
    let asking = Asking {
        order_token: accepted.order_token,
        ..Asking::default()
    };
    (accepted.order.id, asking)
}

async fn seen(shop: &Harness, id: OrderId, asking: &Asking) -> Order {
    shop.query(&GetOrder { id }, asking).await.unwrap()
}

#[tokio::test]
async fn an_order_runs_through() {
    let shop = shop().await;
    let (id, guest) = placed(&shop, "1").await;
    let order = seen(&shop, id, &guest).await;
    assert_eq!(
        (order.status, order.total, order.version),
        (OrderStatus::Placed, money(2_000), 1)
    );

    assert!(
        shop.deliver(&StockReserved { order_id: id })
            .await
            .is_empty()
    );
    assert_eq!(seen(&shop, id, &guest).await.status, OrderStatus::Reserved);
    let amount = money(2_000);
    let published = shop
        .deliver(&PaymentAuthorised {
            order_id: id,
            amount,
        })
        .await;
    let confirmed = published[0].is::<OrderConfirmed>().unwrap();
    assert_eq!(confirmed.summary.email, "");
    let opened = people::opened(&shop, id, &confirmed.summary).await;
    assert_eq!(opened.as_deref(), Some("ada@example.com"));
    shop.deliver(&PaymentCaptured {
        order_id: id,
        amount,
    })
    .await;
    let order = seen(&shop, id, &guest).await;
    assert_eq!(
        (order.status, order.payment.status),
        (OrderStatus::Confirmed, PaymentStatus::Captured)
    );

    let log = shop
        .query(&GetProgress { id, after: 0 }, &guest)
        .await
        .unwrap()
        .items;
    let steps: Vec<_> = log.iter().map(|step| (step.version, step.status)).collect();
    assert_eq!(
        steps,
        [
            (1, OrderStatus::Placed),
            (2, OrderStatus::Reserved),
            (3, OrderStatus::Confirmed),
            (4, OrderStatus::Confirmed),
        ]
    );
    let later = shop
        .query(&GetProgress { id, after: 3 }, &guest)
        .await
        .unwrap()
        .items;
    assert_eq!(later.len(), 1);
}

#[tokio::test]
async fn steps_of_one_batch_are_all_taken_and_all_remembered() {
    let shop = shop().await;
    let (id, guest) = placed(&shop, "1").await;
    let amount = money(2_000);
    let batch = Together::default()
        .and(&StockReserved { order_id: id })
        .and(&PaymentAuthorised {
            order_id: id,
            amount,
        })
        .and(&PaymentCaptured {
            order_id: id,
            amount,
        });
    let published = shop.deliver_mixed(batch).await;
    assert_eq!(published.len(), 1, "{published:?}");
    assert!(published[0].is::<OrderConfirmed>().is_some());
    let order = seen(&shop, id, &guest).await;
    assert_eq!(
        (order.status, order.payment.status, order.version),
        (OrderStatus::Confirmed, PaymentStatus::Captured, 4)
    );
    let log = shop
        .query(&GetProgress { id, after: 0 }, &guest)
        .await
        .unwrap()
        .items;
    assert_eq!(log.len(), 4);
}

#[tokio::test]
async fn an_authorisation_that_overtakes_the_reservation_confirms() {
    let shop = shop().await;
    let (id, guest) = placed(&shop, "1").await;
    let published = shop
        .deliver(&PaymentAuthorised {
            order_id: id,
            amount: money(2_000),
        })
        .await;
    assert!(published[0].is::<OrderConfirmed>().is_some());
    assert!(
        shop.deliver(&StockReserved { order_id: id })
            .await
            .is_empty()
    );
    assert_eq!(seen(&shop, id, &guest).await.status, OrderStatus::Confirmed);
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let shop = shop().await;
    let (id, guest) = placed(&shop, "1").await;
    let shortages = vec![Shortage {
        sku: Sku::parse("LAMP").unwrap(),
        requested: Quantity::parse(2).unwrap(),
        available: 1,
    }];
    let published = shop
        .deliver(&StockRejected {
            order_id: id,
            shortages,
        })
        .await;
    let rejected = published[0].is::<OrderRejected>().unwrap();
    assert_eq!(rejected.reason, EndReason::OutOfStock);
    let order = seen(&shop, id, &guest).await;
    assert_eq!(order.lines[0].shortage.as_ref().unwrap().available, 1);
}

#[tokio::test]
async fn a_declined_payment_rejects_and_a_broken_promise_cancels() {
    let shop = shop().await;
    let (id, guest) = placed(&shop, "1").await;
    let declined = PaymentDeclined {
        order_id: id,
        code: "card_declined".into(),
    };
    let published = shop.deliver(&declined).await;
    assert_eq!(
        published[0].is::<OrderRejected>().unwrap().reason,
        EndReason::PaymentDeclined
    );
    assert_eq!(
        seen(&shop, id, &guest).await.payment.status,
        PaymentStatus::Declined
    );

    let (id, guest) = placed(&shop, "2").await;
    shop.deliver(&PaymentAuthorised {
        order_id: id,
        amount: money(2_000),
    })
    .await;
    let failed = PaymentCaptureFailed {
        order_id: id,
        code: "capture_failed".into(),
    };
    let published = shop.deliver(&failed).await;
    assert_eq!(
        published[0].is::<OrderCancelled>().unwrap().reason,
        EndReason::PaymentDeclined
    );
    shop.deliver(&PaymentVoided {
        order_id: id,
        amount: money(2_000),
    })
    .await;
    let order = seen(&shop, id, &guest).await;
    assert_eq!(
        (order.status, order.payment.status),
        (OrderStatus::Cancelled, PaymentStatus::Voided)
    );
}

#[tokio::test]
async fn an_order_nobody_answers_ends_by_its_deadline() {
    let shop = shop_with(Config {
        deadline_s: 0,
        ..Config::default()
    })
    .await;
    let (id, guest) = placed(&shop, "1").await;
    shop.deliver(&PaymentUnknown { order_id: id }).await;
    let overdue = async || {
        let ended: i64 =
            sqlx::query_scalar("SELECT count(*) FROM orders WHERE open AND expires_at < now()")
                .fetch_one(shop.pool())
                .await
                .unwrap();
        ended
    };
    assert_eq!(overdue().await, 1);
    assert!(!shop.sweep("overdue orders").await.unwrap());
    let order = seen(&shop, id, &guest).await;
    assert_eq!(
        (order.status, order.reason),
        (OrderStatus::Cancelled, Some(EndReason::TimedOut))
    );
    assert_eq!(overdue().await, 0);

    // Money that came after the end is counted, and goes back.
    shop.deliver(&PaymentAuthorised {
        order_id: id,
        amount: money(2_000),
    })
    .await;
    shop.deliver(&PaymentCaptured {
        order_id: id,
        amount: money(2_000),
    })
    .await;
    shop.deliver(&PaymentRefunded {
        order_id: id,
        amount: money(2_000),
    })
    .await;
    let order = seen(&shop, id, &guest).await;
    assert_eq!(
        (order.status, order.payment.status),
        (OrderStatus::Cancelled, PaymentStatus::Refunded)
    );
}

#[tokio::test]
async fn who_is_asked_to_act_gets_the_time_for_it() {
    let shop = shop_with(Config {
        deadline_s: 0,
        ..Config::default()
    })
    .await;
    let (id, guest) = placed(&shop, "1").await;
    shop.deliver(&PaymentActionRequired {
        order_id: id,
        url: "https://bank.example".into(),
    })
    .await;
    shop.sweep("overdue orders").await.unwrap();
    let order = seen(&shop, id, &guest).await;
    assert_eq!(
        (order.status, order.payment.status),
        (OrderStatus::Placed, PaymentStatus::RequiresAction)
    );
}

#[tokio::test]
async fn the_shopper_cancels_once_and_others_see_nothing() {
    let shop = shop().await;
    let (id, guest) = placed(&shop, "1").await;
    let stranger = shop
        .command(&CancelOrder { id }, &Asking::default())
        .await
        .unwrap_err();
    assert_eq!(stranger.status, 404);
    for key in ["c1", "c2"] {
        let asking = Asking {
            idempotency_key: Some(key.into()),
            ..guest.clone()
        };
        let order = shop.command(&CancelOrder { id }, &asking).await.unwrap();
        assert_eq!(order.reason, Some(EndReason::CancelledByShopper));
    }
    let staff = Asking {
        identity: Some(shop.token(Uuid::from_u128(7), "orders:write")),
        ..Asking::default()
    };
    let refused = shop.command(&CancelOrder { id }, &staff).await.unwrap_err();
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (409, "not_cancellable")
    );
    for asking in [
        Asking::default(),
        Asking {
            order_token: Some("guess".into()),
            ..Asking::default()
        },
    ] {
        assert_eq!(
            shop.query(&GetOrder { id }, &asking)
                .await
                .unwrap_err()
                .status,
            404
        );
        assert_eq!(
            shop.query(&GetProgress { id, after: 0 }, &asking)
                .await
                .unwrap_err()
                .status,
            404
        );
    }
}

#[tokio::test]
async fn an_account_sees_its_own_orders() {
    let shop = shop().await;
    let ada = Asking {
        identity: Some(shop.token(Uuid::from_u128(1), "orders:place orders:read")),
        ..Asking::default()
    };
    for number in 0..3 {
        let asking = Asking {
            idempotency_key: Some(number.to_string()),
            ..ada.clone()
        };
        shop.command(&order(&[("MUG", 1)]), &asking).await.unwrap();
    }
    placed(&shop, "guest").await;
    let page = |cursor| ListOrders {
        limit: Some(2),
        cursor,
    };
    let first = shop.query(&page(None), &ada).await.unwrap();
    assert_eq!(first.items.len(), 2);
    let second = shop.query(&page(first.next_cursor), &ada).await.unwrap();
    assert_eq!((second.items.len(), second.next_cursor), (1, None));
    assert_eq!(
        shop.query(&page(None), &Asking::default())
            .await
            .unwrap_err()
            .status,
        401
    );
    assert_eq!(
        shop.query(&page(Some("nonsense".into())), &ada)
            .await
            .unwrap_err()
            .status,
        400
    );
}

#[tokio::test]
async fn one_key_is_one_order() {
    let shop = shop().await;
    let first: AcceptedOrder = shop
        .command(&order(&[("LAMP", 1)]), &with_key("k"))
        .await
        .unwrap();
    let again: AcceptedOrder = shop
        .command(&order(&[("LAMP", 1)]), &with_key("k"))
        .await
        .unwrap();
    assert_eq!(first, again);
    let other: Problem = shop
        .command(&order(&[("LAMP", 2)]), &with_key("k"))
        .await
        .unwrap_err();
    assert_eq!(
        (other.status, other.code.as_str()),
        (422, "idempotency_key_reused")
    );
    let refused = shop
        .command(&order(&[("NOPE", 1)]), &with_key("n"))
        .await
        .unwrap_err();
    assert_eq!(refused.errors[0].pointer, "/lines/0/sku");
    assert!(
        shop.command(&order(&[("LAMP", 1)]), &with_key("n"))
            .await
            .is_ok(),
        "a refusal keeps no key"
    );
}

#[tokio::test]
async fn prices_follow_the_catalogue_whatever_the_order() {
    let shop = shop().await;
    shop.deliver(&product(1, 3, &[("LAMP", 1_500)])).await;
    shop.deliver(&product(1, 2, &[("LAMP", 1_200), ("MUG", 300)]))
        .await;
    let published = shop
        .deliver_together(&[product(2, 1, &[("CUP", 5)]), product(2, 2, &[("CUP", 6)])])
        .await;
    assert!(published.is_empty());
    let accepted = shop
        .command(&order(&[("LAMP", 1), ("CUP", 1)]), &with_key("1"))
        .await
        .unwrap();
    assert_eq!(accepted.order.total, money(1_506));
    let gone = shop
        .command(&order(&[("MUG", 1)]), &with_key("2"))
        .await
        .unwrap_err();
    assert_eq!(gone.errors[0].code, "unknown_sku");
}

#[tokio::test]
async fn what_is_placed_says_what_to_reserve_and_what_to_pay() {
    let shop = shop().await;
    shop.command(
        &order(&[("LAMP", 1), ("MUG", 2), ("LAMP", 1)]),
        &with_key("1"),
    )
    .await
    .unwrap();
    let body: String = sqlx::query_scalar("SELECT body FROM outbox WHERE subject LIKE '%placed'")
        .fetch_one(shop.pool())
        .await
        .unwrap();
    let event: OrderPlaced = serde_json::from_str(&body).unwrap();
    assert_eq!(event.total, money(2_500));
    let lines: Vec<_> = event
        .lines
        .iter()
        .map(|line| (line.sku.as_str(), line.quantity.get()))
        .collect();
    assert_eq!(lines, [("LAMP", 2), ("MUG", 2)]);
}

#[tokio::test]
async fn an_event_of_no_order_is_a_dead_letter() {
    let shop = shop().await;
    let id = Uuid::from_u128(404);
    let body = serde_json::to_vec(&StockReserved {
        order_id: OrderId(id),
    })
    .unwrap();
    let subject = format!("shop.evt.stock.v1.reserved.{id}");
    assert!(
        shop.deliver_bytes(&subject, &Uuid::from_u128(1).to_string(), &body)
            .await
    );
}

#[tokio::test]
async fn audits_are_told_of_orders_and_of_what_does_not_fit() {
    let shop = shop_with(Config {
        deadline_s: 0,
        ..Config::default()
    })
    .await;
    let anybody = Asking::default();
    let (id, _) = placed(&shop, "first").await;
    placed(&shop, "second").await;
    shop.deliver(&StockReserved { order_id: id }).await;
    let span = OrderSpan {
        ids: vec![id],
        ..OrderSpan::default()
    };
    let facts = shop.query(&AuditOrders(span), &anybody).await.unwrap();
    let [facts] = facts.items.as_slice() else {
        panic!("{facts:?}")
    };
    assert_eq!(facts.total, money(2_000));
    assert_eq!(facts.quantities, [(Sku::parse("LAMP").unwrap(), 2)].into());
    assert_eq!(facts.now.status, OrderStatus::Reserved);
    assert_eq!(facts.steps.len(), 2);
    assert_eq!(facts.steps.last(), Some(&facts.now));

    let late = shop.query(&AuditDeadlines {}, &anybody).await.unwrap();
    assert_eq!(late.items.len(), 2, "{late:?}");

    let ask = async |after| {
        let asked = AuditAnswers { after, limit: 1 };
        shop.query(&asked, &anybody).await.unwrap()
    };
    let page = ask(None).await;
    assert!(page.items.is_empty(), "{page:?}");
    sqlx::query("DELETE FROM order_details WHERE order_id = $1")
        .bind(id.0)
        .execute(shop.pool())
        .await
        .unwrap();
    let page = ask(None).await;
    assert_eq!(page.items[0].answer.key, "first");
    assert_eq!(page.items[0].order_id, Some(id));
    assert_eq!(page.items[0].order_total_minor, None);
    let page = ask(page.next).await;
    assert!(page.items.is_empty(), "{page:?}");
    assert!(ask(page.next).await.next.is_none());
}
