//! What a process can do next. Between any two of these it can die, and others can act.

use crate::{
    broker::{Delivery, Seq},
    chance::Chance,
    database::{Database, InboxKey, Lock, PriceRow, Sweep, Tx},
    facts::{Event, EventId, Fact, Millis, OrderNo, Service},
    invariants, orders, payments,
    planted::Planted,
    replica::{Receipt, Told},
    requests::{Request, Said},
    stock,
    world::World,
};

/// How long an event waits for its acknowledgement before the sweep publishes it.
const PENDING_FOR: Millis = 1_000;
/// How often receipts and stream are compared while nothing happens.
pub(crate) const COMPARE_EVERY: Millis = 60_000;
/// Transactions that a process has open side by side.
const OPEN_MAX: usize = 2;
/// One acknowledgement of so many is lost.
const ACKS_PER_LOST: usize = 24;

/// What a process can turn to.
#[derive(Clone, Copy, Debug)]
enum Activity {
    Connect,
    Commit,
    Tell,
    HandleEvents,
    HandleRequest,
    RecordAnswers,
    RecordReceipts,
    SweepOutbox,
    SweepRows,
}

const ACTIVITIES: [Activity; 9] = [
    Activity::Connect,
    Activity::HandleEvents,
    Activity::Commit,
    Activity::Tell,
    Activity::HandleRequest,
    Activity::RecordAnswers,
    Activity::RecordReceipts,
    Activity::SweepOutbox,
    Activity::SweepRows,
];

impl World {
    /// One thing that can be done, if there is any.
    pub(crate) fn step(&mut self, index: usize, choice: u32) -> bool {
        let mut chance = Chance::new(choice.into());
        let ms = Millis::from(chance.small(20));
        self.wait(ms);
        let first = chance.below(ACTIVITIES.len());
        (0..ACTIVITIES.len()).any(|further| {
            let activity = ACTIVITIES[(first + further) % ACTIVITIES.len()];
            self.turn_to(index, activity, &mut chance)
        })
    }

    fn turn_to(&mut self, index: usize, activity: Activity, chance: &mut Chance) -> bool {
        let may_open = self.replicas[index].open.len() < OPEN_MAX;
        match activity {
            Activity::Connect => self.connect(index),
            Activity::Commit => self.go_on(index, chance),
            Activity::Tell => self.tell(index, chance),
            Activity::HandleEvents => may_open && self.handle_events(index, chance),
            Activity::HandleRequest => may_open && self.handle_request(index),
            Activity::RecordAnswers => may_open && self.record_answers(index),
            Activity::RecordReceipts => self.record_receipts(index),
            Activity::SweepOutbox => may_open && self.sweep_outbox(index, chance),
            Activity::SweepRows => may_open && self.sweep_rows(index),
        }
    }

    /// Opens a transaction; what cannot be is a violation.
    fn open(&mut self, index: usize, mut tx: Tx, handled: Result<(), String>) {
        if let Err(what) = handled {
            return self.found("I7", what);
        }
        tx.events = self.events_of(index, std::mem::take(&mut tx.facts));
        if self.is(Planted::PublishBeforeCommit) {
            self.publish(index, &tx.events);
        }
        if self.is(Planted::GatewayBeforeCommit) {
            for call in std::mem::take(&mut tx.calls) {
                self.make_call(index, call, tx.opened_at);
            }
        }
        if self.is(Planted::AckBeforeCommit) {
            let service = self.replicas[index].service;
            for delivery in std::mem::take(&mut tx.deliveries) {
                self.broker.ack(service, delivery);
            }
        }
        self.replicas[index].open.push(tx);
    }

    // ---- from a message to a commit (`chassis/src/engine.rs`)

    fn handle_events(&mut self, index: usize, chance: &mut Chance) -> bool {
        let service = self.replicas[index].service;
        let sources = service.sources();
        if sources.is_empty() || !self.reaches_broker() {
            return false;
        }
        let first = chance.below(sources.len());
        let way = (chance.below(16), 1 + chance.below(6), chance.one_in(3));
        let now = self.now();
        let messages = (0..sources.len())
            .map(|further| sources[(first + further) % sources.len()])
            .map(|source| self.broker.pull(service, source, now, way))
            .find(|messages| !messages.is_empty());
        let Some(messages) = messages else {
            return false;
        };
        let mut tx = Tx::at(now);
        let mut handled = Ok(());
        for (delivery, event) in messages {
            if handled.is_ok() {
                handled = self.handle_event(service, &mut tx, delivery, &event);
            }
        }
        if tx.handled.is_empty() && handled.is_ok() {
            // Nothing new: there is nothing to commit, only to acknowledge.
            if tx.deliveries.is_empty() {
                return false;
            }
            self.replicas[index].to_tell.push(Told::Ack(tx.deliveries));
        } else {
            self.open(index, tx, handled);
        }
        true
    }

    fn handle_event(
        &mut self,
        service: Service,
        tx: &mut Tx,
        delivery: Delivery,
        event: &Event,
    ) -> Result<(), String> {
        let key = if self.is(Planted::SequenceAsInboxKey) {
            InboxKey::Place(delivery.source, delivery.seq)
        } else {
            InboxKey::Event(event.id)
        };
        let db = self.db(service);
        let mut locks = match (service, &event.fact) {
            (Service::Stock, _) => stock::locks(db, event, self.env.planted),
            (Service::Payments, _) => payments::locks(event),
            (Service::Orders, Fact::ProductChanged { sku, .. }) => vec![Lock::Sku(*sku)],
            _ => vec![Lock::Order(event.order)],
        };
        let has_inbox = !self.is(Planted::InboxOff);
        if has_inbox {
            locks.push(Lock::Inbox(key));
        }
        // Whoever would wait for another transaction here comes later.
        if locks.iter().any(|lock| self.is_locked(service, *lock)) {
            self.broker.give_back(service, delivery);
            return Ok(());
        }
        tx.deliveries.push(delivery);
        if has_inbox && (db.inbox.contains(&key) || tx.entered.contains(&key)) {
            return Ok(());
        }
        tx.locks.extend(locks);
        tx.entered.push(key);
        tx.handled.push(event.id);
        match service {
            Service::Orders => orders::on_event(tx, db, event),
            Service::Stock => stock::on_event(tx, db, event),
            Service::Payments => payments::on_event(tx, db, event),
            Service::Notify => {
                let kind = match event.fact {
                    Fact::Confirmed => "confirmed",
                    Fact::Rejected => "rejected",
                    Fact::Cancelled => "cancelled",
                    _ => return Ok(()),
                };
                tx.writes.mails.insert((event.order, kind));
                Ok(())
            }
            Service::Catalog => Ok(()),
        }
    }

    fn handle_request(&mut self, index: usize) -> bool {
        let service = self.replicas[index].service;
        if !self.reaches_broker() {
            return false;
        }
        let Some(request) = self
            .requests
            .get_mut(&service)
            .and_then(|all| all.pop_front())
        else {
            return false;
        };
        let db = &self.databases[&service];
        let order_of = |key: &u8| db.tables.keys.get(key).map(|row| row.order);
        let locks = match &request {
            Request::Place { key, .. } if !self.is(Planted::IdempotencyKeyAfterCommit) => {
                vec![Lock::Key(*key)]
            }
            Request::Place { .. } => Vec::new(),
            Request::Cancel { key, .. } => match order_of(key) {
                Some(order) => vec![Lock::Order(order)],
                None => return true,
            },
            Request::Adjust { sku, .. } | Request::Import { sku, .. }
                if !self.is(Planted::ReadThenWriteStock) =>
            {
                vec![Lock::Sku(*sku)]
            }
            Request::Adjust { .. } | Request::Import { .. } => Vec::new(),
            Request::Reprice { sku, .. } => vec![Lock::Sku(*sku)],
            Request::Webhook { order, number } => {
                payments::webhook_locks(*order, *number, self.env.planted)
            }
        };
        if locks.iter().any(|lock| self.is_locked(service, *lock)) {
            let waiting = self.requests.entry(service).or_default();
            waiting.push_back(request);
            return false;
        }
        let mut tx = Tx::at(self.env.now);
        tx.locks.extend(locks);
        self.env.clock_offset = self.replicas[index].clock_offset;
        let handled = match &request {
            Request::Place { key, basket } => {
                orders::place(&mut tx, db, &mut self.env, *key, basket);
                Ok(())
            }
            Request::Cancel { key, by_staff } => {
                let input = if *by_staff {
                    shopzen_orders::domain::Input::CancelledByStaff
                } else {
                    shopzen_orders::domain::Input::CancelledByShopper
                };
                let order = order_of(key).expect("it is locked");
                orders::advance(&mut tx, db, order, input).map(|_| ())
            }
            Request::Adjust { sku, delta } => {
                stock::adjust(&mut tx, db, *sku, *delta);
                Ok(())
            }
            Request::Import { sku, on_hand } => {
                stock::import(&mut tx, db, *sku, *on_hand);
                Ok(())
            }
            Request::Reprice { sku, price } => {
                reprice(&mut tx, db, *sku, *price);
                Ok(())
            }
            Request::Webhook { order, number } => {
                payments::on_webhook(&mut tx, db, (*order, *number), self.env.planted)
            }
        };
        self.open(index, tx, handled);
        true
    }

    fn record_answers(&mut self, index: usize) -> bool {
        let service = Service::Payments;
        let mut tx = Tx::at(self.now());
        let mut handled = Ok(());
        let mut waiting = Vec::new();
        let answers = std::mem::take(&mut self.replicas[index].answers);
        let db = self.db(service);
        for answered in answers {
            let locks = [
                Lock::Order(answered.order),
                Lock::Attempt(answered.order, answered.kind.as_str()),
            ];
            if locks.iter().any(|lock| self.is_locked(service, *lock)) {
                waiting.push(answered);
                continue;
            }
            tx.locks.extend(locks);
            if handled.is_ok() {
                handled = payments::record(&mut tx, db, &answered, self.env.planted);
            }
        }
        self.replicas[index].answers = waiting;
        if tx.locks.is_empty() {
            return false;
        }
        self.open(index, tx, handled);
        true
    }

    /// What the workers look for by themselves: overdue orders, and attempts to look at again.
    fn sweep_rows(&mut self, index: usize) -> bool {
        let service = self.replicas[index].service;
        let mut tx = Tx::at(self.now());
        self.env.clock_offset = self.replicas[index].clock_offset;
        let db = self.db(service);
        let mut handled = Ok(());
        let free = |lock: Lock| !self.is_locked(service, lock);
        match service {
            Service::Orders => {
                let overdue = orders::overdue(db, &self.env).into_iter();
                for order in overdue.filter(|order| free(Lock::Order(*order))) {
                    tx.locks.push(Lock::Order(order));
                    let input = shopzen_orders::domain::Input::Overdue;
                    handled = handled
                        .and_then(|()| orders::advance(&mut tx, db, order, input).map(|_| ()));
                }
            }
            Service::Payments => {
                let due = payments::due(db, self.now()).into_iter();
                for (order, kind) in due.filter(|(order, kind)| free(Lock::Attempt(*order, kind))) {
                    tx.locks.push(Lock::Attempt(order, kind));
                    handled =
                        handled.and_then(|()| payments::look_again(&mut tx, db, (order, kind)));
                }
            }
            Service::Stock if self.is(Planted::ReleaseOnExpiryByStock) => {
                let expired = stock::expired(db, self.now()).into_iter();
                for order in expired.filter(|order| free(Lock::Order(*order))) {
                    tx.locks.push(Lock::Order(order));
                    handled = handled.and_then(|()| stock::give_back(&mut tx, db, order));
                }
            }
            _ => {}
        }
        if tx.locks.is_empty() {
            return false;
        }
        self.open(index, tx, handled);
        true
    }

    /// Takes an open transaction one step on: mostly that is its commit.
    fn go_on(&mut self, index: usize, chance: &mut Chance) -> bool {
        let count = self.replicas[index].open.len();
        if count == 0 {
            return false;
        }
        let mut tx = self.replicas[index].open.remove(chance.below(count));
        let service = self.replicas[index].service;
        if let Some(sweep) = &mut tx.sweep {
            match sweep.receipts.take() {
                None => {
                    let sweep = sweep.clone();
                    self.publish_rows(index, sweep, tx);
                }
                Some(receipts) => {
                    let last = sweep.rows.iter().max().copied();
                    self.record(index, &receipts);
                    let db = self.db_mut(service);
                    db.polled = db.polled.max(last);
                }
            }
            return true;
        }
        invariants::on_commit(self, service, &tx);
        let mut kept = Vec::new();
        if self.is(Planted::IdempotencyKeyAfterCommit) {
            kept.extend(std::mem::take(&mut tx.writes.keys));
        }
        self.db_mut(service).commit(&mut tx);
        if self.is(Planted::PollingById) {
            // Such a relay keeps no list of what is pending.
            self.db_mut(service).pending.clear();
        }
        let replica = &mut self.replicas[index];
        let told = [
            Told::Publish(tx.events),
            Told::Ack(tx.deliveries),
            Told::Reply(tx.replies),
            Told::Keep(kept),
        ];
        replica
            .to_tell
            .extend(told.into_iter().filter(|told| !told.is_empty()));
        for call in tx.calls {
            self.make_call(index, call, tx.opened_at);
        }
        true
    }

    fn tell(&mut self, index: usize, chance: &mut Chance) -> bool {
        let count = self.replicas[index].to_tell.len();
        if count == 0 {
            return false;
        }
        let service = self.replicas[index].service;
        match self.replicas[index].to_tell.remove(chance.below(count)) {
            Told::Publish(events) => {
                // The sweep of a relay that polls by id is the only one that publishes.
                if !self.is(Planted::PollingById) {
                    self.publish(index, &events);
                }
            }
            Told::Ack(deliveries) => {
                for delivery in deliveries {
                    if self.reaches_broker() && !chance.one_in(ACKS_PER_LOST) {
                        self.broker.ack(service, delivery);
                    }
                }
            }
            Told::Reply(replies) => {
                for reply in replies {
                    // A reply that is lost leaves the shopper where a repeat finds them.
                    if reply.said != Said::Refused && chance.one_in(ACKS_PER_LOST) {
                        continue;
                    }
                    if let Err(what) = self.shoppers.hear(&reply) {
                        self.found("I10", what);
                    }
                }
            }
            Told::Keep(rows) => self.db_mut(service).tables.keys.extend(rows),
        }
        true
    }

    // ---- events on their way out (`chassis/src/outbox.rs`)

    /// Publishes where the gate is open; what is not acknowledged stays pending.
    fn publish(&mut self, index: usize, events: &[Event]) {
        if !self.may_publish(index) {
            return;
        }
        let Some(compared) = self.replicas[index].compared_with else {
            return;
        };
        for event in events {
            let Some(seq) = self.broker.publish(event) else {
                self.replicas[index].doubts = true;
                continue;
            };
            let id = event.id;
            let mut chance = Chance::new(id.0 ^ self.env.now);
            if !chance.one_in(ACKS_PER_LOST) {
                self.replicas[index]
                    .receipts
                    .push(Receipt { seq, id, compared });
            }
        }
    }

    fn record_receipts(&mut self, index: usize) -> bool {
        if self.replicas[index].records_from > self.now() {
            return false;
        }
        let confirmed = std::mem::take(&mut self.replicas[index].confirmed);
        if !confirmed.is_empty() {
            self.record(index, &confirmed);
            return true;
        }
        let receipts = std::mem::take(&mut self.replicas[index].receipts);
        let is_some = !receipts.is_empty();
        self.replicas[index].confirmed = self.confirm(index, receipts);
        is_some
    }

    /// Receipts of before a restart of the broker, or of a stream that was deleted, say nothing of the
    /// stream that is there now.
    fn confirm(&mut self, index: usize, mut receipts: Vec<Receipt>) -> Vec<Receipt> {
        if self.takes_late_receipts() {
            return receipts;
        }
        let service = self.replicas[index].service;
        let compared = self.replicas[index]
            .compared_with
            .filter(|compared| self.reaches_broker() && self.broker.is_still(service, *compared));
        self.replicas[index].doubts |= compared.is_none();
        receipts.retain(|receipt| Some(receipt.compared) == compared);
        receipts
    }

    fn takes_late_receipts(&self) -> bool {
        self.is(Planted::LateReceipts) || self.is(Planted::TwoReceiptsForOnePlace)
    }

    /// Where somebody has compared anew since, nothing counts.
    fn record(&mut self, index: usize, receipts: &[Receipt]) {
        let both_settle = self.is(Planted::TwoReceiptsForOnePlace);
        let (now, takes_all) = (self.now(), self.takes_late_receipts());
        let service = self.replicas[index].service;
        let epoch = self.db(service).epoch;
        let current = receipts
            .iter()
            .filter(|receipt| takes_all || receipt.compared.epoch == epoch);
        let rows: Vec<(Seq, EventId)> = current.map(|receipt| (receipt.seq, receipt.id)).collect();
        self.replicas[index].doubts |= rows.len() < receipts.len();
        self.db_mut(service).record(&rows, both_settle, now);
    }

    fn sweep_outbox(&mut self, index: usize, chance: &mut Chance) -> bool {
        let service = self.replicas[index].service;
        if !self.may_publish(index) {
            return false;
        }
        let (db, now) = (self.db(service), self.now());
        let is_free = |id: &EventId| !self.is_locked(service, Lock::Pending(*id));
        let rows: Vec<EventId> = if self.is(Planted::PollingById) {
            let new = db.outbox.keys().filter(|id| Some(**id) > db.polled);
            new.copied().filter(is_free).collect()
        } else {
            let pending = db
                .pending
                .iter()
                .filter(|(_, since)| *since + PENDING_FOR < now);
            let most = 1 + chance.below(8);
            pending
                .map(|(id, _)| *id)
                .filter(is_free)
                .take(most)
                .collect()
        };
        if rows.is_empty() {
            return false;
        }
        let mut tx = Tx::at(now);
        tx.locks.extend(rows.iter().map(|id| Lock::Pending(*id)));
        tx.sweep = Some(Sweep {
            rows,
            receipts: None,
        });
        self.replicas[index].open.push(tx);
        true
    }

    fn publish_rows(&mut self, index: usize, sweep: Sweep, mut tx: Tx) {
        let db = self.db(self.replicas[index].service);
        let stored = sweep.rows.iter().filter_map(|id| db.outbox.get(id));
        let events: Vec<Event> = stored.cloned().collect();
        let others = std::mem::take(&mut self.replicas[index].receipts);
        self.publish(index, &events);
        let ours = std::mem::replace(&mut self.replicas[index].receipts, others);
        let ours = self.confirm(index, ours);
        if ours.is_empty() {
            return;
        }
        tx.sweep = Some(Sweep {
            rows: sweep.rows,
            receipts: Some(ours),
        });
        self.replicas[index].open.push(tx);
    }
}

fn reprice(tx: &mut Tx, db: &Database, sku: usize, price: i64) {
    let version = tx.price(db, sku).map_or(0, |row| row.version) + 1;
    tx.writes.prices.insert(sku, PriceRow { version, price });
    let fact = Fact::ProductChanged {
        sku,
        version,
        price,
    };
    tx.publish(OrderNo(0), fact);
}

impl Told {
    fn is_empty(&self) -> bool {
        match self {
            Self::Publish(events) => events.is_empty(),
            Self::Ack(deliveries) => deliveries.is_empty(),
            Self::Reply(replies) => replies.is_empty(),
            Self::Keep(rows) => rows.is_empty(),
        }
    }
}
