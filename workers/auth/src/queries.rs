//! The public keys.

use shopzen_chassis::{Refused, Request};
use shopzen_contracts::auth::{GetKeys, KeySet};
use sqlx::PgPool;

use crate::{Auth, store};

pub(crate) async fn keys(db: &PgPool, _: &Auth, _: &Request<GetKeys>) -> Result<KeySet, Refused> {
    Ok(KeySet {
        keys: store::find_public_keys(db).await?,
    })
}
