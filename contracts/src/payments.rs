//! Money: what a gateway promised, took and gave back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Access, Command, Event, Money, OrderId, Query, audit::OrderSpan};

/// Where the payment of an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    None,
    Pending,
    RequiresAction,
    Authorised,
    Captured,
    Voided,
    PartlyRefunded,
    Refunded,
    Declined,
    Unknown,
}

impl PaymentStatus {
    /// As it stands in JSON and in columns.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pending => "pending",
            Self::RequiresAction => "requires_action",
            Self::Authorised => "authorised",
            Self::Captured => "captured",
            Self::Voided => "voided",
            Self::PartlyRefunded => "partly_refunded",
            Self::Refunded => "refunded",
            Self::Declined => "declined",
            Self::Unknown => "unknown",
        }
    }
}

macro_rules! about_an_order {
    ($event:ident, $subject:literal) => {
        impl Event for $event {
            const SUBJECT: &'static str = $subject;

            fn key(&self) -> Uuid {
                self.order_id.0
            }
        }
    };
}

/// The gateway holds the money for us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentAuthorised {
    pub order_id: OrderId,
    pub amount: Money,
}
about_an_order!(PaymentAuthorised, "shop.evt.payments.v1.authorised");

/// The gateway refused, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentDeclined {
    pub order_id: OrderId,
    /// The gateway's word for it, such as `insufficient_funds`.
    pub code: String,
}
about_an_order!(PaymentDeclined, "shop.evt.payments.v1.declined");

/// The shopper has to act, for example by 3-D Secure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentActionRequired {
    pub order_id: OrderId,
    /// Where.
    pub url: String,
}
about_an_order!(
    PaymentActionRequired,
    "shop.evt.payments.v1.action_required"
);

/// The gateway did not answer; whether it acted is being found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentUnknown {
    pub order_id: OrderId,
}
about_an_order!(PaymentUnknown, "shop.evt.payments.v1.unknown");

/// The money is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentCaptured {
    pub order_id: OrderId,
    pub amount: Money,
}
about_an_order!(PaymentCaptured, "shop.evt.payments.v1.captured");

/// The gateway promised the money and will not give it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentCaptureFailed {
    pub order_id: OrderId,
    pub code: String,
}
about_an_order!(PaymentCaptureFailed, "shop.evt.payments.v1.capture_failed");

/// The authorisation was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentVoided {
    pub order_id: OrderId,
    pub amount: Money,
}
about_an_order!(PaymentVoided, "shop.evt.payments.v1.voided");

/// Captured money was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRefunded {
    pub order_id: OrderId,
    pub amount: Money,
}
about_an_order!(PaymentRefunded, "shop.evt.payments.v1.refunded");

/// What came to a gateway's webhook, as it came. Its signature says whom it is from, and nothing of it is
/// believed but that it is worth while to ask the gateway.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveWebhook {
    /// The gateway it is said to be from, by the name that orders use.
    pub gateway: String,
    /// The header `webhook-id`: the same each time the gateway sends it.
    pub id: String,
    /// The header `webhook-timestamp`, in seconds since 1970.
    pub timestamp: String,
    /// The header `webhook-signature`.
    pub signature: String,
    /// To the byte, because it is signed.
    pub body: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredWebhook {
    /// It was stored before, and did nothing now.
    pub repeated: bool,
}

impl Command for ReceiveWebhook {
    const SUBJECT: &'static str = "shop.cmd.payments.v1.receive_webhook";
    const ACCESS: Access = Access::Anyone;
    type Reply = StoredWebhook;
}

/// What the payments worker knows of some orders, for an audit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AuditPayments(pub OrderSpan);

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditedPayments {
    /// In the order of their orders' ids.
    pub items: Vec<PaymentFacts>,
    /// The last id of a full page.
    pub next: Option<OrderId>,
}

/// A payment with its attempts and its lines of the ledger, all as of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentFacts {
    pub order_id: OrderId,
    /// The state in its own table; None where there are attempts or transfers, but no payment.
    pub state: Option<String>,
    /// None while it is not known.
    pub amount_minor: Option<i64>,
    pub currency: Option<String>,
    pub gateway: Option<String>,
    /// The gateway's name for the money.
    pub charge: Option<String>,
    pub attempts: Vec<AttemptFacts>,
    /// By the ledger.
    pub captured_minor: i64,
    pub refunded_minor: i64,
    /// Of the ledger's lines; None where there are none.
    pub booked_in: Option<String>,
}

/// One operation at a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptFacts {
    /// `authorise`, `capture`, `void` or `refund`.
    pub kind: String,
    pub state: String,
    pub amount_minor: i64,
    /// It is being found out what became of it.
    pub open: bool,
}

impl Query for AuditPayments {
    const SUBJECT: &'static str = "shop.qry.payments.v1.audit";
    const ACCESS: Access = Access::AUDITS;
    type Reply = AuditedPayments;
}

/// Whether payments, attempts and ledger agree, for an audit. All are looked at.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditLedger {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditedLedger {
    /// Orders whose rows do not agree; at most [`AuditedLedger::ODD_MAX`].
    pub odd: Vec<OrderId>,
    /// By gateway and currency.
    pub totals: Vec<LedgerTotal>,
}

impl AuditedLedger {
    pub const ODD_MAX: usize = 100;
}

/// What the ledger says of one currency, and what gateways are being asked for at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerTotal {
    pub currency: String,
    pub captured_minor: i64,
    pub refunded_minor: i64,
    /// Of captures and refunds whose outcome is not recorded.
    pub capturing_minor: i64,
    pub refunding_minor: i64,
}

impl Query for AuditLedger {
    const SUBJECT: &'static str = "shop.qry.payments.v1.audit_ledger";
    const ACCESS: Access = Access::AUDITS;
    type Reply = AuditedLedger;
}
