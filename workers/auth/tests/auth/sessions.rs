//! Sessions: what their cookies are good for, and until when.

use shopzen_chassis::{Asking, harness::Harness};
use shopzen_contracts::{
    Confidential,
    auth::accounts::{
        EndSession, ListSessions, SessionInUse, SignIn, SignInOutcome, SignOut, UseSession,
    },
};
use uuid::Uuid;

use crate::fixtures::{
    GOOD_PASSWORD, as_account, claims_of, config, harness, once, sign_in, signed_up,
};

const ADA: &str = "ada@lovelace.example";

async fn used(harness: &Harness, session: &Confidential) -> Option<SessionInUse> {
    let session = session.clone();
    let used = harness
        .command(&UseSession { session }, &Asking::default())
        .await;
    match used {
        Ok(used) => Some(used),
        Err(problem) => {
            assert_eq!(problem.status, 401, "{problem:?}");
            None
        }
    }
}

#[tokio::test]
async fn a_session_gives_tokens_that_name_it() {
    let harness = harness(config()).await;
    let (account_id, session) = signed_up(&harness, ADA).await;
    let used = used(&harness, &session).await.unwrap();
    assert_eq!(
        (used.account.id, used.account.email.as_str()),
        (account_id, ADA)
    );
    let claims = claims_of(used.access_token.expose());
    assert_eq!(
        (claims.sub, claims.sid),
        (account_id, Some(used.session_id))
    );
    assert_eq!(claims.scope, "orders:place orders:read profile:write");
}

#[tokio::test]
async fn a_session_ends_when_its_owner_signs_out_or_is_away_too_long() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let SignInOutcome::SignedIn { session: other } = sign_in(&harness, ADA, GOOD_PASSWORD).await
    else {
        panic!("the password is right")
    };
    let out = SignOut {
        session: session.clone(),
    };
    harness.command(&out, &once()).await.unwrap();
    assert!(used(&harness, &session).await.is_none());
    harness.command(&out, &once()).await.unwrap();
    assert!(used(&harness, &other).await.is_some());

    let away = "UPDATE sessions SET seen_at = now() - interval '13 days'";
    sqlx::query(away).execute(harness.pool()).await.unwrap();
    assert!(used(&harness, &other).await.is_some());
    let away = "UPDATE sessions SET seen_at = now() - interval '15 days'";
    sqlx::query(away).execute(harness.pool()).await.unwrap();
    assert!(used(&harness, &other).await.is_none());
    let over = "UPDATE sessions SET seen_at = now(), expires_at = now()";
    sqlx::query(over).execute(harness.pool()).await.unwrap();
    assert!(used(&harness, &other).await.is_none());
    for forged in ["", "x", &"x".repeat(43)] {
        assert!(used(&harness, &Confidential::new(forged)).await.is_none());
    }
}

#[tokio::test]
async fn signing_in_again_replaces_the_session_that_the_browser_had() {
    let harness = harness(config()).await;
    let (_, before) = signed_up(&harness, ADA).await;
    let attempt = SignIn {
        email: ADA.to_owned(),
        password: Confidential::new(GOOD_PASSWORD),
        device: "Browser".to_owned(),
        instead_of: Some(before.clone()),
    };
    let outcome = harness.command(&attempt, &Asking::default()).await.unwrap();
    let SignInOutcome::SignedIn { session } = outcome else {
        panic!("{outcome:?}")
    };
    assert_ne!(session, before);
    assert!(used(&harness, &before).await.is_none());
    assert!(used(&harness, &session).await.is_some());
}

#[tokio::test]
async fn an_account_sees_and_ends_its_own_sessions_and_no_others() {
    let harness = harness(config()).await;
    let (_, ada) = signed_up(&harness, ADA).await;
    let (_, eve) = signed_up(&harness, "eve@lovelace.example").await;
    let asking = as_account(&harness, &ada).await;
    let own = harness
        .query(&ListSessions {}, &asking)
        .await
        .unwrap()
        .items;
    assert_eq!(own.len(), 1);
    assert!(own[0].is_current && own[0].device == "Browser");
    let id = used(&harness, &eve).await.unwrap().session_id;
    for foreign in [id, Uuid::nil()] {
        let problem = harness
            .command(&EndSession { id: foreign }, &asking)
            .await
            .unwrap_err();
        assert_eq!(problem.status, 404);
    }
    assert!(used(&harness, &eve).await.is_some());
    harness
        .command(&EndSession { id: own[0].id }, &asking)
        .await
        .unwrap();
    assert!(used(&harness, &ada).await.is_none());
    let nobody = Asking::default();
    assert_eq!(
        harness
            .query(&ListSessions {}, &nobody)
            .await
            .unwrap_err()
            .status,
        401
    );
    assert_eq!(
        harness
            .command(&EndSession { id }, &nobody)
            .await
            .unwrap_err()
            .status,
        401
    );
}

#[tokio::test]
async fn an_account_has_a_limited_number_of_sessions() {
    let harness = harness(config()).await;
    let (account_id, first) = signed_up(&harness, ADA).await;
    sqlx::query(
        "
        INSERT INTO sessions (id, account_id, device, expires_at, idle_s)
        SELECT gen_random_uuid(), $1, 'App', now() + interval '1 day', 86400 FROM generate_series(1, 60)
        ",
    )
    .bind(account_id)
    .execute(harness.pool())
    .await
    .unwrap();
    sqlx::query(
        "UPDATE sessions SET seen_at = now() - interval '1 hour' WHERE secret_hash IS NOT NULL",
    )
    .execute(harness.pool())
    .await
    .unwrap();
    let outcome = sign_in(&harness, ADA, GOOD_PASSWORD).await;
    assert!(matches!(outcome, SignInOutcome::SignedIn { .. }));
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions WHERE account_id = $1")
        .bind(account_id)
        .fetch_one(harness.pool())
        .await
        .unwrap();
    assert_eq!(count, 50);
    assert!(
        used(&harness, &first).await.is_none(),
        "the least used is gone"
    );
}

#[tokio::test]
async fn what_is_long_past_is_forgotten() {
    let harness = harness(config()).await;
    signed_up(&harness, ADA).await;
    for age in [
        "UPDATE sessions SET expires_at = now()",
        "UPDATE letters SET next_at = NULL, created_at = now() - interval '31 days'",
        "UPDATE sign_in_failures SET failed_at = now() - interval '2 days'",
    ] {
        sqlx::query(age).execute(harness.pool()).await.unwrap();
    }
    harness.sweep("forget").await.unwrap();
    let rows = harness.snapshot().await;
    for table in ["sessions", "letters", "registrations", "sign_in_failures"] {
        assert_eq!(rows[table], Vec::<String>::new(), "{table}");
    }
}
