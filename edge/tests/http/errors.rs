//! Where a worker, or NATS itself, is away.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures::StreamExt;
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
        ("webhook-id", "evt_1"),
        ("webhook-timestamp", "1"),
        ("webhook-signature", "v1,AAAA"),
    ];
    let many = format!("{{\"ids\":[\"{ID}\"]}}");
    let calls: [(&str, String, &str); 26] = [
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
        ("GET", "/api/v1/admin/audit".into(), ""),
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
        ("POST", "/webhooks/payments/sandbox".into(), "{}"),
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
    let guarded = shopzen_edge::accesses().into_iter();
    let guarded: Vec<_> = guarded.filter(|route| route.access.needs_token()).collect();
    assert!(guarded.len() > 10);
    for route in guarded {
        // Neither the names in the path nor the body are anything that a worker would take.
        let (method, target) = (route.method.as_str(), route.path.replace(['{', '}'], "~"));
        let answer = shop.request(method, &target, &[], "nonsense").await;
        assert_eq!(answer.code(), "unauthenticated", "{method} {target}");
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

/// A NATS server that no other test knows of.
pub(crate) struct OwnNats {
    server: Child,
    pub(crate) url: String,
}

impl OwnNats {
    pub(crate) async fn start() -> Self {
        let port = free_port().unwrap();
        let nats_server = tokio::task::spawn_blocking(|| servers().tools().nats_server.clone())
            .await
            .unwrap();
        let server = Command::new(nats_server)
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        let url = format!("nats://127.0.0.1:{port}");
        Self { server, url }
    }

    fn stop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

impl Drop for OwnNats {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

pub(crate) fn unlimited() -> Config {
    Config {
        limits: Limits {
            enabled: false,
            ..Limits::default()
        },
        ..Config::default()
    }
}

#[tokio::test]
async fn who_hangs_is_503_and_who_is_busy_is_504() {
    let nats = OwnNats::start().await;
    let shop = Shop::at(unlimited(), nats.url.clone()).await;
    let worker = async_nats::connect(&nats.url).await.unwrap();
    // Subscribed, as a process that hangs still is: requests are taken and never answered.
    let _requests = worker.subscribe("shop.*.*.>").await.unwrap();
    worker.flush().await.unwrap();
    let cancel = format!("/api/v1/orders/{ID}/cancel");
    let with_key = [("idempotency-key", "k")];

    for (method, target) in [("GET", "/api/v1/categories"), ("POST", &cancel)] {
        let began = Instant::now();
        let answer = shop.request(method, target, &with_key, "").await;
        assert!(began.elapsed() < Duration::from_secs(2), "{target}");
        assert_eq!(answer.code(), "temporarily_unavailable", "{target}");
        assert_eq!(answer.header("retry-after"), "1", "{target}");
    }
    // Without a key nobody can say that it is safe to try again.
    let unsafe_again = shop.request("POST", &cancel, &[], "").await;
    assert_eq!(unsafe_again.code(), "answer_too_late");
    assert_eq!(unsafe_again.problem()["retry_safe"], false);

    let mut pings = worker.subscribe("$SRV.PING.catalog").await.unwrap();
    worker.flush().await.unwrap();
    let alive = async {
        while let Some(ping) = pings.next().await {
            let reply = ping.reply.unwrap();
            worker.publish(reply, "".into()).await.unwrap();
        }
    };
    let busy = tokio::select! {
        busy = shop.get("/api/v1/categories") => busy,
        () = alive => unreachable!("pings do not end"),
    };
    assert_eq!(busy.code(), "answer_too_late");
    assert_eq!(busy.problem()["retry_safe"], true);
}

#[tokio::test]
async fn without_nats_the_answer_is_503_at_once_and_health_says_why() {
    let mut nats = OwnNats::start().await;
    let shop = Shop::at(unlimited(), nats.url.clone()).await;
    assert!(
        shop.process
            .health
            .check()
            .await
            .iter()
            .all(|check| check.ok)
    );

    nats.stop();
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
