//! What must be there before the first request.

use shopzen_chassis::{Cx, Failure};
use shopzen_contracts::{Confidential, Role};

use crate::{
    Auth,
    store::{self, NewAccount},
};

/// Address, name, password and role.
const DEMO_ACCOUNTS: [(&str, &str, &str, Role); 2] = [
    (
        "shopper@demo.test",
        "Demo Shopper",
        "demo-shopper",
        Role::Shopper,
    ),
    ("staff@demo.test", "Demo Staff", "demo-staff", Role::Owner),
];

/// Makes the demo accounts. Those that are there keep the roles that somebody gave them.
pub(crate) async fn demo_accounts(cx: &mut Cx, auth: &Auth) -> Result<bool, Failure> {
    if auth.demo_accounts {
        let accounts = DEMO_ACCOUNTS.map(|(email, name, _, role)| NewAccount {
            id: cx.new_id(),
            email,
            name,
            role,
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
