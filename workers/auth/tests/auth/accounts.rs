//! From a wish for an account to a session, and back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use shopzen_chassis::{Asking, harness::Harness};
use shopzen_contracts::{
    Confidential, Problem,
    auth::accounts::{
        ChangeEmail, ChangeMe, ChangePassword, ConfirmEmail, EmailConfirmed, GetMe,
        PasswordOutcome, Register, RequestPasswordReset, ResetPassword, SignIn, SignInOutcome,
    },
};
use uuid::Uuid;

use crate::fixtures::{
    GOOD_PASSWORD, SHOPPER, as_account, config, harness, letters, link, once, sign_in, signed_up,
};

const ADA: &str = "ada@lovelace.example";

fn register(email: &str, password: &str, name: &str) -> Register {
    Register {
        email: email.to_owned(),
        password: Confidential::new(password),
        name: name.to_owned(),
    }
}

async fn confirm(harness: &Harness, token: &Confidential) -> Result<EmailConfirmed, Problem> {
    let token = token.clone();
    harness.command(&ConfirmEmail { token }, &once()).await
}

#[tokio::test]
async fn an_account_is_there_once_its_address_is_confirmed() {
    let harness = harness(config()).await;
    let wish = register(" Ada@Lovelace.Example ", GOOD_PASSWORD, "Ada");
    harness.command(&wish, &once()).await.unwrap();
    harness.sweep("answer wishes").await.unwrap();
    assert_eq!(
        sign_in(&harness, ADA, GOOD_PASSWORD).await,
        SignInOutcome::Wrong
    );

    let written = letters(&harness).await;
    assert_eq!(written, [("confirm_email".to_owned(), ADA.to_owned())]);
    let token = link(&harness, "confirm_email").await;
    let email = Some(ADA.to_owned());
    assert_eq!(
        confirm(&harness, &token).await.unwrap(),
        EmailConfirmed {
            email: email.clone()
        }
    );
    // Mail programs follow links too.
    assert_eq!(
        confirm(&harness, &token).await.unwrap(),
        EmailConfirmed { email }
    );
    assert!(matches!(
        sign_in(&harness, ADA, GOOD_PASSWORD).await,
        SignInOutcome::SignedIn { .. }
    ));
}

#[tokio::test]
async fn a_wish_is_answered_alike_whether_there_is_an_account_or_not() {
    let harness = harness(config()).await;
    let known = register(SHOPPER, GOOD_PASSWORD, "Eve");
    let unknown = register(ADA, GOOD_PASSWORD, "Eve");
    for wish in [known, unknown] {
        harness.command(&wish, &once()).await.unwrap();
    }
    for email in [SHOPPER, "nobody@lovelace.example"] {
        let wish = RequestPasswordReset {
            email: email.to_owned(),
        };
        harness.command(&wish, &once()).await.unwrap();
    }
    let before = letters(&harness).await;
    assert!(
        before.is_empty(),
        "nothing is looked up before the answer: {before:?}"
    );
    harness.sweep("answer wishes").await.unwrap();
    let mut written = letters(&harness).await;
    written.sort();
    let letter = |kind: &str, to: &str| (kind.to_owned(), to.to_owned());
    assert_eq!(
        written,
        [
            letter("already_registered", SHOPPER),
            letter("confirm_email", ADA),
            letter("reset_password", SHOPPER),
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_an_account_is_refused_field_by_field() {
    let harness = harness(config()).await;
    let untouched = harness.snapshot().await;
    let cases = [
        (
            register("ada", "short", ""),
            vec!["/email", "/name", "/password"],
        ),
        (register(ADA, "password123", "Ada"), vec!["/password"]),
        (
            register(ADA, "lovelace1", "Ada Lovelace"),
            vec!["/password"],
        ),
        (register(ADA, &"a".repeat(129), "Ada"), vec!["/password"]),
        (
            register("a@b.de\r\nBcc: x@y.z", GOOD_PASSWORD, "Ada"),
            vec!["/email"],
        ),
        (register(ADA, GOOD_PASSWORD, "Ada\nAdmin"), vec!["/name"]),
    ];
    for (wish, pointers) in cases {
        let problem = harness.command(&wish, &once()).await.unwrap_err();
        let found: Vec<&str> = problem
            .errors
            .iter()
            .map(|it| it.pointer.as_str())
            .collect();
        assert_eq!((problem.status, found), (422, pointers), "{wish:?}");
    }
    assert_eq!(harness.snapshot().await, untouched);
}

#[tokio::test]
async fn of_several_wishes_for_one_address_one_becomes_the_account() {
    let harness = harness(config()).await;
    let mut tokens = Vec::new();
    for name in ["First", "Second"] {
        harness
            .command(&register(ADA, GOOD_PASSWORD, name), &once())
            .await
            .unwrap();
        harness.sweep("answer wishes").await.unwrap();
        tokens.push(link(&harness, "confirm_email").await);
    }
    confirm(&harness, &tokens[1]).await.unwrap();
    let problem = confirm(&harness, &tokens[0]).await.unwrap_err();
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (422, "link_invalid")
    );
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM accounts WHERE email = $1")
        .bind(ADA)
        .fetch_all(harness.pool())
        .await
        .unwrap();
    assert_eq!(names, ["Second"]);
}

#[tokio::test]
async fn a_link_that_is_forged_too_old_or_of_another_kind_is_refused() {
    let harness = harness(config()).await;
    harness
        .command(&register(ADA, GOOD_PASSWORD, "Ada"), &once())
        .await
        .unwrap();
    harness.sweep("answer wishes").await.unwrap();
    let token = link(&harness, "confirm_email").await;
    let reset = |token: &Confidential| ResetPassword {
        token: token.clone(),
        password: Confidential::new(GOOD_PASSWORD),
    };
    let untouched = harness.snapshot().await;
    harness.command(&reset(&token), &once()).await.unwrap_err();
    let (id, code) = token.expose().split_once('.').unwrap();
    let backwards: String = code.chars().rev().collect();
    let forged = Confidential::new(format!("{id}.{backwards}"));
    for bad in [forged, Confidential::new(""), Confidential::new("a.b")] {
        assert_eq!(
            confirm(&harness, &bad).await.unwrap_err().code,
            "link_invalid"
        );
        assert_eq!(
            harness
                .command(&reset(&bad), &once())
                .await
                .unwrap_err()
                .code,
            "link_invalid"
        );
    }
    assert_eq!(harness.snapshot().await, untouched);
    sqlx::query("UPDATE letters SET created_at = created_at - interval '31 minutes'")
        .execute(harness.pool())
        .await
        .unwrap();
    assert_eq!(
        confirm(&harness, &token).await.unwrap_err().code,
        "link_invalid"
    );
}

#[tokio::test]
async fn a_new_password_ends_all_sessions_and_its_link_is_good_once() {
    let harness = harness(config()).await;
    let (ada, _) = signed_up(&harness, ADA).await;
    let reset = RequestPasswordReset {
        email: ADA.to_owned(),
    };
    harness.command(&reset, &once()).await.unwrap();
    harness.sweep("answer wishes").await.unwrap();
    let token = link(&harness, "reset_password").await;
    let weak = ResetPassword {
        token: token.clone(),
        password: Confidential::new("password1"),
    };
    assert_eq!(
        harness.command(&weak, &once()).await.unwrap_err().status,
        422
    );
    let new = ResetPassword {
        token,
        password: Confidential::new("tangerine-orbit-velvet"),
    };
    harness.command(&new, &once()).await.unwrap();
    assert_eq!(sessions_of(&harness, ada).await, 0);
    let revoked: i64 = sqlx::query_scalar("SELECT count(*) FROM revocations")
        .fetch_one(harness.pool())
        .await
        .unwrap();
    assert_eq!(revoked, 1);
    assert_eq!(
        sign_in(&harness, ADA, GOOD_PASSWORD).await,
        SignInOutcome::Wrong
    );
    let again = harness.command(&new, &once()).await.unwrap_err();
    assert_eq!(again.code, "link_invalid");
    let told = letters(&harness).await;
    assert!(
        told.contains(&("password_changed".to_owned(), ADA.to_owned())),
        "{told:?}"
    );
}

async fn sessions_of(harness: &Harness, account_id: Uuid) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM sessions WHERE account_id = $1")
        .bind(account_id)
        .fetch_one(harness.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_password_is_changed_by_who_knows_it_and_other_sessions_end() {
    let harness = harness(config()).await;
    let (ada, session) = signed_up(&harness, ADA).await;
    sign_in(&harness, ADA, GOOD_PASSWORD).await;
    let asking = as_account(&harness, &session).await;
    let change = |current: &str| ChangePassword {
        current_password: Confidential::new(current),
        password: Confidential::new("tangerine-orbit-velvet"),
    };
    let outcome = harness.command(&change("wrong"), &asking).await.unwrap();
    assert_eq!(outcome, PasswordOutcome::Wrong);
    assert_eq!(sessions_of(&harness, ada).await, 2);
    let outcome = harness
        .command(&change(GOOD_PASSWORD), &asking)
        .await
        .unwrap();
    assert_eq!(outcome, PasswordOutcome::Accepted);
    assert_eq!(
        sessions_of(&harness, ada).await,
        1,
        "the one that asked goes on"
    );
    harness.query(&GetMe {}, &asking).await.unwrap();
    let nobody = harness
        .command(&change(GOOD_PASSWORD), &Asking::default())
        .await;
    assert_eq!(nobody.unwrap_err().status, 401);
}

#[tokio::test]
async fn an_address_is_changed_once_both_have_agreed() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let change = ChangeEmail {
        current_password: Confidential::new(GOOD_PASSWORD),
        email: "ada@byron.example".to_owned(),
    };
    harness.command(&change, &asking).await.unwrap();
    let (old, new) = (
        link(&harness, "approve_new_email").await,
        link(&harness, "confirm_new_email").await,
    );
    assert_eq!(confirm(&harness, &new).await.unwrap().email, None);
    assert_eq!(harness.query(&GetMe {}, &asking).await.unwrap().email, ADA);
    let agreed = confirm(&harness, &old).await.unwrap().email;
    assert_eq!(agreed.as_deref(), Some("ada@byron.example"));
    assert_eq!(
        harness.query(&GetMe {}, &asking).await.unwrap().email,
        "ada@byron.example"
    );
}

#[tokio::test]
async fn an_address_that_another_has_is_not_taken_away() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let change = ChangeEmail {
        current_password: Confidential::new(GOOD_PASSWORD),
        email: SHOPPER.to_owned(),
    };
    assert_eq!(
        harness.command(&change, &asking).await.unwrap(),
        PasswordOutcome::Accepted,
        "nor is it told that there is one"
    );
    for kind in ["approve_new_email", "confirm_new_email"] {
        let _ = confirm(&harness, &link(&harness, kind).await).await;
    }
    assert_eq!(harness.query(&GetMe {}, &asking).await.unwrap().email, ADA);
}

#[tokio::test]
async fn a_name_is_changed_by_its_owner() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let name = |name: &str| ChangeMe {
        name: name.to_owned(),
    };
    assert_eq!(
        harness
            .command(&name(" Ada L. "), &asking)
            .await
            .unwrap()
            .name,
        "Ada L."
    );
    let bad = harness.command(&name("\0"), &asking).await.unwrap_err();
    assert_eq!((bad.status, bad.errors[0].pointer.as_str()), (422, "/name"));
    let nobody = harness.command(&name("Eve"), &Asking::default()).await;
    assert_eq!(nobody.unwrap_err().status, 401);
}

#[tokio::test]
async fn attempts_that_fail_have_to_wait_whether_there_is_an_account_or_not() {
    let harness = harness(config()).await;
    for email in [SHOPPER, "nobody@lovelace.example"] {
        for _ in 0..5 {
            assert_eq!(
                sign_in(&harness, email, "wrong").await,
                SignInOutcome::Wrong
            );
        }
        let blocked = sign_in(&harness, email, "demo-shopper").await;
        assert!(
            matches!(blocked, SignInOutcome::Blocked { .. }),
            "{email}: {blocked:?}"
        );
    }
    // A failed attempt is counted although nothing comes of it, and a right one clears the account.
    sqlx::query("UPDATE sign_in_failures SET blocked_until = now()")
        .execute(harness.pool())
        .await
        .unwrap();
    let right = sign_in(&harness, SHOPPER, "demo-shopper").await;
    assert!(matches!(right, SignInOutcome::SignedIn { .. }), "{right:?}");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM sign_in_failures")
        .fetch_one(harness.pool())
        .await
        .unwrap();
    assert_eq!(left, 1, "the other address's");
}

#[tokio::test]
async fn strangers_cannot_fill_a_mailbox() {
    let harness = harness(config()).await;
    for _ in 0..9 {
        let wish = RequestPasswordReset {
            email: SHOPPER.to_owned(),
        };
        harness.command(&wish, &once()).await.unwrap();
        harness.sweep("answer wishes").await.unwrap();
    }
    assert_eq!(letters(&harness).await.len(), 5);
}

#[tokio::test]
async fn no_password_and_no_secret_lies_in_the_database() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let token = link(&harness, "confirm_email").await;
    let attempt = SignIn {
        email: ADA.to_owned(),
        password: Confidential::new(GOOD_PASSWORD),
        device: "Browser".to_owned(),
        instead_of: None,
    };
    assert!(!format!("{attempt:?}").contains(GOOD_PASSWORD));
    let rows = format!("{:?}", harness.snapshot().await);
    for secret in [GOOD_PASSWORD, session.expose(), token.expose()] {
        assert!(!rows.contains(secret));
    }
}
