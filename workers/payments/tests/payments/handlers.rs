//! Each handler, with each message delivered twice and stopped before and after the commit.

use shopzen_chassis::harness::Together;
use shopzen_contracts::{
    Currency, Event, Money,
    orders::{EndReason, OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected},
    payments::{
        PaymentAuthorised, PaymentCaptured, PaymentDeclined, PaymentRefunded, PaymentVoided,
    },
    stock::StockReserved,
};

use crate::fixtures::{
    Shop, cancelled, confirmed, eventually, harness, new_order_id, only, placed, placed_with,
    rejected, reserved,
};

async fn attempts(shop: &Shop) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM payment_attempts")
        .fetch_one(shop.harness.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn the_amount_and_the_go_come_in_any_order_and_the_gateway_is_asked_once() {
    let shop = Shop::new().await;
    let (first, second) = (new_order_id(), new_order_id());
    assert!(
        shop.harness
            .deliver(&placed_with(first, "tok_ok"))
            .await
            .is_empty()
    );
    assert_eq!(shop.state(first).await, "placed");
    assert!(shop.harness.deliver(&reserved(first)).await.is_empty());
    assert_eq!(shop.state(first).await, "authorising");

    assert!(shop.harness.deliver(&reserved(second)).await.is_empty());
    assert_eq!(shop.state(second).await, "reserved");
    assert!(
        shop.harness
            .deliver(&placed_with(second, "tok_ok"))
            .await
            .is_empty()
    );
    assert_eq!(shop.state(second).await, "authorising");
    assert_eq!(attempts(&shop).await, 2);
}

#[tokio::test]
async fn in_one_batch_the_gateway_is_asked_for_what_is_still_wanted() {
    let shop = Shop::new().await;
    let (wanted, ended) = (new_order_id(), new_order_id());
    let batch = Together::default()
        .and(&placed_with(ended, "tok_ok"))
        .and(&reserved(wanted))
        .and(&cancelled(ended))
        .and(&placed_with(wanted, "tok_ok"))
        .and(&reserved(ended));
    assert!(shop.harness.deliver_mixed(batch).await.is_empty());
    assert_eq!(shop.state(ended).await, "ended");
    assert_eq!(attempts(&shop).await, 1);
    shop.wait_for_charge(wanted, "authorised").await;
}

#[tokio::test]
async fn a_batch_asks_once_for_each_order() {
    let shop = Shop::new().await;
    let orders: Vec<_> = (0..100).map(|_| new_order_id()).collect();
    let placed: Vec<_> = orders.iter().map(|id| placed_with(*id, "tok_ok")).collect();
    let reserved: Vec<_> = orders.iter().map(|id| reserved(*id)).collect();
    shop.harness.deliver_together(&placed).await;
    shop.harness.deliver_together(&reserved).await;
    assert_eq!(attempts(&shop).await, 100);
    for order_id in orders {
        shop.wait_for_charge(order_id, "authorised").await;
        assert_eq!(shop.charge(order_id).await["amount_minor"], 5_498);
    }
}

#[tokio::test]
async fn two_replicas_that_hear_of_an_order_at_once_ask_once() {
    let shop = Shop::new().await;
    let other = harness(&shop.config).await;
    for _ in 0..50 {
        let order_id = new_order_id();
        let (placed, reserved) = (placed_with(order_id, "tok_ok"), reserved(order_id));
        tokio::join!(
            shop.harness.deliver_once(&placed),
            other.deliver_once(&reserved)
        );
        assert_eq!(shop.state(order_id).await, "authorising");
    }
    assert_eq!(attempts(&shop).await, 50);
}

#[tokio::test]
async fn nothing_is_authorised_for_an_order_that_has_ended() {
    let shop = Shop::new().await;
    // Cancelled before it was heard of.
    let order_id = new_order_id();
    assert!(shop.harness.deliver(&cancelled(order_id)).await.is_empty());
    assert!(shop.harness.deliver(&reserved(order_id)).await.is_empty());
    assert!(
        shop.harness
            .deliver(&placed_with(order_id, "tok_ok"))
            .await
            .is_empty()
    );
    assert_eq!(shop.state(order_id).await, "ended");
    // Rejected for want of goods.
    let order_id = new_order_id();
    assert!(
        shop.harness
            .deliver(&placed_with(order_id, "tok_ok"))
            .await
            .is_empty()
    );
    let rejected = rejected(order_id, EndReason::OutOfStock);
    assert!(shop.harness.deliver(&rejected).await.is_empty());
    assert_eq!(shop.state(order_id).await, "ended");
    assert_eq!(attempts(&shop).await, 0);
}

#[tokio::test]
async fn a_gateway_nobody_knows_declines() {
    let shop = Shop::new().await;
    let order_id = new_order_id();
    let placed = placed(order_id, Money::new(1, Currency::EUR), "paypol", "tok_ok");
    assert!(shop.harness.deliver(&placed).await.is_empty());
    let declined: PaymentDeclined = only(&shop.harness.deliver(&reserved(order_id)).await);
    assert_eq!(declined.code, "unknown_gateway");
    let rejected = rejected(order_id, EndReason::PaymentDeclined);
    assert!(shop.harness.deliver(&rejected).await.is_empty());
    assert_eq!(shop.state(order_id).await, "declined");
    assert_eq!(attempts(&shop).await, 0);
}

#[tokio::test]
async fn where_there_is_nothing_to_pay_no_gateway_is_asked() {
    let shop = Shop::new().await;
    let nothing = Money::zero(Currency::EUR);
    for is_confirmed in [true, false] {
        let order_id = new_order_id();
        shop.harness
            .deliver(&placed(order_id, nothing, "sandbox", "tok_declined"))
            .await;
        let event: PaymentAuthorised = only(&shop.harness.deliver(&reserved(order_id)).await);
        assert_eq!(event.amount, nothing);
        if is_confirmed {
            let event: PaymentCaptured = only(&shop.harness.deliver(&confirmed(order_id)).await);
            assert_eq!(event.amount, nothing);
            let _: PaymentRefunded = only(&shop.harness.deliver(&cancelled(order_id)).await);
        } else {
            let _: PaymentVoided = only(&shop.harness.deliver(&cancelled(order_id)).await);
        }
        assert!(shop.charges(order_id).await.is_empty());
        assert_eq!(shop.booked(order_id).await, 0);
    }
    assert_eq!(attempts(&shop).await, 0);
}

#[tokio::test]
async fn what_cannot_be_read_or_cannot_be_lies_among_the_dead_letters() {
    let shop = Shop::new().await;
    let subjects = [
        OrderPlaced::SUBJECT,
        StockReserved::SUBJECT,
        OrderConfirmed::SUBJECT,
        OrderRejected::SUBJECT,
        OrderCancelled::SUBJECT,
    ];
    for subject in subjects {
        for payload in [&b""[..], b"\xff\xfe", b"[]", b"{\"order_id\": 7}"] {
            let event_id = new_order_id().to_string();
            let subject = format!("{subject}.{event_id}");
            assert!(
                shop.harness
                    .deliver_bytes(&subject, &event_id, payload)
                    .await,
                "{subject}"
            );
        }
    }
    // Orders confirms only what we authorised.
    let order_id = new_order_id();
    let subject = format!("{}.{order_id}", OrderConfirmed::SUBJECT);
    let payload = serde_json::to_vec(&confirmed(order_id)).unwrap();
    let event_id = new_order_id().to_string();
    assert!(
        shop.harness
            .deliver_bytes(&subject, &event_id, &payload)
            .await
    );
    assert_eq!(shop.state(order_id).await, "new");
}

#[tokio::test]
async fn the_ledger_balances_and_only_grows() {
    let shop = Shop::new().await;
    let order_id = new_order_id();
    shop.harness.deliver(&placed_with(order_id, "tok_ok")).await;
    shop.harness.deliver(&reserved(order_id)).await;
    shop.run_until(order_id, "authorised").await;
    shop.harness.deliver(&confirmed(order_id)).await;
    shop.run_until(order_id, "captured").await;
    assert_eq!(shop.booked(order_id).await, 5_498);

    let pool = shop.harness.pool();
    let entries: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT account, amount_minor, currency FROM ledger_entries ORDER BY account",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(
        entries,
        [
            ("customer_receivable".to_owned(), -5_498, "EUR".to_owned()),
            ("gateway_pending".to_owned(), 5_498, "EUR".to_owned()),
        ]
    );
    for statement in [
        "UPDATE ledger_transfers SET amount_minor = 1",
        "DELETE FROM ledger_transfers",
        "TRUNCATE ledger_transfers",
        "INSERT INTO ledger_entries (account, amount_minor) VALUES ('gateway_pending', 1)",
        // A second capture of one order.
        "INSERT INTO ledger_transfers SELECT * FROM ledger_transfers",
    ] {
        sqlx::query(statement).execute(pool).await.unwrap_err();
    }
    assert_eq!(shop.booked(order_id).await, 5_498);
}

#[tokio::test]
async fn hot_statements_read_no_table_from_end_to_end() {
    let shop = Shop::new().await;
    let running = shop.open_for_business().await;
    for _ in 0..20 {
        let order_id = new_order_id();
        shop.harness
            .deliver_once(&placed_with(order_id, "tok_ok"))
            .await;
        shop.harness.deliver_once(&reserved(order_id)).await;
    }
    eventually("all are authorised", async || {
        let open: i64 =
            sqlx::query_scalar("SELECT count(*) FROM payments WHERE state <> 'authorised'")
                .fetch_one(shop.harness.pool())
                .await
                .unwrap();
        open == 0
    })
    .await;
    running.stop().await;
    // The look-ups above read payments whole; nothing but the worker reads attempts.
    eventually("statistics are in", async || {
        let (seq, idx): (i64, i64) = sqlx::query_as(
            "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'payment_attempts'",
        )
        .fetch_one(shop.harness.pool())
        .await
        .unwrap();
        assert!(seq <= 2, "payment_attempts was read whole {seq} times");
        idx > 20
    })
    .await;
}
