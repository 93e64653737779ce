//! Many runs on all cores, and what came of them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    Violation, op,
    planted::Planted,
    run::run,
    shrink::{as_test, shrink},
};

/// A run that broke an invariant.
#[derive(Clone, Debug)]
pub struct Failed {
    pub seed: u64,
    pub violation: Violation,
}

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub schedules: u64,
    pub operations: u64,
    pub orders: u64,
    pub confirmed: u64,
    /// Orders that were decided while things still failed.
    pub decided_under_faults: u64,
    pub faults: BTreeMap<&'static str, u64>,
    /// Runs that failed, by the invariant that was broken, in the order of their seeds.
    pub failed: Vec<Failed>,
}

impl Report {
    fn add(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.operations += other.operations;
        self.orders += other.orders;
        self.confirmed += other.confirmed;
        self.decided_under_faults += other.decided_under_faults;
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.failed.extend(other.failed);
    }

    /// The first failure, told so that it can be repeated.
    pub fn tell_first_failure(&self, planted: Option<Planted>) -> Option<String> {
        let Failed { seed, violation } = self.failed.first()?;
        let ops = op::schedule(*seed);
        let short = shrink(*seed, &ops, planted, violation.invariant);
        Some(format!(
            "seed {seed}: {violation}\n{} of {} operations are enough:\n\n{}",
            short.len(),
            ops.len(),
            as_test(*seed, &short),
        ))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: u64 = self.faults.values().sum();
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(fault, count)| format!("{fault} {count}"))
            .collect();
        write!(
            f,
            "{} schedules, {} operations, {} orders ({} confirmed, {} decided under faults), {all} faults ({}), {} violations",
            self.schedules,
            self.operations,
            self.orders,
            self.confirmed,
            self.decided_under_faults,
            faults.join(", "),
            self.failed.len(),
        )
    }
}

/// How a campaign is run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    pub first_seed: u64,
    pub schedules: u64,
    pub planted: Option<Planted>,
    /// Whether one failure is enough.
    pub stop_at_first: bool,
}

impl Campaign {
    /// Runs on all cores; `progress` hears now and then how many schedules are done.
    pub fn run(&self, progress: &(dyn Fn(u64) + Sync)) -> Report {
        let next = AtomicU64::new(0);
        let has_failed = AtomicBool::new(false);
        let report = Mutex::new(Report::default());
        let work = || {
            let mut mine = Report::default();
            while !(self.stop_at_first && has_failed.load(Ordering::Relaxed)) {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= self.schedules {
                    break;
                }
                if nth > 0 && nth.is_multiple_of(10_000) {
                    progress(nth);
                }
                mine.run_one(self.first_seed.wrapping_add(nth), self.planted);
                if !mine.failed.is_empty() {
                    has_failed.store(true, Ordering::Relaxed);
                }
            }
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report.add(mine);
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(work);
            }
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.failed.sort_by_key(|failed| failed.seed);
        report
    }
}

impl Report {
    fn run_one(&mut self, seed: u64, planted: Option<Planted>) {
        let ops = op::schedule(seed);
        let outcome = run(seed, &ops, planted);
        self.schedules += 1;
        self.operations += u64::try_from(ops.len()).unwrap_or(u64::MAX);
        let count = |counted: usize| u64::try_from(counted).unwrap_or(u64::MAX);
        self.orders += count(outcome.orders);
        self.confirmed += count(outcome.confirmed);
        self.decided_under_faults += count(outcome.decided_under_faults);
        for fault in ops.iter().filter_map(|op| op.fault()) {
            *self.faults.entry(fault).or_default() += 1;
        }
        if let Some(violation) = outcome.violation {
            self.failed.push(Failed { seed, violation });
        }
    }
}
