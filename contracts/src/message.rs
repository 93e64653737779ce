//! The kinds of message, and the headers they travel with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::rights::Access;

/// The six workers, each the owner of its subjects, its stream and its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    Auth,
    Catalog,
    Orders,
    Stock,
    Payments,
    Notify,
}

impl Service {
    pub const ALL: [Self; 6] = [
        Self::Auth,
        Self::Catalog,
        Self::Orders,
        Self::Stock,
        Self::Payments,
        Self::Notify,
    ];

    /// The token that stands for the service in every subject.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Catalog => "catalog",
            Self::Orders => "orders",
            Self::Stock => "stock",
            Self::Payments => "payments",
            Self::Notify => "notify",
        }
    }

    /// The JetStream stream that keeps the service's events.
    pub const fn stream(self) -> &'static str {
        match self {
            Self::Auth => "EVT_AUTH",
            Self::Catalog => "EVT_CATALOG",
            Self::Orders => "EVT_ORDERS",
            Self::Stock => "EVT_STOCK",
            Self::Payments => "EVT_PAYMENTS",
            Self::Notify => "EVT_NOTIFY",
        }
    }

    /// The service that owns a subject: its third token.
    pub fn of_subject(subject: &str) -> Option<Self> {
        let owner = subject.split('.').nth(2)?;
        Self::ALL
            .into_iter()
            .find(|service| service.name() == owner)
    }
}

/// A fact: it happened, is kept in the owner's stream, and reaches each subscriber at least once.
pub trait Event: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// `shop.evt.<service>.v1.<event>`. On the wire [`Event::key`] follows as the last token.
    const SUBJECT: &'static str;

    /// What the event is about. Every event of a checkout has the order's id here, whoever sends
    /// it, so that one wildcard shows the whole of a checkout.
    fn key(&self) -> Uuid;
}

/// Asks the owner to change something: `shop.cmd.<service>.v1.<verb>`, by request and reply.
pub trait Command: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const SUBJECT: &'static str;
    /// Who may; checked before any handler.
    const ACCESS: Access;
    type Reply: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
}

/// Asks the owner for something it knows: `shop.qry.<service>.v1.<verb>`. Safe to repeat.
pub trait Query: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const SUBJECT: &'static str;
    /// Who may; checked before any handler.
    const ACCESS: Access;
    type Reply: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
}

/// A hint to whoever listens right now: `shop.pub.<service>.v1.<what>`. It is not kept and may be
/// lost, so nobody decides anything by it; it says that looking again is worth while.
pub trait Notice: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const SUBJECT: &'static str;
}

/// Header names. NATS compares them by exact case (ADR-4), so they are spelt here and nowhere else.
pub mod header {
    /// The event's id, by which JetStream drops repeats inside its window.
    pub const MESSAGE_ID: &str = "Nats-Msg-Id";
    /// The event's id, by which every inbox drops repeats for ever.
    pub const EVENT_ID: &str = "ce-id";
    pub const SPEC_VERSION: &str = "ce-specversion";
    pub const TYPE: &str = "ce-type";
    pub const SOURCE: &str = "ce-source";
    pub const TIME: &str = "ce-time";
    /// The message that made its sender publish this one.
    pub const CAUSATION_ID: &str = "ce-causationid";
    /// W3C Trace Context.
    pub const TRACE_PARENT: &str = "traceparent";
    /// The caller's signed access token. Each worker verifies it itself.
    pub const IDENTITY: &str = "Shop-Identity";
    /// Who of the operators asks, as their machine knows them. Only where the subject is an operator's.
    pub const OPERATOR: &str = "Shop-Operator";
    /// Why staff do what they ask for, in their words.
    pub const REASON: &str = "Reason";
    /// The method and path over HTTP that led to the request: kept with what staff do.
    pub const ROUTE: &str = "Shop-Route";
    /// RFC 3339; a request that is already too late is dropped.
    pub const DEADLINE: &str = "Shop-Deadline";
    /// The secret that lets a guest see an order.
    pub const ORDER_TOKEN: &str = "Order-Token";
    pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
    pub const IDEMPOTENT_REPLAYED: &str = "Idempotent-Replayed";
    /// The version the caller read, for optimistic concurrency (RFC 9110 `If-Match`).
    pub const IF_MATCH: &str = "If-Match";
    /// ADR-32: a reply that carries these two is a refusal, its body a [`crate::Problem`].
    pub const SERVICE_ERROR: &str = "Nats-Service-Error";
    pub const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
}
