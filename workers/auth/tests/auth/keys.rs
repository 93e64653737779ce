//! What tokens are signed with, over the years.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use shopzen_auth::worker;
use shopzen_chassis::{Asking, Secret, harness::Harness};
use shopzen_contracts::auth::{GetKeys, ListSigningKeys, RotateSigningKeys, SigningKey};

use crate::fixtures::{bus, config, harness, issue};

async fn keys(auth: &Harness) -> Vec<SigningKey> {
    let keys = auth.query(&ListSigningKeys {}, &Asking::default()).await;
    keys.unwrap().items
}

async fn rotate(auth: &Harness, withdraw: bool) -> Vec<SigningKey> {
    let command = RotateSigningKeys { withdraw };
    let keys = auth.command(&command, &Asking::default()).await;
    keys.unwrap().items
}

/// The ids of the keys that are published.
async fn published(auth: &Harness) -> Vec<String> {
    let keys = auth.query(&GetKeys {}, &Asking::default()).await.unwrap();
    let id = |key: &serde_json::Value| key["kid"].as_str().unwrap().to_owned();
    keys.keys.iter().map(id).collect()
}

/// The key that signs.
async fn signing(auth: &Harness) -> String {
    let token = issue(auth, "staff@demo.test").await.unwrap().access_token;
    jsonwebtoken::decode_header(&token).unwrap().kid.unwrap()
}

async fn turn_the_clock(auth: &Harness, by: &'static str) {
    sqlx::query(
        "
        UPDATE signing_keys
        SET signs_from = signs_from - $1::interval, believed_until = believed_until - $1::interval
        ",
    )
    .bind(by)
    .execute(auth.pool())
    .await
    .unwrap();
}

async fn look_after(auth: &Harness) {
    assert!(!auth.sweep("signing keys").await.unwrap());
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_an_old_one_until_its_tokens_expire() {
    let auth = harness(config()).await;
    let old = signing(&auth).await;
    let kept = rotate(&auth, false).await;
    assert_eq!(kept.len(), 2);
    let new = kept[0].kid.clone();
    assert_eq!(kept[1].kid, old);
    assert_eq!(rotate(&auth, false).await, kept, "one next key is enough");
    look_after(&auth).await;
    assert_eq!(published(&auth).await, [old.clone(), new.clone()]);
    assert_eq!(signing(&auth).await, old);

    turn_the_clock(&auth, "9 minutes 50 seconds").await;
    look_after(&auth).await;
    assert_eq!(signing(&auth).await, old);
    turn_the_clock(&auth, "10 seconds").await;
    assert_eq!(signing(&auth).await, new);
    look_after(&auth).await;
    assert_eq!(published(&auth).await, [old.clone(), new.clone()]);
    assert!(keys(&auth).await[1].believed_until.is_some());
    let unsealed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM signing_keys WHERE sealed_private_key IS NULL")
            .fetch_one(auth.pool())
            .await
            .unwrap();
    assert_eq!(unsealed, 1, "what signs no more cannot leak");

    // As long as the youngest token it signed, and a little.
    turn_the_clock(&auth, "10 minutes").await;
    look_after(&auth).await;
    assert_eq!(published(&auth).await, [old, new.clone()]);
    turn_the_clock(&auth, "1 minute").await;
    look_after(&auth).await;
    assert_eq!(published(&auth).await, std::slice::from_ref(&new));
    assert_eq!(signing(&auth).await, new);
}

#[tokio::test]
async fn keys_follow_each_other_by_themselves() {
    let auth = harness(config()).await;
    look_after(&auth).await;
    turn_the_clock(&auth, "29 days 23 hours").await;
    look_after(&auth).await;
    assert_eq!(keys(&auth).await.len(), 1);
    turn_the_clock(&auth, "1 hour").await;
    look_after(&auth).await;
    look_after(&auth).await;
    assert_eq!(keys(&auth).await.len(), 2);

    let by_command = config();
    let auth = harness(shopzen_auth::Config {
        key_rotation_days: 0,
        ..by_command
    })
    .await;
    turn_the_clock(&auth, "900 days").await;
    look_after(&auth).await;
    assert_eq!(keys(&auth).await.len(), 1);
}

#[tokio::test]
async fn withdrawn_keys_are_gone_at_once() {
    let auth = harness(config()).await;
    let old = signing(&auth).await;
    rotate(&auth, false).await;
    let left = rotate(&auth, true).await;
    assert_eq!(left.len(), 1);
    assert_ne!(left[0].kid, old);
    assert_eq!(published(&auth).await, [left[0].kid.clone()]);
    assert_eq!(signing(&auth).await, left[0].kid);
}

#[tokio::test]
async fn keys_cannot_be_used_without_what_they_were_sealed_with() {
    let config = config();
    let bus = bus().await;
    Harness::start(worker(config.clone()), &bus).await.unwrap();
    for (secret, says) in [
        ("o".repeat(32), "is not what it was sealed with"),
        ("k".repeat(31), "must have at least 32 characters"),
        (String::new(), "must have at least 32 characters"),
    ] {
        let other = shopzen_auth::Config {
            key_encryption_key: Secret::new(secret),
            ..config.clone()
        };
        let error = Harness::start(worker(other), &bus).await.unwrap_err();
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains("auth.key_encryption_key"), "{why}");
        assert!(why.contains(says), "{why}");
    }
    Harness::start(worker(config), &bus).await.unwrap();
}

#[tokio::test]
async fn what_the_version_before_signs_with_is_believed_until_it_can_be_gone() {
    let auth = harness(config()).await;
    let ours = signing(&auth).await;
    // As that version puts it in.
    let inserted = sqlx::query(
        "
        INSERT INTO signing_keys (kid, private_key, public_jwk, in_use)
        VALUES ('before', '\\x00', '{\"kid\": \"before\"}', true)
        ON CONFLICT (in_use) WHERE in_use DO NOTHING
        ",
    );
    let inserted = inserted.execute(auth.pool()).await.unwrap();
    assert_eq!(inserted.rows_affected(), 1);
    look_after(&auth).await;
    assert_eq!(signing(&auth).await, ours);
    assert_eq!(published(&auth).await, [ours.clone(), "before".to_owned()]);

    turn_the_clock(&auth, "1 day 1 second").await;
    look_after(&auth).await;
    let unsealed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM signing_keys WHERE private_key IS NOT NULL")
            .fetch_one(auth.pool())
            .await
            .unwrap();
    assert_eq!(unsealed, 0);
    assert_eq!(published(&auth).await, [ours.clone(), "before".to_owned()]);
    turn_the_clock(&auth, "11 minutes").await;
    look_after(&auth).await;
    assert_eq!(published(&auth).await, [ours]);
}
