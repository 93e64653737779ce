//! The shop in one process under one seed: the domains of orders, stock and payments as they are in the
//! product, and around them models of everything that fails.
//!
//! **What counts as a failure.** That one of the invariants I1 to I11 (`invariants.rs`) does not hold:
//! I1 and I4 after every operation, all of them once the faults are over and nothing moves any more. That a
//! domain refuses what it is told (I7), which in the shop would be a dead letter. That an event takes
//! effect twice (I6), found when it happens. That the shop does not come to rest (I5). A panic is one too.
//!
//! **What is real**: the tables and rules in the `domain.rs` of orders, stock and payments, and payments'
//! `attempt.rs`. **What is modelled**: handlers, which decide as those in the workers' `events.rs`,
//! `commands.rs`, `batch.rs` and `answers.rs` do; the chassis' protocol of inbox, outbox, receipts, sweep
//! and tail guard; PostgreSQL, JetStream, the gateway, clocks, shoppers and staff.
//!
//! What the chassis does because of it: a receipt that a broker gave before its last restart, or for a stream
//! that was replaced since, is not recorded (`Planted::LateReceipts` records it, and loses events). Nothing is
//! published on a connection on which receipts and stream have not been compared
//! (`Planted::PublishBeforeComparing`). Of two receipts for one place neither counts
//! (`Planted::TwoReceiptsForOnePlace`).
//!
//! **Which chance it does not control**: none within a run, which depends on its seed and its operations
//! alone, so the same two give the same end on every machine. It does not see what only the real parts do:
//! SQL as it is written, how rows are locked in which order and who waits for whom (whoever would wait
//! comes later here), tokio's and the kernel's scheduling, async-nats, bytes on the wire, an
//! acknowledgement of before a restart, or for a stream that was deleted, that settles another message,
//! events that have aged out of a stream, keys that the gateway has forgotten, replies to shoppers other
//! than to an order. Those are for
//! the tests of each worker and for `tests/end_to_end`.

mod broker;
mod campaign;
mod chance;
mod database;
mod facts;
mod gateway;
mod invariants;
mod op;
mod orders;
mod payments;
mod planted;
mod replica;
mod requests;
mod run;
mod shrink;
mod steps;
mod stock;
mod tail_guard;
mod world;

use std::fmt;

pub use campaign::{Campaign, Failed, Report};
pub use facts::Card;
pub use gateway::Fate;
pub use op::{Op, Says, schedule};
pub use planted::Planted;
pub use run::{Outcome, run};
pub use shrink::{as_test, shrink};

/// What was found wrong, and by which invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}
