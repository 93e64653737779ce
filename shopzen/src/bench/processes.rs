//! What a run costs: CPU time and memory of the processes that take part, as Linux counts them.
//! Where there is no `/proc`, nothing is known and all figures are `None`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use crate::up::state::State;

/// In how many ticks a second `/proc` counts CPU time: `USER_HZ`, a constant of Linux's ABI.
const TICKS_PER_SECOND: u64 = 100;

/// The processes of a shop on this machine; `None` where it is not ours to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    pub nats: Option<u32>,
    /// PostgreSQL's first process, the parent of all others.
    pub postgres: Option<u32>,
    /// One, or one for each role and one that watches over them.
    pub shopzen: BTreeSet<u32>,
}

impl From<&State> for Pids {
    fn from(state: &State) -> Self {
        let roles = state.roles.values().map(|role| role.pid);
        Self {
            nats: state.nats.pid,
            postgres: state.postgres.pid,
            shopzen: roles.chain([state.pid]).collect(),
        }
    }
}

/// Something for each of those that share the machine during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parts<T> {
    pub nats: Option<T>,
    /// With the processes it has for each connection.
    pub postgres: Option<T>,
    pub shopzen: Option<T>,
    /// This program.
    pub load: Option<T>,
    /// Everything that runs, ours or not.
    pub machine: Option<T>,
}

impl Parts<Duration> {
    /// What was used from `earlier` until now. A process that was started again in between has
    /// less behind it than before: then the figure is unknown.
    pub fn since(&self, earlier: &Self) -> Self {
        let used = |now: Option<Duration>, then: Option<Duration>| now?.checked_sub(then?);
        Self {
            nats: used(self.nats, earlier.nats),
            postgres: used(self.postgres, earlier.postgres),
            shopzen: used(self.shopzen, earlier.shopzen),
            load: used(self.load, earlier.load),
            machine: used(self.machine, earlier.machine),
        }
    }
}

/// `/proc`.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

impl Default for Proc {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/proc"),
        }
    }
}

impl Proc {
    /// CPU time used until now.
    pub fn cpu(&self, pids: &Pids) -> Parts<Duration> {
        let own = |pid| self.stat(pid).map(|stat| stat.own);
        Parts {
            nats: pids.nats.and_then(own),
            postgres: pids.postgres.and_then(|pid| self.family(pid)),
            shopzen: sum(pids.shopzen.iter().copied().map(own)),
            load: own(std::process::id()),
            machine: self.read("stat").as_deref().and_then(parse_machine),
        }
    }

    /// Resident memory of `pids` together, in bytes. What they share counts for each.
    pub fn memory_bytes(&self, pids: &BTreeSet<u32>) -> Option<u64> {
        sum(pids
            .iter()
            .map(|pid| parse_resident(&self.read(format!("{pid}/status"))?)))
    }

    /// A process with its children, the living and the ones that have ended.
    fn family(&self, parent: u32) -> Option<Duration> {
        let Stat {
            own,
            ended_children,
            ..
        } = self.stat(parent)?;
        let mut all = own + ended_children;
        for entry in fs::read_dir(&self.root).ok()?.flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            // A process may end between two looks at it.
            let Some(stat) = pid.and_then(|pid| self.stat(pid)) else {
                continue;
            };
            if stat.parent == parent {
                all += stat.own;
            }
        }
        Some(all)
    }

    fn stat(&self, pid: u32) -> Option<Stat> {
        Stat::parse(&self.read(format!("{pid}/stat"))?)
    }

    fn read(&self, file: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.root.join(file)).ok()
    }
}

/// The sum of all, where all are known and there are any.
fn sum<T: std::iter::Sum>(parts: impl ExactSizeIterator<Item = Option<T>>) -> Option<T> {
    if parts.len() == 0 { None } else { parts.sum() }
}

/// What `/proc/PID/stat` says about a process; `proc_pid_stat(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: Duration,
    /// Of children that have ended and whose parent has taken note.
    ended_children: Duration,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold anything.
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Fields are numbered from 1 there; the first of ours is number 3.
        let field = |number: usize| fields.get(number - 3);
        let ticks = |number: usize| field(number)?.parse().ok().map(of_ticks);
        Some(Self {
            parent: field(4)?.parse().ok()?,
            own: ticks(14)? + ticks(15)?,
            ended_children: ticks(16)? + ticks(17)?,
        })
    }
}

/// The time in which the processors were not idle, from `/proc/stat`; `proc_stat(5)`.
fn parse_machine(text: &str) -> Option<Duration> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line
        .split_ascii_whitespace()
        .map(|field| field.parse().ok())
        .collect::<Option<_>>()?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user.
    let &[user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks.as_slice() else {
        return None;
    };
    Some(of_ticks(user + nice + system + irq + softirq + steal))
}

/// Resident memory in bytes, from `/proc/PID/status`; `proc_pid_status(5)`.
fn parse_resident(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A `/proc` with a broker, a database of two, and a shop of two.
    fn made_up() -> (TempDir, Proc) {
        let folder = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let stat = |name: &str, parent: u32, ticks: [u32; 4]| {
            let [user, system, children_user, children_system] = ticks;
            format!(
                "1 ({name}) S {parent} 1 1 0 -1 4194560 1 2 3 4 \
                 {user} {system} {children_user} {children_system} 20 0 1 0 99 1000 10 0 0\n"
            )
        };
        put(
            "stat",
            "cpu  10 1 5 700 30 2 3 4 5 0\ncpu0 1 1 1 1 1 1 1 1 0 0\nctxt 1\n",
        );
        put("self/stat", "not a number");
        put("10/stat", &stat("nats-server", 1, [7, 3, 0, 0]));
        put("20/stat", &stat("postgres", 1, [1, 1, 40, 60]));
        put("21/stat", &stat("postgres: a) b (c", 20, [5, 0, 9, 9]));
        put("22/stat", &stat("postgres: walwriter", 20, [0, 3, 0, 0]));
        put("30/stat", &stat("shopzen", 1, [100, 0, 9, 9]));
        put("31/stat", &stat("shopzen", 30, [50, 1, 0, 0]));
        put(
            "30/status",
            "Name:\tshopzen\nVmHWM:\t   300 kB\nVmRSS:\t     200 kB\nThreads:\t3\n",
        );
        put("31/status", "Name:\tshopzen\nVmRSS:\t      50 kB\n");
        let proc = Proc {
            root: folder.path().to_owned(),
        };
        (folder, proc)
    }

    fn pids() -> Pids {
        Pids {
            nats: Some(10),
            postgres: Some(20),
            shopzen: [30, 31].into(),
        }
    }

    #[test]
    fn a_database_is_all_its_processes_and_a_shop_all_its_roles() {
        let (_folder, proc) = made_up();
        let cpu = proc.cpu(&pids());
        assert_eq!(cpu.nats, Some(ms(100)));
        assert_eq!(cpu.postgres, Some(ms(20 + 1000 + 50 + 30)));
        assert_eq!(cpu.shopzen, Some(ms(1000 + 510)));
        assert_eq!(cpu.machine, Some(ms(250)));
        assert_eq!(cpu.load, None, "this process is not in there");
        assert_eq!(proc.memory_bytes(&pids().shopzen), Some(250 * 1024));
    }

    #[test]
    fn what_is_not_there_is_unknown_and_not_zero() {
        let (_folder, proc) = made_up();
        assert_eq!(proc.cpu(&Pids::default()).shopzen, None);
        assert_eq!(proc.memory_bytes(&BTreeSet::new()), None);
        let gone = Pids {
            nats: None,
            postgres: Some(99),
            shopzen: [30, 99].into(),
        };
        let cpu = proc.cpu(&gone);
        assert_eq!((cpu.nats, cpu.postgres, cpu.shopzen), (None, None, None));
        assert_eq!(proc.memory_bytes(&gone.shopzen), None);
        let nowhere = Proc {
            root: PathBuf::from("/nonexistent"),
        };
        assert_eq!(nowhere.cpu(&pids()), Parts::default());
    }

    #[test]
    fn a_process_that_was_started_again_has_no_figure() {
        let then = Parts {
            nats: Some(ms(500)),
            shopzen: Some(ms(100)),
            ..Parts::default()
        };
        let now = Parts {
            nats: Some(ms(20)),
            shopzen: Some(ms(350)),
            ..Parts::default()
        };
        let used = now.since(&then);
        assert_eq!(
            (used.nats, used.shopzen, used.load),
            (None, Some(ms(250)), None)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_read_as_linux_writes_it() {
        let own = std::process::id();
        let pids = Pids {
            nats: Some(own),
            postgres: Some(own),
            shopzen: [own].into(),
        };
        let cpu = Proc::default().cpu(&pids);
        assert!(cpu.load.is_some() && cpu.nats.is_some() && cpu.postgres.is_some());
        assert!(cpu.machine > cpu.load);
        assert!(Proc::default().memory_bytes(&pids.shopzen).unwrap() > 100_000);
    }
}
