//! Tokens that programs get for themselves: by what, for what, and how they end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use shopzen_chassis::{Asking, clock};
use shopzen_contracts::auth::clients::{
    AddClient, Client, ClientAndSecret, ClientProof, GetMetadata, ListClients, RevokeClient,
    RevokeToken, RotateClientSecret, SetClientKeys,
};
use uuid::Uuid;

use crate::{
    fixtures::{ISSUER, config, harness},
    registered::{acme, add, by_secret, claims, introspect, refused, request, revoked, staff},
};

#[tokio::test]
async fn a_client_gets_tokens_with_its_scopes_and_fewer_but_never_more() {
    let auth = harness(config()).await;
    let acme = add(&auth, &acme()).await;
    let all = request(&auth, by_secret(&acme), None).await.unwrap();
    assert_eq!(all.scope, "orders:place stock:write");
    let said = claims(&all.access_token);
    assert_eq!((said.iss.as_str(), said.sub), (ISSUER, acme.client.id));
    assert_eq!(said.client_id, acme.client.id.to_string());
    assert_eq!(said.sid, Some(acme.client.secrets[0].id));

    let few = request(&auth, by_secret(&acme), Some("stock:write")).await;
    assert_eq!(few.unwrap().scope, "stock:write");
    let more = request(&auth, by_secret(&acme), Some("stock:write catalog:write")).await;
    assert_eq!(refused(more), (400, "invalid_scope".to_owned()));
}

#[tokio::test]
async fn who_does_not_know_the_secret_is_nobody() {
    let auth = harness(config()).await;
    let one = add(&auth, &acme()).await;
    let other = AddClient {
        name: "Other".to_owned(),
        ..acme()
    };
    let other = add(&auth, &other).await;
    let secret = |client_id: String, secret: &str| ClientProof::Secret {
        client_id,
        secret: secret.to_owned(),
    };
    let its = one.client_secret.clone().unwrap();
    let id = one.client.id.to_string();
    let made_up = clock::new_id().to_string();
    for proof in [
        secret(id.clone(), ""),
        secret(id.clone(), "szs_x"),
        secret(id.clone(), &its[..its.len() - 1]),
        secret(id, &other.client_secret.unwrap()),
        secret(made_up, &its),
        secret(Uuid::nil().to_string(), &its),
        secret("ACME".to_owned(), &its),
        secret("'; --\0".to_owned(), &its),
    ] {
        let answer = request(&auth, proof, None).await;
        assert_eq!(refused(answer), (401, "invalid_client".to_owned()));
    }
    let snapshot = format!("{:?}", auth.snapshot().await);
    assert!(!snapshot.contains(&its), "a secret is kept nowhere");
}

#[tokio::test]
async fn a_revoked_client_is_out_and_its_tokens_are_named_to_every_worker() {
    let auth = harness(config()).await;
    let acme_ = add(&auth, &acme()).await;
    let token = request(&auth, by_secret(&acme_), None).await.unwrap();
    let id = acme_.client.id;
    assert!(revoked(&auth).await.is_empty());
    for _ in 0..2 {
        let ended = auth.command(&RevokeClient { id }, &staff(&auth)).await;
        assert!(ended.unwrap().revoked_at.is_some());
        assert_eq!(revoked(&auth).await, [id]);
    }
    assert_eq!(claims(&token.access_token).sub, id);
    let answer = request(&auth, by_secret(&acme_), None).await;
    assert_eq!(refused(answer), (401, "invalid_client".to_owned()));

    let listed = async |revoked| {
        let list = ListClients {
            revoked,
            ..ListClients::default()
        };
        let page = auth.query(&list, &staff(&auth)).await.unwrap();
        page.items.iter().map(|it| it.id).collect::<Vec<_>>()
    };
    assert!(listed(false).await.is_empty());
    assert_eq!(listed(true).await, [id]);
    let rotate = RotateClientSecret {
        id,
        overlap_s: None,
    };
    let answer = auth.command(&rotate, &staff(&auth)).await;
    assert_eq!(refused(answer), (404, "not_found".to_owned()));
    let again = add(&auth, &acme()).await;
    assert_ne!(again.client.id, id, "its name is free");

    // As long as its youngest token, and a little: ten minutes and one.
    for (passed, left) in [("10 minutes 30 seconds", 1), ("30 seconds", 0)] {
        sqlx::query("UPDATE revocations SET revoked_at = revoked_at - $1::interval")
            .bind(passed)
            .execute(auth.pool())
            .await
            .unwrap();
        auth.sweep("signing keys").await.unwrap();
        assert_eq!(revoked(&auth).await.len(), left, "{passed}");
    }
}

#[tokio::test]
async fn a_client_gives_back_and_asks_about_its_own_tokens_alone() {
    let auth = harness(config()).await;
    let one = add(&auth, &acme()).await;
    let other = AddClient {
        name: "Other".to_owned(),
        ..acme()
    };
    let other = add(&auth, &other).await;
    let issued = request(&auth, by_secret(&one), None).await.unwrap();
    let token = issued.access_token;
    let said = introspect(&auth, by_secret(&one), &token).await;
    assert!(said.active);
    assert_eq!(said.sub, Some(one.client.id));
    assert_eq!(said.scope.as_deref(), Some("orders:place stock:write"));
    for (by, token) in [(&other, token.as_str()), (&one, "x"), (&one, &token[1..])] {
        let said = introspect(&auth, by_secret(by), token).await;
        assert_eq!(json!(said), json!({ "active": false }));
    }

    let give_back = async |client: &ClientAndSecret, token: &str| {
        let command = RevokeToken {
            client: by_secret(client),
            token: token.to_owned(),
        };
        auth.command(&command, &Asking::default()).await
    };
    let answer = give_back(&other, &token).await;
    assert_eq!(refused(answer), (400, "invalid_grant".to_owned()));
    give_back(&one, "no token").await.unwrap();
    assert!(revoked(&auth).await.is_empty());
    for _ in 0..2 {
        give_back(&one, &token).await.unwrap();
        assert_eq!(revoked(&auth).await, [claims(&token).jti]);
    }
    let said = introspect(&auth, by_secret(&one), &token).await;
    assert!(!said.active);
    let next = request(&auth, by_secret(&one), None).await.unwrap();
    assert!(
        introspect(&auth, by_secret(&one), &next.access_token)
            .await
            .active
    );
}

#[tokio::test]
async fn no_client_can_fill_the_list_of_what_was_withdrawn() {
    let auth = harness(config()).await;
    let client = add(&auth, &acme()).await;
    sqlx::query(
        "INSERT INTO revocations (id) SELECT gen_random_uuid() FROM generate_series(1, 10000)",
    )
    .execute(auth.pool())
    .await
    .unwrap();
    let token = request(&auth, by_secret(&client), None).await.unwrap();
    let command = RevokeToken {
        client: by_secret(&client),
        token: token.access_token,
    };
    let answer = auth.command(&command, &Asking::default()).await;
    assert_eq!(refused(answer), (503, "temporarily_unavailable".to_owned()));
    let id = client.client.id;
    auth.command(&RevokeClient { id }, &staff(&auth))
        .await
        .unwrap();
    assert!(revoked(&auth).await.contains(&id));
}

/// A client's own key pair.
struct Signs {
    key: EncodingKey,
    jwk: Value,
}

impl Signs {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &aws_lc_rs::rand::SystemRandom::new(),
        );
        let key = EncodingKey::from_ec_der(pair.unwrap().as_ref());
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        Self {
            key,
            jwk: serde_json::to_value(jwk).unwrap(),
        }
    }

    fn proof(&self, client: &Client, changes: &Value) -> ClientProof {
        let now = clock::now().as_second();
        let mut claims = json!({
            "iss": client.id, "sub": client.id, "aud": ISSUER, "exp": now + 60,
            "jti": clock::new_id(),
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.key);
        ClientProof::Assertion {
            client_id: None,
            assertion: signed.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_client_may_sign_instead_of_having_a_secret_and_each_proof_counts_once() {
    let auth = harness(config()).await;
    let (signs, other) = (Signs::new(), Signs::new());
    let wanted = AddClient {
        keys: vec![signs.jwk.clone()],
        ..acme()
    };
    let added = add(&auth, &wanted).await;
    assert_eq!(added.client_secret, None);
    let client = added.client;
    let proof = signs.proof(&client, &json!({}));
    let issued = request(&auth, proof.clone(), None).await.unwrap();
    assert!(claims(&issued.access_token).sid.is_some());
    let answer = request(&auth, proof, None).await;
    assert_eq!(refused(answer), (401, "invalid_client".to_owned()));

    let endpoint = json!({ "aud": format!("{ISSUER}/oauth2/token") });
    let proof = signs.proof(&client, &endpoint);
    request(&auth, proof, None).await.unwrap();

    let now = clock::now().as_second();
    let stranger = other.proof(&client, &json!({}));
    let bad = [
        json!({ "aud": "https://other.example" }),
        json!({ "aud": [ISSUER, "https://other.example"] }),
        json!({ "exp": now - 120 }),
        json!({ "exp": now + 600 }),
        json!({ "nbf": now + 600 }),
        json!({ "jti": null }),
        json!({ "sub": clock::new_id() }),
        json!({ "iss": clock::new_id(), "sub": clock::new_id() }),
    ];
    let bad = bad.iter().map(|changes| signs.proof(&client, changes));
    for proof in bad.chain([stranger]) {
        let shown = format!("{proof:?}");
        let answer = request(&auth, proof, None).await;
        assert_eq!(
            refused(answer),
            (401, "invalid_client".to_owned()),
            "{shown}"
        );
    }

    let keys = SetClientKeys {
        id: client.id,
        keys: vec![other.jwk.clone()],
    };
    auth.command(&keys, &staff(&auth)).await.unwrap();
    request(&auth, other.proof(&client, &json!({})), None)
        .await
        .unwrap();
    let answer = request(&auth, signs.proof(&client, &json!({})), None).await;
    assert_eq!(refused(answer), (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn what_is_published_is_what_works() {
    let auth = harness(config()).await;
    let metadata = auth.query(&GetMetadata {}, &Asking::default()).await;
    let metadata = json!(metadata.unwrap());
    assert_eq!(metadata["issuer"], ISSUER);
    assert_eq!(metadata["token_endpoint"], format!("{ISSUER}/oauth2/token"));
    let lists = [
        (
            "grant_types_supported",
            json!(["client_credentials", "authorization_code", "refresh_token"]),
        ),
        ("response_types_supported", json!(["code"])),
        ("code_challenge_methods_supported", json!(["S256"])),
    ];
    for (name, expected) in lists {
        assert_eq!(metadata[name], expected, "{name}");
    }
}
