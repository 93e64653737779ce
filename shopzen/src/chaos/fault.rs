//! What can be broken, and the order in which it is.

use std::{fmt, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};
use shopzen_chassis::tamper::Poison;
use shopzen_contracts::Service;

use super::detour::Way;
use crate::roles::Role;

/// A process of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Role(Role),
    Nats,
    Postgres,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => role.fmt(f),
            Self::Nats => f.write_str("NATS"),
            Self::Postgres => f.write_str("PostgreSQL"),
        }
    }
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`.
    Kill(Target),
    /// Asked to stop, under load.
    Terminate(Target),
    /// SIGSTOP, and SIGCONT after a while: who was away does not know it.
    Freeze(Target, Duration),
    /// Every connection of a worker to its database is ended by the server.
    EndSessions(Service),
    /// The broker is killed and gets the store it had a while ago.
    Rewind(Duration),
    /// The broker is killed and has lost its store.
    Wipe,
    /// A stream is deleted while everybody is connected.
    DeleteStream(Service),
    /// The broker forgets how far `.0` has come with what `.1` published.
    DeleteConsumer(Service, Service),
    /// A stream takes nothing more for a while.
    FillStream(Service, Duration),
    /// The broker's disk is full for a while.
    FillDisk(Duration),
    /// All connections between roles and broker are cut.
    Cut,
    /// The way between roles and broker is bad for a while.
    Way(Way, Duration),
    /// Stored events come once more, in another order.
    Repeat(Service, u64),
    /// A message that nobody can handle.
    Poison(Service, Poison),
    /// `.0` publishes what only `.1` may.
    Forge(Service, Service),
}

impl Fault {
    /// What it is called in the report.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill(Target::Role(_)) => "role killed (-9)",
            Self::Kill(Target::Nats) => "NATS killed (-9)",
            Self::Kill(Target::Postgres) => "PostgreSQL killed (-9)",
            Self::Terminate(Target::Role(_)) => "role stopped (SIGTERM)",
            Self::Terminate(Target::Nats) => "NATS stopped (SIGTERM)",
            Self::Terminate(Target::Postgres) => "PostgreSQL stopped (SIGINT)",
            Self::Freeze(Target::Role(_), _) => "role frozen",
            Self::Freeze(Target::Nats, _) => "NATS frozen",
            Self::Freeze(Target::Postgres, _) => "PostgreSQL frozen",
            Self::EndSessions(_) => "database sessions ended",
            Self::Rewind(_) => "broker store rewound",
            Self::Wipe => "broker store wiped",
            Self::DeleteStream(_) => "stream deleted",
            Self::DeleteConsumer(..) => "consumer deleted",
            Self::FillStream(..) => "stream full",
            Self::FillDisk(_) => "broker disk full",
            Self::Cut => "connections cut",
            Self::Way(Way::Slow(_), _) => "connections slow",
            Self::Way(Way::DeafServer | Way::DeafRoles, _) => "connections one-way",
            Self::Way(..) => "connections delayed",
            Self::Repeat(..) => "events repeated and reordered",
            Self::Poison(_, Poison::BrokenJson) => "poison: broken JSON",
            Self::Poison(_, Poison::WrongTypes) => "poison: wrong types",
            Self::Poison(_, Poison::UnknownVersion) => "poison: unknown version",
            Self::Poison(_, Poison::WithoutId) => "poison: no id",
            Self::Poison(_, Poison::TooLarge) => "poison: 1 MiB",
            Self::Forge(..) => "event forged by another role",
        }
    }

    /// How soon orders must be confirmed again once it is over.
    pub fn recovery(&self) -> Recovery {
        match self {
            Self::Kill(Target::Postgres)
            | Self::Terminate(Target::Postgres)
            | Self::Freeze(Target::Postgres, _) => Recovery::Database,
            Self::Kill(Target::Role(_))
            | Self::Terminate(Target::Role(_))
            | Self::Freeze(Target::Role(_), _)
            | Self::EndSessions(_)
            | Self::Repeat(..)
            | Self::Poison(..)
            | Self::Forge(..) => Recovery::Worker,
            Self::Kill(Target::Nats)
            | Self::Terminate(Target::Nats)
            | Self::Freeze(Target::Nats, _)
            | Self::Rewind(_)
            | Self::Wipe
            | Self::DeleteStream(_)
            | Self::DeleteConsumer(..)
            | Self::FillStream(..)
            | Self::FillDisk(_)
            | Self::Cut
            | Self::Way(..) => Recovery::Broker,
        }
    }

    /// Whether the broker loses a stream with all that lies in it.
    pub fn loses_streams(&self) -> bool {
        matches!(self, Self::Rewind(_) | Self::Wipe | Self::DeleteStream(_))
    }

    /// What dies of it: a process that dies too often is given pauses, which are no recovery.
    pub fn kills(&self) -> Option<Target> {
        match self {
            Self::Kill(target) | Self::Terminate(target) => Some(*target),
            // After a full disk the supervisor starts it again.
            Self::Rewind(_) | Self::Wipe | Self::FillDisk(_) => Some(Target::Nats),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Kill(target) | Self::Terminate(target) => write!(f, "{kind}: {target}"),
            Self::Freeze(target, pause) => write!(f, "{kind}: {target} for {pause:?}"),
            Self::EndSessions(service) | Self::DeleteStream(service) => {
                write!(f, "{kind}: {}", service.name())
            }
            Self::Rewind(age) => write!(f, "{kind} by {age:?}"),
            Self::DeleteConsumer(service, source) => {
                write!(f, "{kind}: {} of {}", service.name(), source.name())
            }
            Self::FillStream(service, pause) => {
                write!(f, "{kind}: {} for {pause:?}", service.name())
            }
            Self::Way(_, pause) | Self::FillDisk(pause) => write!(f, "{kind} for {pause:?}"),
            Self::Repeat(service, count) => write!(f, "{kind}: {count} of {}", service.name()),
            Self::Poison(service, _) => write!(f, "{kind}, from {}", service.name()),
            Self::Forge(forger, owner) => {
                write!(f, "{kind}: {} as {}", forger.name(), owner.name())
            }
            Self::Wipe | Self::Cut => f.write_str(kind),
        }
    }
}

/// Limits on the time from the end of a fault until an order that was placed after it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recovery {
    Worker,
    Broker,
    Database,
}

impl Recovery {
    pub const ALL: [Self; 3] = [Self::Worker, Self::Broker, Self::Database];

    pub const fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Worker => 5,
            Self::Broker => 10,
            Self::Database => 15,
        })
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Broker => "broker",
            Self::Database => "database",
        }
    }
}

/// Faults in the order that a seed gives them.
#[derive(Debug)]
pub struct Schedule {
    rng: SmallRng,
}

/// Faults among which is at least one of each kind.
pub fn every_kind() -> impl Iterator<Item = Fault> {
    const ENOUGH: usize = 2_000;
    let mut schedule = Schedule::new(0);
    std::iter::repeat_with(move || schedule.next()).take(ENOUGH)
}

/// Who takes part in a checkout, and whom it does not work without.
const ROLES: [Role; 7] = [
    Role::Worker(Service::Orders),
    Role::Worker(Service::Stock),
    Role::Worker(Service::Payments),
    Role::Worker(Service::Catalog),
    Role::Worker(Service::Notify),
    Role::Worker(Service::Auth),
    Role::Edge,
];
const SENDERS: [Service; 4] = [
    Service::Orders,
    Service::Stock,
    Service::Payments,
    Service::Catalog,
];
/// Who follows whom in a checkout.
const FOLLOWS: [(Service, Service); 7] = [
    (Service::Stock, Service::Orders),
    (Service::Payments, Service::Orders),
    (Service::Notify, Service::Orders),
    (Service::Orders, Service::Stock),
    (Service::Payments, Service::Stock),
    (Service::Catalog, Service::Stock),
    (Service::Orders, Service::Payments),
];
const POISONED: [Service; 3] = [Service::Orders, Service::Stock, Service::Payments];

/// How often each kind comes, out of their sum. What takes the whole shop with it is rarer.
#[derive(Clone, Copy)]
enum Kind {
    Kill,
    Terminate,
    Freeze,
    EndSessions,
    Rewind,
    Wipe,
    DeleteStream,
    DeleteConsumer,
    FillStream,
    FillDisk,
    Cut,
    Way,
    Repeat,
    Poison,
    Forge,
}

const WEIGHTS: [(Kind, u32); 15] = [
    (Kind::Kill, 20),
    (Kind::Terminate, 8),
    (Kind::Freeze, 14),
    (Kind::EndSessions, 8),
    (Kind::Rewind, 3),
    (Kind::Wipe, 2),
    (Kind::DeleteStream, 3),
    (Kind::DeleteConsumer, 5),
    (Kind::FillStream, 4),
    (Kind::FillDisk, 2),
    (Kind::Cut, 10),
    (Kind::Way, 8),
    (Kind::Repeat, 8),
    (Kind::Poison, 5),
    (Kind::Forge, 2),
];

impl Schedule {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    pub fn next(&mut self) -> Fault {
        let sum: u32 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.rng.random_range(0..sum);
        let kind = WEIGHTS.iter().find_map(|(kind, weight)| {
            let is_it = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            is_it.then_some(*kind)
        });
        match kind.expect("what is drawn is below the sum") {
            Kind::Kill => Fault::Kill(self.target()),
            Kind::Terminate => Fault::Terminate(self.target()),
            Kind::Freeze => Fault::Freeze(self.target(), self.millis(200, 3_000)),
            Kind::EndSessions => Fault::EndSessions(self.one_of(&SENDERS)),
            Kind::Rewind => Fault::Rewind(self.millis(300, 2_000)),
            Kind::Wipe => Fault::Wipe,
            Kind::DeleteStream => Fault::DeleteStream(self.one_of(&SENDERS)),
            Kind::DeleteConsumer => {
                let (service, source) = self.one_of(&FOLLOWS);
                Fault::DeleteConsumer(service, source)
            }
            Kind::FillStream => Fault::FillStream(self.one_of(&POISONED), self.millis(300, 2_000)),
            Kind::FillDisk => Fault::FillDisk(self.millis(300, 2_000)),
            Kind::Cut => Fault::Cut,
            Kind::Way => {
                let delay = self.millis(5, 100);
                let way = self.one_of(&[
                    Way::Delayed(delay),
                    Way::Slow(50_000),
                    Way::DeafServer,
                    Way::DeafRoles,
                ]);
                Fault::Way(way, self.millis(300, 3_000))
            }
            Kind::Repeat => Fault::Repeat(self.one_of(&SENDERS), self.rng.random_range(5..40)),
            Kind::Poison => {
                let service = self.one_of(&POISONED);
                Fault::Poison(service, self.one_of(&Poison::ALL))
            }
            Kind::Forge => {
                let (forger, owner) = self.one_of(&FOLLOWS);
                Fault::Forge(forger, owner)
            }
        }
    }

    /// Whether a second fault comes at the same time.
    pub fn has_company(&mut self) -> bool {
        self.rng.random_ratio(1, 8)
    }

    /// Mostly a role, now and then a server.
    fn target(&mut self) -> Target {
        match self.rng.random_range(0..10) {
            0 => Target::Postgres,
            1 | 2 => Target::Nats,
            _ => Target::Role(self.one_of(&ROLES)),
        }
    }

    fn one_of<T: Copy>(&mut self, choice: &[T]) -> T {
        *choice.choose(&mut self.rng).expect("no choice is empty")
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..to))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_says_which_faults_come_and_every_kind_does() {
        let drawn = |seed| {
            let mut schedule = Schedule::new(seed);
            (0..2_000).map(|_| schedule.next()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let kinds: BTreeSet<&str> = every_kind().map(|fault| fault.kind()).collect();
        assert_eq!(kinds.len(), 27, "{kinds:?}");
    }
}
