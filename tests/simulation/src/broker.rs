//! Streams and consumers of a broker that may forget.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    facts::{Event, EventId, Millis, Service},
    replica::Compared,
};

/// How long a consumer waits for an acknowledgement before it delivers again.
const ACK_WAIT: Millis = 10_000;

/// Where a message stands in its stream, counted from 1.
pub(crate) type Seq = i64;

/// A message on its way to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) source: Service,
    pub(crate) seq: Seq,
    /// The broker's start in which it was delivered.
    start: u64,
    /// How often its stream had been deleted by then.
    deleted: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// It is there once its worker has made it.
    pub(crate) is_missing: bool,
    /// How often it was deleted.
    pub(crate) deleted: u64,
    pub(crate) messages: BTreeMap<Seq, Event>,
    pub(crate) last: Seq,
    /// What would survive a power cut.
    synced: Seq,
    /// Ids for which a repeat is recognised.
    known: BTreeMap<EventId, Seq>,
}

#[derive(Debug, Default)]
struct Consumer {
    acked: BTreeSet<Seq>,
    /// Delivered, and until when it is not delivered again.
    held: BTreeMap<Seq, Millis>,
}

#[derive(Debug, Default)]
pub(crate) struct Broker {
    streams: BTreeMap<Service, Stream>,
    consumers: BTreeMap<(Service, Service), Consumer>,
    /// How often it was started: a client sees that its connection is another one.
    pub(crate) starts: u64,
    /// Nobody reaches it before.
    pub(crate) away_until: Millis,
}

impl Broker {
    pub(crate) fn new() -> Self {
        let mut broker = Self::default();
        for service in Service::ALL {
            broker.streams.insert(service, Stream::default());
            for source in service.sources() {
                let name = (service, *source);
                broker.consumers.insert(name, Consumer::default());
            }
        }
        broker
    }

    pub(crate) fn stream(&self, service: Service) -> &Stream {
        &self.streams[&service]
    }

    /// Stores an event, or recognises it, and says where it stands. No stream, no answer.
    pub(crate) fn publish(&mut self, event: &Event) -> Option<Seq> {
        let stream = self
            .streams
            .get_mut(&event.fact.owner())
            .expect("each has a stream");
        if stream.is_missing {
            return None;
        }
        if let Some(seq) = stream.known.get(&event.id) {
            return Some(*seq);
        }
        stream.last += 1;
        stream.messages.insert(stream.last, event.clone());
        stream.known.insert(event.id, stream.last);
        Some(stream.last)
    }

    /// Hands out up to `most` messages, from somewhere in the middle or from the end.
    pub(crate) fn pull(
        &mut self,
        follower: Service,
        source: Service,
        now: Millis,
        (skip, most, backwards): (usize, usize, bool),
    ) -> Vec<(Delivery, Event)> {
        let (streams, start) = (&self.streams, self.starts);
        let consumer = self
            .consumers
            .get_mut(&(follower, source))
            .expect("each follower has a consumer");
        let mut found: Vec<Seq> = streams[&source]
            .messages
            .iter()
            .filter(|(seq, event)| {
                event.fact.followers().contains(&follower)
                    && !consumer.acked.contains(seq)
                    && consumer.held.get(seq).is_none_or(|until| *until <= now)
            })
            .map(|(seq, _)| *seq)
            .collect();
        if found.is_empty() {
            return Vec::new();
        }
        let skip = skip % found.len();
        found.rotate_left(skip);
        if backwards {
            found.reverse();
        }
        found.truncate(most);
        let mut messages = Vec::with_capacity(found.len());
        for seq in found {
            consumer.held.insert(seq, now + ACK_WAIT);
            let stream = &streams[&source];
            let deleted = stream.deleted;
            let delivery = Delivery {
                source,
                seq,
                start,
                deleted,
            };
            messages.push((delivery, stream.messages[&seq].clone()));
        }
        messages
    }

    /// Whether connection and stream are still those with which receipts were compared.
    pub(crate) fn is_still(&self, owner: Service, compared: Compared) -> bool {
        let stream = self.stream(owner);
        let there = (self.starts, stream.deleted);
        !stream.is_missing && there == (compared.start, compared.deleted)
    }

    /// Makes a stream where it is missing.
    pub(crate) fn make_stream(&mut self, owner: Service) {
        let stream = self.streams.get_mut(&owner).expect("each has a stream");
        stream.is_missing = false;
    }

    /// An acknowledgement of before a restart went to a connection that is gone, and one for a stream that
    /// was deleted to nobody.
    pub(crate) fn ack(&mut self, follower: Service, delivery: Delivery) {
        let deleted = self.stream(delivery.source).deleted;
        if (delivery.start, delivery.deleted) != (self.starts, deleted) {
            return;
        }
        if let Some(consumer) = self.consumers.get_mut(&(follower, delivery.source)) {
            consumer.acked.insert(delivery.seq);
            consumer.held.remove(&delivery.seq);
        }
    }

    pub(crate) fn give_back(&mut self, follower: Service, delivery: Delivery) {
        if let Some(consumer) = self.consumers.get_mut(&(follower, delivery.source)) {
            consumer.held.remove(&delivery.seq);
        }
    }

    /// Whether somebody has not acknowledged everything.
    pub(crate) fn has_unread(&self) -> bool {
        self.consumers.iter().any(|((follower, source), consumer)| {
            self.streams[source].messages.iter().any(|(seq, event)| {
                event.fact.followers().contains(follower) && !consumer.acked.contains(seq)
            })
        })
    }

    // ---- faults

    /// Takes what was delivered for not delivered, and perhaps an acknowledgement for not heard.
    pub(crate) fn deliver_again(&mut self, nth: usize, forget_acks: usize) {
        let count = self.consumers.len();
        if let Some(consumer) = self.consumers.values_mut().nth(nth % count) {
            consumer.held.clear();
            for _ in 0..forget_acks {
                consumer.acked.pop_last();
            }
        }
    }

    pub(crate) fn forget_duplicates(&mut self) {
        for stream in self.streams.values_mut() {
            stream.known.clear();
        }
    }

    pub(crate) fn sync(&mut self) {
        for stream in self.streams.values_mut() {
            stream.synced = stream.last;
        }
    }

    pub(crate) fn restart(&mut self) {
        self.starts += 1;
        for consumer in self.consumers.values_mut() {
            consumer.held.clear();
        }
    }

    /// A power cut: what was not synced is gone, and its sequences are used again.
    pub(crate) fn lose_tail(&mut self) {
        for stream in self.streams.values_mut() {
            let synced = stream.synced;
            stream.messages.retain(|seq, _| *seq <= synced);
            stream.known.retain(|_, seq| *seq <= synced);
            stream.last = synced;
        }
        for ((_, source), consumer) in &mut self.consumers {
            let synced = self.streams[source].synced;
            consumer.acked.retain(|seq| *seq <= synced);
        }
        self.restart();
    }

    /// Somebody deletes a stream, and its consumers with it. Connections stay.
    pub(crate) fn delete_stream(&mut self, owner: Service) {
        let stream = self.streams.get_mut(&owner).expect("each has a stream");
        *stream = Stream {
            is_missing: true,
            deleted: stream.deleted + 1,
            ..Stream::default()
        };
        for ((_, source), consumer) in &mut self.consumers {
            if *source == owner {
                *consumer = Consumer::default();
            }
        }
    }

    /// An empty disk. Workers make their streams and consumers again.
    pub(crate) fn wipe(&mut self) {
        let starts = self.starts;
        *self = Self {
            starts,
            away_until: self.away_until,
            ..Self::new()
        };
        self.restart();
    }
}
