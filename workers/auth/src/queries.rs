//! What tokens are signed with: the public keys for everybody, and how they follow each other for operators.

use shopzen_chassis::{Refused, Request};
use shopzen_contracts::auth::{
    GetKeys, GetTrust, KeySet, ListSigningKeys, SigningKeys, Trust,
    clients::{
        GetMetadata, GrantType, INTROSPECTION_PATH, JWKS_PATH, Metadata, REVOCATION_PATH, SCOPES,
        TOKEN_PATH,
    },
};
use sqlx::PgPool;

use crate::{Auth, grants::REVOCATIONS_MAX, proof, store};

pub(crate) async fn keys(db: &PgPool, _: &Auth, _: &Request<GetKeys>) -> Result<KeySet, Refused> {
    let mut db = db.acquire().await?;
    Ok(KeySet {
        keys: store::find_public_keys(&mut db).await?,
    })
}

/// For every worker, every few seconds.
pub(crate) async fn trust(
    db: &PgPool,
    auth: &Auth,
    _: &Request<GetTrust>,
) -> Result<Trust, Refused> {
    let mut db = db.acquire().await?;
    let limit = i64::from(REVOCATIONS_MAX);
    Ok(Trust {
        issuer: auth.issuer.clone(),
        keys: store::find_public_keys(&mut db).await?,
        revoked: store::revocations::find_revocations(&mut db, limit).await?,
    })
}

/// What other programs find out by themselves. Whoever adds a grant or an endpoint says so here.
pub(crate) async fn metadata(
    _: &PgPool,
    auth: &Auth,
    _: &Request<GetMetadata>,
) -> Result<Metadata, Refused> {
    let at = |path: &str| format!("{}{path}", auth.issuer);
    let owned = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let methods = owned(&[
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ]);
    let algorithms = owned(&proof::ALGORITHMS);
    Ok(Metadata {
        issuer: auth.issuer.clone(),
        token_endpoint: at(TOKEN_PATH),
        revocation_endpoint: at(REVOCATION_PATH),
        introspection_endpoint: at(INTROSPECTION_PATH),
        jwks_uri: at(JWKS_PATH),
        scopes_supported: owned(&SCOPES),
        // Nobody is sent here to agree to something.
        response_types_supported: Vec::new(),
        grant_types_supported: owned(&GrantType::ALL.map(GrantType::as_str)),
        token_endpoint_auth_methods_supported: methods.clone(),
        token_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
        revocation_endpoint_auth_methods_supported: methods.clone(),
        revocation_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
        introspection_endpoint_auth_methods_supported: methods,
        introspection_endpoint_auth_signing_alg_values_supported: algorithms,
        service_documentation: at("/docs"),
    })
}

pub(crate) async fn signing_keys(
    db: &PgPool,
    _: &Auth,
    _: &Request<ListSigningKeys>,
) -> Result<SigningKeys, Refused> {
    let mut db = db.acquire().await?;
    Ok(SigningKeys {
        items: store::find_keys(&mut db).await?,
    })
}
