//! What must be there before the first request.

use shopzen_chassis::{Cx, Failure};

use crate::{
    Auth,
    store::{self, NewAccount},
};

/// All that staff may do.
pub(crate) const STAFF_SCOPES: [&str; 6] = [
    "accounts:write",
    "catalog:write",
    "ops:write",
    "orders:write",
    "partners:write",
    "stock:write",
];

const DEMO_ACCOUNTS: [(&str, &str, &[&str]); 2] = [
    (
        "shopper@demo.test",
        "Demo Shopper",
        &["orders:place", "orders:read"],
    ),
    ("staff@demo.test", "Demo Staff", &STAFF_SCOPES),
];

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
