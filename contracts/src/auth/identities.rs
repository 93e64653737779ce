//! Signing in with an account elsewhere, at a provider that the shop's configuration names (OpenID Connect Core 1.0).
//!
//! The edge leads a browser to the provider and back. What must not be lost or forged on the way is sealed by the auth
//! worker and lies in the browser's cookie meanwhile.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::accounts::Done;
use crate::{Access, Command, Confidential, Query, Scope, rights::User};

/// Where providers send browsers back to is this, the provider's name, and `/back`, below the issuer.
pub const PROVIDERS_PATH: &str = "/sign-in/with";

const EDGE: Access = Access::Users(&[User::Edge]);

/// With whose accounts people can sign in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListProviders {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Providers {
    /// In the order of their names.
    pub items: Vec<Provider>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Provider {
    /// As the configuration and addresses have it: `google`.
    pub name: String,
    /// As people know it.
    pub title: String,
}

impl Query for ListProviders {
    const SUBJECT: &'static str = "shop.qry.auth.v1.providers";
    const ACCESS: Access = EDGE;
    type Reply = Providers;
}

/// Where to lead a browser so that somebody signs in at a provider. A query: until the browser comes back nothing is kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginTrip {
    pub provider: String,
    /// Where in the shop they go afterwards.
    pub return_to: String,
    /// Whether they want to sign in with it from now on, and have an account already.
    pub is_to_link: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trip {
    /// The provider's address, with all that it is asked.
    pub location: Confidential,
    /// What the browser has to bring back.
    pub trip: Confidential,
}

impl Query for BeginTrip {
    const SUBJECT: &'static str = "shop.qry.auth.v1.begin_trip";
    const ACCESS: Access = EDGE;
    type Reply = Trip;
}

/// A browser is back from a provider, with an answer (RFC 6749, 4.1.2; RFC 9207). It counts once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndTrip {
    /// Whose answer it is, by the address that it came to.
    pub provider: String,
    pub trip: Confidential,
    pub state: Confidential,
    #[serde(default)]
    pub iss: Option<String>,
    #[serde(default)]
    pub code: Option<Confidential>,
    /// What the provider says where there is no code.
    #[serde(default)]
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TripEnd {
    Arrived {
        /// By which to ask the provider who it is.
        ticket: Confidential,
        return_to: String,
        is_to_link: bool,
    },
    /// The person, or the provider, said no.
    Declined { return_to: String },
}

impl Command for EndTrip {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.end_trip";
    const ACCESS: Access = EDGE;
    type Reply = TripEnd;
}

/// Asks the provider who has come back. A query: nothing here changes, and no transaction waits for another's answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskProvider {
    pub ticket: Confidential,
}

/// Who somebody is elsewhere, as the provider has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// For [`SignInByProvider`] or [`LinkIdentity`], once.
    pub identity: Confidential,
}

impl Query for AskProvider {
    const SUBJECT: &'static str = "shop.qry.auth.v1.ask_provider";
    const ACCESS: Access = EDGE;
    type Reply = Shown;
}

/// Begins a session of the shop's own pages for whoever this is. Where they have no account, one is made.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInByProvider {
    pub identity: Confidential,
    /// What the browser calls itself.
    pub device: String,
    /// The session that the browser had until now: it ends.
    #[serde(default)]
    pub instead_of: Option<Confidential>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ProviderSignIn {
    SignedIn {
        /// What the browser keeps as its cookie.
        session: Confidential,
    },
    /// It goes on as for who has given the right password: with [`super::factors::FinishSignIn`].
    SecondFactorNeeded {
        challenge: Confidential,
        methods: Vec<super::factors::FactorMethod>,
    },
    /// There is an account with this address. Its owner signs in to it and links the identity: it is not theirs because
    /// somebody else says so.
    LinkFirst,
    /// The provider does not vouch for an address, and an account here has one that is confirmed.
    Unconfirmed,
}

impl Command for SignInByProvider {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.sign_in_by_provider";
    const ACCESS: Access = EDGE;
    type Reply = ProviderSignIn;
}

/// Who an identity is that may be linked, for its owner to see before they say yes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DescribeIdentity {
    pub identity: Confidential,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdentityDescription {
    pub provider: Provider,
    /// Their address there, or else their name or number.
    pub label: String,
}

impl Query for DescribeIdentity {
    const SUBJECT: &'static str = "shop.qry.auth.v1.describe_identity";
    const ACCESS: Access = EDGE;
    type Reply = IdentityDescription;
}

/// From now on the caller signs in with this identity too. They must have signed in lately, and in the shop's own pages.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkIdentity {
    pub identity: Confidential,
}

impl Command for LinkIdentity {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.link_identity";
    const ACCESS: Access = EDGE;
    type Reply = Done;
}

/// With which accounts elsewhere the caller can sign in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListIdentities {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identities {
    /// The oldest first.
    pub items: Vec<Identity>,
    /// Whether there is a password besides.
    pub has_password: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    pub id: Uuid,
    pub provider: Provider,
    /// Their address there when it was linked, or else their name or number.
    pub label: String,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
}

impl Query for ListIdentities {
    const SUBJECT: &'static str = "shop.qry.auth.v1.identities";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Identities;
}

/// The caller no longer signs in with it. The last way to sign in stays.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlinkIdentity {
    pub id: Uuid,
}

impl Command for UnlinkIdentity {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.unlink_identity";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Done;
}
