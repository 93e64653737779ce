//! People let programs act for them: codes, refresh tokens, and what becomes of copies.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use shopzen_chassis::{Asking, clock, harness::Harness};
use shopzen_contracts::{
    Confidential, Problem,
    auth::{
        IssuedToken,
        authorization::{AuthorizationStep, Authorize, GetUserinfo},
        clients::{AddClient, ClientProof, Grant, GrantType, RequestToken, RevokeToken},
    },
};
use url::Url;
use uuid::Uuid;

use crate::fixtures::{ISSUER, as_account, claims_of, config, harness, letters, signed_up};

pub(crate) const ADA: &str = "ada@lovelace.example";
pub(crate) const BACK: &str = "https://app.example/back";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A public app that is registered.
pub(crate) async fn app(harness: &Harness, is_trusted: bool) -> Uuid {
    let asking = Asking {
        identity: Some(harness.token(clock::new_id(), "accounts:write")),
        ..Asking::default()
    };
    let wanted = AddClient {
        name: "Companion".to_owned(),
        grants: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        redirect_uris: vec![BACK.to_owned()],
        scopes: vec!["orders:read".to_owned()],
        is_trusted,
        is_public: true,
        keys: Vec::new(),
    };
    let added = harness.command(&wanted, &asking).await.unwrap();
    assert_eq!(added.client_secret, None);
    added.client.id
}

pub(crate) fn asked(client_id: Uuid) -> Authorize {
    let text = |text: &str| Some(text.to_owned());
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(VERIFIER.as_bytes()));
    Authorize {
        client_id: Some(client_id.to_string()),
        redirect_uri: text(BACK),
        response_type: text("code"),
        scope: text("openid email orders:read"),
        state: text("state"),
        nonce: text("nonce"),
        code_challenge: Some(challenge),
        code_challenge_method: text("S256"),
        ..Authorize::default()
    }
}

pub(crate) fn is_sign_in(step: &AuthorizationStep) -> bool {
    matches!(step, AuthorizationStep::SignIn { .. })
}

/// What the browser is sent back with.
pub(crate) fn sent_back(step: AuthorizationStep) -> Vec<(String, String)> {
    let AuthorizationStep::Redirect { location } = step else {
        panic!("{step:?}")
    };
    let url = Url::parse(location.expose()).unwrap();
    assert!(location.expose().starts_with(BACK), "{url}");
    url.query_pairs().into_owned().collect()
}

pub(crate) fn value(pairs: &[(String, String)], name: &str) -> String {
    let mut values = pairs.iter().filter(|(known, _)| known == name);
    let (_, value) = values
        .next()
        .unwrap_or_else(|| panic!("no {name} in {pairs:?}"));
    assert!(values.next().is_none());
    value.clone()
}

pub(crate) async fn code(harness: &Harness, client_id: Uuid, asking: &Asking) -> Confidential {
    let agreed = Authorize {
        consent: Some(true),
        ..asked(client_id)
    };
    let pairs = sent_back(harness.command(&agreed, asking).await.unwrap());
    assert_eq!(value(&pairs, "state"), "state");
    assert_eq!(value(&pairs, "iss"), ISSUER);
    Confidential::new(value(&pairs, "code"))
}

pub(crate) async fn request(
    harness: &Harness,
    client_id: Uuid,
    grant: Grant,
) -> Result<IssuedToken, Problem> {
    let request = RequestToken {
        client: ClientProof::Public {
            client_id: client_id.to_string(),
        },
        grant,
    };
    harness.command(&request, &Asking::default()).await
}

pub(crate) fn exchange(code: &Confidential) -> Grant {
    Grant::AuthorizationCode {
        code: code.clone(),
        redirect_uri: Some(BACK.to_owned()),
        code_verifier: Some(Confidential::new(VERIFIER)),
    }
}

async fn refreshed(
    harness: &Harness,
    client_id: Uuid,
    refresh_token: &Confidential,
) -> Result<IssuedToken, Problem> {
    let grant = Grant::RefreshToken {
        refresh_token: refresh_token.clone(),
        scope: None,
    };
    request(harness, client_id, grant).await
}

async fn sessions(harness: &Harness) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM sessions WHERE client_id IS NOT NULL")
        .fetch_one(harness.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_program_is_let_in_once_its_owner_has_agreed() {
    let harness = harness(config()).await;
    let (ada, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, false).await;

    let nobody = harness
        .command(&asked(client_id), &Asking::default())
        .await
        .unwrap();
    assert!(is_sign_in(&nobody), "{nobody:?}");
    let step = harness.command(&asked(client_id), &asking).await.unwrap();
    let AuthorizationStep::AskConsent {
        client_name,
        client_host,
        wishes,
    } = step
    else {
        panic!("{step:?}")
    };
    assert_eq!(
        (client_name.as_str(), client_host.as_str()),
        ("Companion", "app.example")
    );
    assert_eq!(wishes.len(), 3, "{wishes:?}");
    let refused = Authorize {
        consent: Some(false),
        ..asked(client_id)
    };
    let pairs = sent_back(harness.command(&refused, &asking).await.unwrap());
    assert_eq!(value(&pairs, "error"), "access_denied");

    let code = code(&harness, client_id, &asking).await;
    let issued = request(&harness, client_id, exchange(&code)).await.unwrap();
    let claims = claims_of(&issued.access_token);
    assert_eq!((claims.sub, claims.client_id), (ada, client_id.to_string()));
    assert_eq!(claims.scope, "email openid orders:read");
    let id_token = issued.id_token.unwrap();
    let head = jsonwebtoken::decode_header(&id_token).unwrap();
    assert_eq!(
        head.typ.as_deref(),
        Some("JWT"),
        "not to be taken for an access token"
    );
    let identity = BASE64URL_NOPAD
        .decode(id_token.split('.').nth(1).unwrap().as_bytes())
        .unwrap();
    let identity: serde_json::Value = serde_json::from_slice(&identity).unwrap();
    assert_eq!(identity["aud"], client_id.to_string());
    assert_eq!(
        (&identity["nonce"], &identity["email"]),
        (&"nonce".into(), &ADA.into())
    );
    assert!(
        identity.get("name").is_none(),
        "nobody asked for profile: {identity}"
    );

    // What was agreed to once is not asked again, and nobody needs to be asked for a program of our own.
    let again = harness.command(&asked(client_id), &asking).await.unwrap();
    value(&sent_back(again), "code");
    let as_app = Asking {
        identity: Some(harness.token_of(&claims_of(&issued.access_token))),
        ..Asking::default()
    };
    let info = harness.query(&GetUserinfo {}, &as_app).await.unwrap();
    assert_eq!(
        (info.sub, info.email.as_deref(), info.name),
        (ada, Some(ADA), None)
    );
}

#[tokio::test]
async fn a_code_is_good_once_for_its_client_its_address_and_its_verifier() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    let good = code(&harness, client_id, &asking).await;
    let with = |uri: Option<&str>, verifier: Option<&str>| Grant::AuthorizationCode {
        code: good.clone(),
        redirect_uri: uri.map(str::to_owned),
        code_verifier: verifier.map(Confidential::new),
    };
    let other = format!("{}x", &VERIFIER[..42]);
    for bad in [
        with(None, Some(VERIFIER)),
        with(Some("https://app.example/other"), Some(VERIFIER)),
        with(Some(BACK), None),
        with(Some(BACK), Some(&other)),
        with(Some(BACK), Some("short")),
    ] {
        let problem = request(&harness, client_id, bad.clone()).await.unwrap_err();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (400, "invalid_grant"),
            "{bad:?}"
        );
    }
    let issued = request(&harness, client_id, exchange(&good)).await.unwrap();
    assert_eq!(sessions(&harness).await, 1);
    // Shown again it was copied: whatever came of it has ended.
    let again = request(&harness, client_id, exchange(&good))
        .await
        .unwrap_err();
    assert_eq!(again.code, "invalid_grant");
    assert_eq!(sessions(&harness).await, 0);
    let refresh = issued.refresh_token.unwrap();
    refreshed(&harness, client_id, &refresh).await.unwrap_err();

    let late = code(&harness, client_id, &asking).await;
    sqlx::query("UPDATE authorization_codes SET created_at = created_at - interval '61 s'")
        .execute(harness.pool())
        .await
        .unwrap();
    assert_eq!(
        request(&harness, client_id, exchange(&late))
            .await
            .unwrap_err()
            .code,
        "invalid_grant"
    );
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_a_copy_ends_the_session_and_tells_its_owner() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    let code = code(&harness, client_id, &asking).await;
    let issued = request(&harness, client_id, exchange(&code)).await.unwrap();
    let first = issued.refresh_token.unwrap();

    let second = refreshed(&harness, client_id, &first)
        .await
        .unwrap()
        .refresh_token
        .unwrap();
    assert_ne!(first, second);
    // The answer may have got lost: the same token gives the same successor, for a while.
    let again = refreshed(&harness, client_id, &first)
        .await
        .unwrap()
        .refresh_token
        .unwrap();
    assert_eq!(again, second);
    let third = refreshed(&harness, client_id, &second)
        .await
        .unwrap()
        .refresh_token
        .unwrap();
    let rows = format!("{:?}", harness.snapshot().await);
    for secret in [&first, &second, &third] {
        assert!(!rows.contains(secret.expose()));
    }
    // Two behind is no lost answer.
    let copied = refreshed(&harness, client_id, &first).await.unwrap_err();
    assert_eq!(copied.code, "invalid_grant");
    assert_eq!(sessions(&harness).await, 0);
    refreshed(&harness, client_id, &third).await.unwrap_err();
    let told = letters(&harness).await;
    let letter = ("refresh_token_reused".to_owned(), ADA.to_owned());
    assert!(told.contains(&letter), "{told:?}");
}

#[tokio::test]
async fn a_refresh_token_that_comes_late_was_copied() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    let code = code(&harness, client_id, &asking).await;
    let issued = request(&harness, client_id, exchange(&code)).await.unwrap();
    let first = issued.refresh_token.unwrap();
    refreshed(&harness, client_id, &first).await.unwrap();
    sqlx::query("UPDATE refresh_tokens SET used_at = used_at - interval '11 s'")
        .execute(harness.pool())
        .await
        .unwrap();
    refreshed(&harness, client_id, &first).await.unwrap_err();
    assert_eq!(sessions(&harness).await, 0);
}

#[tokio::test]
async fn of_many_that_refresh_at_once_all_get_the_same() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    let code = code(&harness, client_id, &asking).await;
    let issued = request(&harness, client_id, exchange(&code)).await.unwrap();
    let first = issued.refresh_token.unwrap();
    let many = (0..50).map(|_| refreshed(&harness, client_id, &first));
    let mut successors: Vec<String> = futures::future::join_all(many)
        .await
        .into_iter()
        .map(|issued| issued.unwrap().refresh_token.unwrap().expose().to_owned())
        .collect();
    successors.dedup();
    assert_eq!(successors.len(), 1);
    let last = Confidential::new(successors.remove(0));
    refreshed(&harness, client_id, &last).await.unwrap();
}

#[tokio::test]
async fn a_program_gets_no_more_than_was_agreed_to_and_than_its_owner_has() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    let wide = Authorize {
        scope: Some("orders:read orders:write".to_owned()),
        ..asked(client_id)
    };
    let pairs = sent_back(harness.command(&wide, &asking).await.unwrap());
    assert_eq!(value(&pairs, "error"), "invalid_scope");
    let code = code(&harness, client_id, &asking).await;
    let issued = request(&harness, client_id, exchange(&code)).await.unwrap();
    let grant = |scope: &str| Grant::RefreshToken {
        refresh_token: issued.refresh_token.clone().unwrap(),
        scope: Some(scope.to_owned()),
    };
    let wide = request(&harness, client_id, grant("orders:read stock:write"))
        .await
        .unwrap_err();
    assert_eq!(wide.code, "invalid_scope");
    let narrow = request(&harness, client_id, grant("orders:read"))
        .await
        .unwrap();
    assert_eq!(narrow.scope, "orders:read");
}

#[tokio::test]
async fn who_gives_a_refresh_token_back_ends_its_session() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    let code = code(&harness, client_id, &asking).await;
    let issued = request(&harness, client_id, exchange(&code)).await.unwrap();
    let refresh = issued.refresh_token.unwrap();
    let give_back = RevokeToken {
        client: ClientProof::Public {
            client_id: client_id.to_string(),
        },
        token: refresh.expose().to_owned(),
    };
    harness
        .command(&give_back, &Asking::default())
        .await
        .unwrap();
    assert_eq!(sessions(&harness).await, 0);
    refreshed(&harness, client_id, &refresh).await.unwrap_err();
}

#[tokio::test]
async fn nobody_is_asked_where_nobody_may_be_asked() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, false).await;
    let silent = Authorize {
        prompt: Some("none".to_owned()),
        ..asked(client_id)
    };
    let error = async |asking: &Asking| {
        let step = harness.command(&silent, asking).await.unwrap();
        value(&sent_back(step), "error")
    };
    assert_eq!(error(&Asking::default()).await, "login_required");
    assert_eq!(error(&asking).await, "consent_required");
    code(&harness, client_id, &asking).await;
    value(
        &sent_back(harness.command(&silent, &asking).await.unwrap()),
        "code",
    );
    // Who signed in too long ago for the program has to do it again.
    sqlx::query("UPDATE sessions SET authenticated_at = now() - interval '1 hour'")
        .execute(harness.pool())
        .await
        .unwrap();
    let young = Authorize {
        max_age: Some("60".to_owned()),
        ..asked(client_id)
    };
    let step = harness.command(&young, &asking).await.unwrap();
    assert!(is_sign_in(&step), "{step:?}");
}

#[tokio::test]
async fn nobody_is_sent_to_where_nothing_is_registered() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, ADA).await;
    let asking = as_account(&harness, &session).await;
    let client_id = app(&harness, true).await;
    let elsewhere = Authorize {
        redirect_uri: Some("https://evil.example/back".to_owned()),
        ..asked(client_id)
    };
    let problem = harness.command(&elsewhere, &asking).await.unwrap_err();
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (400, "redirect_uri_unknown")
    );
    for unknown in ["", "x", "00000000-0000-0000-0000-000000000000"] {
        let unknown = Authorize {
            client_id: Some(unknown.to_owned()),
            ..asked(client_id)
        };
        let problem = harness.command(&unknown, &asking).await.unwrap_err();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (400, "client_unknown")
        );
    }
    // An app's own token lets no other app in.
    let code = code(&harness, client_id, &asking).await;
    let issued = request(&harness, client_id, exchange(&code)).await.unwrap();
    let as_app = Asking {
        identity: Some(harness.token_of(&claims_of(&issued.access_token))),
        ..Asking::default()
    };
    let step = harness.command(&asked(client_id), &as_app).await.unwrap();
    assert!(is_sign_in(&step), "{step:?}");
}
