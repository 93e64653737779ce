//! Several replicas of one catalogue.

use serde_json::json;
use shopzen_catalog::{Config, worker};
use shopzen_chassis::{Asker, Asking, Process};
use shopzen_contracts::catalog::GetProduct;

use crate::fixtures::{bus, config, eventually, input, levels, start, upsert};

/// A replica that runs until the test is over.
#[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
async fn run(config: Config, process: &Process) {
    let (bus, process) = (bus().await, process.clone());
    tokio::spawn(async move {
        worker(config)
            .run(bus, &process)
            .await
            .expect("the worker starts");
    });
}

#[tokio::test]
async fn replicas_show_what_others_changed() {
    let config = config();
    // It changes things and answers nobody on the broker.
    let writer = start(config.clone()).await;
    upsert(&writer, input("lamp", &["L"], &json!({})))
        .await
        .unwrap();
    let process = Process::default();
    run(config.clone(), &process).await;
    run(config, &process).await;

    let asker = Asker::new(bus().await);
    let shown = async || {
        let query = GetProduct {
            id_or_slug: "lamp".to_owned(),
        };
        asker.query(&query, &Asking::default()).await.ok()
    };
    // Whoever of the two answers.
    let all_show = async |name: &str, available: i64| {
        for _ in 0..40 {
            let Some(lamp) = shown().await else {
                return false;
            };
            if lamp.name != name || lamp.variants[0].available != available {
                return false;
            }
        }
        true
    };
    eventually("they found it at the start", async || {
        all_show("lamp", 0).await
    })
    .await;
    upsert(
        &writer,
        input("lamp", &["L"], &json!({"name": "Brass lamp"})),
    )
    .await
    .unwrap();
    // Once: no two snapshots are the same while the other two publish.
    writer.deliver_once(&levels(&[("L", 4, 1)])).await;
    eventually("they follow", async || all_show("Brass lamp", 4).await).await;
    upsert(&writer, input("lamp", &["L"], &json!({"published": false})))
        .await
        .unwrap();
    eventually("it is gone everywhere", async || {
        for _ in 0..40 {
            if shown().await.is_some() {
                return false;
            }
        }
        true
    })
    .await;
    process.shutdown.cancel();
}
