//! The audit: whether what must always be true is true, asked of the workers by messages and of the
//! gateway's own books.
//!
//! Two kinds of question. *Sieves* are cheap and look at much: whole tables, in one statement of the
//! worker that owns them, and ranges of orders, charges and events, of which each round takes the next.
//! What a sieve keeps of orders is *judged* one by one (`judge.rs`), by rules that are plain functions
//! (`rules.rs`).
//!
//! Workers do not answer at the same moment, and an order in flight is no violation. So most rules are
//! asked only of orders that are quiet: everything that was published about them has been handled by
//! those who follow it, and nothing was published while we looked. That needs no guess how long things
//! take, so neither load nor an outage raises a false alarm.

mod auditor;
mod books;
mod events;
mod judge;
pub mod reconcile;
mod rules;
mod sources;
pub mod watch;

pub use self::{
    auditor::{Auditor, Report, Thoroughness},
    sources::{AuditError, Sources},
};

use std::fmt;

use serde::Serialize;
use shopzen_contracts::OrderId;

/// What must always be true (DESIGN §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
