//! A process of a worker: what it is in the middle of, all of which is gone when it dies.

use crate::{
    broker::{Delivery, Seq},
    database::{KeyRow, Tx},
    facts::{Event, EventId, Millis, OrderNo, Service},
    payments::Answered,
    planted::Planted,
    requests::Reply,
};

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) service: Service,
    /// How far its clock is from the database's.
    pub(crate) clock_offset: i64,
    /// How often it was started.
    pub(crate) life: u64,
    /// What receipts were compared with last.
    pub(crate) compared_with: Option<Compared>,
    /// Open once receipts and stream agree; nothing is published before.
    pub(crate) gate: bool,
    pub(crate) compared_at: Millis,
    /// The stream does not take what it should: it may be gone.
    pub(crate) doubts: bool,
    pub(crate) open: Vec<Tx>,
    /// What is still to be told of transactions that are committed, in no order.
    pub(crate) to_tell: Vec<Told>,
    pub(crate) answers: Vec<Answered>,
    pub(crate) receipts: Vec<Receipt>,
    /// Those of which the broker has said that they are of its stream.
    pub(crate) confirmed: Vec<Receipt>,
    pub(crate) records_from: Millis,
}

#[derive(Debug)]
pub(crate) enum Told {
    Publish(Vec<Event>),
    Ack(Vec<Delivery>),
    Reply(Vec<Reply>),
    /// Only where keys are written down too late.
    Keep(Vec<(u8, KeyRow)>),
}

/// Where an event was stored, as its acknowledgement says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) seq: Seq,
    pub(crate) id: EventId,
    /// What receipts had been compared with as it was published.
    pub(crate) compared: Compared,
}

/// A connection and a stream (`chassis/src/gate.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    /// The broker's start.
    pub(crate) start: u64,
    /// How often the stream had been deleted.
    pub(crate) deleted: u64,
    /// How often anybody had compared on another connection, or with another stream.
    pub(crate) epoch: u64,
}

impl Replica {
    pub(crate) fn new(service: Service) -> Self {
        Self {
            service,
            clock_offset: 0,
            life: 0,
            compared_with: None,
            gate: false,
            compared_at: 0,
            doubts: false,
            open: Vec::new(),
            to_tell: Vec::new(),
            answers: Vec::new(),
            receipts: Vec::new(),
            confirmed: Vec::new(),
            records_from: 0,
        }
    }

    /// Dies and starts again. Its machine keeps its clock.
    pub(crate) fn crash(&mut self) {
        *self = Self {
            clock_offset: self.clock_offset,
            life: self.life + 1,
            ..Self::new(self.service)
        };
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty()
            && self.to_tell.is_empty()
            && self.answers.is_empty()
            && self.receipts.is_empty()
            && self.confirmed.is_empty()
    }
}

/// What a handler may know of the world.
#[derive(Debug)]
pub(crate) struct Env {
    /// By the database's clock.
    pub(crate) now: Millis,
    pub(crate) clock_offset: i64,
    pub(crate) planted: Option<Planted>,
    /// Numbers given out so far.
    pub(crate) numbers: u64,
}

/// Clocks of machines may be wrong by this much and still show a time.
const CLOCK_BASE: Millis = 10_000_000;
/// Numbers that fit behind a time in an id.
const NUMBERS_MAX: u64 = 1 << 20;

impl Env {
    /// What the machine's clock shows, on the database's scale.
    pub(crate) fn clock(&self) -> Millis {
        self.now.saturating_add_signed(self.clock_offset)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        assert!(self.numbers < NUMBERS_MAX, "a run is short");
        self.numbers
    }

    pub(crate) fn new_order(&mut self) -> OrderNo {
        OrderNo(self.number())
    }

    pub(crate) fn new_event(&mut self) -> EventId {
        let clock = (CLOCK_BASE + self.now).saturating_add_signed(self.clock_offset);
        EventId(clock * NUMBERS_MAX + self.number())
    }
}
