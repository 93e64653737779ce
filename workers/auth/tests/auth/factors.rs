//! Second factors: added, asked for after the password and before what matters, and removed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use shopzen_auth::{Config, StaffSecondFactor};
use shopzen_chassis::{Asking, clock, harness::Harness};
use shopzen_contracts::{
    Confidential,
    auth::{
        accounts::{
            ChangePassword, PasswordOutcome, RequestPasswordReset, ResetPassword, SignInOutcome,
        },
        factors::{
            AddPasskey, AddTotp, AskForPasskey, ConfirmTotp, FactorAdded, FactorMethod,
            FactorOutcome, FactorProof, FinishSignIn, ListFactors, PasskeyProof, PasskeyStarted,
            RemovePasskey, RemoveTotp, RenewRecoveryCodes, SignInByPasskey, StartPasskey, StepUp,
            TotpAdded,
        },
    },
};
use totp_rs::{Builder, Secret};
use uuid::Uuid;

use crate::{
    authenticator::Authenticator,
    fixtures::{
        GOOD_PASSWORD, ISSUER, as_account, claims_of, config, harness, issue, letters, link, once,
        sign_in, signed_up,
    },
};

const ADA: &str = "ada@lovelace.example";
const RP_ID: &str = "shop.example";

fn password() -> Confidential {
    Confidential::new(GOOD_PASSWORD)
}

/// The code of a secret so many steps from now.
fn code(secret: &str, steps: u64) -> Confidential {
    let secret = Secret::try_from_base32(secret).unwrap();
    let totp = Builder::new().with_secret(secret).build().unwrap();
    let now = u64::try_from(clock::now().as_second()).unwrap() + 30 * steps;
    Confidential::new(totp.generate(now).to_string())
}

/// Adds an authenticator app: its secret, and the recovery codes.
async fn with_totp(harness: &Harness, asking: &Asking) -> (String, Vec<Confidential>) {
    let add = AddTotp {
        current_password: password(),
    };
    let TotpAdded::Accepted(secret) = harness.command(&add, asking).await.unwrap() else {
        panic!("the password is right")
    };
    let secret = secret.secret.expose().to_owned();
    let confirm = |code| ConfirmTotp { code };
    let wrong = confirm(Confidential::new("12345"));
    let outcome = harness.command(&wrong, asking).await.unwrap();
    assert!(matches!(outcome, FactorAdded::Wrong));
    let right = confirm(code(&secret, 0));
    let outcome = harness.command(&right, asking).await.unwrap();
    let FactorAdded::Accepted(codes) = outcome else {
        panic!("{outcome:?}")
    };
    (secret, codes.recovery_codes)
}

/// Signs in by the password, as far as it goes.
async fn challenged(harness: &Harness) -> (Confidential, Vec<FactorMethod>) {
    match sign_in(harness, ADA, GOOD_PASSWORD).await {
        SignInOutcome::SecondFactorNeeded { challenge, methods } => (challenge, methods),
        other => panic!("{other:?}"),
    }
}

async fn finish(harness: &Harness, challenge: &Confidential, proof: FactorProof) -> SignInOutcome {
    let attempt = FinishSignIn {
        challenge: challenge.clone(),
        proof,
        device: "Browser".to_owned(),
        instead_of: None,
    };
    harness.command(&attempt, &Asking::default()).await.unwrap()
}

async fn run(harness: &Harness, statement: &'static str) {
    sqlx::query(statement)
        .execute(harness.pool())
        .await
        .unwrap();
}

#[tokio::test]
async fn who_has_an_app_is_signed_in_by_password_and_code_and_by_nothing_less() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let (secret, recovery_codes) = with_totp(&harness, &asking).await;
    assert_eq!(recovery_codes.len(), 10);
    let told = ("second_factor_added".to_owned(), ADA.to_owned());
    assert!(letters(&harness).await.contains(&told));
    let kept: Vec<u8> = sqlx::query_scalar("SELECT sealed_secret FROM totp_factors")
        .fetch_one(harness.pool())
        .await
        .unwrap();
    assert!(kept.len() > 20, "nonce, what is sealed, and its tag");

    let (challenge, methods) = challenged(&harness).await;
    assert_eq!(methods, [FactorMethod::Totp, FactorMethod::RecoveryCode]);
    // The code that confirmed it is used up.
    let totp = |code| FactorProof::Totp { code };
    let used = finish(&harness, &challenge, totp(code(&secret, 0))).await;
    assert_eq!(used, SignInOutcome::Wrong);
    let next = code(&secret, 1);
    let outcome = finish(&harness, &challenge, totp(next.clone())).await;
    assert!(
        matches!(outcome, SignInOutcome::SignedIn { .. }),
        "{outcome:?}"
    );
    // Neither challenge nor code is good twice.
    let again = finish(&harness, &challenge, totp(next.clone())).await;
    assert_eq!(again, SignInOutcome::Ended);
    let (challenge, _) = challenged(&harness).await;
    assert_eq!(
        finish(&harness, &challenge, totp(next)).await,
        SignInOutcome::Wrong
    );

    let recovery = |code: &Confidential| FactorProof::RecoveryCode { code: code.clone() };
    let outcome = finish(&harness, &challenge, recovery(&recovery_codes[0])).await;
    assert!(
        matches!(outcome, SignInOutcome::SignedIn { .. }),
        "{outcome:?}"
    );
    let (challenge, _) = challenged(&harness).await;
    let outcome = finish(&harness, &challenge, recovery(&recovery_codes[0])).await;
    assert_eq!(outcome, SignInOutcome::Wrong);
    let factors = harness.query(&ListFactors {}, &asking).await.unwrap();
    assert_eq!(factors.recovery_codes, 9);
}

#[tokio::test]
async fn a_sign_in_waits_five_minutes_and_for_the_same_password_only() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let (_, codes) = with_totp(&harness, &asking).await;
    let proof = |at: usize| FactorProof::RecoveryCode {
        code: codes[at].clone(),
    };
    let (challenge, _) = challenged(&harness).await;
    run(
        &harness,
        "UPDATE sign_in_challenges SET created_at = now() - interval '301 seconds'",
    )
    .await;
    assert_eq!(
        finish(&harness, &challenge, proof(0)).await,
        SignInOutcome::Ended
    );
    let forged = Confidential::new("x".repeat(43));
    assert_eq!(
        finish(&harness, &forged, proof(0)).await,
        SignInOutcome::Ended
    );

    // A new password by letter signs nobody in, and leaves the factor.
    let (challenge, _) = challenged(&harness).await;
    let wish = RequestPasswordReset {
        email: ADA.to_owned(),
    };
    harness.command(&wish, &once()).await.unwrap();
    harness.sweep("answer wishes").await.unwrap();
    let reset = ResetPassword {
        token: link(&harness, "reset_password").await,
        password: Confidential::new("tangerine-orbit-velvet"),
    };
    harness.command(&reset, &Asking::default()).await.unwrap();
    assert_eq!(
        finish(&harness, &challenge, proof(0)).await,
        SignInOutcome::Ended
    );
    let outcome = sign_in(&harness, ADA, "tangerine-orbit-velvet").await;
    assert!(
        matches!(outcome, SignInOutcome::SecondFactorNeeded { .. }),
        "{outcome:?}"
    );
    harness.sweep("forget").await.unwrap();
}

#[tokio::test]
async fn five_codes_are_tried_in_a_quarter_of_an_hour() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let (_, codes) = with_totp(&harness, &asking).await;
    let (challenge, _) = challenged(&harness).await;
    for bad in ["000000", "x", "", "+00000", "no-such-code"] {
        let proof = FactorProof::Totp {
            code: Confidential::new(bad),
        };
        assert_eq!(
            finish(&harness, &challenge, proof).await,
            SignInOutcome::Wrong,
            "{bad}"
        );
    }
    let proof = || FactorProof::RecoveryCode {
        code: codes[0].clone(),
    };
    let outcome = finish(&harness, &challenge, proof()).await;
    let SignInOutcome::Blocked { retry_after_s } = outcome else {
        panic!("{outcome:?}")
    };
    assert!((890..=901).contains(&retry_after_s), "{retry_after_s}");
    run(
        &harness,
        "UPDATE factor_tries SET began_at = now() - interval '15 minutes'",
    )
    .await;
    let outcome = finish(&harness, &challenge, proof()).await;
    assert!(
        matches!(outcome, SignInOutcome::SignedIn { .. }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn what_matters_needs_the_second_factor_of_late() {
    let harness = harness(config()).await;
    let (id, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let (_, codes) = with_totp(&harness, &asking).await;
    run(
        &harness,
        "UPDATE sessions SET factor_at = now() - interval '301 seconds'",
    )
    .await;
    let change = ChangePassword {
        current_password: password(),
        password: Confidential::new("tangerine-orbit-velvet"),
    };
    let refused = harness.command(&change, &asking).await.unwrap_err();
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (403, "step_up_required")
    );
    let refused = harness.command(&RemoveTotp {}, &asking).await.unwrap_err();
    assert_eq!(refused.code, "step_up_required");
    let refused = harness
        .command(&RenewRecoveryCodes {}, &asking)
        .await
        .unwrap_err();
    assert_eq!(refused.code, "step_up_required");
    // A token of no session has nothing that could remember it.
    let proof = |at: usize| StepUp {
        proof: FactorProof::RecoveryCode {
            code: codes[at].clone(),
        },
    };
    let of_none = Asking {
        identity: Some(harness.token(id, "profile:write")),
        ..Asking::default()
    };
    let refused = harness.command(&proof(0), &of_none).await.unwrap_err();
    assert_eq!(refused.code, "session_required");

    let outcome = harness.command(&proof(0), &asking).await.unwrap();
    assert_eq!(outcome, FactorOutcome::Accepted);
    let outcome = harness.command(&proof(0), &asking).await.unwrap();
    assert_eq!(outcome, FactorOutcome::Wrong);
    let outcome = harness.command(&change, &asking).await.unwrap();
    assert_eq!(outcome, PasswordOutcome::Accepted);
    let renewed = harness
        .command(&RenewRecoveryCodes {}, &asking)
        .await
        .unwrap();
    assert_eq!(renewed.recovery_codes.len(), 10);
    let outcome = harness.command(&proof(1), &asking).await.unwrap();
    assert_eq!(
        outcome,
        FactorOutcome::Wrong,
        "those before are good for nothing"
    );
    harness.command(&RemoveTotp {}, &asking).await.unwrap();
    let told = ("second_factor_removed".to_owned(), ADA.to_owned());
    assert!(letters(&harness).await.contains(&told));
    let factors = harness.query(&ListFactors {}, &asking).await.unwrap();
    assert_eq!((factors.totp_since, factors.recovery_codes), (None, 0));
    let outcome = sign_in(&harness, ADA, "tangerine-orbit-velvet").await;
    assert!(
        matches!(outcome, SignInOutcome::SignedIn { .. }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn staff_without_a_second_factor_may_only_shop_where_they_must_have_one() {
    let harness = harness(Config {
        staff_second_factor: StaffSecondFactor::Required,
        ..config()
    })
    .await;
    let (id, session) = signed_up(&harness, ADA).await;
    run(
        &harness,
        "UPDATE accounts SET roles = '{warehouse}' WHERE NOT is_demo",
    )
    .await;
    let shopper = "orders:place orders:read profile:write";
    let scope = async || claims_of(&issue(&harness, ADA).await.unwrap().access_token).scope;
    assert_eq!(scope().await, shopper);
    let asking = as_account(&harness, &session).await;
    with_totp(&harness, &asking).await;
    assert!(scope().await.contains("stock:write"), "{id}");
}

/// Adds a passkey to whoever asks.
async fn with_passkey(harness: &Harness, asking: &Asking, of: &mut Authenticator) -> FactorAdded {
    let start = StartPasskey {
        current_password: password(),
    };
    let PasskeyStarted::Accepted(asked) = harness.command(&start, asking).await.unwrap() else {
        panic!("the password is right")
    };
    assert_eq!(
        asked.options["authenticatorSelection"]["residentKey"],
        "required"
    );
    assert_eq!(
        asked.options["authenticatorSelection"]["userVerification"],
        "required"
    );
    let add = AddPasskey {
        name: "Phone".to_owned(),
        ceremony: asked.ceremony,
        credential: of.create(&asked.options),
    };
    let added = harness.command(&add, asking).await.unwrap();
    let again = harness.command(&add, asking).await.unwrap();
    assert!(
        matches!(again, FactorAdded::Wrong),
        "a ceremony counts once"
    );
    added
}

async fn asked(harness: &Harness, of: &mut Authenticator) -> PasskeyProof {
    let asked = harness.command(&AskForPasskey {}, &Asking::default()).await;
    let asked = asked.unwrap();
    assert_eq!(asked.options["userVerification"], "required");
    PasskeyProof {
        ceremony: asked.ceremony,
        credential: of.get(&asked.options),
    }
}

async fn by_passkey(harness: &Harness, proof: PasskeyProof) -> SignInOutcome {
    let attempt = SignInByPasskey {
        proof,
        device: "Browser".to_owned(),
        instead_of: None,
    };
    harness.command(&attempt, &Asking::default()).await.unwrap()
}

#[tokio::test]
async fn a_passkey_signs_in_by_itself_and_copies_and_lies_do_not() {
    let harness = harness(config()).await;
    let (ada, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let mut phone = Authenticator::new(ISSUER, RP_ID);
    let added = with_passkey(&harness, &asking, &mut phone).await;
    let FactorAdded::Accepted(codes) = added else {
        panic!("{added:?}")
    };
    assert_eq!(codes.recovery_codes.len(), 10);

    let proof = asked(&harness, &mut phone).await;
    let outcome = by_passkey(&harness, proof.clone()).await;
    assert!(
        matches!(outcome, SignInOutcome::SignedIn { .. }),
        "{outcome:?}"
    );
    let amr: Vec<String> = sqlx::query_scalar(
        "SELECT amr FROM sessions WHERE account_id = $1 ORDER BY created_at DESC LIMIT 1",
    )
    .bind(ada)
    .fetch_one(harness.pool())
    .await
    .unwrap();
    assert_eq!(amr, ["pop", "mfa"]);
    assert_eq!(
        by_passkey(&harness, proof).await,
        SignInOutcome::Wrong,
        "sent again"
    );

    let too_late = asked(&harness, &mut phone).await;
    run(
        &harness,
        "UPDATE passkey_ceremonies SET created_at = now() - interval '301 seconds'",
    )
    .await;
    assert_eq!(
        by_passkey(&harness, too_late).await,
        SignInOutcome::Wrong,
        "too late"
    );

    phone.origin = "https://evil.example".to_owned();
    let proof = asked(&harness, &mut phone).await;
    assert_eq!(
        by_passkey(&harness, proof).await,
        SignInOutcome::Wrong,
        "another site"
    );
    phone.origin = ISSUER.to_owned();
    phone.rp_id = "evil.example".to_owned();
    let proof = asked(&harness, &mut phone).await;
    assert_eq!(
        by_passkey(&harness, proof).await,
        SignInOutcome::Wrong,
        "another party"
    );
    phone.rp_id = RP_ID.to_owned();
    let flags = phone.flags;
    phone.verifies_nobody();
    let proof = asked(&harness, &mut phone).await;
    assert_eq!(
        by_passkey(&harness, proof).await,
        SignInOutcome::Wrong,
        "nobody was verified"
    );
    phone.flags = flags;

    phone.counter = 0;
    let proof = asked(&harness, &mut phone).await;
    assert_eq!(
        by_passkey(&harness, proof).await,
        SignInOutcome::Wrong,
        "it counted back"
    );
    phone.counter = 100;
    let mut proof = asked(&harness, &mut phone).await;
    proof.credential["response"]["userHandle"] = "AAAAAAAAAAAAAAAAAAAAAA".into();
    assert_eq!(
        by_passkey(&harness, proof).await,
        SignInOutcome::Wrong,
        "somebody else's"
    );
    let proof = asked(&harness, &mut phone).await;
    let outcome = by_passkey(&harness, proof).await;
    assert!(
        matches!(outcome, SignInOutcome::SignedIn { .. }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_passkey_is_a_second_factor_too_and_is_removed_by_its_owner_alone() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let mut phone = Authenticator::new(ISSUER, RP_ID);
    with_passkey(&harness, &asking, &mut phone).await;
    let (challenge, methods) = challenged(&harness).await;
    assert_eq!(methods, [FactorMethod::Passkey, FactorMethod::RecoveryCode]);
    let proof = FactorProof::Passkey(asked(&harness, &mut phone).await);
    let outcome = finish(&harness, &challenge, proof).await;
    assert!(
        matches!(outcome, SignInOutcome::SignedIn { .. }),
        "{outcome:?}"
    );
    let factors = harness.query(&ListFactors {}, &asking).await.unwrap();
    let id = factors.passkeys[0].id;
    assert!(factors.passkeys_offered && factors.passkeys[0].used_at.is_some());

    let (_, eve) = signed_up(&harness, "eve@lovelace.example").await;
    let eve = as_account(&harness, &eve).await;
    for foreign in [id, Uuid::nil()] {
        let refused = harness.command(&RemovePasskey { id: foreign }, &eve).await;
        assert_eq!(refused.unwrap_err().status, 404);
    }
    harness
        .command(&RemovePasskey { id }, &asking)
        .await
        .unwrap();
    let proof = asked(&harness, &mut phone).await;
    assert_eq!(by_passkey(&harness, proof).await, SignInOutcome::Wrong);
}

#[tokio::test]
async fn a_shop_without_a_name_offers_no_passkeys() {
    let harness = harness(Config {
        issuer: "http://127.0.0.1:8080".to_owned(),
        ..config()
    })
    .await;
    let refused = harness.command(&AskForPasskey {}, &Asking::default()).await;
    assert_eq!(refused.unwrap_err().code, "passkeys_unavailable");
}
