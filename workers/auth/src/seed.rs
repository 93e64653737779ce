//! What must be there before the first request.

use shopzen_chassis::{Cx, Failure};
use shopzen_contracts::Role;

use crate::{
    Auth,
    store::{self, NewAccount},
};

const DEMO_ACCOUNTS: [(&str, &str, Role); 2] = [
    ("shopper@demo.test", "Demo Shopper", Role::Shopper),
    ("staff@demo.test", "Demo Staff", Role::Owner),
];

/// Makes the demo accounts. Those that are there keep the roles that somebody gave them.
pub(crate) async fn demo_accounts(cx: &mut Cx, auth: &Auth) -> Result<bool, Failure> {
    if auth.demo_accounts {
        let accounts = DEMO_ACCOUNTS.map(|(email, name, role)| NewAccount {
            id: cx.new_id(),
            email,
            name,
            role,
        });
        store::save_demo_accounts(cx.db(), &accounts).await?;
    }
    Ok(false)
}
