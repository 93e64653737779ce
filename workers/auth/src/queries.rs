//! What tokens are signed with, and what an account's owner may know about it.

use shopzen_chassis::{Refused, Request};
use shopzen_contracts::{
    Problem,
    auth::{
        GetKeys, KeySet, ListSigningKeys, SigningKeys,
        accounts::{Account, GetMe, ListSessions, Sessions},
    },
};
use sqlx::PgPool;

use crate::{Auth, commands::accounts::account_of, store};

pub(crate) async fn keys(db: &PgPool, _: &Auth, _: &Request<GetKeys>) -> Result<KeySet, Refused> {
    Ok(KeySet {
        keys: store::find_public_keys(db).await?,
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
