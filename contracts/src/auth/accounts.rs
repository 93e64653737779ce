//! Accounts: who registers and signs in, and what belongs to them.
//!
//! Nobody learns here whether there is an account with an address: registering and asking for a new password are
//! answered before anybody has looked, and what follows comes by e-mail.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::factors::FactorMethod;
use crate::{Access, Command, Confidential, Query, Scope, rights::User};

/// It was understood; what comes of it comes by e-mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {}

/// It is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {}

/// Asks for an account. It is there once the link in the e-mail has been followed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    pub email: String,
    /// 8 to 128 characters, and not one that is easily guessed.
    pub password: Confidential,
    /// 1 to 100 characters.
    pub name: String,
}

impl Command for Register {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.register";
    const ACCESS: Access = Access::Anyone;
    type Reply = Accepted;
}

/// Shows that an address is one's own, by what was sent to it: of a registration, or of a new address.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmEmail {
    /// From the link in the e-mail.
    pub token: Confidential,
}

impl Command for ConfirmEmail {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.confirm_email";
    const ACCESS: Access = Access::Anyone;
    type Reply = EmailConfirmed;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmailConfirmed {
    /// The account's address from now on; none where another confirmation is still to come.
    pub email: Option<String>,
}

/// Asks for a link by which to set a new password.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestPasswordReset {
    pub email: String,
}

impl Command for RequestPasswordReset {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.request_password_reset";
    const ACCESS: Access = Access::Anyone;
    type Reply = Accepted;
}

/// Sets a new password by such a link, and ends every session.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// From the link in the e-mail.
    pub token: Confidential,
    /// 8 to 128 characters, and not one that is easily guessed.
    pub password: Confidential,
}

impl Command for ResetPassword {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.reset_password";
    const ACCESS: Access = Access::Anyone;
    type Reply = Done;
}

/// Begins a session of the shop's own pages.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    pub email: String,
    pub password: Confidential,
    /// What the browser calls itself.
    pub device: String,
    /// The session that the browser had until now: it ends.
    #[serde(default)]
    pub instead_of: Option<Confidential>,
}

impl Command for SignIn {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.sign_in";
    const ACCESS: Access = Access::Users(&[User::Edge]);
    type Reply = SignInOutcome;
}

/// What came of it. An attempt that fails is counted, so it is an answer and no refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum SignInOutcome {
    SignedIn {
        /// What the browser keeps as its cookie.
        session: Confidential,
    },
    /// The password is right, and the account has a second factor.
    SecondFactorNeeded {
        /// With it and the factor the sign-in ends; for five minutes, and once.
        challenge: Confidential,
        methods: Vec<FactorMethod>,
    },
    /// There is no such account, or this is not its password; or the second factor is not good.
    Wrong,
    /// The challenge is too old, or was used: the sign-in has to begin anew.
    Ended,
    /// Too many attempts have failed.
    Blocked {
        /// Seconds.
        retry_after_s: u32,
    },
}

/// Ends a session.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignOut {
    pub session: Confidential,
}

impl Command for SignOut {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.sign_out";
    const ACCESS: Access = Access::Users(&[User::Edge]);
    type Reply = Done;
}

/// An access token for who has a session's cookie.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UseSession {
    pub session: Confidential,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionInUse {
    pub access_token: Confidential,
    /// Seconds.
    pub expires_in: u64,
    pub session_id: Uuid,
    pub account: Account,
}

impl Command for UseSession {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.use_session";
    const ACCESS: Access = Access::Users(&[User::Edge]);
    type Reply = SessionInUse;
}

/// The caller's own account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetMe {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
}

impl Query for GetMe {
    const SUBJECT: &'static str = "shop.qry.auth.v1.me";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Account;
}

/// Changes the caller's own account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMe {
    /// 1 to 100 characters.
    pub name: String,
}

impl Command for ChangeMe {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.change_me";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Account;
}

/// Sets a new password for the caller, and ends all sessions but this one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    pub current_password: Confidential,
    /// 8 to 128 characters, and not one that is easily guessed.
    pub password: Confidential,
}

impl Command for ChangePassword {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.change_password";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = PasswordOutcome;
}

/// What came of it. An attempt that fails is counted, so it is an answer and no refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum PasswordOutcome {
    Accepted,
    /// This is not the account's password.
    Wrong,
    /// Too many attempts have failed.
    Blocked {
        /// Seconds.
        retry_after_s: u32,
    },
}

/// Asks for another address. It is the account's once links sent to both have been followed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeEmail {
    pub current_password: Confidential,
    pub email: String,
}

impl Command for ChangeEmail {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.change_email";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = PasswordOutcome;
}

/// Where the caller is signed in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSessions {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Sessions {
    /// Last used first.
    pub items: Vec<Session>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    pub id: Uuid,
    /// What the browser or the app calls itself.
    pub device: String,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// To within a few minutes.
    #[schemars(with = "String")]
    pub seen_at: Timestamp,
    /// Whether this is the one that asks.
    pub is_current: bool,
}

impl Query for ListSessions {
    const SUBJECT: &'static str = "shop.qry.auth.v1.sessions";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Sessions;
}

/// Ends one of the caller's sessions: whoever has it is nobody within ten seconds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndSession {
    pub id: Uuid,
}

impl Command for EndSession {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.end_session";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Done;
}
