//! Who is asking. The auth worker issues tokens; every worker verifies them for itself.

pub mod accounts;
pub mod addresses;
pub mod authorization;
pub mod clients;
pub mod erasure;
pub mod factors;
pub mod identities;
pub mod partners;
mod roles;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{Access, Command, Confidential, Query, Scope};

pub use roles::{
    AccountRoles, GetAccountRoles, GetCustomerRoles, ListRoles, RoleMeaning, Roles, ScopeMeaning,
    SetAccountRoles, SetCustomerRoles,
};

/// What an access token says (RFC 9068, `at+jwt`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claims {
    pub iss: String,
    /// The account's id; of a token that a client got for itself, the client's.
    pub sub: Uuid,
    pub aud: String,
    /// Seconds since 1970.
    pub exp: u64,
    pub nbf: u64,
    pub iat: u64,
    pub jti: Uuid,
    /// The session or the credential that the token comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<Uuid>,
    pub client_id: String,
    /// Scopes, parted by spaces: `stock:write catalog:write`.
    pub scope: String,
}

impl Claims {
    pub fn has_scope(&self, scope: Scope) -> bool {
        self.scope.split(' ').any(|held| held == scope.name())
    }

    /// The token, what it comes from, whom it is about and who got it: it is withdrawn when one of these is.
    pub fn ids(&self) -> impl Iterator<Item = Uuid> {
        // Our own pages and the operator's scripts are no registered clients.
        let client = Uuid::parse_str(&self.client_id).ok();
        [Some(self.jti), self.sid, Some(self.sub), client]
            .into_iter()
            .flatten()
    }
}

/// The `aud` of our own tokens.
pub const AUDIENCE: &str = "shopzen";

/// An access token for an account, for who holds the operator's credentials.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueToken {
    pub email: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct IssuedToken {
    pub access_token: String,
    pub token_type: String,
    /// Seconds.
    pub expires_in: u64,
    pub scope: String,
    /// By which to get the next one, where somebody let the client in (RFC 6749, 6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Confidential>,
    /// Who let it in, where it asked for `openid` (OpenID Connect Core 1.0, 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
}

impl Command for IssueToken {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.issue_token";
    const ACCESS: Access = Access::OPERATOR;
    type Reply = IssuedToken;
}

/// An access token with every scope of staff, for who holds the operator's credentials. It belongs to no account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueOperatorToken {}

/// Whom an operator's token is about.
pub const OPERATOR: Uuid = Uuid::nil();

impl Command for IssueOperatorToken {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.issue_operator_token";
    const ACCESS: Access = Access::OPERATOR;
    type Reply = IssuedToken;
}

/// The public keys that tokens are signed with (RFC 7517).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetKeys {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeySet {
    pub keys: Vec<Value>,
}

impl Query for GetKeys {
    const SUBJECT: &'static str = "shop.qry.auth.v1.keys";
    const ACCESS: Access = Access::Anyone;
    type Reply = KeySet;
}

/// What every worker has to know to verify access tokens.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetTrust {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Trust {
    /// The `iss` of our own tokens: the shop's address.
    pub issuer: String,
    /// RFC 7517.
    pub keys: Vec<Value>,
    /// Tokens, sessions, credentials, accounts and clients whose tokens count for nothing, newest first: those
    /// withdrawn so lately that some may not have expired.
    pub revoked: Vec<Uuid>,
}

impl Query for GetTrust {
    const SUBJECT: &'static str = "shop.qry.auth.v1.trust";
    const ACCESS: Access = Access::VERIFIERS;
    type Reply = Trust;
}

/// The keys that tokens are and were signed with, newest first; for the operator.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSigningKeys {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SigningKeys {
    pub items: Vec<SigningKey>,
}

/// One key's life: published, signing from some time on, then believed until what it signed has expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SigningKey {
    /// The public key's thumbprint (RFC 7638).
    pub kid: String,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    #[schemars(with = "String")]
    pub signs_from: Timestamp,
    /// None where it signs, or will.
    #[schemars(with = "Option<String>")]
    pub believed_until: Option<Timestamp>,
}

impl Query for ListSigningKeys {
    const SUBJECT: &'static str = "shop.qry.auth.v1.signing_keys";
    const ACCESS: Access = Access::OPERATOR;
    type Reply = SigningKeys;
}

/// Makes the next signing key, and answers with all there are. It signs as soon as everybody knows it; until then
/// asking again makes no other.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSigningKeys {
    /// The keys that are there got into the wrong hands: whatever they signed counts for nothing from now on, and
    /// everybody has to sign in again.
    #[serde(default)]
    pub withdraw: bool,
}

impl Command for RotateSigningKeys {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.rotate_signing_keys";
    const ACCESS: Access = Access::OPERATOR;
    type Reply = SigningKeys;
}
