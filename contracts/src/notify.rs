//! What people were told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Access, Event, OrderId, Query, audit::OrderSpan};

/// One message per order and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailKind {
    OrderConfirmed,
    OrderRejected,
    OrderCancelled,
}

impl MailKind {
    /// As it stands in JSON and in columns.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderConfirmed => "order_confirmed",
            Self::OrderRejected => "order_rejected",
            Self::OrderCancelled => "order_cancelled",
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
    pub order_id: OrderId,
    pub kind: MailKind,
    pub recipient: String,
    pub subject: String,
    pub body: String,
    /// `pending`, `sent` (a mail server took it) or `kept` (there is no mail server).
    pub state: String,
    #[schemars(with = "String")]
    pub created_at: jiff::Timestamp,
}

impl Query for ListMails {
    const SUBJECT: &'static str = "shop.qry.notify.v1.mails";
    const ACCESS: Access = Access::OPERATOR;
    type Reply = Mails;
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
