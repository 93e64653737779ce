//! An account's own addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::accounts::Done;
use crate::{Access, Address, Command, PostalAddress, Query, Scope};

/// The caller's addresses, the default one first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListAddresses {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Addresses {
    /// At most [`Addresses::ITEMS_MAX`].
    pub items: Vec<SavedAddress>,
}

impl Addresses {
    pub const ITEMS_MAX: usize = 50;
}

/// An address in somebody's address book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SavedAddress {
    pub id: Uuid,
    pub address: PostalAddress,
    /// Of all of an account's one may be.
    pub is_default: bool,
}

impl Query for ListAddresses {
    const SUBJECT: &'static str = "shop.qry.auth.v1.addresses";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Addresses;
}

/// One of the caller's addresses.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetAddress {
    pub id: Uuid,
}

impl Query for GetAddress {
    const SUBJECT: &'static str = "shop.qry.auth.v1.address";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = SavedAddress;
}

/// Puts an address into the caller's address book.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddAddress {
    pub address: Address,
    /// It takes this from the one that was.
    #[serde(default)]
    pub is_default: bool,
}

impl Command for AddAddress {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.add_address";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = SavedAddress;
}

/// Puts this in the place of one of the caller's addresses.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeAddress {
    pub id: Uuid,
    pub address: Address,
    #[serde(default)]
    pub is_default: bool,
}

impl Command for ChangeAddress {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.change_address";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = SavedAddress;
}

/// Takes an address out of the caller's address book.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveAddress {
    pub id: Uuid,
}

impl Command for RemoveAddress {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.remove_address";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Done;
}
