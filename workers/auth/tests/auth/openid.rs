//! What OpenID Connect asks of a provider beyond OAuth (Core 1.0, 3.1.2): how lately somebody signed in, and as whom.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use shopzen_chassis::{Asking, harness::Harness};
use shopzen_contracts::{
    Confidential,
    auth::{
        accounts::SignInOutcome,
        authorization::{AuthorizationStep, Authorize},
    },
};
use uuid::Uuid;

use crate::{
    authorization::{ADA, app, asked, code, exchange, is_sign_in, request, sent_back, value},
    fixtures::{GOOD_PASSWORD, as_account, config, harness, sign_in, signed_up},
};

async fn step(harness: &Harness, asked: &Authorize, asking: &Asking) -> AuthorizationStep {
    harness.command(asked, asking).await.unwrap()
}

fn since(step: AuthorizationStep) -> Option<String> {
    match step {
        AuthorizationStep::SignIn { since } => Some(since),
        other => panic!("{other:?}"),
    }
}

/// A session that begins now.
async fn again(harness: &Harness) -> Asking {
    let SignInOutcome::SignedIn { session } = sign_in(harness, ADA, GOOD_PASSWORD).await else {
        panic!("the password is right")
    };
    as_account(harness, &session).await
}

fn payload(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
}

async fn id_token(harness: &Harness, client_id: Uuid, asking: &Asking) -> String {
    let code = code(harness, client_id, asking).await;
    let issued = request(harness, client_id, exchange(&code)).await.unwrap();
    issued.id_token.unwrap()
}

#[tokio::test]
async fn who_has_to_sign_in_anew_does_so_once_for_this_question_alone() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let before = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    for (prompt, max_age) in [("login", None), ("consent login", None), ("", Some("0"))] {
        let wish = |challenge: &str, since: Option<String>| Authorize {
            prompt: Some(prompt.to_owned()).filter(|it| !it.is_empty()),
            max_age: max_age.map(str::to_owned),
            code_challenge: Some(challenge.repeat(43)),
            since,
            ..asked(client_id)
        };
        let first = step(&harness, &wish("a", None), &before).await;
        let since = since(first);
        let still = step(&harness, &wish("a", since.clone()), &before).await;
        assert!(is_sign_in(&still), "nothing was done: {still:?}");
        let after = again(&harness).await;
        let other = step(&harness, &wish("b", since.clone()), &after).await;
        assert!(is_sign_in(&other), "another question: {other:?}");
        let forged = since.as_deref().map(|it| it.replacen('1', "2", 1));
        let forged = step(&harness, &wish("a", forged), &after).await;
        assert!(is_sign_in(&forged), "{forged:?}");
        let done = step(&harness, &wish("a", since), &after).await;
        assert!(!is_sign_in(&done), "{prompt} {max_age:?}: {done:?}");
    }
}

#[tokio::test]
async fn an_id_token_says_when_somebody_signed_in() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    let an_hour_ago = "UPDATE sessions SET authenticated_at = now() - interval '1 hour'";
    sqlx::query(an_hour_ago)
        .execute(harness.pool())
        .await
        .unwrap();
    let with = |max_age: &str| Authorize {
        max_age: Some(max_age.to_owned()),
        ..asked(client_id)
    };
    let young = step(&harness, &with("10000"), &asking).await;
    value(&sent_back(young), "code");
    assert!(is_sign_in(&step(&harness, &with("3599"), &asking).await));
    let old = payload(&id_token(&harness, client_id, &asking).await);
    let new = payload(&id_token(&harness, client_id, &again(&harness).await).await);
    let (old_at, new_at) = (&old["auth_time"], &new["auth_time"]);
    let hours = new_at.as_u64().unwrap() - old_at.as_u64().unwrap();
    assert!((3_590..3_700).contains(&hours), "{hours}");
}

#[tokio::test]
async fn a_program_that_expects_somebody_gets_nobody_else() {
    let harness = harness(config()).await;
    let (ada, session) = signed_up(&harness, ADA).await;
    let as_ada = as_account(&harness, &session).await;
    let (_, session) = signed_up(&harness, "grace@hopper.example").await;
    let as_grace = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    let hint = id_token(&harness, client_id, &as_ada).await;
    assert_eq!(payload(&hint)["sub"], ada.to_string());
    let with = |hint: &str, prompt: Option<&str>, since| Authorize {
        id_token_hint: Some(Confidential::new(hint)),
        prompt: prompt.map(str::to_owned),
        since,
        ..asked(client_id)
    };
    let silent = with(&hint, Some("none"), None);
    value(&sent_back(step(&harness, &silent, &as_ada).await), "code");
    let pairs = sent_back(step(&harness, &silent, &as_grace).await);
    assert_eq!(value(&pairs, "error"), "login_required");
    // Who is somebody else may sign in as the right one, and is not asked for ever.
    let since = since(step(&harness, &with(&hint, None, None), &as_grace).await);
    value(
        &sent_back(step(&harness, &with(&hint, None, since.clone()), &as_ada).await),
        "code",
    );
    let later = "UPDATE sessions SET authenticated_at = now() + interval '1 second'";
    sqlx::query(later).execute(harness.pool()).await.unwrap();
    let pairs = sent_back(step(&harness, &with(&hint, None, since), &as_grace).await);
    assert_eq!(value(&pairs, "error"), "login_required");
    // What is none of our tokens says nothing.
    for nothing in ["x", "a.b.c", &hint[..hint.len() - 4]] {
        let step = step(&harness, &with(nothing, Some("none"), None), &as_grace).await;
        value(&sent_back(step), "code");
    }
}

#[tokio::test]
async fn what_is_not_offered_is_said_to_the_program() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    let text = || Some("https://evil.example/request".to_owned());
    let cases = [
        (
            Authorize {
                request: text(),
                ..asked(client_id)
            },
            "request_not_supported",
        ),
        (
            Authorize {
                request_uri: text(),
                ..asked(client_id)
            },
            "request_uri_not_supported",
        ),
        (
            Authorize {
                registration: text(),
                ..asked(client_id)
            },
            "registration_not_supported",
        ),
        (
            Authorize {
                response_mode: text(),
                ..asked(client_id)
            },
            "invalid_request",
        ),
        (
            Authorize {
                response_type: None,
                ..asked(client_id)
            },
            "invalid_request",
        ),
    ];
    for (wish, error) in cases {
        let pairs = sent_back(step(&harness, &wish, &asking).await);
        assert_eq!(value(&pairs, "error"), error);
        assert_eq!(value(&pairs, "state"), "state");
    }
}

#[tokio::test]
async fn scopes_come_in_any_order_and_what_nobody_understands_is_left_out() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    for (scope, granted) in [
        ("email openid", "email openid"),
        ("phone profile openid address", "openid profile"),
        ("openid profile email address phone", "email openid profile"),
        ("openid", "openid"),
    ] {
        let wish = Authorize {
            scope: Some(scope.to_owned()),
            // Without a nonce too (3.1.2.1).
            nonce: None,
            ..asked(client_id)
        };
        let pairs = sent_back(step(&harness, &wish, &asking).await);
        let code = Confidential::new(value(&pairs, "code"));
        let issued = request(&harness, client_id, exchange(&code)).await.unwrap();
        assert_eq!(issued.scope, granted);
        let claims = payload(&issued.id_token.unwrap());
        assert!(claims.get("nonce").is_none(), "{claims}");
        assert_eq!(claims.get("name").is_some(), granted.contains("profile"));
        assert_eq!(claims.get("email").is_some(), granted.contains("email"));
    }
}
