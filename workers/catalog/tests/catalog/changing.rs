//! Staff and feeds change products.

use serde_json::json;
use shopzen_catalog::feed::{self, Format};
use shopzen_chassis::{
    Asking,
    harness::{Harness, Published},
};
use shopzen_contracts::{
    Command, Currency, Problem,
    catalog::{ImportProducts, ImportResult, ListCategories, ProductChanged, UpsertProduct},
};

use crate::fixtures::{
    config, get, harness, import, input, levels, staff, start, upsert, with_scope,
};

/// What the outbox holds, oldest first.
async fn told(harness: &Harness) -> Vec<ProductChanged> {
    let bodies: Vec<String> = sqlx::query_scalar("SELECT body FROM outbox ORDER BY event_id")
        .fetch_all(harness.pool())
        .await
        .expect("the outbox can be read");
    bodies
        .iter()
        .map(|body| serde_json::from_str(body).expect("it is our event"))
        .collect()
}

fn refused(problem: &Problem) -> (u16, &str, Vec<&str>) {
    let pointers = problem
        .errors
        .iter()
        .map(|error| error.pointer.as_str())
        .collect();
    (problem.status, &problem.code, pointers)
}

#[tokio::test]
async fn a_product_is_created_changed_and_left_alone() {
    let harness = harness().await;
    let lamp = input(
        "lamp",
        &["L-1", "L-2"],
        &json!({"brand": "Lux", "categories": ["Home", "Lamps"]}),
    );
    let created = upsert(&harness, lamp.clone()).await.unwrap();
    assert_eq!((created.version, created.options["Size"].len()), (1, 2));
    assert_eq!(
        created
            .categories
            .iter()
            .map(|it| it.as_str())
            .collect::<Vec<_>>(),
        ["home", "lamps"]
    );
    assert_eq!(get(&harness, "lamp").await.unwrap(), created);
    assert_eq!(
        get(&harness, &created.id.to_string()).await.unwrap(),
        created
    );

    let unchanged = harness.snapshot().await;
    assert_eq!(upsert(&harness, lamp.clone()).await.unwrap(), created);
    assert_eq!(
        harness.snapshot().await,
        unchanged,
        "nothing is written and nothing told"
    );

    let lamp = input("lamp", &["L-2"], &json!({"name": "Brass lamp"}));
    let changed = upsert(&harness, lamp).await.unwrap();
    assert_eq!(
        (changed.id, changed.version, changed.name.as_str()),
        (created.id, 2, "Brass lamp")
    );
    assert_eq!(
        (changed.brand.as_deref(), changed.variants.len()),
        (None, 1)
    );
    assert_eq!(get(&harness, "lamp").await.unwrap(), changed);
    let told = told(&harness).await;
    assert_eq!(
        told.iter().map(|event| &event.product).collect::<Vec<_>>(),
        [&created, &changed]
    );
}

#[tokio::test]
async fn the_same_key_changes_a_product_once() {
    let harness = harness().await;
    let asking = Asking {
        idempotency_key: Some("k".to_owned()),
        ..staff(&harness)
    };
    let command = UpsertProduct(input("lamp", &["L"], &json!({})));
    assert_eq!(harness.command(&command, &asking).await.unwrap().version, 1);
    let asking = Asking {
        idempotency_key: Some("l".to_owned()),
        ..staff(&harness)
    };
    let command = ImportProducts {
        products: vec![input("lamp", &["L"], &json!({"name": "New"}))],
    };
    let results = harness.command(&command, &asking).await.unwrap().results;
    assert_eq!(results, [ImportResult::Updated]);
}

#[tokio::test]
async fn a_stale_version_changes_nothing() {
    let harness = harness().await;
    let name = |name: &str| UpsertProduct(input("lamp", &["L"], &json!({"name": name})));
    let if_match = |tag: &str| Asking {
        if_match: Some(tag.to_owned()),
        ..staff(&harness)
    };
    let problem = harness
        .command(&name("a"), &if_match("1"))
        .await
        .unwrap_err();
    assert_eq!(refused(&problem), (412, "out_of_date", vec![]));
    harness.command(&name("a"), &staff(&harness)).await.unwrap();
    harness
        .command(&name("b"), &if_match("\"1\""))
        .await
        .unwrap();
    let problem = harness
        .command(&name("c"), &if_match("\"1\""))
        .await
        .unwrap_err();
    assert_eq!(refused(&problem), (412, "out_of_date", vec![]));
    assert_eq!(problem.members["current_version"], 2);
    assert_eq!(get(&harness, "lamp").await.unwrap().name, "b");
}

#[tokio::test]
async fn a_sku_belongs_to_one_product() {
    let harness = harness().await;
    upsert(&harness, input("lamp", &["A", "B"], &json!({})))
        .await
        .unwrap();
    let problem = upsert(&harness, input("chair", &["C", "B"], &json!({})))
        .await
        .unwrap_err();
    assert_eq!(
        refused(&problem),
        (409, "sku_taken", vec!["/variants/1/sku"])
    );
    assert_eq!(get(&harness, "chair").await.unwrap_err().status, 404);
    // In one import a SKU may move, once it is given up.
    let moved = vec![
        input("lamp", &["A"], &json!({})),
        input("chair", &["C", "B"], &json!({})),
    ];
    assert_eq!(
        import(&harness, moved).await,
        [ImportResult::Updated, ImportResult::Created]
    );
}

#[tokio::test]
async fn only_staff_may_change_the_catalogue() {
    let harness = harness().await;
    let upsert = UpsertProduct(input("lamp", &["L"], &json!({})));
    let import = ImportProducts {
        products: vec![upsert.0.clone()],
    };
    let untouched = harness.snapshot().await;
    for (asking, status) in [
        (Asking::default(), 401),
        (with_scope(&harness, "stock:write"), 403),
        (with_scope(&harness, "catalog:writer xcatalog:write"), 403),
        (
            Asking {
                identity: Some("nonsense".to_owned()),
                ..Asking::default()
            },
            401,
        ),
    ] {
        assert_eq!(
            harness.command(&upsert, &asking).await.unwrap_err().status,
            status
        );
        assert_eq!(
            harness.command(&import, &asking).await.unwrap_err().status,
            status
        );
    }
    assert_eq!(harness.snapshot().await, untouched);
}

#[tokio::test]
async fn each_product_of_an_import_is_taken_or_refused_by_itself() {
    let harness = harness().await;
    upsert(&harness, input("old", &["O"], &json!({})))
        .await
        .unwrap();
    let results = import(
        &harness,
        vec![
            input("new", &["N"], &json!({"categories": ["Home"]})),
            input("old", &["O"], &json!({})),
            input(
                "bad",
                &["B"],
                &json!({"name": " ", "categories": ["Never"]}),
            ),
            input("thief", &["O"], &json!({})),
            input("twin", &["N"], &json!({})),
            input("new", &["N2"], &json!({})),
        ],
    )
    .await;
    assert_eq!(
        results[..2],
        [ImportResult::Created, ImportResult::Unchanged]
    );
    let pointers: Vec<&str> = results[2..]
        .iter()
        .map(|result| match result {
            ImportResult::Refused { pointer, .. } => pointer.as_str(),
            taken => panic!("{taken:?}"),
        })
        .collect();
    assert_eq!(
        pointers,
        ["/name", "/variants/0/sku", "/variants/0/sku", "/slug"]
    );
    assert_eq!(told(&harness).await.len(), 2);
    let categories = harness
        .query(&ListCategories {}, &Asking::default())
        .await
        .unwrap()
        .items;
    assert_eq!(categories.len(), 1, "a refused product makes no category");
    assert_eq!(import(&harness, Vec::new()).await, []);
}

/// Imports a whole feed, and says what became of its products.
async fn import_feed(harness: &Harness, csv: &'static str) -> Vec<ImportResult> {
    let feed = feed::read(Format::ShopifyCsv, Currency::EUR, csv.as_bytes());
    let products: Vec<_> = feed
        .map(|item| item.expect("every row is good").product)
        .collect();
    let mut results = Vec::new();
    for batch in products.chunks(ImportProducts::PRODUCTS_MAX) {
        results.extend(import(harness, batch.to_vec()).await);
    }
    results
}

#[tokio::test]
async fn the_demo_catalogue_goes_in_whole_and_a_second_time_changes_nothing() {
    let harness = harness().await;
    let results = import_feed(&harness, feed::DEMO_CSV).await;
    assert!(
        results
            .iter()
            .all(|result| *result == ImportResult::Created),
        "{results:?}"
    );
    assert!(results.len() >= 50, "{}", results.len());
    let imported = harness.snapshot().await;
    let results = import_feed(&harness, feed::DEMO_CSV).await;
    assert!(
        results
            .iter()
            .all(|result| *result == ImportResult::Unchanged),
        "{results:?}"
    );
    assert_eq!(harness.snapshot().await, imported);
}

#[tokio::test]
async fn an_import_has_an_end() {
    let harness = harness().await;
    let products = (0..101).map(|n| input(&format!("p{n}"), &[&format!("S{n}")], &json!({})));
    let command = ImportProducts {
        products: products.collect(),
    };
    let problem = harness
        .command(&command, &staff(&harness))
        .await
        .unwrap_err();
    assert_eq!(
        refused(&problem),
        (422, "invalid_request", vec!["/products"])
    );
}

#[tokio::test]
async fn hostile_products_are_refused_and_change_nothing() {
    let harness = harness().await;
    let untouched = harness.snapshot().await;
    let huge = "x".repeat(60_000);
    for (changes, pointer) in [
        (json!({"name": ""}), "/name"),
        (json!({"name": "a\u{0}"}), "/name"),
        (json!({"name": "a\r\nSet-Cookie: b"}), "/name"),
        (json!({"description": "\u{0}"}), "/description"),
        (json!({"description": huge}), "/description"),
        (json!({"brand": "\u{7}"}), "/brand"),
        (json!({"categories": ["a", "\u{0}"]}), "/categories/1"),
        (
            json!({"images": [{"url": "javascript:alert(1)"}]}),
            "/images/0/url",
        ),
        (json!({"variants": []}), "/variants"),
    ] {
        let problem = upsert(&harness, input("p", &["S"], &changes))
            .await
            .unwrap_err();
        assert_eq!(
            refused(&problem),
            (422, "invalid_request", vec![pointer]),
            "{changes}"
        );
    }
    let price = |price: &str| {
        format!(r#"{{"slug":"p","name":"p","variants":[{{"sku":"S","price":{price}}}]}}"#)
    };
    for (body, status) in [
        (price(r#"{"amount_minor":-1,"currency":"EUR"}"#), 422),
        (price(r#"{"amount_minor":1e99,"currency":"EUR"}"#), 422),
        (
            price(r#"{"amount_minor":99999999999999999999,"currency":"EUR"}"#),
            422,
        ),
        (price(r#"{"amount_minor":1,"currency":"eur"}"#), 422),
        (price("19.99"), 422),
        (
            r#"{"slug":"../p","name":"p","variants":[]}"#.to_owned(),
            422,
        ),
        (
            r#"{"slug":"p","name":"p","variants":[],"id":1}"#.to_owned(),
            422,
        ),
        ("{".to_owned(), 400),
        ("[]".to_owned(), 422),
        (format!("{}1{}", "[".repeat(500), "]".repeat(500)), 422),
    ] {
        let problem = harness
            .ask_bytes(UpsertProduct::SUBJECT, body.as_bytes(), &staff(&harness))
            .await
            .unwrap_err();
        assert_eq!(problem.status, status, "{body}");
    }
    assert_eq!(harness.snapshot().await, untouched);
}

#[tokio::test]
async fn what_is_taken_off_the_shelves_is_told_and_shown_to_nobody() {
    let harness = harness().await;
    upsert(&harness, input("lamp", &["L"], &json!({})))
        .await
        .unwrap();
    let hidden = upsert(
        &harness,
        input("lamp", &["L"], &json!({"published": false})),
    )
    .await
    .unwrap();
    assert_eq!(hidden.version, 2);
    assert_eq!(get(&harness, "lamp").await.unwrap_err().status, 404);
    assert!(!told(&harness).await.pop().unwrap().published);
    let again = upsert(&harness, input("lamp", &["L"], &json!({})))
        .await
        .unwrap();
    assert_eq!((again.id, again.version), (hidden.id, 3));
    assert_eq!(get(&harness, "lamp").await.unwrap(), again);
}

#[tokio::test]
async fn a_restart_finds_everything_again() {
    let config = config();
    let harness = start(config.clone()).await;
    let products = (0..100).map(|n| {
        let categories = json!({"categories": ["Home", format!("C{}", n % 7)], "brand": "B",
            "images": [{"url": "/a.svg", "alt": "A"}], "description": "d", "published": n % 10 != 0});
        input(&format!("p{n}"), &[&format!("A{n}"), &format!("B{n}")], &categories)
    });
    import(&harness, products.collect()).await;
    harness
        .deliver_once(&levels(&[("A1", 5, 1), ("B2", 6, 1)]))
        .await;
    let before = harness
        .query(&ListCategories {}, &Asking::default())
        .await
        .unwrap()
        .items;
    let one = get(&harness, "p1").await.unwrap();
    assert_eq!(one.variants[0].available, 5);

    let harness = start(config).await;
    assert_eq!(
        harness
            .query(&ListCategories {}, &Asking::default())
            .await
            .unwrap()
            .items,
        before
    );
    assert_eq!(before[0].product_count, 90);
    assert_eq!(get(&harness, "p1").await.unwrap(), one);
    assert_eq!(get(&harness, "p0").await.unwrap_err().status, 404);
}

#[tokio::test]
async fn a_change_says_what_is_left() {
    let harness = harness().await;
    harness.deliver_once(&levels(&[("L", 3, 1)])).await;
    let product = upsert(&harness, input("lamp", &["L"], &json!({})))
        .await
        .unwrap();
    assert_eq!(product.variants[0].available, 3);
    let published: Option<ProductChanged> = {
        let body = serde_json::to_value(told(&harness).await.remove(0)).unwrap();
        let subject = "shop.evt.catalog.v1.product_changed".to_owned();
        Published {
            subject,
            key: product.id.0,
            body,
        }
        .is()
    };
    assert_eq!(published.unwrap().product, product);
}
