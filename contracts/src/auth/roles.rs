//! Who has which roles. Tokens that are out keep their scopes until they expire, a few minutes later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Access, Command, Query, Role, Scope};

/// All roles there are, with what they allow.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListRoles {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Roles {
    pub items: Vec<RoleMeaning>,
    /// There are never more than fit into one answer.
    pub next_cursor: Option<String>,
}

/// A role, with its scopes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleMeaning {
    pub role: Role,
    pub scopes: Vec<ScopeMeaning>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScopeMeaning {
    pub scope: Scope,
    /// What it allows, as a sentence.
    pub meaning: String,
}

impl Query for ListRoles {
    const SUBJECT: &'static str = "shop.qry.auth.v1.roles";
    const ACCESS: Access = Access::Scope(Scope::AccountsWrite);
    type Reply = Roles;
}

/// The roles of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountRoles {
    pub account_id: Uuid,
    pub email: String,
    pub roles: Vec<Role>,
    /// What its tokens allow.
    pub scopes: Vec<Scope>,
    /// Grows with each change.
    pub version: i64,
}

/// The roles of a customer's account, for staff.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetCustomerRoles {
    pub account_id: Uuid,
}

impl Query for GetCustomerRoles {
    const SUBJECT: &'static str = "shop.qry.auth.v1.customer_roles";
    const ACCESS: Access = Access::Scope(Scope::AccountsWrite);
    type Reply = AccountRoles;
}

/// Gives a customer's account these roles and no others. Nobody gives or takes what they do not have themselves, and the
/// last owner stays one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetCustomerRoles {
    pub account_id: Uuid,
    pub roles: Vec<Role>,
}

impl Command for SetCustomerRoles {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.set_customer_roles";
    const ACCESS: Access = Access::Scope(Scope::AccountsWrite);
    type Reply = AccountRoles;
}

/// The roles of the account with an address, for the operator.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetAccountRoles {
    pub email: String,
}

impl Query for GetAccountRoles {
    const SUBJECT: &'static str = "shop.qry.auth.v1.account_roles";
    const ACCESS: Access = Access::OPERATOR;
    type Reply = AccountRoles;
}

/// Gives the account with an address these roles and no others: how a shop gets its first owner. The last one stays.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAccountRoles {
    pub email: String,
    pub roles: Vec<Role>,
}

impl Command for SetAccountRoles {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.set_account_roles";
    const ACCESS: Access = Access::OPERATOR;
    type Reply = AccountRoles;
}
