//! `shopzen account`: who may what, for who holds the operator's password.

use shopzen_chassis::Asking;
use shopzen_contracts::auth::{AccountRoles, GetAccountRoles, SetAccountRoles};

use super::{Shop, as_operator};
use crate::{
    cli::{AccountAction, Options},
    exit::Failure,
    terminal::Terminal,
};

pub async fn account(
    action: AccountAction,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let AccountAction::Roles { email, roles } = action;
    let shop = Shop::connect(options).await?;
    let account = if roles.is_empty() {
        let query = GetAccountRoles { email };
        shop.query(&query, &Asking::default()).await?
    } else {
        let command = SetAccountRoles { email, roles };
        shop.command(&command, &as_operator()).await?
    };
    terminal.result(&account, || text(&account));
    Ok(())
}

fn text(account: &AccountRoles) -> String {
    let AccountRoles {
        email,
        roles,
        scopes,
        ..
    } = account;
    let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
    format!("{email}  {}\n  {}", roles.join(", "), scopes.join(" "))
}
