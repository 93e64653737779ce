//! Too many requests from one address.

use std::num::NonZeroU32;

use shopzen_edge::{Config, Limits};

use crate::client::Shop;

fn config(burst: u32) -> Config {
    let limits = Limits {
        requests_per_s: NonZeroU32::MIN,
        requests_burst: NonZeroU32::new(burst).unwrap(),
        ..Limits::default()
    };
    Config {
        limits,
        ..Config::default()
    }
}

#[tokio::test]
async fn who_asks_too_much_is_told_when_to_come_back() {
    let shop = Shop::with(config(2)).await;
    let first = shop.get("/docs/problems").await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("ratelimit"), "\"address\";r=1;t=1");
    assert_eq!(first.header("ratelimit-policy"), "\"address\";q=2;w=2");
    shop.get("/nowhere").await;
    let refused = shop.get("/docs/problems").await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "rate_limited")
    );
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header("ratelimit"), "\"address\";r=0;t=1");
}

#[tokio::test]
async fn only_a_trusted_proxy_speaks_for_others() {
    let ask = async |shop: &Shop, address: &str| {
        let headers = [("x-forwarded-for", address)];
        shop.request("GET", "/docs/problems", &headers, "")
            .await
            .status
    };
    let trusting = Shop::with(Config {
        trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
        ..config(1)
    })
    .await;
    assert_eq!(ask(&trusting, "203.0.113.1").await, 200);
    assert_eq!(
        ask(&trusting, "203.0.113.9, 203.0.113.1").await,
        429,
        "the last one counts"
    );
    let wary = Shop::with(config(1)).await;
    assert_eq!(ask(&wary, "203.0.113.1").await, 200);
    assert_eq!(ask(&wary, "203.0.113.2").await, 429);
}

#[tokio::test]
async fn without_limits_there_are_no_limit_headers() {
    let shop = Shop::open().await;
    let answer = shop.get("/docs/problems").await;
    assert!(!answer.headers.contains_key("ratelimit"));
}
