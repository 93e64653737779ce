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
