//! Databases as maps: rows that a transaction writes are seen by others once it commits, and rows it
//! has locked are kept from others until then.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use shopzen_contracts::{Money, orders::OrderLineInput};
use shopzen_orders::domain as orders;
use shopzen_payments::{attempt, domain as payments};
use shopzen_stock::domain as stock;

use crate::{
    broker::{Delivery, Seq},
    facts::{Card, Event, EventId, Fact, Millis, OrderNo},
    gateway::{ChargeNo, Errand},
    replica::Receipt,
    requests::Reply,
};

#[derive(Clone, Debug)]
pub(crate) struct OrderRow {
    pub(crate) state: orders::State,
    pub(crate) expires_at: Millis,
    pub(crate) total: Money,
    /// What one of each line was sold for.
    pub(crate) prices: Vec<(usize, i64)>,
    pub(crate) lines: Rc<[OrderLineInput]>,
    pub(crate) key: u8,
}

/// What was answered to a request with a key.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub(crate) fingerprint: u64,
    pub(crate) order: OrderNo,
}

#[derive(Clone, Debug)]
pub(crate) struct PriceRow {
    pub(crate) version: u64,
    pub(crate) price: i64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Level {
    pub(crate) on_hand: i64,
    pub(crate) reserved: i64,
    pub(crate) allocated: i64,
    pub(crate) imported: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct ReservationRow {
    pub(crate) state: stock::Reservation,
    pub(crate) demand: Rc<stock::Demand>,
    pub(crate) since: Millis,
}

#[derive(Clone, Debug)]
pub(crate) struct PaymentRow {
    pub(crate) state: payments::State,
    pub(crate) terms: Option<(Money, Card)>,
    pub(crate) charge: Option<ChargeNo>,
}

#[derive(Clone, Debug)]
pub(crate) struct AttemptRow {
    pub(crate) state: attempt::State,
    pub(crate) amount: Money,
    pub(crate) calls: i32,
    /// None where it is settled.
    pub(crate) next_at: Option<Millis>,
}

/// All tables of all workers; each fills its own.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) orders: BTreeMap<OrderNo, OrderRow>,
    pub(crate) keys: BTreeMap<u8, KeyRow>,
    pub(crate) prices: BTreeMap<usize, PriceRow>,
    pub(crate) levels: BTreeMap<usize, Level>,
    pub(crate) reservations: BTreeMap<OrderNo, ReservationRow>,
    pub(crate) payments: BTreeMap<OrderNo, PaymentRow>,
    pub(crate) attempts: BTreeMap<(OrderNo, &'static str), AttemptRow>,
    /// By order and number.
    pub(crate) webhooks: BTreeSet<(OrderNo, u8)>,
    pub(crate) mails: BTreeSet<(OrderNo, &'static str)>,
}

/// What a worker keeps.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) tables: Tables,
    /// How on-hand counts moved, by SKU.
    pub(crate) movements: Vec<(usize, i64)>,
    pub(crate) ledger: Vec<(OrderNo, payments::Movement, Money)>,
    pub(crate) inbox: BTreeSet<InboxKey>,
    pub(crate) outbox: BTreeMap<EventId, Event>,
    pub(crate) pending: BTreeMap<EventId, Millis>,
    pub(crate) receipts: BTreeMap<Seq, EventId>,
    /// How often anybody has compared receipts and stream on another connection, or with another stream.
    pub(crate) epoch: u64,
    /// The last id that a relay which polls by id has published.
    pub(crate) polled: Option<EventId>,
}

/// The event, or with the wrong key its place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum InboxKey {
    Event(EventId),
    Place(crate::facts::Service, Seq),
}

/// What two transactions cannot hold at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Inbox(InboxKey),
    Order(OrderNo),
    Sku(usize),
    Key(u8),
    Attempt(OrderNo, &'static str),
    Webhook(OrderNo, u8),
    Pending(EventId),
}

/// A call that is made once the transaction is committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallToMake {
    pub(crate) order: OrderNo,
    pub(crate) kind: payments::Kind,
    pub(crate) errand: Errand,
    pub(crate) amount: Money,
    pub(crate) card: Card,
    pub(crate) charge: Option<ChargeNo>,
    pub(crate) calls: i32,
    /// None where it is asked because of a webhook.
    pub(crate) question: Option<i32>,
}

/// An open transaction: what it has written, and what it will tell once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Tx {
    pub(crate) opened_at: Millis,
    pub(crate) locks: Vec<Lock>,
    pub(crate) writes: Tables,
    pub(crate) movements: Vec<(usize, i64)>,
    pub(crate) ledger: Vec<(OrderNo, payments::Movement, Money)>,
    pub(crate) entered: Vec<InboxKey>,
    pub(crate) facts: Vec<(OrderNo, Fact)>,
    pub(crate) events: Vec<Event>,
    /// Events whose effects are in it.
    pub(crate) handled: Vec<EventId>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) calls: Vec<CallToMake>,
    pub(crate) replies: Vec<Reply>,
    /// Where the relay's sweep is at work: what it has published so far.
    pub(crate) sweep: Option<Sweep>,
}

/// Events that were pending for long, and the receipts for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sweep {
    pub(crate) rows: Vec<EventId>,
    pub(crate) receipts: Option<Vec<Receipt>>,
}

impl Tx {
    pub(crate) fn at(opened_at: Millis) -> Self {
        Self {
            opened_at,
            ..Self::default()
        }
    }

    pub(crate) fn publish(&mut self, order: OrderNo, fact: Fact) {
        self.facts.push((order, fact));
    }

    pub(crate) fn order(&self, db: &Database, order: OrderNo) -> Option<OrderRow> {
        let (ours, theirs) = (&self.writes.orders, &db.tables.orders);
        ours.get(&order).or_else(|| theirs.get(&order)).cloned()
    }

    pub(crate) fn key(&self, db: &Database, key: u8) -> Option<KeyRow> {
        let (ours, theirs) = (&self.writes.keys, &db.tables.keys);
        ours.get(&key).or_else(|| theirs.get(&key)).cloned()
    }

    pub(crate) fn price(&self, db: &Database, sku: usize) -> Option<PriceRow> {
        let (ours, theirs) = (&self.writes.prices, &db.tables.prices);
        ours.get(&sku).or_else(|| theirs.get(&sku)).cloned()
    }

    pub(crate) fn level(&self, db: &Database, sku: usize) -> Level {
        let (ours, theirs) = (&self.writes.levels, &db.tables.levels);
        let level = ours.get(&sku).or_else(|| theirs.get(&sku));
        level.cloned().unwrap_or_default()
    }

    pub(crate) fn reservation(&self, db: &Database, order: OrderNo) -> Option<ReservationRow> {
        let (ours, theirs) = (&self.writes.reservations, &db.tables.reservations);
        ours.get(&order).or_else(|| theirs.get(&order)).cloned()
    }

    pub(crate) fn payment(&self, db: &Database, order: OrderNo) -> Option<PaymentRow> {
        let (ours, theirs) = (&self.writes.payments, &db.tables.payments);
        ours.get(&order).or_else(|| theirs.get(&order)).cloned()
    }

    pub(crate) fn attempt(
        &self,
        db: &Database,
        order: OrderNo,
        kind: payments::Kind,
    ) -> Option<AttemptRow> {
        let name = (order, kind.as_str());
        let (ours, theirs) = (&self.writes.attempts, &db.tables.attempts);
        ours.get(&name).or_else(|| theirs.get(&name)).cloned()
    }
}

impl Database {
    /// Makes visible what a transaction wrote.
    pub(crate) fn commit(&mut self, tx: &mut Tx) {
        let writes = std::mem::take(&mut tx.writes);
        let tables = &mut self.tables;
        tables.orders.extend(writes.orders);
        tables.keys.extend(writes.keys);
        tables.prices.extend(writes.prices);
        tables.levels.extend(writes.levels);
        tables.reservations.extend(writes.reservations);
        tables.payments.extend(writes.payments);
        tables.attempts.extend(writes.attempts);
        tables.webhooks.extend(writes.webhooks);
        tables.mails.extend(writes.mails);
        self.movements.append(&mut tx.movements);
        self.ledger.append(&mut tx.ledger);
        self.inbox.extend(tx.entered.drain(..));
        for event in &tx.events {
            self.outbox.insert(event.id, event.clone());
            self.pending.insert(event.id, tx.opened_at);
        }
    }

    /// Records where events were stored (`outbox::record`): of two events that have a receipt for one
    /// place neither counts.
    pub(crate) fn record(&mut self, receipts: &[(Seq, EventId)], both_settle: bool, now: Millis) {
        let mut claims: BTreeMap<Seq, BTreeSet<EventId>> = BTreeMap::new();
        for (seq, id) in receipts {
            self.pending.remove(id);
            claims.entry(*seq).or_default().insert(*id);
        }
        for (seq, mut ids) in claims {
            let recorded = self.receipts.remove(&seq);
            if both_settle {
                let kept = ids.pop_first().expect("somebody claims it");
                self.receipts.insert(seq, kept);
                ids = recorded.into_iter().filter(|id| *id != kept).collect();
            } else {
                ids.extend(recorded);
                if ids.len() == 1 {
                    self.receipts.extend(ids.pop_first().map(|id| (seq, id)));
                }
            }
            for id in ids {
                self.pending.entry(id).or_insert(now);
            }
        }
    }
}
