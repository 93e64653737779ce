//! Nonsense for every route: a problem with a 4xx, nothing changed, no panic.

use anyhow::{Result, ensure};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use shopzen_tests::{
    invariants,
    shop::{Shop, order_of},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Duration, timeout},
};

const ROUTES: [(&str, &str); 40] = [
    ("GET", "/api/v1/products"),
    ("GET", "/api/v1/products/lamp"),
    ("GET", "/api/v1/categories"),
    ("GET", "/api/v1/suggest"),
    ("GET", "/api/v1/stock"),
    ("GET", "/api/v1/stock/stream"),
    ("POST", "/api/v1/orders"),
    ("GET", "/api/v1/orders"),
    ("GET", "/api/v1/orders/x"),
    ("GET", "/api/v1/orders/019a0000-0000-7000-8000-000000000000"),
    ("GET", "/api/v1/orders/x/timeline"),
    ("GET", "/api/v1/orders/x/events"),
    ("POST", "/api/v1/orders/x/cancel"),
    (
        "POST",
        "/api/v1/orders/019a0000-0000-7000-8000-000000000000/cancel",
    ),
    ("POST", "/api/v1/admin/products"),
    ("PUT", "/api/v1/admin/products/lamp"),
    ("POST", "/api/v1/admin/stock/LAMP-BRASS/adjustments"),
    ("GET", "/api/v1/admin/stock/LAMP-BRASS/movements"),
    ("GET", "/api/v1/admin/dead-letters"),
    ("GET", "/api/v1/admin/dead-letters/groups"),
    ("GET", "/api/v1/admin/dead-letters/x"),
    ("GET", "/api/v1/admin/dead-letters?state=x&order=y&since=z"),
    ("POST", "/api/v1/admin/dead-letters/replay"),
    ("POST", "/api/v1/admin/dead-letters/drop"),
    ("POST", "/api/v1/admin/dead-letters/x/edit"),
    ("POST", "/api/v1/admin/dead-letters/x/replay"),
    (
        "POST",
        "/api/v1/admin/dead-letters/019a0000-0000-7000-8000-000000000000/edit",
    ),
    (
        "POST",
        "/api/v1/admin/dead-letters/019a0000-0000-7000-8000-000000000000/replay",
    ),
    (
        "POST",
        "/api/v1/admin/dead-letters/019a0000-0000-7000-8000-000000000000/drop",
    ),
    ("DELETE", "/api/v1/admin/dead-letters"),
    ("POST", "/webhooks/payments/sandbox"),
    ("POST", "/webhooks/payments/%2e%2e"),
    ("GET", "/docs/nothing"),
    ("GET", "/schemas/nothing"),
    ("GET", "/api/v2/nothing"),
    ("GET", "/%ff%fe"),
    ("GET", "/api/v1/products/%00"),
    ("GET", "/api/v1/products/..%2f..%2fetc%2fpasswd"),
    ("DELETE", "/api/v1/orders"),
    ("PATCH", "/"),
];

/// Bodies that are wrong for every route.
fn bodies(valid: &Value) -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = vec![
        vec![],
        b"{".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        b"{\"lines\": \xc3\x28}".to_vec(),
        format!("{{\"sku\": {}}}", "[".repeat(50_000)).into_bytes(),
        vec![b'x'; 1024 * 1024],
        br#"{"delta": 1e400, "reason": "x"}"#.to_vec(),
        br#"{"delta": 99999999999999999999, "reason": "x"}"#.to_vec(),
    ];
    let mut change = |pointer: &str, value: Value| {
        let mut body = valid.clone();
        if let Some(place) = body.pointer_mut(pointer) {
            *place = value;
        }
        bodies.push(body.to_string().into_bytes());
    };
    for quantity in [
        json!(0),
        json!(-1),
        json!(10_000),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.5),
        json!("1"),
        json!(null),
        json!(true),
    ] {
        change("/lines/0/quantity", quantity);
    }
    for sku in [
        "",
        "NO SUCH",
        "NO-SUCH",
        "'; DROP TABLE orders; --",
        "shop.evt.>",
        "\u{202e}",
    ] {
        change("/lines/0/sku", json!(sku));
    }
    change(
        "/lines",
        json!(vec![json!({ "sku": "LAMP-BRASS", "quantity": 1 }); 10_000]),
    );
    change(
        "/lines",
        json!(vec![json!({ "sku": "LAMP-BRASS", "quantity": 9_999 }); 100]),
    );
    change("/lines", json!([]));
    change(
        "/email",
        json!("ada@example.com\r\nBcc: everybody@example.com"),
    );
    change("/email", json!("a".repeat(10_000)));
    change("/shipping_address/name", json!("\u{0}"));
    change("/shipping_address/country", json!("Atlantis"));
    change("/payment/gateway", json!("bribes"));
    change("/payment/token", json!("4242 4242 4242 4242"));
    let mut unknown = valid.clone();
    unknown["price"] = json!(1);
    bodies.push(unknown.to_string().into_bytes());
    let mut changed = valid.clone();
    changed["expected_total"] = json!({ "amount_minor": 1, "currency": "EUR" });
    bodies.push(changed.to_string().into_bytes());
    changed["expected_total"] = json!({ "amount_minor": i64::MIN, "currency": "eur" });
    bodies.push(changed.to_string().into_bytes());
    bodies
}

async fn refused(answer: reqwest::Response, what: &str) -> Result<()> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    ensure!(status.is_client_error(), "{what}: {status}");
    let kind = answer
        .headers()
        .get("content-type")
        .and_then(|kind| kind.to_str().ok());
    ensure!(
        kind.is_some_and(|kind| kind.starts_with("application/problem+json")),
        "{what}: {status} is {kind:?}"
    );
    ensure!(
        answer.headers().contains_key("request-id"),
        "{what}: no Request-Id"
    );
    let problem: Value = answer.json().await?;
    for member in ["type", "title", "detail", "code", "trace_id"] {
        ensure!(
            problem[member].is_string(),
            "{what}: {member} is missing: {problem}"
        );
    }
    ensure!(problem["status"] == status.as_u16(), "{what}: {problem}");
    let text = problem.to_string();
    for inside in [
        "shop.cmd",
        "shop.qry",
        "SELECT",
        "sqlx",
        "async_nats",
        "panicked",
    ] {
        ensure!(!text.contains(inside), "{what}: {inside} shows: {problem}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_and_changes_nothing() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let staff = shop.token("staff@demo.test")?;
    let before = shop.available("LAMP-BRASS").await?;
    let client = Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    let bodies = bodies(&order_of(&[("LAMP-BRASS", 1)], "tok_ok"));
    let mut number = 0;
    for (method, path) in ROUTES {
        let method: Method = method.parse()?;
        if method == Method::GET {
            for query in [
                "",
                "?limit=0",
                "?limit=x",
                "?cursor=%00",
                "?sku=%ff",
                "?nonsense=1",
                "?q=%F0%28",
            ] {
                let url = format!("{}{query}", shop.url(path));
                let answer = client.get(&url).bearer_auth(&staff).send().await?;
                // A stream that was opened all the same is dropped here.
                refused(answer, &format!("GET {path}{query}")).await?;
            }
            continue;
        }
        for (index, body) in bodies.iter().enumerate() {
            number += 1;
            let what = format!("{method} {path} with body {index}");
            let answer = client
                .request(method.clone(), shop.url(path))
                .header("Idempotency-Key", format!("hostile-{number}"))
                .header("Content-Type", "application/json")
                .bearer_auth(&staff)
                .body(body.clone())
                .send()
                .await;
            // A server may hang up on a body that is too large before it has read it all.
            let Ok(answer) = answer else {
                ensure!(body.len() > 256 * 1024, "{what}: no answer");
                continue;
            };
            ensure!(!answer.status().is_success(), "{what}: {}", answer.status());
            refused(answer, &what).await?;
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded", "\u{a0}"] {
            let request = client
                .request(method.clone(), shop.url(path))
                .header("Idempotency-Key", "kind")
                .bearer_auth(&staff);
            if let Ok(kind) = reqwest::header::HeaderValue::from_bytes(kind.as_bytes()) {
                let answer = request
                    .header("Content-Type", kind.clone())
                    .body("{}")
                    .send()
                    .await?;
                ensure!(!answer.status().is_success(), "{method} {path} as {kind:?}");
                refused(answer, &format!("{method} {path} as another type")).await?;
            }
        }
    }
    let long = "k".repeat(256);
    for key in ["", long.as_str(), "\u{e9}"] {
        let Ok(value) = reqwest::header::HeaderValue::from_bytes(key.as_bytes()) else {
            continue;
        };
        let answer = client
            .post(shop.url("/api/v1/orders"))
            .header("Idempotency-Key", value)
            .json(&order_of(&[("LAMP-BRASS", 1)], "tok_ok"))
            .send()
            .await?;
        ensure!(answer.status() == 400, "key {key:?}: {}", answer.status());
    }
    ensure!(
        shop.available("LAMP-BRASS").await? == before,
        "stock was changed"
    );
    invariants::check(&shop, &[]).await?;
    nothing_panicked(&shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http_do_no_harm() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let address = shop.url("").trim_start_matches("http://").to_owned();
    let mut requests: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"POST /api/v1/orders HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST /api/v1/orders HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n"
            .to_vec(),
        b"GET / HTTP/1.1\r\nhost: x\r\norder-token: a\r\n b\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: x\r\ntraceparent: 00-\xff\xff\r\n\r\n".to_vec(),
    ];
    let long = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "y".repeat(100 * 1024)
    );
    requests.push(long.into_bytes());
    for request in requests {
        let mut stream = TcpStream::connect(&address).await?;
        // The server may hang up while we are still writing.
        let _ = stream.write_all(&request).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(
            !answer.starts_with("HTTP/1.1 5"),
            "{:?}: {answer}",
            String::from_utf8_lossy(&request)
        );
    }
    ensure!(
        shop.get("/").send().await?.status() == 200,
        "the shop is gone"
    );
    nothing_panicked(&shop)
}

fn nothing_panicked(shop: &Shop) -> Result<()> {
    for text in [shop.log(), shop.output()] {
        ensure!(!text.contains("panicked"), "something panicked: {text}");
    }
    Ok(())
}
