//! Breaks things.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rand::{SeedableRng as _, rngs::SmallRng, seq::SliceRandom as _};
use shopzen_chassis::tamper::{Poison, can_forge};
use shopzen_contracts::{
    Event as _, Service, catalog::ProductChanged, notify::MailSent, orders::OrderPlaced,
    payments::PaymentAuthorised, stock::StockReserved,
};
use tokio::time::sleep;

use super::{
    detour::Way,
    fault::{Fault, Target},
    processes::{copy_folder, empty_folder, family, folder_bytes, remove_folder, signal_all},
    shop::Shop,
};
use crate::up::process::{self, is_alive, wait_until};

/// A store beyond this is lost whole rather than rewound: to copy it would stop the broker for longer
/// than the fault is meant to last.
const REWOUND_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a process may take to be gone after `kill -9`.
const GONE_LIMIT: Duration = Duration::from_secs(5);
/// How soon it is tried again to mend streams; for how long, `INJECT_LIMIT` in `campaign.rs` says.
const MEND_AGAIN: Duration = Duration::from_millis(250);

/// What was done, and since when it is over.
#[derive(Clone, Debug)]
pub struct Injected {
    pub fault: Fault,
    pub over: Instant,
}

/// What lies in the streams because of us.
#[derive(Debug, Default)]
pub struct Planted {
    /// Ids of events that nobody can handle, as they stand in the audit. Some may never have arrived.
    pub poison: BTreeSet<String>,
    /// Whoever could publish what is another's.
    pub forged: Vec<String>,
}

#[derive(Debug)]
pub struct Injector<'a> {
    shop: &'a Shop,
    planted: Mutex<Planted>,
    seed: u64,
}

impl<'a> Injector<'a> {
    pub fn new(shop: &'a Shop, seed: u64) -> Self {
        Self {
            shop,
            planted: Mutex::default(),
            seed,
        }
    }

    pub fn has_disk(&self) -> bool {
        self.shop.disk.is_some()
    }

    pub fn into_planted(self) -> Planted {
        self.planted
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Breaks something, and returns when it is over; or says why that could not be done.
    pub async fn inject(&self, fault: Fault) -> Result<Injected, String> {
        match fault {
            Fault::Kill(target) => self.signal(target, Signal::SIGKILL)?,
            // SIGTERM lets PostgreSQL wait until the last client has gone; the fast shutdown is SIGINT.
            Fault::Terminate(Target::Postgres) => {
                self.signal(Target::Postgres, Signal::SIGINT)?;
            }
            Fault::Terminate(target) => self.signal(target, Signal::SIGTERM)?,
            Fault::Freeze(target, pause) => {
                let pids = family(self.pid(target)?);
                signal_all(&pids, Signal::SIGSTOP);
                sleep(pause).await;
                signal_all(&pids, Signal::SIGCONT);
            }
            Fault::EndSessions(service) => self.shop.end_sessions(service).await?,
            Fault::Rewind(age) => self.rewind(age).await?,
            Fault::Wipe => self.replace_store(None).await?,
            Fault::DeleteStream(service) => {
                let deleted = self.shop.tamper().delete_stream(service).await;
                deleted.map_err(|error| error.to_string())?;
            }
            Fault::DeleteConsumer(service, source) => {
                let deleted = self.shop.tamper().delete_consumer(service, source).await;
                deleted.map_err(|error| error.to_string())?;
            }
            Fault::FillStream(service, pause) => {
                let filled = self.shop.tamper().fill_stream(service).await;
                filled.map_err(|error| error.to_string())?;
                sleep(pause).await;
                // The broker may be away just then, by another fault, and this one is over when there is room again.
                while self.shop.mend_streams().await.is_err() {
                    sleep(MEND_AGAIN).await;
                }
            }
            Fault::FillDisk(pause) => {
                let disk = self.shop.disk.as_ref().ok_or("no disk could be mounted")?;
                disk.fill()?;
                sleep(pause).await;
                disk.free()?;
            }
            Fault::Cut => self.shop.detour.cut(),
            Fault::Way(way, pause) => {
                self.shop.detour.set(way);
                sleep(pause).await;
                self.shop.detour.set(Way::Free);
            }
            Fault::Repeat(service, count) => {
                let mut rng = SmallRng::seed_from_u64(self.seed);
                let order = |sequences: &mut Vec<u64>| sequences.shuffle(&mut rng);
                let repeated = self.shop.tamper().repeat_last(service, count, order).await;
                repeated.map_err(|error| error.to_string())?;
            }
            Fault::Poison(service, poison) => {
                let message = poison.message(service, event_of(service));
                let id = message.id.clone();
                // Noted before: it may be there although the answer is lost.
                self.planted().poison.insert(id.clone());
                match self.shop.tamper().plant(message).await {
                    // The stream takes nothing as large as that.
                    Err(_) if poison == Poison::TooLarge => {
                        self.planted().poison.remove(&id);
                    }
                    planted => planted.map_err(|error| error.to_string())?,
                }
            }
            Fault::Forge(forger, owner) => {
                let bus = self.shop.bus_of(forger).await?;
                if can_forge(&bus, event_of(owner)).await {
                    self.planted().forged.push(fault.to_string());
                }
            }
        }
        Ok(Injected {
            fault,
            over: Instant::now(),
        })
    }

    fn planted(&self) -> std::sync::MutexGuard<'_, Planted> {
        self.planted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pid(&self, target: Target) -> Result<u32, String> {
        let pid = self.shop.pid(target).filter(|pid| is_alive(*pid));
        pid.ok_or_else(|| format!("{target} was away just then"))
    }

    fn signal(&self, target: Target, signal: Signal) -> Result<(), String> {
        process::signal(self.pid(target)?, signal);
        Ok(())
    }

    /// Lets the broker forget what came after a while ago.
    async fn rewind(&self, age: Duration) -> Result<(), String> {
        let store = self.shop.store();
        if folder_bytes(&store) > REWOUND_BYTES_MAX {
            return Err(format!("the store has more than {REWOUND_BYTES_MAX} bytes"));
        }
        let copy = store.with_extension("older");
        let copied = self.while_frozen(Target::Nats, || {
            remove_folder(&copy)?;
            copy_folder(&store, &copy)
        });
        copied?;
        sleep(age).await;
        self.replace_store(Some(&copy)).await
    }

    fn while_frozen<T>(
        &self,
        target: Target,
        work: impl FnOnce() -> std::io::Result<T>,
    ) -> Result<T, String> {
        let pid = self.pid(target)?;
        process::signal(pid, Signal::SIGSTOP);
        let done = work();
        process::signal(pid, Signal::SIGCONT);
        done.map_err(|error| error.to_string())
    }

    /// Kills the broker and gives it another store, or none, before it is started again: whoever would
    /// start it is kept from doing so meanwhile.
    async fn replace_store(&self, with: Option<&std::path::Path>) -> Result<(), String> {
        let broker = self.pid(Target::Nats)?;
        let supervisor = self.shop.supervisor().ok_or("the shop has ended")?;
        process::signal(supervisor, Signal::SIGSTOP);
        process::signal(broker, Signal::SIGKILL);
        let is_gone = wait_until(GONE_LIMIT, || !is_alive(broker)).await;
        let store = self.shop.store();
        let replaced = if is_gone {
            empty_folder(&store).and_then(|()| match with {
                Some(older) => copy_folder(older, &store),
                None => Ok(()),
            })
        } else {
            Err(std::io::Error::other("NATS did not die"))
        };
        process::signal(supervisor, Signal::SIGCONT);
        replaced.map_err(|error| error.to_string())
    }
}

/// An event of a service, one that others follow where there is one.
fn event_of(service: Service) -> &'static str {
    match service {
        Service::Orders => OrderPlaced::SUBJECT,
        Service::Stock => StockReserved::SUBJECT,
        Service::Payments => PaymentAuthorised::SUBJECT,
        Service::Notify => MailSent::SUBJECT,
        Service::Catalog | Service::Auth => ProductChanged::SUBJECT,
    }
}
