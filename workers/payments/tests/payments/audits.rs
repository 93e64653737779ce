//! What audits are told: nothing is odd, until somebody lays hands on a row.

use shopzen_chassis::Asking;
use shopzen_contracts::{
    OrderId,
    audit::OrderSpan,
    payments::{AuditLedger, AuditPayments},
};
use sqlx::AssertSqlSafe;

use crate::fixtures::{RUNNING, Shop, confirmed, new_order_id, placed_with, reserved};

/// Orders whose rows do not agree.
pub(crate) async fn odd(shop: &Shop) -> Vec<OrderId> {
    let asked = shop
        .harness
        .query(&AuditLedger {}, &Asking::default())
        .await;
    asked.unwrap().odd
}

async fn lay_hands(shop: &Shop, statement: &str, order_id: OrderId) {
    let changed = sqlx::query(AssertSqlSafe(statement.to_owned()))
        .bind(order_id.0)
        .execute(shop.harness.pool())
        .await
        .unwrap();
    assert_eq!(changed.rows_affected(), 1, "{statement}");
}

/// An order that was captured.
async fn captured(shop: &Shop) -> OrderId {
    let order_id = new_order_id();
    shop.harness.deliver(&placed_with(order_id, "tok_ok")).await;
    shop.harness.deliver(&reserved(order_id)).await;
    shop.run_until(order_id, "authorised").await;
    shop.harness.deliver(&confirmed(order_id)).await;
    shop.run_until(order_id, "captured").await;
    order_id
}

#[tokio::test]
async fn a_change_by_hand_is_odd_until_it_is_mended() {
    let _alone = RUNNING.read().await;
    let shop = Shop::new().await;
    let (order_id, other) = (captured(&shop).await, captured(&shop).await);
    assert_eq!(odd(&shop).await, []);
    for (change, undo) in [
        ("state = 'authorised'", "state = 'captured'"),
        ("state = 'capturing'", "state = 'captured'"),
        ("state = 'declined'", "state = 'captured'"),
        ("state = 'refunded'", "state = 'captured'"),
        ("state = 'ended'", "state = 'captured'"),
        (
            "amount_minor = amount_minor + 1",
            "amount_minor = amount_minor - 1",
        ),
        ("amount_minor = 0", "amount_minor = 5498"),
        ("currency = 'USD'", "currency = 'EUR'"),
    ] {
        let update = |set| format!("UPDATE payments SET {set} WHERE order_id = $1");
        lay_hands(&shop, &update(change), order_id).await;
        assert_eq!(odd(&shop).await, [order_id], "{change}");
        lay_hands(&shop, &update(undo), order_id).await;
        assert_eq!(odd(&shop).await, [], "{undo}");
    }
    lay_hands(&shop, "DELETE FROM payments WHERE order_id = $1", order_id).await;
    let attempt = "DELETE FROM payment_attempts WHERE order_id = $1 AND kind = 'authorise'";
    lay_hands(&shop, attempt, other).await;
    let mut both = [order_id, other];
    both.sort();
    assert_eq!(odd(&shop).await, both);

    // A payment that is gone is told of all the same, if it is named.
    let span = OrderSpan {
        ids: vec![order_id, new_order_id()],
        ..OrderSpan::default()
    };
    let facts = shop
        .harness
        .query(&AuditPayments(span), &Asking::default())
        .await
        .unwrap();
    let [gone] = facts.items.as_slice() else {
        panic!("{facts:?}")
    };
    assert_eq!((&gone.state, gone.captured_minor), (&None, 5_498));
    assert_eq!(gone.attempts.len(), 2);
}

#[tokio::test]
async fn what_is_odd_stays_so_and_other_hands_are_seen_beside_it() {
    let _alone = RUNNING.read().await;
    let shop = Shop::new().await;
    let mut both = [captured(&shop).await, captured(&shop).await];
    both.sort();
    let [first, second] = both;
    let voided = "UPDATE payments SET state = 'voided' WHERE order_id = $1";
    let captured = "UPDATE payments SET state = 'captured' WHERE order_id = $1";
    assert_eq!(odd(&shop).await, []);
    lay_hands(&shop, voided, first).await;
    for _ in 0..3 {
        assert_eq!(odd(&shop).await, [first]);
    }
    lay_hands(&shop, voided, second).await;
    for _ in 0..3 {
        assert_eq!(odd(&shop).await, both);
    }
    lay_hands(&shop, captured, first).await;
    for _ in 0..3 {
        assert_eq!(odd(&shop).await, [second]);
    }
    lay_hands(&shop, captured, second).await;
    assert_eq!(odd(&shop).await, []);
}

/// More than any pass looks at in one round.
const MANY: i32 = 2_000;

#[tokio::test]
async fn a_hand_on_any_of_many_rows_is_seen_by_the_next_question() {
    let _alone = RUNNING.read().await;
    let shop = Shop::new().await;
    let many = "
        INSERT INTO payments (order_id, state, amount_minor, currency, gateway, token)
        SELECT gen_random_uuid(), 'ended', 100, 'EUR', 'sandbox', 'tok_ok' FROM generate_series(1, $1)";
    let pool = shop.harness.pool();
    sqlx::query(many).bind(MANY).execute(pool).await.unwrap();
    // Once added up, and once more by what is remembered.
    for _ in 0..2 {
        assert_eq!(odd(&shop).await, []);
    }
    let some = "SELECT order_id FROM payments ORDER BY order_id OFFSET $1 LIMIT 1";
    for place in [0, MANY / 2, MANY - 1] {
        let found = sqlx::query_scalar(some).bind(place);
        let order_id = OrderId(found.fetch_one(pool).await.unwrap());
        let update = |state| format!("UPDATE payments SET state = '{state}' WHERE order_id = $1");
        lay_hands(&shop, &update("captured"), order_id).await;
        assert_eq!(odd(&shop).await, [order_id], "{place}");
        lay_hands(&shop, &update("ended"), order_id).await;
        assert_eq!(odd(&shop).await, [], "{place}");
    }
}

#[tokio::test]
async fn a_range_comes_in_pages_and_too_much_is_refused() {
    let shop = Shop::new().await;
    let mut ids: Vec<OrderId> = (0..5).map(|_| new_order_id()).collect();
    ids.sort();
    let placed: Vec<_> = ids.iter().map(|id| placed_with(*id, "tok_ok")).collect();
    shop.harness.deliver_together(&placed).await;
    let mut span = OrderSpan {
        until: Some(ids[3]),
        limit: Some(2),
        ..OrderSpan::default()
    };
    let mut seen = Vec::new();
    loop {
        let asked = AuditPayments(span.clone());
        let page = shop
            .harness
            .query(&asked, &Asking::default())
            .await
            .unwrap();
        seen.extend(page.items.iter().map(|facts| facts.order_id));
        span.after = page.next;
        if span.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids[..4]);
    span.limit = Some(501);
    let refused = shop
        .harness
        .query(&AuditPayments(span), &Asking::default())
        .await;
    assert_eq!(refused.unwrap_err().errors[0].pointer, "/limit");
}
