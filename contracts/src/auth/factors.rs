//! Second factors: authenticator apps (RFC 6238), passkeys (<https://www.w3.org/TR/webauthn-3/>), and recovery codes for who
//! has lost both.
//!
//! Whoever has a factor is asked for it after the password, and again before what matters. A passkey is enough by itself: it
//! is something that they have, and it asks them for a PIN or a finger.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::accounts::{Done, SignInOutcome};
use crate::{Access, Command, Confidential, Query, Scope, rights::User};

/// By what somebody shows a second factor.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum FactorProof {
    /// The code that the authenticator app shows: six digits, good once.
    Totp {
        code: Confidential,
    },
    /// One of the ten that were shown once; good once.
    RecoveryCode {
        code: Confidential,
    },
    Passkey(PasskeyProof),
}

/// What a browser got from a passkey.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyProof {
    /// From the options that it was asked with.
    pub ceremony: Confidential,
    /// `PublicKeyCredential.toJSON()`.
    pub credential: Value,
}

/// Which factors somebody can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FactorMethod {
    Totp,
    Passkey,
    RecoveryCode,
}

/// What came of a proof. One that fails is counted, so it is an answer and no refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum FactorOutcome {
    Accepted,
    /// It is not good, or was used already.
    Wrong,
    /// Too many attempts have failed.
    Blocked {
        /// Seconds.
        retry_after_s: u32,
    },
}

/// Shows a second factor once more: for five minutes the caller's session may do what
/// needs it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepUp {
    pub proof: FactorProof,
}

impl Command for StepUp {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.step_up";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = FactorOutcome;
}

/// Ends a sign-in that has begun with the password: with the second factor.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishSignIn {
    /// What the right password was answered with. Good for five minutes, and once.
    pub challenge: Confidential,
    pub proof: FactorProof,
    /// What the browser calls itself.
    pub device: String,
    /// The session that the browser had until now: it ends.
    #[serde(default)]
    pub instead_of: Option<Confidential>,
}

impl Command for FinishSignIn {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.finish_sign_in";
    const ACCESS: Access = Access::Users(&[User::Edge]);
    type Reply = SignInOutcome;
}

/// Begins a session by a passkey alone.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInByPasskey {
    pub proof: PasskeyProof,
    /// What the browser calls itself.
    pub device: String,
    /// The session that the browser had until now: it ends.
    #[serde(default)]
    pub instead_of: Option<Confidential>,
}

impl Command for SignInByPasskey {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.sign_in_by_passkey";
    const ACCESS: Access = Access::Users(&[User::Edge]);
    type Reply = SignInOutcome;
}

/// Asks what a browser is to ask a passkey, of whomever it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskForPasskey {}

/// What a browser hands to the passkey, and by what its answer is known again: for five minutes, and once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyOptions {
    pub ceremony: Confidential,
    /// `PublicKeyCredentialRequestOptionsJSON` or `PublicKeyCredentialCreationOptionsJSON`.
    pub options: Value,
}

impl Command for AskForPasskey {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.ask_for_passkey";
    const ACCESS: Access = Access::Anyone;
    type Reply = PasskeyOptions;
}

/// The caller's factors.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListFactors {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Factors {
    /// Since when there is an authenticator app.
    #[schemars(with = "Option<String>")]
    pub totp_since: Option<Timestamp>,
    /// Oldest first.
    pub passkeys: Vec<Passkey>,
    /// How many are left.
    pub recovery_codes: u32,
    /// Whether this shop has a name that passkeys can be for: an address of numbers is none.
    pub passkeys_offered: bool,
}

/// A passkey, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Passkey {
    pub id: Uuid,
    pub name: String,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    #[schemars(with = "Option<String>")]
    pub used_at: Option<Timestamp>,
}

impl Query for ListFactors {
    const SUBJECT: &'static str = "shop.qry.auth.v1.factors";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Factors;
}

/// Makes the secret of an authenticator app. It counts once a first code has confirmed it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddTotp {
    pub current_password: Confidential,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TotpAdded {
    Accepted(TotpSecret),
    /// This is not the account's password.
    Wrong,
    /// Too many attempts have failed.
    Blocked {
        /// Seconds.
        retry_after_s: u32,
    },
}

/// It is never shown again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TotpSecret {
    /// In base32, for who types it.
    pub secret: Confidential,
    /// `otpauth://totp/…`, for a QR code.
    pub uri: Confidential,
}

impl Command for AddTotp {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.add_totp";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = TotpAdded;
}

/// Shows that the authenticator app has the secret.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmTotp {
    pub code: Confidential,
}

/// What came of a first code or a new passkey.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum FactorAdded {
    Accepted(RecoveryCodes),
    /// It is not good, or was used already.
    Wrong,
    /// Too many attempts have failed.
    Blocked {
        /// Seconds.
        retry_after_s: u32,
    },
}

/// Each is good once, in place of a second factor. They are never shown again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryCodes {
    /// Empty where the account has some already.
    pub recovery_codes: Vec<Confidential>,
}

impl Command for ConfirmTotp {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.confirm_totp";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = FactorAdded;
}

/// Forgets the authenticator app. Needs a step up.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveTotp {}

impl Command for RemoveTotp {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.remove_totp";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Done;
}

/// Makes ten new recovery codes; those before are good for nothing. Needs a step up.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRecoveryCodes {}

impl Command for RenewRecoveryCodes {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.renew_recovery_codes";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = RecoveryCodes;
}

/// Asks what a browser is to ask an authenticator for a new passkey.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartPasskey {
    pub current_password: Confidential,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum PasskeyStarted {
    Accepted(PasskeyOptions),
    /// This is not the account's password.
    Wrong,
    /// Too many attempts have failed.
    Blocked {
        /// Seconds.
        retry_after_s: u32,
    },
}

impl Command for StartPasskey {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.start_passkey";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = PasskeyStarted;
}

/// Adds a new passkey.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPasskey {
    /// 1 to 100 characters.
    pub name: String,
    /// From the options that the browser was given.
    pub ceremony: Confidential,
    /// `PublicKeyCredential.toJSON()`.
    pub credential: Value,
}

impl Command for AddPasskey {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.add_passkey";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = FactorAdded;
}

/// Calls a passkey something else.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenamePasskey {
    pub id: Uuid,
    /// 1 to 100 characters.
    pub name: String,
}

impl Command for RenamePasskey {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.rename_passkey";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Passkey;
}

/// Forgets a passkey. Needs a step up.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovePasskey {
    pub id: Uuid,
}

impl Command for RemovePasskey {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.remove_passkey";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = Done;
}
