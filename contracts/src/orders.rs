//! Orders: what somebody bought, and how it went.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use std::collections::BTreeMap;

use crate::{
    Access, Command, Confidential, Event, Money, Notice, OrderId, PostalAddress, Quantity, Query,
    Scope, Service, Sku,
    audit::OrderSpan,
    payments::PaymentStatus,
    privacy::{Sealed, StaffAct},
    rights::User,
    stock::Shortage,
};

pub use crate::Address;

/// Buys. The body of `POST /api/v1/orders`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrder {
    /// 1 to [`PlaceOrder::LINES_MAX`]; lines of one SKU are summed.
    #[serde(default)]
    pub lines: Vec<OrderLineInput>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cart_id: Option<String>,
    pub email: String,
    pub shipping_address: Address,
    #[serde(default = "standard_shipping")]
    pub shipping_method: String,
    pub payment: PaymentInput,
    /// What the shopper was shown; where it differs, nothing is ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_total: Option<Money>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coupons: Vec<String>,
    #[serde(default)]
    pub on_shortage: OnShortage,
}

impl PlaceOrder {
    pub const LINES_MAX: usize = 100;
}

fn standard_shipping() -> String {
    "standard".to_owned()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderLineInput {
    pub sku: Sku,
    pub quantity: Quantity,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentInput {
    pub gateway: String,
    /// The gateway's name for the shopper's means of payment; never a card number.
    pub token: String,
}

/// What becomes of an order of which something is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnShortage {
    #[default]
    Reject,
    Ask,
    ShipAvailable,
}

impl Command for PlaceOrder {
    const SUBJECT: &'static str = "shop.cmd.orders.v1.place";
    const ACCESS: Access = Access::GuestOr(Scope::OrdersPlace);
    type Reply = AcceptedOrder;
}

/// An order that exists from now on, whatever dies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AcceptedOrder {
    #[serde(flatten)]
    pub order: Order,
    /// With it a guest sees the order. Said once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_token: Option<String>,
}

/// An order as its owner sees it: what was agreed, and how far it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    pub id: OrderId,
    pub status: OrderStatus,
    /// Why it ended, where it ended badly.
    pub reason: Option<EndReason>,
    pub lines: Vec<OrderLine>,
    pub subtotal: Money,
    pub discount: Money,
    pub shipping: Money,
    /// Contained in the prices.
    pub tax: Money,
    pub total: Money,
    pub payment: Payment,
    #[schemars(with = "String")]
    pub placed_at: Timestamp,
    #[schemars(with = "Option<String>")]
    pub decide_by: Option<Timestamp>,
    /// The number of the last thing that happened to it.
    pub version: i64,
}

impl Order {
    /// The same order, as far as `progress` says it has come. Older news changes nothing.
    pub fn advance(&mut self, progress: &OrderProgress) {
        if progress.id != self.id || progress.version <= self.version {
            return;
        }
        self.status = progress.status;
        self.reason = progress.reason;
        self.payment.status = progress.payment_status;
        self.version = progress.version;
        for line in &mut self.lines {
            line.shortage = progress
                .shortages
                .iter()
                .find(|s| s.sku == line.sku)
                .cloned();
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    pub sku: Sku,
    pub name: String,
    pub quantity: Quantity,
    pub unit_price: Money,
    pub line_total: Money,
    /// What was missing, where the order failed for it.
    pub shortage: Option<Shortage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Payment {
    pub status: PaymentStatus,
    pub gateway: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    Placed,
    Reserved,
    Confirmed,
    PartlyShipped,
    Shipped,
    Delivered,
    AwaitingDecision,
    Rejected,
    Cancelled,
    Returned,
    Refunded,
}

impl OrderStatus {
    /// As it stands in JSON and in columns.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Reserved => "reserved",
            Self::Confirmed => "confirmed",
            Self::PartlyShipped => "partly_shipped",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::AwaitingDecision => "awaiting_decision",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Returned => "returned",
            Self::Refunded => "refunded",
        }
    }

    /// Whether `Prefer: wait` has nothing more to wait for.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Placed | Self::Reserved)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    OutOfStock,
    PaymentDeclined,
    TimedOut,
    CancelledByShopper,
    CancelledByStaff,
}

impl EndReason {
    /// As it stands in JSON and in columns.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfStock => "out_of_stock",
            Self::PaymentDeclined => "payment_declined",
            Self::TimedOut => "timed_out",
            Self::CancelledByShopper => "cancelled_by_shopper",
            Self::CancelledByStaff => "cancelled_by_staff",
        }
    }
}

/// One order, for its owner: the signed-in one, or who sends the `Order-Token`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetOrder {
    pub id: OrderId,
}

impl Query for GetOrder {
    const SUBJECT: &'static str = "shop.qry.orders.v1.get";
    const ACCESS: Access = Access::Owner {
        account: Scope::OrdersRead,
        staff: Scope::OrdersWrite,
    };
    type Reply = Order;
}

/// The caller's orders, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListOrders {
    /// 1 to 100; 24 where absent.
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OrderPage {
    pub items: Vec<Order>,
    pub next_cursor: Option<String>,
}

impl Query for ListOrders {
    const SUBJECT: &'static str = "shop.qry.orders.v1.list";
    const ACCESS: Access = Access::Scope(Scope::OrdersRead);
    type Reply = OrderPage;
}

/// What happened to an order after its event number `after`, for who may see the order.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetProgress {
    pub id: OrderId,
    #[serde(default)]
    pub after: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProgressLog {
    pub items: Vec<OrderProgress>,
}

impl Query for GetProgress {
    const SUBJECT: &'static str = "shop.qry.orders.v1.progress";
    const ACCESS: Access = Access::Owner {
        account: Scope::OrdersRead,
        staff: Scope::OrdersWrite,
    };
    type Reply = ProgressLog;
}

/// Ends an order that is not shipped. Its owner may, and staff with `orders:write`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    pub id: OrderId,
}

impl Command for CancelOrder {
    const SUBJECT: &'static str = "shop.cmd.orders.v1.cancel";
    const ACCESS: Access = Access::Owner {
        account: Scope::OrdersPlace,
        staff: Scope::OrdersWrite,
    };
    type Reply = Order;
}

/// One thing that happened to an order. `version` counts them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderProgress {
    pub id: OrderId,
    pub version: i64,
    pub status: OrderStatus,
    pub reason: Option<EndReason>,
    pub payment_status: PaymentStatus,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortages: Vec<Shortage>,
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// What happened to some orders just now.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OrdersProgressed(pub Vec<OrderProgress>);

impl Notice for OrdersProgressed {
    const SUBJECT: &'static str = "shop.pub.orders.v1.progressed";
}

/// Somebody bought: stock is asked to reserve, payments learns the amount.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderPlaced {
    pub order_id: OrderId,
    pub lines: Vec<OrderLineInput>,
    pub total: Money,
    pub payment: PaymentInput,
}

/// The pivot: from here on the order will be fulfilled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderConfirmed {
    pub order_id: OrderId,
    pub summary: OrderSummary,
}

/// It could not be: something was missing, or the payment was declined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRejected {
    pub order_id: OrderId,
    pub reason: EndReason,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortages: Vec<Shortage>,
    pub summary: OrderSummary,
}

/// It was ended: by the shopper, by staff, or by its deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancelled {
    pub order_id: OrderId,
    pub reason: EndReason,
    pub summary: OrderSummary,
}

/// What a message to the shopper says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderSummary {
    /// Empty, as it is sealed below. Events from before have it here, and readers from before need it.
    #[serde(default)]
    pub email: String,
    /// Where the message goes, sealed as [`OrderSummary::email_of`] says; [`GetRecipients`] has the key. None where there
    /// is nobody to write to any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_email: Option<Sealed>,
    pub lines: Vec<SummaryLine>,
    pub total: Money,
}

impl OrderSummary {
    /// Whose e-mail address it is: what is sealed for one order cannot be opened as another's.
    pub fn email_of(order_id: OrderId) -> String {
        format!("e-mail of order {order_id}")
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SummaryLine {
    pub name: String,
    pub quantity: Quantity,
    pub line_total: Money,
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
about_an_order!(OrderPlaced, "shop.evt.orders.v1.placed");
about_an_order!(OrderConfirmed, "shop.evt.orders.v1.confirmed");
about_an_order!(OrderRejected, "shop.evt.orders.v1.rejected");
about_an_order!(OrderCancelled, "shop.evt.orders.v1.cancelled");

/// Whom to write to about orders, and the keys that open their addresses; for the notify worker.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetRecipients {
    /// At most [`GetRecipients::ORDERS_MAX`].
    pub order_ids: Vec<OrderId>,
}

impl GetRecipients {
    pub const ORDERS_MAX: usize = 1_000;
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Recipients {
    /// Of those orders that there are.
    pub items: Vec<Recipient>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recipient {
    pub order_id: OrderId,
    /// None for a guest.
    pub account_id: Option<Uuid>,
    /// Nobody is to be written to any more.
    pub is_erased: bool,
    /// In base64url. None where it was destroyed, or where nothing was ever sealed.
    pub key: Option<Confidential>,
}

impl Query for GetRecipients {
    const SUBJECT: &'static str = "shop.qry.orders.v1.recipients";
    const ACCESS: Access = Access::Users(&[User::Worker(Service::Notify)]);
    type Reply = Recipients;
}

/// The caller's orders with all that is known of the caller, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportOrders {
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExportedOrders {
    pub items: Vec<ExportedOrder>,
    pub next_cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExportedOrder {
    pub order: Order,
    pub email: String,
    pub shipping_address: PostalAddress,
    pub shipping_method: String,
    /// What happened to it.
    pub progress: Vec<OrderProgress>,
    pub staff_acts: Vec<StaffAct>,
}

impl Query for ExportOrders {
    const SUBJECT: &'static str = "shop.qry.orders.v1.export";
    const ACCESS: Access = Access::Account(Scope::OrdersRead);
    type Reply = ExportedOrders;
}

/// One event of an order, wherever it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEntry {
    pub event_id: Uuid,
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// `orders`, `stock`, …
    pub service: String,
    /// `placed`, `reserved`, …
    pub event: String,
    /// The id of the event that led to this one.
    pub cause: Option<Uuid>,
    /// How many times it was handed to the broker.
    pub attempt: i32,
}

/// What the orders worker knows of some orders, for an audit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AuditOrders(pub OrderSpan);

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditedOrders {
    /// In the order of their ids.
    pub items: Vec<OrderFacts>,
    /// The last id of a full page.
    pub next: Option<OrderId>,
}

/// An order, as far as an audit has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderFacts {
    pub id: OrderId,
    pub total: Money,
    /// What was ordered, by SKU.
    pub quantities: BTreeMap<Sku, i64>,
    /// Where it stands.
    pub now: OrderStep,
    /// How it came there, from the beginning.
    pub steps: Vec<OrderStep>,
}

/// One line of an order's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderStep {
    pub version: i64,
    pub status: OrderStatus,
    pub reason: Option<EndReason>,
    pub payment_status: PaymentStatus,
}

impl Query for AuditOrders {
    const SUBJECT: &'static str = "shop.qry.orders.v1.audit";
    const ACCESS: Access = Access::AUDITS;
    type Reply = AuditedOrders;
}

/// Orders that should have ended by now.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditDeadlines {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditedDeadlines {
    /// The longest overdue first; at most [`AuditedDeadlines::ITEMS_MAX`].
    pub items: Vec<OverdueOrder>,
}

impl AuditedDeadlines {
    pub const ITEMS_MAX: usize = 100;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OverdueOrder {
    pub id: OrderId,
    /// By the database's clock.
    pub overdue_s: i64,
}

impl Query for AuditDeadlines {
    const SUBJECT: &'static str = "shop.qry.orders.v1.audit_deadlines";
    const ACCESS: Access = Access::AUDITS;
    type Reply = AuditedDeadlines;
}

/// Whether what was answered to who placed orders is true: looks at some of the answers that are kept
/// under their `Idempotency-Key`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditAnswers {
    /// The `next` of the page before.
    pub after: Option<AnswerKey>,
    /// 1 to [`AuditAnswers::ANSWERS_MAX`].
    pub limit: u32,
}

impl AuditAnswers {
    pub const ANSWERS_MAX: u32 = 1_000;
}

/// Under what an answer is kept: who asked, and the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AnswerKey {
    pub scope: String,
    pub key: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditedAnswers {
    /// Those that are not true any more.
    pub items: Vec<WrongAnswer>,
    pub next: Option<AnswerKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WrongAnswer {
    pub answer: AnswerKey,
    pub order_id: Option<OrderId>,
    /// What was answered.
    pub total_minor: Option<i64>,
    /// What the order comes to; None where there is no such order.
    pub order_total_minor: Option<i64>,
}

impl Query for AuditAnswers {
    const SUBJECT: &'static str = "shop.qry.orders.v1.audit_answers";
    const ACCESS: Access = Access::AUDITS;
    type Reply = AuditedAnswers;
}
