//! What every test here needs.

use std::time::Duration;

use serde_json::{Value, json};
use shopzen_catalog::{Config, worker};
use shopzen_chassis::{Asking, Bus, NatsLogin, Secret, clock, harness::Harness};
use shopzen_contracts::{
    Problem, Sku,
    catalog::{
        GetProduct, ImportProducts, ImportResult, ListProducts, Product, ProductInput, ProductPage,
        UpsertProduct,
    },
    stock::{Availability, LevelsChanged},
};
use shopzen_test_servers::servers;
use tokio::time::{Instant, interval};

pub(crate) async fn bus() -> Bus {
    let login = NatsLogin {
        url: servers().nats_url(),
        user: "test".to_owned(),
        password: Secret::new(""),
    };
    Bus::connect(&login).await.expect("NATS answers")
}

/// A configuration with a new database.
pub(crate) fn config() -> Config {
    Config {
        database_url: Secret::new(servers().database_url()),
        ..Config::default()
    }
}

pub(crate) async fn start(config: Config) -> Harness {
    Harness::start(worker(config), &bus().await)
        .await
        .expect("the worker starts")
}

pub(crate) async fn harness() -> Harness {
    start(config()).await
}

/// Somebody with a scope.
pub(crate) fn with_scope(harness: &Harness, scope: &str) -> Asking {
    Asking {
        identity: Some(harness.token(clock::new_id(), scope)),
        ..Asking::default()
    }
}

pub(crate) fn staff(harness: &Harness) -> Asking {
    with_scope(harness, "orders:write catalog:write")
}

/// A product with one variant for each SKU, and some members changed.
pub(crate) fn input(slug: &str, skus: &[&str], changes: &Value) -> ProductInput {
    let variants: Vec<Value> = skus
        .iter()
        .map(|sku| {
            let price = json!({"amount_minor": 1_999, "currency": "EUR"});
            json!({"sku": sku, "price": price, "options": {"Size": sku}})
        })
        .collect();
    let mut input = json!({"slug": slug, "name": slug, "variants": variants});
    for (name, value) in changes.as_object().expect("changes are an object") {
        input[name] = value.clone();
    }
    serde_json::from_value(input).expect("it is a product")
}

pub(crate) async fn upsert(harness: &Harness, input: ProductInput) -> Result<Product, Problem> {
    harness
        .command(&UpsertProduct(input), &staff(harness))
        .await
}

pub(crate) async fn import(harness: &Harness, products: Vec<ProductInput>) -> Vec<ImportResult> {
    let command = ImportProducts { products };
    harness
        .command(&command, &staff(harness))
        .await
        .expect("it is an import")
        .results
}

pub(crate) async fn get(harness: &Harness, id_or_slug: &str) -> Result<Product, Problem> {
    let query = GetProduct {
        id_or_slug: id_or_slug.to_owned(),
    };
    harness.query(&query, &Asking::default()).await
}

pub(crate) async fn list(harness: &Harness, query: ListProducts) -> ProductPage {
    harness
        .query(&query, &Asking::default())
        .await
        .expect("it is a list")
}

/// Stock says how many there are of each, as of a version.
pub(crate) fn levels(levels: &[(&str, i64, i64)]) -> LevelsChanged {
    let level = |(sku, available, version): &(&str, i64, i64)| Availability {
        sku: Sku::parse(*sku).expect("it is a SKU"),
        available: *available,
        version: *version,
    };
    LevelsChanged {
        change_id: clock::new_id(),
        levels: levels.iter().map(level).collect(),
    }
}

/// Waits for something to become true.
pub(crate) async fn eventually(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    const TIMEOUT: Duration = Duration::from_secs(20);
    let deadline = Instant::now() + TIMEOUT;
    let mut tick = interval(Duration::from_millis(10));
    while !is_true().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tick.tick().await;
    }
}
