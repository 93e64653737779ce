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

pub use shopzen_contracts::audit::{About, Invariant, Violation};

pub use self::{
    auditor::{Auditor, Report, Thoroughness},
    sources::{AuditError, Sources},
};
