//! Who gets a token, and what it is signed with.

use data_encoding::BASE64URL_NOPAD;
use shopzen_auth::{Config, worker};
use shopzen_chassis::{Asking, harness::Harness};
use shopzen_contracts::{
    Command, Query,
    auth::{Claims, GetKeys, IssueOperatorToken, IssueToken, OPERATOR},
};

use crate::fixtures::{bus, config, harness, issue};

#[tokio::test]
async fn the_demo_accounts_get_tokens_with_their_scopes() {
    let harness = harness(config()).await;
    let token = issue(&harness, "shopper@demo.test").await.unwrap();
    assert_eq!(
        (token.token_type.as_str(), token.expires_in),
        ("Bearer", 600)
    );
    assert_eq!(token.scope, "orders:place orders:read profile:write");
    let token = issue(&harness, " STAFF@demo.test ").await.unwrap();
    assert_eq!(
        token.scope,
        "orders:place orders:read profile:write orders:write catalog:write stock:write pricing:write accounts:write \
         partners:write ops:write"
    );
}

#[tokio::test]
async fn operators_need_no_account_of_staff() {
    let without = Config {
        demo_accounts: false,
        ..config()
    };
    let harness = harness(without).await;
    let asking = Asking::default();
    let issued = harness
        .command(&IssueOperatorToken {}, &asking)
        .await
        .unwrap();
    assert_eq!(
        issued.scope,
        "orders:place orders:read profile:write orders:write catalog:write stock:write pricing:write accounts:write \
         partners:write ops:write"
    );
    let claims = issued.access_token.split('.').nth(1).unwrap();
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap();
    let claims: Claims = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims.sub, OPERATOR);
}

#[tokio::test]
async fn the_same_key_gives_the_same_token() {
    let harness = harness(config()).await;
    let asking = Asking {
        idempotency_key: Some("one".to_owned()),
        ..Asking::default()
    };
    let command = IssueToken {
        email: "staff@demo.test".to_owned(),
    };
    harness.command(&command, &asking).await.unwrap();
}

#[tokio::test]
async fn nobody_else_gets_one() {
    let harness = harness(config()).await;
    for email in [
        "",
        "ada@example.com",
        "staff@demo.test\0",
        "%",
        &"a".repeat(100_000),
    ] {
        let problem = issue(&harness, email).await.unwrap_err();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (404, "account_not_found"),
            "{email:?}"
        );
    }
    for body in [
        &b"{}"[..],
        b"{\"email\": 1}",
        b"{\"email\": \"a\", \"scope\": \"x\"}",
        b"\xff",
    ] {
        let problem = harness
            .ask_bytes(IssueToken::SUBJECT, body, &Asking::default())
            .await
            .unwrap_err();
        assert!(matches!(problem.status, 400 | 422), "{problem:?}");
    }
}

#[tokio::test]
async fn without_demo_accounts_there_are_none() {
    let with = config();
    let without = Config {
        demo_accounts: false,
        ..with.clone()
    };
    let accounts = "SELECT count(*) FROM accounts";

    let harness = harness(without.clone()).await;
    let count: i64 = sqlx::query_scalar(accounts)
        .fetch_one(harness.pool())
        .await
        .unwrap();
    assert_eq!(count, 0);
    assert_eq!(
        issue(&harness, "staff@demo.test").await.unwrap_err().status,
        404
    );

    // Once made they are kept, and are nobody while they are not wanted.
    let harness = crate::fixtures::harness(with).await;
    issue(&harness, "staff@demo.test").await.unwrap();
    let harness = crate::fixtures::harness(without).await;
    assert_eq!(
        issue(&harness, "staff@demo.test").await.unwrap_err().status,
        404
    );
}

#[tokio::test]
async fn replicas_that_start_together_agree_on_one_key() {
    let config = config();
    let bus = bus().await;
    // One after the other would find the tables made.
    let first = Harness::start(worker(config.clone()), &bus).await.unwrap();
    sqlx::query("DELETE FROM signing_keys")
        .execute(first.pool())
        .await
        .unwrap();
    sqlx::query("DELETE FROM accounts")
        .execute(first.pool())
        .await
        .unwrap();
    let (a, b, c) = tokio::join!(
        Harness::start(worker(config.clone()), &bus),
        Harness::start(worker(config.clone()), &bus),
        Harness::start(worker(config.clone()), &bus),
    );
    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM signing_keys")
        .fetch_one(first.pool())
        .await
        .unwrap();
    assert_eq!(keys, 1);
    let mut key_ids = Vec::new();
    for replica in [a.unwrap(), b.unwrap(), c.unwrap()] {
        let token = issue(&replica, "staff@demo.test")
            .await
            .unwrap()
            .access_token;
        key_ids.push(jsonwebtoken::decode_header(&token).unwrap().kid.unwrap());
    }
    key_ids.dedup();
    assert_eq!(key_ids.len(), 1);
}

#[tokio::test]
async fn a_restart_changes_neither_key_nor_accounts() {
    let config = config();
    let before = harness(config.clone()).await.snapshot().await;
    let after = harness(config).await.snapshot().await;
    assert_eq!(before["signing_keys"], after["signing_keys"]);
    assert_eq!(before["accounts"], after["accounts"]);
}

#[tokio::test]
async fn the_keys_that_are_given_out_are_public() {
    let harness = harness(config()).await;
    let keys = harness
        .query(&GetKeys {}, &Asking::default())
        .await
        .unwrap()
        .keys;
    assert_eq!(keys.len(), 1);
    let members: Vec<&String> = keys[0].as_object().unwrap().keys().collect();
    assert!(!members.iter().any(|member| *member == "d"), "{members:?}");
    assert_eq!(
        (&keys[0]["kty"], &keys[0]["crv"], &keys[0]["alg"]),
        (&"EC".into(), &"P-256".into(), &"ES256".into())
    );
    let problem = harness
        .ask_bytes(GetKeys::SUBJECT, b"{\"all\": true}", &Asking::default())
        .await
        .unwrap_err();
    assert_eq!(problem.status, 422);
}
