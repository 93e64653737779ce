//! A process dies between the row and the call, or between the call and the record. The next process
//! finds out, and the gateway's books show each operation once.

use crate::fixtures::{Shop, cancelled, confirmed, new_order_id, placed_with, reserved};

#[tokio::test]
async fn a_crash_between_row_and_call_delays_and_does_no_more() {
    let shop = Shop::new().await;
    let order_id = new_order_id();
    shop.harness.deliver(&placed_with(order_id, "tok_ok")).await;
    shop.harness.deliver(&reserved(order_id)).await;
    assert!(shop.charges(order_id).await.is_empty());

    shop.run_until(order_id, "authorised").await;
    assert_eq!(shop.charge(order_id).await["status"], "authorised");

    shop.harness.deliver(&confirmed(order_id)).await;
    shop.run_until(order_id, "captured").await;
    assert_eq!(shop.charge(order_id).await["captured_minor"], 5_498);
    assert_eq!(shop.booked(order_id).await, 5_498);

    shop.harness.deliver(&cancelled(order_id)).await;
    shop.run_until(order_id, "refunded").await;
    let charge = shop.charge(order_id).await;
    assert_eq!(
        (&charge["status"], &charge["refunded_minor"]),
        (&"refunded".into(), &5_498.into())
    );
    assert_eq!(shop.booked(order_id).await, 0);
    assert_eq!(
        shop.told(order_id).await,
        ["authorised", "captured", "refunded"]
    );
}

#[tokio::test]
async fn a_crash_between_call_and_record_is_found_out() {
    let shop = Shop::new().await;
    let order_id = new_order_id();
    shop.harness
        .deliver_once(&placed_with(order_id, "tok_ok"))
        .await;
    shop.harness.deliver_once(&reserved(order_id)).await;
    shop.wait_for_charge(order_id, "authorised").await;
    assert_eq!(shop.state(order_id).await, "authorising");

    shop.run_until(order_id, "authorised").await;

    shop.harness.deliver_once(&confirmed(order_id)).await;
    shop.run_until(order_id, "captured").await;
    assert_eq!(shop.charge(order_id).await["captured_minor"], 5_498);
    assert_eq!(shop.booked(order_id).await, 5_498);

    shop.harness.deliver_once(&cancelled(order_id)).await;
    shop.run_until(order_id, "refunded").await;
    assert_eq!(shop.charge(order_id).await["refunded_minor"], 5_498);
    assert_eq!(
        shop.told(order_id).await,
        ["authorised", "captured", "refunded"]
    );
}

#[tokio::test]
async fn an_authorisation_that_turns_up_after_the_end_is_voided() {
    let shop = Shop::new().await;
    let order_id = new_order_id();
    shop.harness
        .deliver_once(&placed_with(order_id, "tok_ok"))
        .await;
    shop.harness.deliver_once(&reserved(order_id)).await;
    shop.wait_for_charge(order_id, "authorised").await;
    shop.harness.deliver(&cancelled(order_id)).await;
    assert_eq!(shop.state(order_id).await, "authorisation_unwanted");

    shop.run_until(order_id, "voided").await;
    assert_eq!(shop.charge(order_id).await["status"], "voided");
    assert_eq!(shop.told(order_id).await, ["authorised", "voided"]);
}

#[tokio::test]
async fn an_authorisation_that_never_left_is_not_sent_after_the_end() {
    let shop = Shop::new().await;
    let order_id = new_order_id();
    shop.harness.deliver(&placed_with(order_id, "tok_ok")).await;
    shop.harness.deliver(&reserved(order_id)).await;
    shop.harness.deliver(&cancelled(order_id)).await;

    shop.run_until(order_id, "voided").await;
    assert!(shop.charges(order_id).await.is_empty());
    assert_eq!(shop.told(order_id).await, ["voided"]);
}

#[tokio::test]
async fn a_capture_that_turns_up_after_the_end_is_refunded() {
    let shop = Shop::new().await;
    let order_id = new_order_id();
    shop.harness.deliver(&placed_with(order_id, "tok_ok")).await;
    shop.harness.deliver(&reserved(order_id)).await;
    shop.run_until(order_id, "authorised").await;
    shop.harness.deliver_once(&confirmed(order_id)).await;
    shop.wait_for_charge(order_id, "captured").await;
    shop.harness.deliver(&cancelled(order_id)).await;
    assert_eq!(shop.state(order_id).await, "capture_unwanted");

    shop.run_until(order_id, "refunded").await;
    assert_eq!(shop.charge(order_id).await["status"], "refunded");
    assert_eq!(shop.booked(order_id).await, 0);
    assert_eq!(
        shop.told(order_id).await,
        ["authorised", "captured", "refunded"]
    );
}

#[tokio::test]
async fn a_capture_that_never_left_is_not_sent_after_the_end() {
    let shop = Shop::new().await;
    let order_id = new_order_id();
    shop.harness.deliver(&placed_with(order_id, "tok_ok")).await;
    shop.harness.deliver(&reserved(order_id)).await;
    shop.run_until(order_id, "authorised").await;
    shop.harness.deliver(&confirmed(order_id)).await;
    shop.harness.deliver(&cancelled(order_id)).await;

    shop.run_until(order_id, "voided").await;
    let charge = shop.charge(order_id).await;
    assert_eq!(
        (&charge["status"], &charge["captured_minor"]),
        (&"voided".into(), &0.into())
    );
    assert_eq!(shop.told(order_id).await, ["authorised", "voided"]);
}
