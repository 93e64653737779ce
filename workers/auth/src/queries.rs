//! What tokens are signed with, and what an account's owner may know about it.

use shopzen_chassis::{Refused, Request, find_activity_about};
use shopzen_contracts::{
    Problem, Scope, Service,
    auth::{
        GetKeys, GetTrust, KeySet, ListSigningKeys, SigningKeys, Trust,
        accounts::{Account, GetMe, ListSessions, Sessions},
        addresses::{Addresses, GetAddress, ListAddresses, SavedAddress},
        authorization::{AUTHORIZATION_PATH, GetUserinfo, OPENID_SCOPES, USERINFO_PATH, Userinfo},
        clients::{
            GetMetadata, GrantType, INTROSPECTION_PATH, JWKS_PATH, Metadata, REVOCATION_PATH,
            TOKEN_PATH,
        },
        erasure::{ExportMe, ExportedAccount},
        factors::{Factors, ListFactors},
    },
    privacy::StaffAct,
};
use sqlx::PgPool;

use crate::{
    Auth,
    commands::{accounts::account_of, addresses::no_such_address, identities},
    grants::REVOCATIONS_MAX,
    proof, store,
};

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
    let proofs = [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ];
    let methods = owned(&proofs);
    let openid = OPENID_SCOPES.into_iter().map(|(name, _)| name);
    let scopes = openid.chain(Scope::ALL.into_iter().map(Scope::name));
    let algorithms = owned(&proof::ALGORITHMS);
    Ok(Metadata {
        issuer: auth.issuer.clone(),
        authorization_endpoint: at(AUTHORIZATION_PATH),
        token_endpoint: at(TOKEN_PATH),
        userinfo_endpoint: at(USERINFO_PATH),
        revocation_endpoint: at(REVOCATION_PATH),
        introspection_endpoint: at(INTROSPECTION_PATH),
        jwks_uri: at(JWKS_PATH),
        scopes_supported: scopes.map(str::to_owned).collect(),
        response_types_supported: owned(&["code"]),
        response_modes_supported: owned(&["query"]),
        code_challenge_methods_supported: owned(&["S256"]),
        prompt_values_supported: owned(&["none", "login", "consent", "select_account"]),
        subject_types_supported: owned(&["public"]),
        id_token_signing_alg_values_supported: owned(&["ES256"]),
        claims_supported: owned(&[
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "amr",
            "nonce",
            "name",
            "email",
            "email_verified",
        ]),
        authorization_response_iss_parameter_supported: true,
        request_uri_parameter_supported: false,
        grant_types_supported: owned(&GrantType::ALL.map(GrantType::as_str)),
        token_endpoint_auth_methods_supported: owned(&[&proofs[..], &["none"]].concat()),
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

pub(crate) async fn me(
    db: &PgPool,
    _: &Auth,
    request: &Request<GetMe>,
) -> Result<Account, Refused> {
    let account = store::accounts::find_account(db, account_of(&request.caller)?).await?;
    Ok(account.ok_or_else(|| Problem::not_found("account"))?)
}

pub(crate) async fn sessions(
    db: &PgPool,
    _: &Auth,
    request: &Request<ListSessions>,
) -> Result<Sessions, Refused> {
    let account_id = account_of(&request.caller)?;
    let current = request.caller.session_id();
    Ok(Sessions {
        items: store::sessions::find_of(db, account_id, current).await?,
    })
}

pub(crate) async fn addresses(
    db: &PgPool,
    _: &Auth,
    request: &Request<ListAddresses>,
) -> Result<Addresses, Refused> {
    let account_id = account_of(&request.caller)?;
    let mut db = db.acquire().await?;
    let items = store::addresses::find_of(&mut db, account_id).await?;
    Ok(Addresses { items })
}

pub(crate) async fn address(
    db: &PgPool,
    _: &Auth,
    request: &Request<GetAddress>,
) -> Result<SavedAddress, Refused> {
    let account_id = account_of(&request.caller)?;
    let mut db = db.acquire().await?;
    let found = store::addresses::find(&mut db, account_id, request.body.id).await?;
    Ok(found.ok_or_else(no_such_address)?)
}

/// All that is known here of who asks.
pub(crate) async fn export_me(
    db: &PgPool,
    auth: &Auth,
    request: &Request<ExportMe>,
) -> Result<ExportedAccount, Refused> {
    let id = account_of(&request.caller)?;
    let account = store::accounts::find_account(db, id).await?;
    let account = account.ok_or_else(|| Problem::not_found("account"))?;
    let things = [format!("account {id}")];
    let acts = find_activity_about(db, Service::Auth, &things, StaffAct::EXPORTED_MAX).await?;
    let addresses = store::addresses::find_of(&mut *db.acquire().await?, id).await?;
    Ok(ExportedAccount {
        account,
        addresses,
        sessions: store::sessions::find_of(db, id, request.caller.session_id()).await?,
        second_factors: store::factors::find_of(db, id, auth.passkeys.are_offered()).await?,
        identities: identities::find_of(db, auth, id).await?,
        consents: store::erasure::find_consents(db, id).await?,
        staff_acts: acts.into_iter().map(StaffAct::from).collect(),
    })
}

pub(crate) async fn factors(
    db: &PgPool,
    auth: &Auth,
    request: &Request<ListFactors>,
) -> Result<Factors, Refused> {
    let account_id = account_of(&request.caller)?;
    let are_offered = auth.passkeys.are_offered();
    Ok(store::factors::find_of(db, account_id, are_offered).await?)
}

pub(crate) async fn userinfo(
    db: &PgPool,
    _: &Auth,
    request: &Request<GetUserinfo>,
) -> Result<Userinfo, Refused> {
    let id = account_of(&request.caller)?;
    let scope = request
        .caller
        .claims()
        .map_or("", |claims| claims.scope.as_str());
    let has = |wanted: &str| scope.split(' ').any(|held| held == wanted);
    if !has("openid") {
        let why = "this needs a token with the scope openid";
        return Err(Problem::new(403, "insufficient_scope", why).into());
    }
    let account = store::accounts::find_account(db, id).await?;
    let account = account.ok_or_else(|| Problem::not_found("account"))?;
    Ok(Userinfo {
        sub: id,
        name: has("profile").then_some(account.name),
        email_verified: has("email").then_some(true),
        email: has("email").then_some(account.email),
    })
}
