//! A schedule: what happens in one run, one thing after the other.
//!
//! Operations name things by numbers that mean something whatever came before, and carry their own
//! chance with them, so any part of a schedule is a schedule too.

use crate::{chance::Chance, facts::Card, gateway::Fate};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A shopper asks for a basket under a key; the same basket again is a repeat.
    Place {
        key: u8,
        basket: u8,
        card: Card,
        says: Says,
    },
    Cancel {
        key: u8,
        by_staff: bool,
    },
    /// The shopper authenticates at the gateway, or fails to.
    Act {
        key: u8,
        agrees: bool,
    },
    /// The gateway says by itself that something has happened to an order's money, true or not, and before
    /// or after it answers; the same number again is the same webhook.
    Webhook {
        key: u8,
        number: u8,
    },
    Adjust {
        sku: u8,
        delta: i8,
    },
    Import {
        sku: u8,
        on_hand: u8,
    },
    Reprice {
        sku: u8,
        price: u8,
    },
    /// A process does one thing.
    Step {
        replica: u8,
        choice: u32,
    },
    /// Each process does some things.
    Round {
        choice: u32,
    },
    /// What a process knew is gone, and it starts anew.
    Crash {
        replica: u8,
    },
    /// The open transactions of a process lose a race and are given up.
    RollBack {
        replica: u8,
    },
    /// The clock of a process jumps.
    Jump {
        replica: u8,
        ms: i32,
    },
    /// A process does not come to record its receipts for a while.
    RecordLate {
        replica: u8,
        ms: u16,
    },
    Wait {
        ms: u16,
    },
    /// A request on the wire to the gateway meets its fate.
    Wire {
        call: u8,
        fate: Fate,
    },
    DeliverAgain {
        consumer: u8,
        forget_acks: u8,
    },
    ForgetDuplicates,
    SyncBroker,
    RestartBroker,
    LoseTail,
    Wipe,
    DeleteStream {
        owner: u8,
    },
    BrokerAway {
        ms: u16,
    },
}

/// What a shopper says that a basket costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Nothing,
    /// What the shop last said.
    WhatItCosts,
    /// Far less.
    Less,
}

impl Op {
    /// What kind of fault it is, where it is one.
    pub const fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Crash { .. } => Some("crash"),
            Self::RollBack { .. } => Some("rollback"),
            Self::Jump { .. } => Some("clock jump"),
            Self::RecordLate { .. } => Some("receipts late"),
            Self::DeliverAgain { .. } => Some("redelivery"),
            Self::ForgetDuplicates => Some("duplicates forgotten"),
            Self::RestartBroker => Some("broker restart"),
            Self::LoseTail => Some("broker tail lost"),
            Self::Wipe => Some("broker wiped"),
            Self::DeleteStream { .. } => Some("stream deleted"),
            Self::BrokerAway { .. } => Some("broker away"),
            Self::Wire { fate, .. } => match fate {
                Fate::Answered => None,
                Fate::AnswerLost => Some("gateway answer lost"),
                Fate::RequestLost => Some("gateway request lost"),
                Fate::Late => Some("gateway request late"),
                Fate::Slow => Some("gateway slow"),
                Fate::Mishap => Some("gateway mishap"),
                Fate::TurnedAway => Some("gateway turned away"),
            },
            _ => None,
        }
    }
}

/// Keys that shoppers use: as many as there can be orders.
const KEYS: u8 = 6;
/// Webhooks about one order; so few that some come twice.
const WEBHOOKS: u8 = 16;
const OPERATIONS_PER_WEBHOOK: usize = 8;
const OPERATIONS: (usize, usize) = (60, 160);
const CARDS: [Card; 8] = [
    Card::Good,
    Card::Good,
    Card::Good,
    Card::Good,
    Card::Declined,
    Card::Asks,
    Card::NotCapturable,
    Card::Foreign,
];
const FATES: [Fate; 6] = [
    Fate::AnswerLost,
    Fate::RequestLost,
    Fate::Late,
    Fate::Slow,
    Fate::Mishap,
    Fate::TurnedAway,
];

/// The schedule of a seed. How much of what goes wrong is itself a matter of chance: where everything
/// fails all the time, nothing comes far enough to fail in an interesting place.
pub fn schedule(seed: u64) -> Vec<Op> {
    let mut chance = Chance::new(seed ^ 0x5C4E_D01E);
    let trouble = chance.pick(&[1_usize, 2, 4, 8]);
    let count = OPERATIONS.0 + chance.below(OPERATIONS.1);
    // By a chance of their own: but for its webhooks, a seed means what it would mean without them.
    let mut told = Chance::new(seed ^ 0x07E1_1BAC);
    let mut ops = Vec::with_capacity(count);
    for _ in 0..count {
        ops.push(op(&mut chance, trouble));
        if told.one_in(OPERATIONS_PER_WEBHOOK) {
            ops.push(Op::Webhook {
                key: told.small(KEYS),
                number: told.small(WEBHOOKS),
            });
        }
    }
    ops
}

fn choice(chance: &mut Chance) -> u32 {
    u32::try_from(chance.next() >> 32).expect("half of it")
}

fn op(chance: &mut Chance, trouble: usize) -> Op {
    let replica = chance.small(u8::MAX);
    match chance.below(100) {
        0..=34 => Op::Step {
            replica,
            choice: choice(chance),
        },
        35..=54 => Op::Round {
            choice: choice(chance),
        },
        55..=66 => wire(chance, trouble),
        67..=74 => Op::Wait {
            ms: u16::try_from(chance.below(3_000)).expect("it is small"),
        },
        75..=88 => asked(chance),
        _ if !chance.one_in(trouble) => Op::Round {
            choice: choice(chance),
        },
        _ => fault(chance, replica),
    }
}

fn wire(chance: &mut Chance, trouble: usize) -> Op {
    let fate = if chance.one_in(trouble + 1) {
        chance.pick(&FATES)
    } else {
        Fate::Answered
    };
    Op::Wire {
        call: chance.small(8),
        fate,
    }
}

fn asked(chance: &mut Chance) -> Op {
    let key = chance.small(KEYS);
    let sku = chance.small(3);
    match chance.below(20) {
        0..=9 => Op::Place {
            key,
            basket: if chance.one_in(8) { key + 1 } else { key },
            card: CARDS[usize::from(key + chance.small(2) * chance.small(2)) % CARDS.len()],
            says: chance.pick(&[Says::Nothing, Says::Nothing, Says::WhatItCosts, Says::Less]),
        },
        10..=12 => Op::Cancel {
            key,
            by_staff: chance.one_in(3),
        },
        13..=14 => Op::Act {
            key,
            agrees: !chance.one_in(3),
        },
        15..=16 => Op::Adjust {
            sku,
            delta: chance.pick(&[-3, -1, 1, 4]),
        },
        17 => Op::Import {
            sku,
            on_hand: chance.small(12),
        },
        _ => Op::Reprice {
            sku,
            price: chance.small(200),
        },
    }
}

fn fault(chance: &mut Chance, replica: u8) -> Op {
    match chance.below(25) {
        0..=4 => Op::Crash { replica },
        5..=6 => Op::RollBack { replica },
        7..=8 => Op::Jump {
            replica,
            ms: chance.pick(&[-60_000, -5_000, -500, 500, 5_000, 60_000]),
        },
        9..=11 => Op::DeliverAgain {
            consumer: chance.small(u8::MAX),
            forget_acks: chance.small(4),
        },
        12 => Op::ForgetDuplicates,
        13..=14 => Op::SyncBroker,
        15 => Op::RestartBroker,
        16..=17 => Op::LoseTail,
        18 => Op::Wipe,
        19..=21 => Op::DeleteStream {
            owner: chance.small(u8::MAX),
        },
        22..=23 => Op::RecordLate {
            replica,
            ms: u16::try_from(chance.below(1_500)).expect("it is small"),
        },
        _ => Op::BrokerAway {
            ms: u16::try_from(chance.below(5_000)).expect("it is small"),
        },
    }
}
