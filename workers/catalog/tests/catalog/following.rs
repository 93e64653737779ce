//! What can be bought follows stock, in whatever order stock is heard.

use serde_json::json;
use shopzen_contracts::{Event, stock::LevelsChanged};

use crate::fixtures::{config, get, harness, input, levels, start, upsert};

#[tokio::test]
async fn the_newest_level_counts_whatever_comes_last() {
    let config = config();
    let harness = start(config.clone()).await;
    upsert(&harness, input("lamp", &["A", "B"], &json!({})))
        .await
        .unwrap();
    harness.deliver(&levels(&[("A", 10, 2), ("B", 1, 1)])).await;
    harness.deliver(&levels(&[("A", 99, 1)])).await;
    harness.deliver(&levels(&[("A", 50, 2), ("B", 0, 5)])).await;
    let kept: Vec<(String, i64, i64)> =
        sqlx::query_as("SELECT sku, available, version FROM levels ORDER BY sku")
            .fetch_all(harness.pool())
            .await
            .unwrap();
    assert_eq!(kept, [("A".to_owned(), 10, 2), ("B".to_owned(), 0, 5)]);
    // Each delivery died before the index learnt of it; a new start finds it in the database.
    let harness = start(config).await;
    let lamp = get(&harness, "lamp").await.unwrap();
    assert_eq!(
        lamp.variants
            .iter()
            .map(|it| it.available)
            .collect::<Vec<_>>(),
        [10, 0]
    );
}

#[tokio::test]
async fn what_stock_says_is_shown_at_once() {
    let harness = harness().await;
    upsert(&harness, input("lamp", &["A"], &json!({})))
        .await
        .unwrap();
    for (available, version, shown) in [(10, 2, 10), (99, 1, 10), (8, 3, 8), (9, 3, 8)] {
        harness
            .deliver_once(&levels(&[("A", available, version)]))
            .await;
        assert_eq!(
            get(&harness, "lamp").await.unwrap().variants[0].available,
            shown
        );
    }
}

#[tokio::test]
async fn a_batch_may_say_many_things_of_one_sku() {
    let harness = harness().await;
    upsert(&harness, input("lamp", &["A"], &json!({})))
        .await
        .unwrap();
    let batch: Vec<LevelsChanged> = [3, 9, 1, 7]
        .map(|version| levels(&[("A", version * 10, version), ("A", 0, 0)]))
        .into();
    harness.deliver_together(&batch).await;
    assert_eq!(
        get(&harness, "lamp").await.unwrap().variants[0].available,
        90
    );
    harness.deliver(&levels(&[])).await;
}

#[tokio::test]
async fn a_level_is_kept_for_a_sku_nobody_knows_yet() {
    let config = config();
    let harness = start(config.clone()).await;
    harness.deliver(&levels(&[("EARLY", 7, 3)])).await;
    let harness = start(config).await;
    let product = upsert(&harness, input("early", &["EARLY"], &json!({})))
        .await
        .unwrap();
    assert_eq!(product.variants[0].available, 7);
}

#[tokio::test]
async fn nonsense_becomes_a_dead_letter() {
    let harness = harness().await;
    let subject = format!("{}.x", LevelsChanged::SUBJECT);
    let event_id = "0199c7a4-6f00-7000-8000-00000000002a";
    for nonsense in [&b"{}"[..], b"\xff", br#"{"change_id": 1, "levels": 5}"#] {
        assert!(harness.deliver_bytes(&subject, event_id, nonsense).await);
        sqlx::query("DELETE FROM inbox")
            .execute(harness.pool())
            .await
            .unwrap();
    }
    assert!(harness.deliver_bytes(&subject, "no id", b"{}").await);
}
