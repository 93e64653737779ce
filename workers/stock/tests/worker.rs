//! The stock worker on a real database: every handler, each message twice, stopped before and after
//! the commit.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use shopzen_chassis::{
    Asking, Bus, NatsLogin, Secret,
    harness::{Harness, Together},
};
use shopzen_contracts::{
    Currency, Event, Money, OrderId, ProductId, Quantity, Sku, Slug,
    audit::OrderSpan,
    catalog::{Product, ProductChanged, Variant},
    orders::{
        EndReason, OrderCancelled, OrderConfirmed, OrderLineInput, OrderPlaced, OrderRejected,
        OrderSummary, PaymentInput,
    },
    stock::{
        AdjustStock, AuditLevels, AuditReservations, FeedLevel, GetLevels, ImportLevels,
        LevelFacts, LevelsChanged, ListMovements, StockAllocated, StockRejected, StockReleased,
        StockReserved,
    },
};
use shopzen_stock::{Config, worker};
use shopzen_test_servers::servers;
use uuid::Uuid;

async fn harness() -> Harness {
    let login = NatsLogin {
        url: servers().nats_url(),
        user: "stock".to_owned(),
        password: Secret::default(),
    };
    let bus = Bus::connect(&login).await.unwrap();
    let config = Config {
        database_url: Secret::new(servers().database_url()),
        ..Config::default()
    };
    Harness::start(worker(&config), &bus).await.unwrap()
}

fn sku(name: &str) -> Sku {
    Sku::parse(name).unwrap()
}

fn money(minor: i64) -> Money {
    Money::new(minor, Currency::EUR)
}

fn order(number: u128) -> OrderId {
    OrderId(Uuid::from_u128(number))
}

fn placed(number: u128, lines: &[(&str, i64)]) -> OrderPlaced {
    OrderPlaced {
        order_id: order(number),
        lines: lines
            .iter()
            .map(|(name, quantity)| OrderLineInput {
                sku: sku(name),
                quantity: Quantity::parse(*quantity).unwrap(),
            })
            .collect(),
        total: money(100),
        payment: PaymentInput {
            gateway: "sandbox".into(),
            token: "tok_ok".into(),
        },
    }
}

fn summary() -> OrderSummary {
    OrderSummary {
        email: "ada@example.com".into(),
        sealed_email: None,
        lines: vec![],
        total: money(100),
    }
}

fn confirmed(number: u128) -> OrderConfirmed {
    OrderConfirmed {
        order_id: order(number),
        summary: summary(),
    }
}

fn cancelled(number: u128) -> OrderCancelled {
    let reason = EndReason::CancelledByShopper;
    OrderCancelled {
        order_id: order(number),
        reason,
        summary: summary(),
    }
}

/// Puts goods on the shelf, by the door that feeds use, without a token: straight into the table.
async fn stocked(harness: &Harness, levels: &[(&str, i64)]) {
    for (name, on_hand) in levels {
        sqlx::query("INSERT INTO stock_levels VALUES ($1, 'main', $2, 0, 0, NULL, 1)")
            .bind(name)
            .bind(on_hand)
            .execute(harness.pool())
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO stock_movements VALUES ($1, $2, 'main', 'imported', $3, 0, 0, NULL, NULL, NULL, now())",
        )
        .bind(Uuid::from_u128(1))
        .bind(name)
        .bind(on_hand)
        .execute(harness.pool())
        .await
        .unwrap();
    }
}

/// On hand, reserved, allocated; and I1: each is the sum of its movements.
async fn level(harness: &Harness, name: &str) -> (i64, i64, i64) {
    let level: (i64, i64, i64) =
        sqlx::query_as("SELECT on_hand, reserved, allocated FROM stock_levels WHERE sku = $1")
            .bind(name)
            .fetch_one(harness.pool())
            .await
            .unwrap();
    let ledger: (i64, i64, i64) = sqlx::query_as(
        "
        SELECT sum(on_hand_delta)::int8, sum(reserved_delta)::int8, sum(allocated_delta)::int8
        FROM stock_movements WHERE sku = $1
        ",
    )
    .bind(name)
    .fetch_one(harness.pool())
    .await
    .unwrap();
    assert_eq!(
        level, ledger,
        "the level of {name} is not the sum of its movements"
    );
    level
}

#[tokio::test]
async fn an_order_is_reserved_then_allocated() {
    let harness = harness().await;
    stocked(&harness, &[("A", 5), ("B", 2)]).await;
    let published = harness.deliver(&placed(1, &[("A", 2), ("B", 1)])).await;
    assert!(
        published
            .iter()
            .any(|event| event.is::<StockReserved>().is_some())
    );
    let levels = published
        .iter()
        .find_map(|event| event.is::<LevelsChanged>())
        .unwrap()
        .levels;
    let left: Vec<_> = levels
        .iter()
        .map(|it| (it.sku.as_str(), it.available))
        .collect();
    assert_eq!(left, [("A", 3), ("B", 1)]);
    assert_eq!(level(&harness, "A").await, (5, 2, 0));

    let published = harness.deliver(&confirmed(1)).await;
    assert!(
        published
            .iter()
            .any(|event| event.is::<StockAllocated>().is_some())
    );
    assert_eq!(level(&harness, "A").await, (5, 0, 2));
    assert_eq!(level(&harness, "B").await, (2, 0, 1));
}

#[tokio::test]
async fn a_short_line_holds_nothing_and_is_named() {
    let harness = harness().await;
    stocked(&harness, &[("A", 5), ("B", 1)]).await;
    let published = harness
        .deliver(&placed(1, &[("A", 2), ("B", 2), ("GONE", 1)]))
        .await;
    let rejected = published
        .iter()
        .find_map(|event| event.is::<StockRejected>())
        .unwrap();
    let short: Vec<_> = rejected
        .shortages
        .iter()
        .map(|it| (it.sku.as_str(), it.available))
        .collect();
    assert_eq!(short, [("B", 1), ("GONE", 0)]);
    assert_eq!(level(&harness, "A").await, (5, 0, 0));
    let rejected = OrderRejected {
        order_id: order(1),
        reason: EndReason::OutOfStock,
        shortages: vec![],
        summary: summary(),
    };
    assert!(
        harness.deliver(&rejected).await.is_empty(),
        "there is nothing to release"
    );
}

#[tokio::test]
async fn what_ends_is_released_whether_it_was_reserved_or_allocated() {
    let harness = harness().await;
    stocked(&harness, &[("A", 5)]).await;
    harness.deliver(&placed(1, &[("A", 2)])).await;
    harness.deliver(&placed(2, &[("A", 3)])).await;
    harness.deliver(&confirmed(2)).await;
    assert_eq!(level(&harness, "A").await, (5, 2, 3));
    for number in [1, 2] {
        let published = harness.deliver(&cancelled(number)).await;
        assert!(
            published
                .iter()
                .any(|event| event.is::<StockReleased>().is_some())
        );
    }
    assert_eq!(level(&harness, "A").await, (5, 0, 0));
}

#[tokio::test]
async fn an_end_that_overtakes_its_beginning_holds_nothing() {
    let harness = harness().await;
    stocked(&harness, &[("A", 5)]).await;
    assert!(harness.deliver(&cancelled(1)).await.is_empty());
    assert!(harness.deliver(&placed(1, &[("A", 2)])).await.is_empty());
    assert_eq!(level(&harness, "A").await, (5, 0, 0));
}

#[tokio::test]
async fn a_batch_sells_no_unit_twice() {
    let harness = harness().await;
    stocked(&harness, &[("A", 10)]).await;
    let orders: Vec<OrderPlaced> = (1..=40).map(|number| placed(number, &[("A", 1)])).collect();
    let published = harness.deliver_together(&orders).await;
    let reserved = published
        .iter()
        .filter(|event| event.is::<StockReserved>().is_some())
        .count();
    let rejected = published
        .iter()
        .filter(|event| event.is::<StockRejected>().is_some())
        .count();
    assert_eq!((reserved, rejected), (10, 30));
    assert_eq!(level(&harness, "A").await, (10, 10, 0));
}

#[tokio::test]
async fn what_can_be_sold_can_be_counted() {
    let harness = harness().await;
    let product = Product {
        id: ProductId(Uuid::from_u128(9)),
        slug: Slug::parse("lamp").unwrap(),
        name: "Lamp".into(),
        description: String::new(),
        brand: None,
        categories: vec![],
        images: vec![],
        options: BTreeMap::new(),
        variants: vec![Variant {
            sku: sku("LAMP"),
            price: money(100),
            compare_at_price: None,
            options: BTreeMap::new(),
            available: 0,
            weight_grams: None,
            taxable: true,
        }],
        version: 1,
    };
    harness
        .deliver(&ProductChanged {
            product,
            published: true,
        })
        .await;
    let levels = GetLevels {
        skus: vec![sku("LAMP"), sku("NOBODY-COUNTED")],
    };
    let levels = harness.query(&levels, &Asking::default()).await.unwrap();
    assert_eq!(
        levels
            .items
            .iter()
            .map(|level| level.available)
            .collect::<Vec<_>>(),
        [0, 0]
    );
}

#[tokio::test]
async fn a_step_that_does_not_exist_and_nonsense_are_dead_letters() {
    let harness = harness().await;
    // Each is of an order of its own: what follows a dead letter of the same order waits behind it.
    let confirmed = serde_json::to_vec(&confirmed(5)).unwrap();
    let letters = [
        (
            "placed",
            1,
            Uuid::from_u128(77).to_string(),
            &b"{\"order_id\": 7}"[..],
        ),
        ("placed", 2, "not-an-id".to_owned(), b"{}"),
        ("placed", 3, Uuid::from_u128(78).to_string(), b"\xff\xfe"),
        // Nothing is known of it.
        ("confirmed", 5, Uuid::from_u128(79).to_string(), &confirmed),
    ];
    for (event, number, event_id, payload) in letters {
        let subject = format!("shop.evt.orders.v1.{event}.{}", order(number));
        let is_dead = harness.deliver_bytes(&subject, &event_id, payload).await;
        assert!(is_dead, "{event} {number}");
    }
    let dead: i64 = sqlx::query_scalar("SELECT count(*) FROM dead_letters")
        .fetch_one(harness.pool())
        .await
        .unwrap();
    assert_eq!(dead, 4);
}

#[tokio::test]
async fn staff_adjusts_and_the_ledger_says_who() {
    let harness = harness().await;
    stocked(&harness, &[("A", 5)]).await;
    harness.deliver(&placed(1, &[("A", 4)])).await;
    let staff = Uuid::from_u128(42);
    let asking = |key: &str| Asking {
        identity: Some(harness.token(staff, "stock:write")),
        idempotency_key: Some(key.to_owned()),
        ..Asking::default()
    };
    let adjust = |delta| AdjustStock {
        sku: sku("A"),
        location: "main".into(),
        delta,
        reason: "counted".into(),
    };
    let after = harness.command(&adjust(3), &asking("1")).await.unwrap();
    assert_eq!((after.on_hand, after.reserved, after.available), (8, 4, 4));
    let refused = harness
        .command(&adjust(-5), &asking("2"))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (409, "not_enough_on_hand")
    );
    for wrong in [0, i64::MAX, i64::MIN] {
        assert_eq!(
            harness
                .command(&adjust(wrong), &asking("3"))
                .await
                .unwrap_err()
                .status,
            422
        );
    }
    assert_eq!(level(&harness, "A").await, (8, 4, 0));
    let ledger = ListMovements {
        sku: sku("A"),
        limit: Some(1),
        cursor: None,
    };
    let page = harness.query(&ledger, &asking("4")).await.unwrap();
    assert_eq!(
        (page.items[0].actor, page.items[0].on_hand_delta),
        (Some(staff), 3)
    );
    assert!(page.next_cursor.is_some());
}

#[tokio::test]
async fn a_feed_that_is_repeated_counts_once() {
    let harness = harness().await;
    let feed = |on_hand| ImportLevels {
        levels: vec![FeedLevel {
            sku: sku("A"),
            on_hand,
        }],
    };
    let import = async |key: &str, on_hand| {
        let asking = Asking {
            identity: Some(harness.token(Uuid::from_u128(42), "stock:write")),
            idempotency_key: Some(key.to_owned()),
            ..Asking::default()
        };
        harness
            .command(&feed(on_hand), &asking)
            .await
            .unwrap()
            .changed_count
    };
    assert_eq!(import("1", 10).await, 1);
    harness.deliver(&placed(1, &[("A", 4)])).await;
    assert_eq!(
        import("2", 10).await,
        0,
        "what was sold in between stays sold"
    );
    assert_eq!(level(&harness, "A").await, (10, 4, 0));
    assert_eq!(import("3", 0).await, 1);
    assert_eq!(
        level(&harness, "A").await,
        (4, 4, 0),
        "what is held cannot vanish"
    );
}

#[tokio::test]
async fn only_staff_counts() {
    let harness = harness().await;
    let bodies = [
        (
            "shop.cmd.stock.v1.adjust",
            r#"{"sku": "A", "delta": 5, "reason": "found"}"#,
        ),
        ("shop.cmd.stock.v1.import_levels", r#"{"levels": []}"#),
        ("shop.qry.stock.v1.movements", r#"{"sku": "A"}"#),
    ];
    for (subject, body) in bodies {
        let problem = harness
            .ask_bytes(subject, body.as_bytes(), &Asking::default())
            .await
            .unwrap_err();
        assert_eq!(problem.status, 401, "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_order_lets_go_another_of_the_same_batch_can_have() {
    let harness = harness().await;
    stocked(&harness, &[("CUP", 1)]).await;
    let batch = Together::default()
        .and(&placed(1, &[("CUP", 1)]))
        .and(&placed(2, &[("CUP", 1)]))
        .and(&cancelled(1))
        .and(&placed(3, &[("CUP", 1)]))
        .and(&confirmed(3));
    let told: Vec<_> = harness
        .deliver_mixed(batch)
        .await
        .into_iter()
        .map(|told| (told.subject, told.key))
        .filter(|(subject, _)| subject != LevelsChanged::SUBJECT)
        .collect();
    let expected = [
        (StockReserved::SUBJECT, 1),
        (StockRejected::SUBJECT, 2),
        (StockReleased::SUBJECT, 1),
        (StockReserved::SUBJECT, 3),
        (StockAllocated::SUBJECT, 3),
    ];
    assert_eq!(
        told,
        expected.map(|(subject, number)| (subject.to_owned(), order(number).0))
    );
    assert_eq!(level(&harness, "CUP").await, (1, 0, 1));
}

/// Levels that do not add up.
async fn odd(harness: &Harness) -> Vec<LevelFacts> {
    let levels = harness.query(&AuditLevels {}, &Asking::default()).await;
    levels.unwrap().items
}

#[tokio::test]
async fn a_change_by_hand_is_told_to_audits_until_it_is_mended() {
    let harness = harness().await;
    stocked(&harness, &[("A", 5), ("B", 2)]).await;
    harness.deliver(&placed(1, &[("A", 2), ("B", 1)])).await;
    harness.deliver(&placed(2, &[("A", 1)])).await;
    harness.deliver(&confirmed(2)).await;
    harness.deliver(&placed(3, &[("A", 1)])).await;
    harness.deliver(&cancelled(3)).await;
    // Far more than what is asked about, which was added up before and is not added up again.
    sqlx::query(
        "
        INSERT INTO reservations (order_id, state, skus, quantities)
        SELECT gen_random_uuid(), 'ended', '{B}', '{1}' FROM generate_series(1, 2000)
        ",
    )
    .execute(harness.pool())
    .await
    .unwrap();
    for _ in 0..2 {
        assert_eq!(odd(&harness).await, []);
    }
    for (change, undo) in [
        (
            "UPDATE stock_levels SET reserved = reserved + 1 WHERE sku = 'A'",
            "UPDATE stock_levels SET reserved = reserved - 1 WHERE sku = 'A'",
        ),
        (
            "UPDATE stock_levels SET on_hand = on_hand - 1 WHERE sku = 'A'",
            "UPDATE stock_levels SET on_hand = on_hand + 1 WHERE sku = 'A'",
        ),
        (
            "UPDATE stock_movements SET reserved_delta = 3 WHERE sku = 'A' AND reserved_delta = 2",
            "UPDATE stock_movements SET reserved_delta = 2 WHERE sku = 'A' AND reserved_delta = 3",
        ),
        (
            "UPDATE reservations SET quantities[1] = 4 WHERE state = 'allocated'",
            "UPDATE reservations SET quantities[1] = 1 WHERE state = 'allocated'",
        ),
        (
            "UPDATE reservations SET state = 'ended' WHERE state = 'allocated'",
            "UPDATE reservations SET state = 'allocated' WHERE quantities = '{1}' AND skus = '{A}' AND order_id::text LIKE '%2'",
        ),
    ] {
        sqlx::query(change).execute(harness.pool()).await.unwrap();
        let found = odd(&harness).await;
        assert_eq!(found.len(), 1, "{change}: {found:?}");
        assert_eq!(found[0].sku, "A", "{change}");
        sqlx::query(undo).execute(harness.pool()).await.unwrap();
        assert_eq!(odd(&harness).await, [], "{undo}");
    }
    sqlx::query("DELETE FROM stock_levels WHERE sku = 'B'")
        .execute(harness.pool())
        .await
        .unwrap();
    assert_eq!(odd(&harness).await[0].level, None);

    let span = OrderSpan {
        ids: vec![order(2)],
        ..OrderSpan::default()
    };
    let asked = harness
        .query(&AuditReservations(span), &Asking::default())
        .await;
    let goods = asked.unwrap().items;
    assert_eq!(goods[0].state, "allocated");
    assert_eq!(goods[0].quantities, [("A".to_owned(), 1)].into());
}
