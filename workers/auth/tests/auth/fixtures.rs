//! What every test here needs.

use std::time::Duration;

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use shopzen_auth::{Config, worker};
use shopzen_chassis::{Asking, Bus, NatsLogin, Secret, clock, harness::Harness};
use shopzen_contracts::{
    Confidential, Problem,
    auth::{
        Claims, IssueToken, IssuedToken,
        accounts::{ConfirmEmail, Register, SignIn, SignInOutcome, UseSession},
    },
};
use shopzen_test_servers::servers;
use tokio::time::{Instant, interval};
use uuid::Uuid;

pub(crate) const SHOPPER: &str = "shopper@demo.test";
pub(crate) const GOOD_PASSWORD: &str = "copper-lantern-drizzle";

/// What seals and signs for the worker under test.
const SECRET: &str = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";

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
        key_encryption_key: Secret::new(SECRET),
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

/// A request that comes twice, and is stopped before its commit first.
pub(crate) fn once() -> Asking {
    Asking {
        idempotency_key: Some(clock::new_id().to_string()),
        ..Asking::default()
    }
}

/// Kind and recipient of every letter, oldest first.
pub(crate) async fn letters(harness: &Harness) -> Vec<(String, String)> {
    sqlx::query_as("SELECT kind, recipient FROM letters ORDER BY id")
        .fetch_all(harness.pool())
        .await
        .expect("letters can be read")
}

/// What stands in the link of the last letter of a kind, as only the worker and the letter's reader know it.
pub(crate) async fn link(harness: &Harness, kind: &str) -> Confidential {
    let id: Uuid =
        sqlx::query_scalar("SELECT id FROM letters WHERE kind = $1 ORDER BY id DESC LIMIT 1")
            .bind(kind)
            .fetch_one(harness.pool())
            .await
            .expect("there is such a letter");
    let keys = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let key = hmac::sign(&keys, b"shopzen auth: codes of links, v1");
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
    let code = BASE64URL_NOPAD.encode(hmac::sign(&key, id.as_bytes()).as_ref());
    Confidential::new(format!("{}.{code}", id.simple()))
}

pub(crate) async fn sign_in(harness: &Harness, email: &str, password: &str) -> SignInOutcome {
    let attempt = SignIn {
        email: email.to_owned(),
        password: Confidential::new(password),
        device: "Browser".to_owned(),
        instead_of: None,
    };
    let outcome = harness.command(&attempt, &Asking::default()).await;
    outcome.expect("an attempt is answered")
}

/// A confirmed account that is signed in: its id, and its session's cookie.
pub(crate) async fn signed_up(harness: &Harness, email: &str) -> (Uuid, Confidential) {
    let wish = Register {
        email: email.to_owned(),
        password: Confidential::new(GOOD_PASSWORD),
        name: "Ada".to_owned(),
    };
    harness.command(&wish, &once()).await.expect("a good wish");
    harness
        .sweep("answer wishes")
        .await
        .expect("it is answered");
    let token = link(harness, "confirm_email").await;
    let confirm = ConfirmEmail { token };
    harness
        .command(&confirm, &once())
        .await
        .expect("a good link");
    let SignInOutcome::SignedIn { session } = sign_in(harness, email, GOOD_PASSWORD).await else {
        panic!("the password is right")
    };
    let id = sqlx::query_scalar("SELECT id FROM accounts WHERE email = $1")
        .bind(email)
        .fetch_one(harness.pool())
        .await
        .expect("there is an account");
    (id, session)
}

pub(crate) fn claims_of(token: &str) -> Claims {
    let claims = token.split('.').nth(1).expect("a token has three parts");
    let claims = BASE64URL_NOPAD
        .decode(claims.as_bytes())
        .expect("base64url");
    serde_json::from_slice(&claims).expect("claims")
}

/// Whoever has this session, with a token that the worker under test believes.
pub(crate) async fn as_account(harness: &Harness, session: &Confidential) -> Asking {
    let session = session.clone();
    let used = harness
        .command(&UseSession { session }, &Asking::default())
        .await;
    let claims = claims_of(used.expect("it is open").access_token.expose());
    Asking {
        identity: Some(harness.token_of(&claims)),
        ..Asking::default()
    }
}
