//! How long attempts take. It is a program of its own because a hash takes a whole processor: beside other tests that hash,
//! what one attempt takes says more about them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use shopzen_auth::{Config, worker};
use shopzen_chassis::{Asking, Bus, NatsLogin, Secret, harness::Harness};
use shopzen_contracts::{
    Confidential,
    auth::accounts::{SignIn, SignInOutcome},
};
use shopzen_test_servers::servers;

async fn harness() -> Harness {
    let login = NatsLogin {
        url: servers().nats_url(),
        user: "test".to_owned(),
        password: Secret::new(""),
    };
    let config = Config {
        database_url: Secret::new(servers().database_url()),
        key_encryption_key: Secret::new("kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"),
        issuer: "https://shop.example".to_owned(),
        ..Config::default()
    };
    let bus = Bus::connect(&login).await.unwrap();
    Harness::start(worker(config), &bus).await.unwrap()
}

/// What an attempt with a wrong password takes.
async fn attempt(harness: &Harness, email: String) -> Duration {
    let attempt = SignIn {
        email,
        password: Confidential::new("wrong"),
        device: "Browser".to_owned(),
        instead_of: None,
    };
    let started = Instant::now();
    let outcome = harness.command(&attempt, &Asking::default()).await;
    assert_eq!(outcome.unwrap(), SignInOutcome::Wrong);
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test]
async fn signing_in_takes_as_long_where_there_is_no_account() {
    const TRIES: u32 = 100;
    let harness = harness().await;
    let known = "
        INSERT INTO accounts (id, email, name, scopes, password_hash)
        SELECT gen_random_uuid(), 'known' || n || '@lovelace.example', 'Known', '{}', password_hash
        FROM accounts, generate_series(1, 100) AS n WHERE email = 'shopper@demo.test'
    ";
    sqlx::query(known).execute(harness.pool()).await.unwrap();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    // By turns, so that whatever else the machine does slows both down.
    for n in 1..=TRIES {
        known.push(attempt(&harness, format!("known{n}@lovelace.example")).await);
        unknown.push(attempt(&harness, format!("nobody{n}@lovelace.example")).await);
    }
    let (known, unknown) = (median(known), median(unknown));
    // Without the hash that nobody has it would be less than a tenth.
    assert!(
        unknown * 4 > known * 3 && known * 4 > unknown * 3,
        "{known:?} {unknown:?}"
    );
}
