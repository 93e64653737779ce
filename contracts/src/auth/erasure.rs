//! What is known of a person: all of it, for themselves, and the end of it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    accounts::{Account, PasswordOutcome, Session},
    addresses::SavedAddress,
    factors::Factors,
    identities::Identity,
};
use crate::{Access, Command, Confidential, Event, Query, Scope, privacy::StaffAct};

/// All that the auth worker knows of the caller.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportMe {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportedAccount {
    pub account: Account,
    pub addresses: Vec<SavedAddress>,
    pub sessions: Vec<Session>,
    pub second_factors: Factors,
    /// Accounts elsewhere that sign in to this one.
    pub identities: Vec<Identity>,
    pub consents: Vec<Consent>,
    /// What staff did to the account.
    pub staff_acts: Vec<StaffAct>,
}

/// What somebody agreed to for a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Consent {
    pub client_id: Uuid,
    pub client_name: String,
    pub scopes: Vec<String>,
    #[schemars(with = "String")]
    pub agreed_at: Timestamp,
}

impl Query for ExportMe {
    const SUBJECT: &'static str = "shop.qry.auth.v1.export_me";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = ExportedAccount;
}

/// Ends the caller's account, and all that is known of the person.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseMe {
    pub current_password: Confidential,
}

impl Command for EraseMe {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.erase_me";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = PasswordOutcome;
}

/// An account is no more: whoever knows something of the person forgets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountErased {
    pub account_id: Uuid,
    /// Letters that were written to them; also those from before there was an account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub letter_ids: Vec<Uuid>,
}

impl Event for AccountErased {
    const SUBJECT: &'static str = "shop.evt.auth.v1.account_erased";

    fn key(&self) -> Uuid {
        self.account_id
    }
}
