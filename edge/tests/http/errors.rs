//! Where a worker, or NATS itself, is away.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use shopzen_edge::{Config, Limits};
use shopzen_test_servers::{free_port, servers};
use tokio::net::TcpStream;

use crate::client::{Shop, eventually};

const ID: &str = "019376a0-0000-7000-8000-000000000000";

#[tokio::test]
async fn a_worker_that_is_away_is_503_within_2_s_on_every_call() {
    let shop = Shop::open().await;
    let json = [
        ("content-type", "application/json"),
        ("idempotency-key", "k"),
        ("authorization", "Bearer token"),
    ];
    let many = format!("{{\"ids\":[\"{ID}\"]}}");
    let calls: [(&str, String, &str); 24] = [
        ("GET", "/".into(), ""),
        ("GET", "/api/v1/products?q=lamp&option.color=red".into(), ""),
        ("GET", "/api/v1/products/lamp".into(), ""),
        ("GET", "/api/v1/categories".into(), ""),
        ("GET", "/api/v1/suggest?q=la".into(), ""),
        ("GET", "/api/v1/stock?sku=A&sku=B".into(), ""),
        ("GET", "/api/v1/stock/stream?sku=A".into(), ""),
        ("POST", "/api/v1/orders".into(), "{}"),
        ("GET", "/api/v1/orders".into(), ""),
        ("GET", format!("/api/v1/orders/{ID}?order_token=x"), ""),
        ("GET", format!("/api/v1/orders/{ID}/timeline"), ""),
        ("GET", format!("/api/v1/orders/{ID}/events"), ""),
        ("POST", format!("/api/v1/orders/{ID}/cancel"), ""),
        ("PUT", "/api/v1/admin/products/lamp".into(), "{}"),
        ("POST", "/api/v1/admin/stock/LAMP/adjustments".into(), "{}"),
        (
            "GET",
            "/api/v1/admin/stock/LAMP/movements?limit=5".into(),
            "",
        ),
        ("GET", "/api/v1/admin/dead-letters?limit=5".into(), ""),
        (
            "GET",
            "/api/v1/admin/dead-letters/groups?worker=stock".into(),
            "",
        ),
        ("GET", format!("/api/v1/admin/dead-letters/{ID}"), ""),
        (
            "POST",
            format!("/api/v1/admin/dead-letters/{ID}/edit"),
            "{}",
        ),
        (
            "POST",
            format!("/api/v1/admin/dead-letters/{ID}/replay"),
            "{}",
        ),
        (
            "POST",
            format!("/api/v1/admin/dead-letters/{ID}/drop"),
            "{}",
        ),
        ("POST", "/api/v1/admin/dead-letters/replay".into(), &many),
        ("POST", "/api/v1/admin/dead-letters/drop".into(), &many),
    ];
    for (method, target, body) in calls {
        let began = Instant::now();
        let answer = shop.request(method, &target, &json, body).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{target}");
        assert_eq!(answer.code(), "temporarily_unavailable", "{target}");
        assert_eq!(answer.header("retry-after"), "1", "{target}");
        assert_eq!(answer.header("cache-control"), "no-store", "{target}");
        assert_eq!(answer.problem()["retry_safe"], true, "{target}");
    }
}

#[tokio::test]
async fn an_order_needs_an_idempotency_key_before_anybody_is_asked() {
    let shop = Shop::open().await;
    let json = [("content-type", "application/json")];
    let answer = shop.request("POST", "/api/v1/orders", &json, "{}").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "idempotency_key_required")
    );
}

#[tokio::test]
async fn who_is_not_signed_in_learns_that_before_anything_else() {
    let shop = Shop::open().await;
    let json = [("content-type", "application/json")];
    for (method, target) in [
        ("PUT", "/api/v1/admin/products/lamp".to_owned()),
        ("GET", "/api/v1/admin/dead-letters".to_owned()),
        ("GET", "/api/v1/admin/dead-letters/groups".to_owned()),
        ("GET", format!("/api/v1/admin/dead-letters/{ID}")),
        ("POST", format!("/api/v1/admin/dead-letters/{ID}/replay")),
        ("POST", "/api/v1/admin/dead-letters/drop".to_owned()),
    ] {
        let answer = shop.request(method, &target, &json, "{}").await;
        assert_eq!(answer.code(), "unauthenticated", "{target}");
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer realm=\"shopzen\""
        );
    }
}

#[tokio::test]
async fn a_browser_is_told_on_a_page_and_a_program_in_json() {
    let shop = Shop::open().await;
    let html = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let page = shop.request("GET", "/", &html, "").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (503, "text/html; charset=utf-8")
    );
    assert!(page.text().contains(page.header("request-id")));
    assert!(
        page.header("content-security-policy")
            .contains("style-src 'self'")
    );
    let api = shop.request("GET", "/api/v1/products", &html, "").await;
    assert_eq!(api.code(), "temporarily_unavailable");
}

#[tokio::test]
async fn without_nats_the_answer_is_503_at_once_and_health_says_why() {
    let port = free_port().unwrap();
    let nats_server = tokio::task::spawn_blocking(|| servers().tools().nats_server.clone())
        .await
        .unwrap();
    let mut nats = Command::new(nats_server)
        .args(["-a", "127.0.0.1", "-p", &port.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    let config = Config {
        limits: Limits {
            enabled: false,
            ..Limits::default()
        },
        ..Config::default()
    };
    let shop = Shop::at(config, format!("nats://127.0.0.1:{port}")).await;
    assert!(
        shop.process
            .health
            .check()
            .await
            .iter()
            .all(|check| check.ok)
    );

    nats.kill().unwrap();
    nats.wait().unwrap();
    eventually(async || {
        shop.process
            .health
            .check()
            .await
            .iter()
            .any(|check| !check.ok)
    })
    .await;
    let checks = shop.process.health.check().await;
    assert_eq!(checks[0].name, "edge: nats");
    let began = Instant::now();
    assert_eq!(
        shop.get("/api/v1/products").await.code(),
        "temporarily_unavailable"
    );
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(
        shop.get("/docs/problems").await.status,
        200,
        "what needs no worker is served"
    );
}
