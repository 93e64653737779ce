//! The shop, its surroundings, and what each operation does to them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use shopzen_contracts::{Quantity, orders::OrderLineInput};
use shopzen_payments::attempt::Answer;

use crate::{
    Violation,
    broker::Broker,
    chance::Chance,
    database::{CallToMake, Database, Lock, PriceRow},
    facts::{Card, Event, EventId, Fact, Millis, OrderNo, SKUS, Service, sku},
    gateway::{Asks, CALL_TIMEOUT, Call, Fate, Gateway, ON_ITS_WAY_MAX, Operation},
    invariants,
    op::{Op, Says},
    payments::Answered,
    planted::Planted,
    replica::{Env, Replica},
    requests::{Basket, Request, Shoppers},
    stock,
};

/// How long the gateway takes when it is slow.
const SLOW: Millis = 4_000;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) broker: Broker,
    pub(crate) databases: BTreeMap<Service, Database>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) gateway: Gateway,
    pub(crate) calls: Vec<Call>,
    pub(crate) requests: BTreeMap<Service, VecDeque<Request>>,
    pub(crate) shoppers: Shoppers,
    /// How often each follower has committed the effects of an event. Nobody in the shop knows this.
    pub(crate) handled: BTreeMap<(Service, EventId), u32>,
    /// Every price that the catalogue ever had.
    pub(crate) prices_said: BTreeSet<(usize, i64)>,
    /// When each order ceased to be open.
    pub(crate) decided_at: BTreeMap<OrderNo, Millis>,
    /// What was found wrong first.
    pub(crate) violation: Option<Violation>,
}

impl World {
    pub(crate) fn new(seed: u64, planted: Option<Planted>) -> Self {
        let mut chance = Chance::new(seed);
        let mut databases: BTreeMap<Service, Database> = BTreeMap::new();
        let mut prices_said = BTreeSet::new();
        for number in 0..SKUS {
            let on_hand = i64::from(chance.small(9));
            stock::fill(
                databases.entry(Service::Stock).or_default(),
                number,
                on_hand,
            );
            // What costs nothing needs no gateway.
            let price = i64::from(chance.small(4)) * 50;
            prices_said.insert((number, price));
            for service in [Service::Orders, Service::Catalog] {
                let row = PriceRow { version: 1, price };
                let prices = &mut databases.entry(service).or_default().tables.prices;
                prices.insert(number, row);
            }
        }
        let mut replicas = Vec::new();
        for service in Service::ALL {
            databases.entry(service).or_default();
            let count = match service {
                Service::Catalog | Service::Notify => 1,
                _ => 1 + chance.below(3),
            };
            replicas.extend((0..count).map(|_| Replica::new(service)));
        }
        Self {
            env: Env {
                now: 1_000,
                clock_offset: 0,
                planted,
                numbers: 0,
            },
            broker: Broker::new(),
            databases,
            replicas,
            gateway: Gateway::default(),
            calls: Vec::new(),
            requests: BTreeMap::new(),
            shoppers: Shoppers::default(),
            handled: BTreeMap::new(),
            prices_said,
            decided_at: BTreeMap::new(),
            violation: None,
        }
    }

    pub(crate) fn is(&self, planted: Planted) -> bool {
        self.env.planted == Some(planted)
    }

    pub(crate) fn now(&self) -> Millis {
        self.env.now
    }

    pub(crate) fn db(&self, service: Service) -> &Database {
        &self.databases[&service]
    }

    pub(crate) fn db_mut(&mut self, service: Service) -> &mut Database {
        self.databases
            .get_mut(&service)
            .expect("each has a database")
    }

    pub(crate) fn found(&mut self, invariant: &'static str, what: impl Into<String>) {
        let what = what.into();
        self.violation.get_or_insert(Violation { invariant, what });
    }

    pub(crate) fn reaches_broker(&self) -> bool {
        self.now() >= self.broker.away_until
    }

    /// Whether an open transaction of the service holds this.
    pub(crate) fn is_locked(&self, service: Service, lock: Lock) -> bool {
        let mut replicas = self.replicas.iter();
        replicas.any(|replica| {
            replica.service == service && replica.open.iter().any(|tx| tx.locks.contains(&lock))
        })
    }

    /// Does what an operation says; where there is nothing that it could be about, nothing.
    pub(crate) fn apply(&mut self, op: Op) {
        let replicas = self.replicas.len();
        match op {
            Op::Place {
                key,
                basket,
                card,
                says,
            } => {
                let basket = self.basket(basket, card, says);
                self.request(Service::Orders, Request::Place { key, basket });
            }
            Op::Cancel { key, by_staff } => {
                self.request(Service::Orders, Request::Cancel { key, by_staff });
            }
            Op::Act { key, agrees } => {
                if let Some(row) = self.db(Service::Orders).tables.keys.get(&key) {
                    let order = row.order;
                    self.gateway.act(order, agrees);
                }
            }
            Op::Webhook { key, number } => {
                if let Some(row) = self.db(Service::Orders).tables.keys.get(&key) {
                    let order = row.order;
                    self.request(Service::Payments, Request::Webhook { order, number });
                }
            }
            Op::Adjust { sku, delta } => {
                let (sku, delta) = (usize::from(sku) % SKUS, i64::from(delta));
                self.request(Service::Stock, Request::Adjust { sku, delta });
            }
            Op::Import { sku, on_hand } => {
                let (sku, on_hand) = (usize::from(sku) % SKUS, i64::from(on_hand));
                self.request(Service::Stock, Request::Import { sku, on_hand });
            }
            Op::Reprice { sku, price } => {
                let (sku, price) = (usize::from(sku) % SKUS, i64::from(price));
                self.request(Service::Catalog, Request::Reprice { sku, price });
            }
            Op::Step { replica, choice } => {
                self.step(usize::from(replica) % replicas, choice);
            }
            Op::Round { choice } => {
                let mut chance = Chance::new(choice.into());
                for _ in 0..replicas * 2 {
                    let replica = chance.below(replicas);
                    self.step(replica, choice.wrapping_add(chance.small(u8::MAX).into()));
                }
            }
            Op::Crash { replica } => self.replicas[usize::from(replica) % replicas].crash(),
            Op::RollBack { replica } => self.roll_back(usize::from(replica) % replicas),
            Op::Jump { replica, ms } => {
                self.replicas[usize::from(replica) % replicas].clock_offset += i64::from(ms);
            }
            Op::RecordLate { replica, ms } => {
                let from = self.now() + Millis::from(ms);
                self.replicas[usize::from(replica) % replicas].records_from = from;
            }
            Op::Wait { ms } => self.wait(ms.into()),
            Op::Wire { call, fate } => self.wire(usize::from(call), fate),
            Op::DeliverAgain {
                consumer,
                forget_acks,
            } => {
                let (consumer, acks) = (usize::from(consumer), usize::from(forget_acks));
                self.broker.deliver_again(consumer, acks);
            }
            Op::ForgetDuplicates => self.broker.forget_duplicates(),
            Op::SyncBroker => self.broker.sync(),
            Op::RestartBroker => self.broker.restart(),
            Op::LoseTail => self.broker.lose_tail(),
            Op::Wipe => self.broker.wipe(),
            Op::DeleteStream { owner } => {
                let owner = Service::ALL[usize::from(owner) % Service::ALL.len()];
                self.broker.delete_stream(owner);
            }
            Op::BrokerAway { ms } => self.broker.away_until = self.now() + Millis::from(ms),
        }
        invariants::always(self);
    }

    fn request(&mut self, service: Service, request: Request) {
        self.requests.entry(service).or_default().push_back(request);
    }

    fn basket(&self, number: u8, card: Card, says: Says) -> Basket {
        let mut chance = Chance::new(number.into());
        let first = chance.below(SKUS);
        let skus = [first, (first + 1) % SKUS];
        let lines: Rc<[OrderLineInput]> = skus[..=chance.below(2)]
            .iter()
            .map(|number| OrderLineInput {
                sku: sku(*number),
                quantity: Quantity::parse(1 + i64::from(chance.small(3))).expect("a few"),
            })
            .collect();
        let costs = || {
            let prices = &self.db(Service::Orders).tables.prices;
            let of = |line: &OrderLineInput| {
                prices[&crate::facts::number_of(&line.sku)].price * i64::from(line.quantity.get())
            };
            lines.iter().map(of).sum::<i64>()
        };
        let expected_total = match says {
            Says::Nothing => None,
            Says::WhatItCosts => Some(costs()),
            Says::Less => Some(costs() / 10 + 1),
        };
        let total = expected_total.map_or(0, |total| 1 + total.unsigned_abs());
        let card_number = match card {
            Card::Good => 0,
            Card::Declined => 1,
            Card::Asks => 2,
            Card::NotCapturable => 3,
            Card::Foreign => 4,
        };
        let fingerprint = (u64::from(number) * 8 + card_number) * 1_000_000 + total;
        Basket {
            lines,
            card,
            expected_total,
            fingerprint,
        }
    }

    /// Its transactions are rolled back, and its messages handed back; the process lives on.
    fn roll_back(&mut self, index: usize) {
        let service = self.replicas[index].service;
        for tx in std::mem::take(&mut self.replicas[index].open) {
            for delivery in tx.deliveries {
                self.broker.give_back(service, delivery);
            }
        }
    }

    pub(crate) fn wait(&mut self, ms: Millis) {
        self.env.now += ms;
        let now = self.now();
        self.gateway.pass_time(now);
        for call in &mut self.calls {
            if call.arrives_at.take_if(|at| *at <= now).is_some() {
                self.gateway.perform(&call.operation);
            }
        }
        for index in 0..self.calls.len() {
            if self.calls[index].is_awaited && self.calls[index].deadline <= now {
                self.answer(index, Answer::Unknown(String::new()));
            }
        }
        self.calls.retain(|call| {
            let may_arrive = call.asks == Asks::Perform && now < call.deadline + ON_ITS_WAY_MAX;
            call.is_awaited || call.arrives_at.is_some() || (call.is_on_wire && may_arrive)
        });
    }

    // ---- the gateway

    pub(crate) fn make_call(&mut self, index: usize, call: CallToMake, opened_at: Millis) {
        let is_new_key = self.is(Planted::NewGatewayKeyAtEachRetry);
        let retry = if is_new_key { call.calls - 1 } else { 0 };
        let asks = Call::first_request(call.errand);
        self.calls.push(Call {
            replica: index,
            life: self.replicas[index].life,
            operation: Operation {
                key: (call.order, call.kind.as_str(), retry),
                kind: call.kind,
                order: call.order,
                amount: call.amount,
                card: call.card,
                charge: call.charge,
            },
            errand: call.errand,
            question: call.question,
            asks,
            deadline: opened_at + CALL_TIMEOUT,
            is_awaited: true,
            is_on_wire: true,
            arrives_at: None,
        });
        self.send_or_give_up(self.calls.len() - 1);
    }

    /// What others think can no longer have been sent must not be sent.
    fn send_or_give_up(&mut self, index: usize) {
        let call = &mut self.calls[index];
        if call.asks == Asks::Perform && call.deadline <= self.env.now {
            call.is_on_wire = false;
            self.answer(index, Answer::NotSent(String::new()));
        }
    }

    /// Hands an answer to who waits for it, if it still does.
    fn answer(&mut self, index: usize, answer: Answer) {
        let call = &mut self.calls[index];
        let was_awaited = std::mem::take(&mut call.is_awaited);
        let replica = &mut self.replicas[call.replica];
        if was_awaited && replica.life == call.life {
            replica.answers.push(Answered {
                order: call.operation.order,
                kind: call.operation.kind,
                question: call.question,
                answer,
            });
        }
    }

    pub(crate) fn wire(&mut self, nth: usize, fate: Fate) {
        let on_wire: Vec<usize> = (0..self.calls.len())
            .filter(|index| self.calls[*index].is_on_wire)
            .collect();
        if on_wire.is_empty() {
            return;
        }
        let index = on_wire[nth % on_wire.len()];
        let call = &mut self.calls[index];
        let performs = call.asks == Asks::Perform;
        call.is_on_wire = false;
        match fate {
            Fate::RequestLost => return,
            Fate::Late if performs => {
                call.arrives_at = Some(call.deadline + ON_ITS_WAY_MAX - 1);
                return;
            }
            Fate::Mishap => return self.answer(index, Answer::Unknown(String::new())),
            Fate::TurnedAway => return self.answer(index, Answer::NotSent(String::new())),
            Fate::Slow if performs => {
                let operation = call.operation.clone();
                return self.gateway.work_until(self.env.now + SLOW, operation);
            }
            Fate::Late | Fate::Slow | Fate::AnswerLost | Fate::Answered => {}
        }
        let answer = match call.asks {
            Asks::Perform => self.gateway.perform(&call.operation),
            Asks::LookUp => self.gateway.look_up(&call.operation),
            Asks::Charge => self.gateway.look_at_charge(&call.operation),
        };
        if fate != Fate::Answered {
            return;
        }
        let is_alive = call.is_awaited && self.replicas[call.replica].life == call.life;
        match call.next_request(&answer) {
            Some(next) if is_alive => {
                call.asks = next;
                call.is_on_wire = true;
                self.send_or_give_up(index);
            }
            _ => self.answer(index, answer),
        }
    }

    /// What somebody has promised to say, as events with ids of the machine's clock.
    pub(crate) fn events_of(&mut self, index: usize, facts: Vec<(OrderNo, Fact)>) -> Vec<Event> {
        self.env.clock_offset = self.replicas[index].clock_offset;
        let events = facts.into_iter().map(|(order, fact)| Event {
            id: self.env.new_event(),
            order,
            fact,
        });
        events.collect()
    }
}
