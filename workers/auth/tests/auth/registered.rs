//! Clients that are registered, and what they ask.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use data_encoding::BASE64URL_NOPAD;
use shopzen_chassis::{Asking, clock, harness::Harness};
use shopzen_contracts::{
    Problem,
    auth::{
        Claims, GetTrust, IssuedToken,
        clients::{
            AddClient, ClientAndSecret, ClientProof, Grant, GrantType, IntrospectToken,
            Introspection, RequestToken,
        },
    },
};
use uuid::Uuid;

use crate::fixtures::ISSUER;

/// What staff show who may do everything that the tests give away.
pub(crate) fn staff(auth: &Harness) -> Asking {
    with_scope(auth, "accounts:write stock:write catalog:write")
}

pub(crate) fn with_scope(auth: &Harness, scope: &str) -> Asking {
    Asking {
        identity: Some(auth.token(clock::new_id(), scope)),
        ..Asking::default()
    }
}

pub(crate) fn acme() -> AddClient {
    AddClient {
        name: "ACME".to_owned(),
        grants: vec![GrantType::ClientCredentials],
        redirect_uris: Vec::new(),
        scopes: vec!["stock:write".to_owned(), "orders:place".to_owned()],
        is_trusted: false,
        is_public: false,
        keys: Vec::new(),
    }
}

pub(crate) async fn add(auth: &Harness, client: &AddClient) -> ClientAndSecret {
    auth.command(client, &staff(auth)).await.unwrap()
}

pub(crate) fn by_secret(client: &ClientAndSecret) -> ClientProof {
    ClientProof::Secret {
        client_id: client.client.id.to_string(),
        secret: client.client_secret.clone().unwrap(),
    }
}

pub(crate) async fn request(
    auth: &Harness,
    client: ClientProof,
    scope: Option<&str>,
) -> Result<IssuedToken, Problem> {
    let grant = Grant::ClientCredentials {
        scope: scope.map(str::to_owned),
    };
    let command = RequestToken { client, grant };
    auth.command(&command, &Asking::default()).await
}

pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Problem>) -> (u16, String) {
    let problem = answer.unwrap_err();
    (problem.status, problem.code)
}

pub(crate) fn claims(token: &str) -> Claims {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap()).unwrap()
}

pub(crate) async fn introspect(auth: &Harness, client: ClientProof, token: &str) -> Introspection {
    let command = IntrospectToken {
        client,
        token: token.to_owned(),
    };
    let said = auth.command(&command, &Asking::default()).await;
    said.unwrap()
}

pub(crate) async fn revoked(auth: &Harness) -> Vec<Uuid> {
    let trust = auth.query(&GetTrust {}, &Asking::default()).await.unwrap();
    assert_eq!(trust.issuer, ISSUER);
    assert_eq!(trust.keys.len(), 1);
    trust.revoked
}
