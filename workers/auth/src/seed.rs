//! What must be there before the first request.

use shopzen_chassis::{Cx, Failure};
use shopzen_contracts::Confidential;

use crate::{
    Auth,
    store::{self, NewAccount},
};

/// All that staff may do.
pub(crate) const STAFF_SCOPES: [&str; 4] =
    ["catalog:write", "ops:write", "orders:write", "stock:write"];

/// What a shopper may do.
pub(crate) const SHOPPER_SCOPES: [&str; 2] = ["orders:place", "orders:read"];

/// Address, name, password and scopes.
const DEMO_ACCOUNTS: [(&str, &str, &str, &[&str]); 2] = [
    (
        "shopper@demo.test",
        "Demo Shopper",
        "demo-shopper",
        &SHOPPER_SCOPES,
    ),
    ("staff@demo.test", "Demo Staff", "demo-staff", &STAFF_SCOPES),
];

/// Makes the demo accounts, or gives them the scopes that they have by now.
pub(crate) async fn demo_accounts(cx: &mut Cx, auth: &Auth) -> Result<bool, Failure> {
    if auth.demo_accounts {
        let accounts = DEMO_ACCOUNTS.map(|(email, name, _, scopes)| NewAccount {
            id: cx.new_id(),
            email,
            name,
            scopes,
        });
        store::save_demo_accounts(cx.db(), &accounts).await?;
        for (id, email) in store::accounts::find_demo_accounts_without_password(cx.db()).await? {
            let password = DEMO_ACCOUNTS.iter().find(|(known, ..)| *known == email);
            if let Some((_, _, password, _)) = password {
                let hash = auth
                    .passwords
                    .hash_any(&Confidential::new(*password))
                    .await?;
                store::accounts::save_password(cx.db(), id, &hash).await?;
            }
        }
    }
    Ok(false)
}
