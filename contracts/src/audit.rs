//! What an audit asks workers about orders, and what it says of them: whether what must always be true is
//! true.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Access, FieldError, OrderId, Problem, Query, Scope};

/// Orders an audit asks about: these, or else those with ids after `after` and up to `until`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderSpan {
    /// At most [`OrderSpan::ORDERS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<OrderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<OrderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<OrderId>,
    /// 1 to [`OrderSpan::ORDERS_MAX`], which is also what stands for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl OrderSpan {
    pub const ORDERS_MAX: usize = 500;

    /// How many orders may be answered, or why none are.
    pub fn size(&self) -> Result<usize, Problem> {
        let refuse = |pointer: &str, detail: String| {
            Problem::invalid(vec![FieldError::new(pointer, "out_of_range", detail)])
        };
        if self.ids.len() > Self::ORDERS_MAX {
            return Err(refuse(
                "/ids",
                format!("must be at most {}", Self::ORDERS_MAX),
            ));
        }
        let limit = self.limit.map_or(Self::ORDERS_MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        if (1..=Self::ORDERS_MAX).contains(&limit) {
            Ok(limit)
        } else {
            Err(refuse(
                "/limit",
                format!("must be 1 to {}", Self::ORDERS_MAX),
            ))
        }
    }

    /// Where the page after this one begins, for one that begins where this one did.
    pub fn next(&self, size: usize, last: Option<OrderId>, count: usize) -> Option<OrderId> {
        last.filter(|_| self.ids.is_empty() && count == size)
    }
}

/// What the audit that runs all the time found in its last round.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetReport {}

impl Query for GetReport {
    const SUBJECT: &'static str = "shop.qry.audit.v1.report";
    const ACCESS: Access = Access::Scope(Scope::OpsWrite);
    type Reply = AuditReport;
}

/// Whether every invariant holds, as far as the last round could see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditReport {
    /// Whether no invariant is broken.
    pub ok: bool,
    /// When that was so.
    #[schemars(with = "String")]
    pub completed_at: Timestamp,
    /// Each of them, with how often it is broken.
    pub invariants: Vec<InvariantReport>,
    /// At most [`AuditReport::VIOLATIONS_MAX`].
    pub violations: Vec<Violation>,
    /// Orders that the round looked at: it takes the next of a pass over all of them.
    pub orders: u64,
    /// Left undecided: orders and events that were still on their way.
    pub unsure: u64,
    /// Whether there were books of a gateway to compare with.
    pub gateway_compared: bool,
    pub took_ms: u64,
    /// Why no round could be completed since.
    pub trouble: Option<String>,
}

impl AuditReport {
    pub const VIOLATIONS_MAX: usize = 100;
}

/// One invariant, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvariantReport {
    pub invariant: Invariant,
    /// What must be true.
    pub rule: String,
    pub violations: u64,
}

/// What must always be true.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Invariant {
    I1,
    I2,
    I3,
    I4,
    I5,
    I6,
    I7,
    I8,
    I9,
    I10,
    I11,
}

impl Invariant {
    pub const ALL: [Self; 11] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::I1 => "I1",
            Self::I2 => "I2",
            Self::I3 => "I3",
            Self::I4 => "I4",
            Self::I5 => "I5",
            Self::I6 => "I6",
            Self::I7 => "I7",
            Self::I8 => "I8",
            Self::I9 => "I9",
            Self::I10 => "I10",
            Self::I11 => "I11",
        }
    }

    pub const fn text(self) -> &'static str {
        match self {
            Self::I1 => "stock is never oversold, and is the sum of its movements",
            Self::I2 => "what is held is held for an order that has not ended otherwise",
            Self::I3 => "money is kept for confirmed orders, to the cent, and for no others",
            Self::I4 => "no order is captured twice",
            Self::I5 => "every accepted order exists, and ends in time",
            Self::I6 => "every event is handled by everybody who follows it, or is a dead letter",
            Self::I7 => "states move only along their tables",
            Self::I8 => "one e-mail per order and kind",
            Self::I9 => "every event in a stream was published by its owner",
            Self::I10 => "the same key gives the same answer",
            Self::I11 => "our ledger is the gateway's",
        }
    }
}

/// What a violation concerns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum About {
    Order(OrderId),
    Sku(String),
    /// By the gateway's name for it.
    Charge(String),
    Event(String),
    /// The key of a request.
    Key(String),
    Currency(String),
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(id) => write!(f, "order {id}"),
            Self::Sku(sku) => write!(f, "SKU {sku}"),
            Self::Charge(id) => write!(f, "charge {id}"),
            Self::Event(event) => write!(f, "event {event}"),
            Self::Key(key) => write!(f, "key {key}"),
            Self::Currency(currency) => write!(f, "currency {currency}"),
        }
    }
}

/// Something that must always be true and is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    pub invariant: Invariant,
    pub about: About,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invariant,
            about,
            what,
        } = self;
        write!(f, "{:<4} {about}: {what}", invariant.name())
    }
}
