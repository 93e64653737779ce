//! One run: a schedule, and then peace, until nothing moves any more.

use shopzen_orders::domain::Life;

use crate::{
    Violation, facts::Service, gateway::Fate, invariants, op::Op, planted::Planted,
    steps::COMPARE_EVERY, world::World,
};

/// Rounds of peace after which a shop that still moves will never rest.
const ROUNDS_MAX: usize = 400;
/// Steps that each process takes in one round.
const STEPS_PER_ROUND: u32 = 24;

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub orders: usize,
    pub confirmed: usize,
    /// Decided while things still failed.
    pub decided_under_faults: usize,
    pub violation: Option<Violation>,
}

/// Runs any list of operations in the shop of a seed.
pub fn run(seed: u64, ops: &[Op], planted: Option<Planted>) -> Outcome {
    let mut world = World::new(seed, planted);
    for op in ops {
        world.apply(*op);
        if world.violation.is_some() {
            break;
        }
    }
    let decided_under_faults = world.decided_at.len();
    if world.violation.is_none() {
        let healed_at = world.heal();
        let rests = world.come_to_rest();
        if world.violation.is_none() {
            invariants::quiet(&mut world, healed_at);
        }
        if !rests {
            world.found("I5", "the shop does not come to rest");
        }
    }
    let orders = &world.db(Service::Orders).tables.orders;
    let lives = orders.values().map(|row| row.state.life);
    Outcome {
        orders: orders.len(),
        confirmed: lives.filter(|life| *life == Life::Confirmed).count(),
        decided_under_faults,
        violation: world.violation,
    }
}

impl World {
    fn heal(&mut self) -> u64 {
        self.broker.away_until = self.now();
        self.now()
    }

    /// Lets everybody work, until nothing moves and receipts and streams have been compared once more.
    fn come_to_rest(&mut self) -> bool {
        let mut compared = false;
        for round in 0..ROUNDS_MAX {
            let moved = self.round_of_peace(round);
            invariants::always(self);
            if self.violation.is_some() {
                return true;
            }
            let rests = self.rests();
            if rests && compared {
                return true;
            }
            if rests {
                compared = true;
                self.wait(COMPARE_EVERY + 1);
            } else {
                self.wait(if moved { 200 } else { 4_000 });
            }
        }
        false
    }

    fn round_of_peace(&mut self, round: usize) -> bool {
        let mut moved = false;
        for index in 0..self.replicas.len() {
            let first = u32::try_from(round * 64 + index * 7).expect("rounds are few");
            for step in 0..STEPS_PER_ROUND {
                if !self.step(index, first + step) {
                    break;
                }
                moved = true;
            }
        }
        while self.calls.iter().any(|call| call.is_on_wire) {
            self.wire(0, Fate::Answered);
            moved = true;
        }
        moved
    }

    fn rests(&self) -> bool {
        let databases = self.databases.values();
        self.replicas.iter().all(|replica| replica.is_idle())
            && self.calls.is_empty()
            && !self.gateway.is_working()
            && self.requests.values().all(|waiting| waiting.is_empty())
            && !self.broker.has_unread()
            && databases.into_iter().all(|db| {
                let attempts = &mut db.tables.attempts.values();
                let orders = &mut db.tables.orders.values();
                db.pending.is_empty()
                    && attempts.all(|attempt| attempt.next_at.is_none())
                    && orders.all(|row| !row.state.is_open())
            })
    }
}
