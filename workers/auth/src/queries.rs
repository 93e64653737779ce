//! What tokens are signed with: the public keys for everybody, and how they follow each other for operators.

use shopzen_chassis::{Refused, Request};
use shopzen_contracts::auth::{GetKeys, KeySet, ListSigningKeys, SigningKeys};
use sqlx::PgPool;

use crate::{Auth, store};

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
