//! Finds out what the broker has forgotten (`workers/chassis/src/tail_guard.rs`): receipts are compared
//! with the stream on every connection and now and then, by the same binary search.

use crate::{
    broker::{Seq, Stream},
    database::Database,
    facts::Millis,
    planted::Planted,
    replica::Compared,
    steps::COMPARE_EVERY,
    world::World,
};

impl World {
    /// Nothing is published on a connection on which receipts and stream have not been compared.
    pub(crate) fn may_publish(&self, index: usize) -> bool {
        let replica = &self.replicas[index];
        let compared_on = replica.compared_with.map(|compared| compared.start);
        let is_compared = compared_on == Some(self.broker.starts);
        let is_open = is_compared || self.is(Planted::PublishBeforeComparing);
        replica.gate && is_open && self.reaches_broker()
    }

    /// Sees that the connection is another one, and opens the gate once receipts and stream agree.
    pub(crate) fn connect(&mut self, index: usize) -> bool {
        if !self.reaches_broker() {
            return false;
        }
        let (now, start) = (self.now(), self.broker.starts);
        let replica = &mut self.replicas[index];
        let service = replica.service;
        let connected_to = replica.compared_with.map(|compared| compared.start);
        if connected_to != Some(start) && replica.gate {
            replica.gate = false;
            return true;
        }
        let is_due = replica.doubts || now >= replica.compared_at + COMPARE_EVERY;
        if replica.gate && !is_due {
            return false;
        }
        replica.doubts = false;
        replica.compared_at = now;
        replica.gate = true;
        self.broker.make_stream(service);
        let before = replica.compared_with;
        let is_new = before.is_none_or(|before| !self.broker.is_still(service, before));
        let db = self
            .databases
            .get_mut(&service)
            .expect("each has a database");
        db.epoch += u64::from(is_new);
        replica.compared_with = Some(Compared {
            start,
            deleted: self.broker.stream(service).deleted,
            epoch: db.epoch,
        });
        if self.env.planted != Some(Planted::NoTailGuard) {
            let stream = self.broker.stream(service);
            compare(db, stream, now);
        }
        true
    }
}

/// What is above the last place where both agree is pending again.
fn compare(db: &mut Database, stream: &Stream, now: Millis) {
    let Some((newest, _)) = db.receipts.last_key_value() else {
        return;
    };
    let newest = *newest;
    if newest <= stream.last && agrees(db, stream, newest) {
        return;
    }
    let first = stream.messages.first_key_value().map_or(0, |(seq, _)| *seq);
    let mut good = first - 1;
    let mut bad = newest.min(stream.last) + 1;
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match db.receipts.range(..=middle).next_back() {
            Some((seq, _)) if *seq > good => {
                if agrees(db, stream, *seq) {
                    good = middle;
                } else {
                    bad = *seq;
                }
            }
            _ => good = middle,
        }
    }
    for id in db.receipts.split_off(&(good + 1)).into_values() {
        db.pending.entry(id).or_insert(now.saturating_sub(2_000));
    }
}

fn agrees(db: &Database, stream: &Stream, seq: Seq) -> bool {
    let stored = stream.messages.get(&seq).map(|event| event.id);
    stored == db.receipts.get(&seq).copied()
}
