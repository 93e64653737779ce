//! What every answer has, and how methods behave.

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::client::Shop;

#[tokio::test]
async fn every_answer_names_its_trace_and_takes_over_the_callers() {
    let shop = Shop::open().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    for target in [
        "/docs/problems",
        "/nowhere",
        "/api/v1/products",
        "/assets/shop.css",
    ] {
        let own = shop.get(target).await;
        assert_eq!(own.header("request-id").len(), 32, "{target}");
        let given = shop
            .request("GET", target, &[("traceparent", &parent)], "")
            .await;
        assert_eq!(given.header("request-id"), trace, "{target}");
        let broken = shop
            .request("GET", target, &[("traceparent", "00-\u{e9}")], "")
            .await;
        assert_eq!(broken.header("request-id").len(), 32, "{target}");
    }
}

#[tokio::test]
async fn every_answer_keeps_browsers_from_mischief() {
    let shop = Shop::open().await;
    for target in [
        "/docs",
        "/docs/events",
        "/docs/problems",
        "/nowhere",
        "/api/v1/products",
        "/assets/shop.css",
    ] {
        let answer = shop.get(target).await;
        assert_eq!(
            answer.header("x-content-type-options"),
            "nosniff",
            "{target}"
        );
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{target}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{target}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'"),
            "{target}: {policy}"
        );
        let scripts = policy.contains("script-src");
        assert_eq!(scripts, target == "/docs", "{target}: {policy}");
        assert!(!answer.headers.contains_key("server"), "{target}");
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_405_with_those_it_takes() {
    let shop = Shop::open().await;
    let answer = shop.request("DELETE", "/api/v1/orders", &[], "").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (405, "method_not_allowed")
    );
    let mut allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "OPTIONS", "POST"]);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let shop = Shop::open().await;
    for target in ["/docs/problems", "/nowhere", "/api/openapi.json"] {
        let get = shop.get(target).await;
        let head = shop.request("HEAD", target, &[], "").await;
        assert_eq!(head.status, get.status, "{target}");
        assert_eq!(
            head.header("content-type"),
            get.header("content-type"),
            "{target}"
        );
        assert_eq!(head.body.len(), 0, "{target}");
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let shop = Shop::open().await;
    let mut stream = BufReader::new(TcpStream::connect(shop.address).await.unwrap());
    for _ in 0..3 {
        let request = "POST /api/v1/orders HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        assert!(body.starts_with(b"{\"type\""));
    }
}
