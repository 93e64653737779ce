//! What every test here needs.

use std::time::Duration;

use shopzen_auth::{Config, worker};
use shopzen_chassis::{Asking, Bus, NatsLogin, Secret, harness::Harness};
use shopzen_contracts::{
    Problem,
    auth::{IssueToken, IssuedToken},
};
use shopzen_test_servers::servers;
use tokio::time::{Instant, interval};

/// Who tokens are from.
pub(crate) const ISSUER: &str = "https://shop.example";

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
        key_encryption_key: Secret::new("k".repeat(32)),
        issuer: ISSUER.to_owned(),
        ..Config::default()
    }
}

pub(crate) async fn harness(config: Config) -> Harness {
    Harness::start(worker(config), &bus().await)
        .await
        .expect("the worker starts")
}

pub(crate) async fn issue(harness: &Harness, email: &str) -> Result<IssuedToken, Problem> {
    harness
        .command(
            &IssueToken {
                email: email.to_owned(),
            },
            &Asking::default(),
        )
        .await
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
