//! What must be there before the first request.

use shopzen_chassis::{Cx, Failure};

use crate::{
    Auth,
    store::{self, NewAccount},
    token,
};

const DEMO_ACCOUNTS: [(&str, &str, &[&str]); 2] = [
    (
        "shopper@demo.test",
        "Demo Shopper",
        &["orders:place", "orders:read"],
    ),
    (
        "staff@demo.test",
        "Demo Staff",
        &["catalog:write", "ops:write", "orders:write", "stock:write"],
    ),
];

/// Makes a signing key where there is none.
pub(crate) async fn signing_key(cx: &mut Cx, _: &Auth) -> Result<bool, Failure> {
    if store::find_key_in_use(cx.db()).await?.is_none() {
        let key = token::new_key()?;
        // Where another replica is faster, its key is the one.
        if store::insert_key_in_use(cx.db(), &key).await? {
            tracing::info!(kid = key.kid, "made a signing key");
        }
    }
    Ok(false)
}

/// Makes the demo accounts, or gives them the scopes that they have by now.
pub(crate) async fn demo_accounts(cx: &mut Cx, auth: &Auth) -> Result<bool, Failure> {
    if auth.demo_accounts {
        let accounts = DEMO_ACCOUNTS.map(|(email, name, scopes)| NewAccount {
            id: cx.new_id(),
            email,
            name,
            scopes,
        });
        store::save_demo_accounts(cx.db(), &accounts).await?;
    }
    Ok(false)
}
