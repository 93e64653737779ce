//! What people were told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Access, Command, Confidential, Event, OrderId, Query, Scope, Service, audit::OrderSpan,
    rights::User,
};

/// What a mail is about: one per order and kind, or one per letter about an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailKind {
    OrderConfirmed,
    OrderRejected,
    OrderCancelled,
    /// To whoever wants an account: a link.
    ConfirmEmail,
    /// Somebody wanted an account with an address that has one.
    AlreadyRegistered,
    /// A link by which to set a new password.
    ResetPassword,
    /// Somebody set a new password.
    PasswordChanged,
    /// To the old address, which is to give way to another: a link.
    ApproveNewEmail,
    /// To the new address: a link.
    ConfirmNewEmail,
    /// An app's session was ended, as somebody else had a copy of its refresh token.
    RefreshTokenReused,
    /// An account has another second factor.
    SecondFactorAdded,
    /// A second factor of an account was removed.
    SecondFactorRemoved,
}

impl MailKind {
    pub const ALL: [Self; 12] = [
        Self::OrderConfirmed,
        Self::OrderRejected,
        Self::OrderCancelled,
        Self::ConfirmEmail,
        Self::AlreadyRegistered,
        Self::ResetPassword,
        Self::PasswordChanged,
        Self::ApproveNewEmail,
        Self::ConfirmNewEmail,
        Self::RefreshTokenReused,
        Self::SecondFactorAdded,
        Self::SecondFactorRemoved,
    ];

    /// As it stands in JSON and in columns.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderConfirmed => "order_confirmed",
            Self::OrderRejected => "order_rejected",
            Self::OrderCancelled => "order_cancelled",
            Self::ConfirmEmail => "confirm_email",
            Self::AlreadyRegistered => "already_registered",
            Self::ResetPassword => "reset_password",
            Self::PasswordChanged => "password_changed",
            Self::ApproveNewEmail => "approve_new_email",
            Self::ConfirmNewEmail => "confirm_new_email",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::SecondFactorAdded => "second_factor_added",
            Self::SecondFactorRemoved => "second_factor_removed",
        }
    }
}

/// The e-mail was handed to the mail server, or kept where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailSent {
    pub order_id: OrderId,
    pub kind: MailKind,
}

impl Event for MailSent {
    const SUBJECT: &'static str = "shop.evt.notify.v1.mail_sent";

    fn key(&self) -> Uuid {
        self.order_id.0
    }
}

/// Sends a letter about an account, once for each id; for the auth worker.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendLetter {
    pub letter_id: Uuid,
    pub kind: MailKind,
    pub recipient: String,
    /// Where a click leads, for kinds that have a link.
    pub link: Option<Confidential>,
    /// Whose account it is about, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<Uuid>,
    /// What the letter is about, where there is something to name: an address, an app.
    pub subject: Option<String>,
}

impl Command for SendLetter {
    const SUBJECT: &'static str = "shop.cmd.notify.v1.send_letter";
    const ACCESS: Access = Access::Users(&[User::Worker(Service::Auth)]);
    type Reply = LetterTaken;
}

/// The letter will reach the mail server, or is kept where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LetterTaken {}

/// E-mails, newest first; for the operator.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListMails {
    pub order_id: Option<OrderId>,
    /// 1 to 100; 24 where absent.
    pub limit: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Mails {
    pub items: Vec<Mail>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mail {
    /// None where it is about an account.
    pub order_id: Option<OrderId>,
    pub kind: MailKind,
    pub recipient: String,
    pub subject: String,
    pub body: String,
    /// `pending`, `sent` (a mail server took it), `kept` (there is no mail server) or `erased` (with the person).
    pub state: String,
    #[schemars(with = "String")]
    pub created_at: jiff::Timestamp,
}

impl Query for ListMails {
    const SUBJECT: &'static str = "shop.qry.notify.v1.mails";
    const ACCESS: Access = Access::OPERATOR;
    type Reply = Mails;
}

/// What the caller was written, newest first, without links that let somebody in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListOwnMails {
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OwnMails {
    pub items: Vec<Mail>,
    pub next_cursor: Option<String>,
}

impl Query for ListOwnMails {
    const SUBJECT: &'static str = "shop.qry.notify.v1.own_mails";
    const ACCESS: Access = Access::Account(Scope::ProfileWrite);
    type Reply = OwnMails;
}

/// Which mails there are about some orders, for an audit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AuditMails(pub OrderSpan);

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditedMails {
    /// In the order of their orders' ids.
    pub items: Vec<MailFacts>,
    /// The last id of a full page.
    pub next: Option<OrderId>,
}

/// The mails about one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailFacts {
    pub order_id: OrderId,
    /// One for each mail.
    pub kinds: Vec<MailKind>,
}

impl Query for AuditMails {
    const SUBJECT: &'static str = "shop.qry.notify.v1.audit_mails";
    const ACCESS: Access = Access::AUDITS;
    type Reply = AuditedMails;
}
