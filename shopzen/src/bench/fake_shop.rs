//! A shop of a few lines, which keeps its word or does not, for tests of what measures shops.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{
        HeaderMap, StatusCode,
        header::{CONNECTION, HeaderValue},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use shopzen_contracts::orders::PlaceOrder;
use tokio::{net::TcpListener, task::JoinSet};
use url::Url;
use uuid::Uuid;

use super::{processes::Pids, target::Target};
use crate::terminal::Terminal;

/// What is wrong with the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// It has little of anything.
    SoldOut,
    /// It answers 429 from the n-th order on.
    LimitsOrdersFrom(u128),
    /// It closes the connection behind each answer.
    HangsUp,
    /// Of the orders it accepted it knows nothing.
    Forgets,
    /// It refuses orders.
    Unavailable,
}

/// One product on each page, in one category; orders are confirmed at once.
#[derive(Debug)]
pub struct FakeShop {
    flaw: Flaw,
    /// Tokens of the orders. Their ids count from 1.
    orders: Mutex<HashMap<Uuid, String>>,
}

const PRODUCTS: u128 = 3;

impl FakeShop {
    /// Serves until the set is dropped.
    pub async fn open(flaw: Flaw) -> (Target, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let router = Router::new()
            .route("/api/v1/products", get(list))
            .route("/api/v1/products/{id}", get(product))
            .route("/api/v1/orders", post(place))
            .route("/api/v1/orders/{id}", get(order))
            .with_state(Arc::new(Self {
                flaw,
                orders: Mutex::default(),
            }));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (Target::at(url, Pids::default()).unwrap(), tasks)
    }
}

/// Says nothing to people.
pub fn silence() -> Terminal {
    Terminal::new(true)
}

async fn list(Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let page: u128 = query
        .get("cursor")
        .map_or(0, |cursor| cursor.parse().unwrap());
    let next = (page + 1 < PRODUCTS && !query.contains_key("category")).then_some(page + 1);
    Json(json!({
        "items": [{
            "id": Uuid::from_u128(page), "slug": "s", "name": "n", "image": null,
            "price_from": {"amount_minor": 1, "currency": "EUR"}, "available": 1,
        }],
        "next_cursor": next.map(|page| page.to_string()),
    }))
}

async fn product(State(shop): State<Arc<FakeShop>>, Path(id): Path<Uuid>) -> Json<Value> {
    let available = if shop.flaw == Flaw::SoldOut {
        1
    } else {
        1_000_000
    };
    Json(json!({
        "id": id, "slug": "s", "name": "n", "description": "", "brand": null,
        "categories": ["lamps"], "images": [], "options": {}, "version": 1,
        "variants": [{
            "sku": format!("SKU-{}", id.as_u128()), "options": {}, "available": available,
            "price": {"amount_minor": 1, "currency": "EUR"}, "taxable": true,
        }],
    }))
}

async fn place(
    State(shop): State<Arc<FakeShop>>,
    headers: HeaderMap,
    Json(_order): Json<PlaceOrder>,
) -> Response {
    let token = headers["idempotency-key"].to_str().unwrap().to_owned();
    let mut orders = shop.orders.lock().unwrap();
    let number = u128::try_from(orders.len()).unwrap() + 1;
    match shop.flaw {
        Flaw::LimitsOrdersFrom(limit) if number >= limit => {
            return StatusCode::TOO_MANY_REQUESTS.into_response();
        }
        Flaw::Unavailable => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => {}
    }
    let id = Uuid::from_u128(number);
    orders.insert(id, token.clone());
    let body = Json(json!({"id": id, "status": "confirmed", "order_token": token}));
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    if shop.flaw == Flaw::HangsUp {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn order(
    State(shop): State<Arc<FakeShop>>,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Response {
    let orders = shop.orders.lock().unwrap();
    let token = headers
        .get("order-token")
        .and_then(|token| token.to_str().ok());
    if shop.flaw == Flaw::Forgets || orders.get(&id).map(String::as_str) != token {
        return StatusCode::NOT_FOUND.into_response();
    }
    Json(json!({"id": id, "status": "confirmed"})).into_response()
}
