//! How fast a large catalogue goes in, comes up and answers. Run by hand, with `--release`:
//! `cargo test --release -p shopzen-catalog --test catalog -- --ignored --nocapture`.

#![expect(clippy::print_stdout, reason = "the figures are for who runs it")]

use std::{fs, time::Instant};

use shopzen_catalog::feed::synthetic;
use shopzen_contracts::catalog::{ImportResult, ListProducts, Sort};

use crate::fixtures::{config, get, import, list, start};

/// Resident memory of this process in MiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("it is there");
    let kib: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("it is a number");
    kib / 1_024
}

#[tokio::test]
#[ignore = "takes minutes, and shows figures instead of checking them"]
async fn a_large_catalogue() {
    const PRODUCTS: usize = 100_000;
    let config = config();
    let harness = start(config.clone()).await;
    let before = resident();
    let began = Instant::now();
    let mut feed = synthetic(u64::try_from(PRODUCTS).expect("it fits"), 1);
    loop {
        let batch: Vec<_> = feed.by_ref().take(100).map(|item| item.product).collect();
        if batch.is_empty() {
            break;
        }
        let results = import(&harness, batch).await;
        assert!(
            results
                .iter()
                .all(|result| *result == ImportResult::Created),
            "{results:?}"
        );
    }
    let took = began.elapsed();
    println!(
        "{PRODUCTS} products imported in {took:?}; index {} MiB",
        resident() - before
    );

    let began = Instant::now();
    let again: Vec<_> = synthetic(2_000, 1).map(|item| item.product).collect();
    for batch in again.chunks(100) {
        import(&harness, batch.to_vec()).await;
    }
    println!(
        "2000 unchanged products imported again in {:?}",
        began.elapsed()
    );
    drop(harness);

    let began = Instant::now();
    let harness = start(config).await;
    println!("a start takes {:?}", began.elapsed());
    let slug = list(&harness, ListProducts::default())
        .await
        .items
        .remove(0)
        .slug;
    let questions: [(&str, ListProducts); 6] = [
        ("the newest", ListProducts::default()),
        (
            "by name",
            ListProducts {
                sort: Sort::Name,
                ..ListProducts::default()
            },
        ),
        (
            "a search",
            ListProducts {
                q: Some("walnut ta".to_owned()),
                ..ListProducts::default()
            },
        ),
        (
            "a letter",
            ListProducts {
                q: Some("a".to_owned()),
                ..ListProducts::default()
            },
        ),
        (
            "in stock",
            ListProducts {
                in_stock: Some(true),
                ..ListProducts::default()
            },
        ),
        (
            "facets",
            ListProducts {
                facets: true,
                ..ListProducts::default()
            },
        ),
    ];
    for (what, query) in questions {
        let began = Instant::now();
        for _ in 0..20 {
            list(&harness, query.clone()).await;
        }
        println!("{what}: {:?}", began.elapsed() / 20);
    }
    let began = Instant::now();
    for _ in 0..1_000 {
        get(&harness, slug.as_str()).await.expect("it is there");
    }
    println!("one product: {:?}", began.elapsed() / 1_000);
}
