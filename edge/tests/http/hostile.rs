//! Nothing that a client sends gives a 5xx of our own, and every refusal is a problem document.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::client::Shop;

const ORDERS: &str = "POST /api/v1/orders HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\nidempotency-key: k\r\n";

#[tokio::test]
async fn what_is_no_http_is_refused_with_a_problem() {
    let shop = Shop::open().await;
    let many = "x: y\r\n".repeat(200);
    let large = format!("x: {}\r\n", "y".repeat(40_000));
    let long = "a".repeat(40_000);
    let broken: Vec<(u16, String, Vec<u8>)> = vec![
        (
            400,
            "malformed_request".into(),
            b"nonsense\r\n\r\n".to_vec(),
        ),
        (
            400,
            "malformed_request".into(),
            b"GET / HTTP/9.9\r\nhost: a\r\n\r\n".to_vec(),
        ),
        (
            400,
            "malformed_request".into(),
            b"GET /\xff\xfe HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        ),
        (
            400,
            "malformed_request".into(),
            b"GET / HTTP/1.1\r\nho st: a\r\n\r\n".to_vec(),
        ),
        (
            400,
            "malformed_request".into(),
            b"GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n".to_vec(),
        ),
        (
            400,
            "malformed_request".into(),
            b"GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n".to_vec(),
        ),
        (
            400,
            "malformed_request".into(),
            b"G\xc3\xa9T / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        ),
        (
            400,
            "malformed_request".into(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        ),
        (
            400,
            "malformed_request".into(),
            format!("{ORDERS}content-length: -1\r\n\r\n").into(),
        ),
        (
            400,
            "malformed_request".into(),
            format!("{ORDERS}content-length: 1\r\ncontent-length: 2\r\n\r\n{{}}").into(),
        ),
        (
            400,
            "malformed_request".into(),
            format!("{ORDERS}transfer-encoding: gzip\r\n\r\n").into(),
        ),
        (
            431,
            "headers_too_large".into(),
            format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n").into(),
        ),
        (
            431,
            "headers_too_large".into(),
            format!("GET / HTTP/1.1\r\nhost: a\r\n{large}\r\n").into(),
        ),
        (
            431,
            "headers_too_large".into(),
            format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n").into(),
        ),
    ];
    for (status, code, bytes) in broken {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(90)]).into_owned();
        let answer = shop.send(&bytes).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{shown}");
    }
}

#[tokio::test]
async fn well_formed_requests_for_nonsense_are_refused_with_a_problem() {
    let shop = Shop::open().await;
    let get = |target: &str, rest: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n{rest}\r\n")
            .into_bytes()
    };
    let id = "019376a0-0000-7000-8000-000000000000";
    let requests: Vec<(u16, &str, Vec<u8>)> = vec![
        (404, "no_such_route", get("/api/v1/nothing", "")),
        (404, "no_such_route", get("//etc/passwd", "")),
        (404, "no_such_route", get("/api/v1/../../etc/passwd", "")),
        (404, "not_found", get("/api/v1/products/%ff", "")),
        (404, "not_found", get("/api/v1/products/%zz", "")),
        (404, "not_found", get("/api/v1/products/a%2Fb", "")),
        (404, "not_found", get("/api/v1/products/a%0d%0aX-Evil:%201", "")),
        (404, "not_found", get(&format!("/api/v1/products/{}", "a".repeat(65)), "")),
        (404, "not_found", get("/api/v1/orders/1", "")),
        (404, "not_found", get("/api/v1/orders/..%2f..", "")),
        (404, "not_found", get("/api/v1/orders/%00/timeline", "")),
        (404, "not_found", get("/api/v1/admin/stock/a%20b/movements", "authorization: Bearer a\r\n")),
        (404, "not_found", get("/assets/..%2f..%2fCargo.toml", "")),
        (404, "not_found", get("/assets/%ff", "")),
        (404, "not_found", get("/docs/..%2fCargo.toml", "")),
        (404, "not_found", get("/docs/problems/%3Cscript%3E", "")),
        (400, "malformed_target", get("/api/v1/products?q=%ff", "")),
        (400, "malformed_target", get("/api/v1/products?q=%", "")),
        (400, "malformed_target", get(&format!("/api/v1/orders/{id}?order_token=%c3%28"), "")),
        (422, "invalid_request", get("/api/v1/products?nonsense=1", "")),
        (422, "invalid_request", get("/api/v1/products?limit=99999999999999999999", "")),
        (422, "invalid_request", get("/api/v1/products?min_price=1e3", "")),
        (422, "invalid_request", get("/api/v1/products?sort=magic", "")),
        (422, "invalid_request", get("/api/v1/products?q=a&q=b", "")),
        (422, "invalid_request", get("/api/v1/stock", "")),
        (422, "invalid_request", get(&format!("/api/v1/stock?{}", "sku=A&".repeat(101)), "")),
        (422, "invalid_request", get(&format!("/api/v1/stock/stream?{}", "sku=A&".repeat(51)), "")),
        (422, "invalid_request", get("/api/v1/stock?sku=%F0%9F%92%A9", "")),
        (422, "invalid_request", get(&format!("/api/v1/products?{}", "a=1&".repeat(5_000)), "")),
        (401, "unauthenticated", get("/api/v1/orders", "authorization: Basic eDp5\r\n")),
        (401, "unauthenticated", get("/api/v1/orders", "authorization: Bearer a\r\nauthorization: Bearer b\r\n")),
        (400, "malformed_header", b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n".to_vec()),
        (400, "malformed_header", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n".to_vec()),
        (405, "method_not_allowed", b"BREW / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_vec()),
        (405, "method_not_allowed", b"TRACE / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_vec()),
        (404, "no_such_route", b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nconnection: close\r\n\r\n".to_vec()),
        (404, "no_such_route", b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_vec()),
        (400, "idempotency_key_invalid", format!("{ORDERS}idempotency-key: k\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}").into()),
        (415, "unsupported_media_type", format!("{ORDERS}content-length: 2\r\n\r\n{{}}").into()),
        (415, "unsupported_media_type", format!("{ORDERS}content-type: text/xml\r\ncontent-length: 2\r\n\r\n{{}}").into()),
        (415, "unsupported_media_type", format!("{ORDERS}content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{{}}").into()),
        (400, "malformed_body", format!("{ORDERS}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nnonsense\r\n0\r\n\r\n").into()),
        (400, "malformed_body", format!("{ORDERS}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n").into()),
    ];
    for (status, code, bytes) in requests {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
        let answer = shop.send(&bytes).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{shown}"
        );
        assert!(
            answer.headers.keys().all(|name| name != "x-evil"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_after_it_was_read() {
    let shop = Shop::open().await;
    let head = format!("{ORDERS}content-type: application/json\r\n");
    for size in [256 * 1024 + 1, 1024 * 1024] {
        let body = "x".repeat(size);
        let whole = shop
            .send(format!("{head}content-length: {size}\r\n\r\n{body}"))
            .await;
        assert_eq!(
            (whole.status, whole.code().as_str()),
            (413, "body_too_large"),
            "{size}"
        );
        let chunked =
            format!("{head}transfer-encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n");
        let chunked = shop.send(chunked).await;
        assert_eq!(
            (chunked.status, chunked.code().as_str()),
            (413, "body_too_large"),
            "{size}"
        );
    }
    let announced = shop
        .send(format!("{head}content-length: 99999999999\r\n\r\n"))
        .await;
    assert_eq!(announced.status, 413);
    let elsewhere = shop
        .send(format!(
            "DELETE /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1048576\r\n\r\n{}",
            "x".repeat(1_048_576)
        ))
        .await;
    assert_eq!(elsewhere.code(), "body_too_large");
}

#[tokio::test]
async fn a_body_of_the_largest_size_reaches_the_worker() {
    let shop = Shop::open().await;
    let body = "x".repeat(256 * 1024);
    let answer = shop
        .send(format!(
            "{ORDERS}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert_eq!(
        answer.code(),
        "temporarily_unavailable",
        "there is no worker, but it was asked"
    );
}

#[tokio::test]
async fn smuggled_requests_are_never_answered_twice() {
    let shop = Shop::open().await;
    let inner = "GET /docs/problems HTTP/1.1\r\nhost: a\r\n\r\n";
    let chunks = "0\r\n\r\n";
    let both = format!(
        "{ORDERS}content-type: application/json\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{inner}",
        chunks.len() + inner.len()
    );
    let answer = shop.send(both).await;
    assert!(answer.status >= 400, "{answer:?}");
    assert!(!answer.text().contains("HTTP/1.1 200"), "{answer:?}");
}

#[tokio::test]
async fn the_shop_goes_on_after_clients_that_hang_up() {
    let shop = Shop::open().await;
    for bytes in [
        "",
        "G",
        "GET / HTT",
        ORDERS,
        &format!("{ORDERS}content-length: 100\r\n\r\n{{"),
    ] {
        let mut stream = TcpStream::connect(shop.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        drop(stream);
    }
    let answer = timeout(Duration::from_secs(5), shop.get("/docs/problems"))
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
}
