//! Faults that are put into the simulation's glue on purpose, to see that they are found.
//!
//! None is in the product. A fault that nobody finds shows that the schedules are too tame or that an
//! invariant does not ask enough.

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Planted {
    /// Handled events are not remembered.
    InboxOff,
    /// Events are published while their transaction is still open.
    PublishBeforeCommit,
    /// The relay publishes what has a larger id than the last one it published.
    PollingById,
    /// Handled events are remembered by their place in the stream.
    SequenceAsInboxKey,
    /// Messages are acknowledged before what they caused is committed.
    AckBeforeCommit,
    /// Nobody compares receipts with the stream.
    NoTailGuard,
    /// Stock levels are read without a lock and written as they were read.
    ReadThenWriteStock,
    /// Stock gives back by itself what was held for long.
    ReleaseOnExpiryByStock,
    /// Each call at the gateway has a new key.
    NewGatewayKeyAtEachRetry,
    /// No answer is taken for a no.
    UnknownTakenForDeclined,
    /// An order costs what the shopper says.
    PriceFromRequest,
    /// Orders are ended by the clock of the worker's machine.
    DeadlineByWorkerClock,
    /// Keys of requests are written down after the commit.
    IdempotencyKeyAfterCommit,
    /// The gateway is called before the attempt is committed.
    GatewayBeforeCommit,
    /// A receipt counts though the broker was restarted since, or the stream replaced.
    LateReceipts,
    /// The same, and of two receipts for one place in the stream one is kept, and both take their event off the list
    /// of what is pending.
    TwoReceiptsForOnePlace,
    /// An answer without news counts, whichever question it was given to.
    AnyAnswerCounts,
    /// Something is published on a new connection before receipts and stream have been compared. It
    /// takes a lost acknowledgement and forgotten duplicates as well to do harm, and so some hundred
    /// thousand schedules: it is not among those that must be found, but kept as a reproduction.
    PublishBeforeComparing,
    /// A webhook makes what is open of its order due at once, in whichever pause it is. It takes a call
    /// that is late, an order that ends and two webhooks within a moment to do harm, and so some ten
    /// thousand schedules: it is kept as a reproduction, too.
    WebhookCutsPausesShort,
}

impl Planted {
    pub const ALL: [Self; 17] = [
        Self::InboxOff,
        Self::PublishBeforeCommit,
        Self::PollingById,
        Self::SequenceAsInboxKey,
        Self::AckBeforeCommit,
        Self::NoTailGuard,
        Self::ReadThenWriteStock,
        Self::ReleaseOnExpiryByStock,
        Self::NewGatewayKeyAtEachRetry,
        Self::UnknownTakenForDeclined,
        Self::PriceFromRequest,
        Self::DeadlineByWorkerClock,
        Self::IdempotencyKeyAfterCommit,
        Self::GatewayBeforeCommit,
        Self::LateReceipts,
        Self::TwoReceiptsForOnePlace,
        Self::AnyAnswerCounts,
    ];
}
