//! What a campaign came to, for people and for programs.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde::Serialize;
use shopzen_chassis::failpoint;

use super::{
    ChaosArgs,
    book::Book,
    campaign::History,
    fault::Recovery,
    verdict::{Broken, LookedAt, QUIET_LIMIT, Verdict},
};
use crate::{audit::Invariant, bench::report::cpus};

/// What does not come in a run, and why.
const NO_BAD_WEBHOOKS: (&str, &str) = (
    "webhooks early, twice, never and forged",
    "another version may know no webhooks, so each is sent as it should be",
);
const NO_DISK: (&str, &str) = (
    "broker disk full",
    "that takes the right to mount a small disk; streams are filled to their limit all the same",
);
const NO_FAILPOINTS: (&str, &str) = (
    "crash points and clock steps",
    "they take a build with --features failpoints, and no --beside",
);
const NO_OTHER_VERSION: (&str, &str) = (
    "two versions side by side",
    "that takes another version: --beside PROGRAM",
);

/// The longest silences that are named.
const SILENCES_NAMED: usize = 5;

#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether every promise was kept, and every recovery in time.
    pub ok: bool,
    pub seed: u64,
    pub version: &'static str,
    pub cpus: usize,
    pub shoppers: u16,
    pub seconds: u64,
    pub load: Load,
    pub faults: BTreeMap<&'static str, usize>,
    pub fault_count: usize,
    /// Faults that could not be injected, by what and why.
    pub not_possible: BTreeMap<String, usize>,
    pub recoveries: Vec<Recovered>,
    /// Recoveries that took longer than their limit.
    pub late: Vec<String>,
    /// The longest times in which nobody was told that an order is confirmed, whatever was broken.
    pub silences: Vec<Silence>,
    /// From the last fault until no order was open.
    pub quiet_after_ms: Option<u128>,
    pub quiet_limit_ms: u128,
    pub looked_at: LookedAt,
    pub violations: Vec<Broken>,
    pub not_injected: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Serialize)]
pub struct Load {
    pub accepted: u64,
    pub confirmed_while_waited_for: u64,
    pub keys_repeated: u64,
    pub answers: BTreeMap<String, u64>,
    pub slowest_answer_ms: u128,
}

/// How long orders were not confirmed after faults of one class.
#[derive(Debug, Serialize)]
pub struct Recovered {
    pub class: &'static str,
    pub faults: usize,
    pub median_ms: u128,
    pub worst_ms: u128,
    pub worst_after: String,
    pub limit_ms: u128,
}

/// A time without a confirmation, and what was over in it: a fault that began before another one had ended
/// has no recovery of its own, and shows here.
#[derive(Debug, Serialize)]
pub struct Silence {
    pub ms: u128,
    /// Since the load began.
    pub from_s: u64,
    pub faults: Vec<String>,
}

impl Report {
    pub fn new(
        args: &ChaosArgs,
        seed: u64,
        book: &Book,
        history: &History,
        verdict: Verdict,
    ) -> Self {
        let mut faults = BTreeMap::new();
        for injected in &history.injected {
            *faults.entry(injected.fault.kind()).or_default() += 1;
        }
        let mut not_possible = BTreeMap::new();
        for (fault, why) in &history.failed {
            *not_possible
                .entry(format!("{}: {why}", fault.kind()))
                .or_default() += 1;
        }
        let (recoveries, late) = recoveries(book, history);
        Self {
            ok: verdict.violations.is_empty() && late.is_empty(),
            seed,
            version: env!("CARGO_PKG_VERSION"),
            cpus: cpus(),
            shoppers: args.shoppers,
            seconds: (history.ended - history.began).as_secs(),
            load: Load {
                accepted: book.accepted_count(),
                confirmed_while_waited_for: book.confirmed_count(),
                keys_repeated: book.repeated(),
                answers: book.answers(),
                slowest_answer_ms: book.slowest().as_millis(),
            },
            fault_count: history.injected.len(),
            faults,
            not_possible,
            recoveries,
            late,
            silences: silences(book, history),
            quiet_after_ms: verdict.quiet_after.map(|after| after.as_millis()),
            quiet_limit_ms: QUIET_LIMIT.as_millis(),
            looked_at: verdict.looked_at,
            violations: verdict.violations,
            not_injected: (args.beside.is_some() || !failpoint::ARE_BUILT_IN)
                .then_some(NO_FAILPOINTS)
                .into_iter()
                .chain(args.beside.is_some().then_some(NO_BAD_WEBHOOKS))
                .chain((!history.had_disk).then_some(NO_DISK))
                .chain(args.beside.is_none().then_some(NO_OTHER_VERSION))
                .collect(),
        }
    }

    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let verdict = if self.ok {
            "every promise was kept"
        } else {
            "NOT every promise was kept"
        };
        let _ = writeln!(text, "# Chaos, seed {}: {verdict}\n", self.seed);
        let _ = writeln!(
            text,
            "ShopZen {} on {} processors. {} shoppers for {} s: {} orders accepted, {} confirmed \
             while somebody waited, {} requests repeated. {} faults.\n",
            self.version,
            self.cpus,
            self.shoppers,
            self.seconds,
            self.load.accepted,
            self.load.confirmed_while_waited_for,
            self.load.keys_repeated,
            self.fault_count
        );
        self.write_recoveries(&mut text);
        self.write_promises(&mut text);
        table(&mut text, "Faults", ["Fault", "Times"], &self.faults);
        if !self.looked_at.failpoints.is_empty() {
            table(
                &mut text,
                "Processes that died by themselves",
                ["Failpoint", "Times"],
                &self.looked_at.failpoints,
            );
        }
        table(
            &mut text,
            "Answers to shoppers",
            ["Answer", "Times"],
            &self.load.answers,
        );
        let _ = writeln!(
            text,
            "The slowest took {} ms.\n",
            self.load.slowest_answer_ms
        );
        table(
            &mut text,
            "How orders ended",
            ["Status", "Orders"],
            &self.looked_at.statuses,
        );
        if !self.not_possible.is_empty() {
            table(
                &mut text,
                "Not possible at that moment",
                ["Fault", "Times"],
                &self.not_possible,
            );
        }
        table(
            &mut text,
            "Not injected",
            ["What", "Why"],
            &self.not_injected,
        );
        text.trim_end().to_owned()
    }

    fn write_recoveries(&self, text: &mut String) {
        text.push_str("## Recovery\n\nFrom the end of a fault until an order that was placed after it was confirmed.\n\n");
        text.push_str("| Class | Faults | Median | Worst | Limit | Worst after |\n|---|---|---|---|---|---|\n");
        for it in &self.recoveries {
            let _ = writeln!(
                text,
                "| {} | {} | {} ms | {} ms | {} ms | {} |",
                it.class, it.faults, it.median_ms, it.worst_ms, it.limit_ms, it.worst_after
            );
        }
        for late in &self.late {
            let _ = writeln!(text, "\nToo late: {late}");
        }
        text.push_str(
            "\nWhere another fault came before the shop had recovered, the time runs from the last one. The \
             longest times in which nobody was told that an order is confirmed:\n\n",
        );
        for silence in &self.silences {
            let faults = if silence.faults.is_empty() {
                "no fault".to_owned()
            } else {
                silence.faults.join("; ")
            };
            let _ = writeln!(
                text,
                "- {} ms, {} s after the load began, with {faults}",
                silence.ms, silence.from_s
            );
        }
        match self.quiet_after_ms {
            Some(after) => {
                let _ = writeln!(
                    text,
                    "\n{after} ms after the last fault no order was open (limit {} ms).\n",
                    self.quiet_limit_ms
                );
            }
            None => text.push_str("\nThe shop did not become quiet.\n\n"),
        }
    }

    fn write_promises(&self, text: &mut String) {
        let looked_at = &self.looked_at;
        let books = if looked_at.gateway_compared {
            ""
        } else {
            " The gateway had no books to compare with."
        };
        let webhooks = looked_at
            .webhooks
            .map(|taken| format!(", {taken} webhooks taken"))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "## Promises\n\n{} orders judged by the audit, {} accepted orders looked up by who placed them, {} \
             messages planted that nobody can handle, {} dead letters{webhooks}.{books}\n",
            looked_at.orders, looked_at.accepted, looked_at.poison, looked_at.dead_letters
        );
        text.push_str("| | Promise | Violations |\n|---|---|---|\n");
        for invariant in Invariant::ALL {
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                invariant.name(),
                invariant.text(),
                self.violations_of(invariant.name())
            );
        }
        for (name, promise) in [
            (
                "answers",
                "a shopper gets an order, a refusal with its reason, or 503; whatever is broken",
            ),
            ("audit", "nothing stays undecided"),
        ] {
            let _ = writeln!(
                text,
                "| {name} | {promise} | {} |",
                self.violations_of(name)
            );
        }
        text.push('\n');
        for Broken { promise, what } in &self.violations {
            let _ = writeln!(text, "- {promise}: {what}");
        }
        if !self.violations.is_empty() {
            text.push('\n');
        }
    }

    fn violations_of(&self, name: &str) -> usize {
        self.violations
            .iter()
            .filter(|broken| broken.promise == name)
            .count()
    }
}

fn table<K: std::fmt::Display, V: std::fmt::Display>(
    text: &mut String,
    title: &str,
    head: [&str; 2],
    rows: &BTreeMap<K, V>,
) {
    let _ = writeln!(
        text,
        "## {title}\n\n| {} | {} |\n|---|---|",
        head[0], head[1]
    );
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text.push('\n');
}

fn silences(book: &Book, history: &History) -> Vec<Silence> {
    let longest = book.silences(SILENCES_NAMED);
    let named = longest.into_iter().map(|silence| {
        let during = |over| (silence.from..silence.until).contains(over);
        let faults = history.injected.iter().filter(|it| during(&it.over));
        Silence {
            ms: silence.length().as_millis(),
            from_s: (silence.from - history.began).as_secs(),
            faults: faults.map(|it| it.fault.to_string()).collect(),
        }
    });
    named.collect()
}

/// Of each class, and those that took too long. Where another fault came before the shop had recovered from
/// the one before, the time runs from the last of them.
fn recoveries(book: &Book, history: &History) -> (Vec<Recovered>, Vec<String>) {
    let mut by_class: BTreeMap<Recovery, Vec<(Duration, String)>> = BTreeMap::new();
    let mut late = Vec::new();
    for (index, injected) in history.injected.iter().enumerate() {
        let Some(took) = book.recovery(injected.over) else {
            late.push(format!(
                "{}: no order was confirmed any more",
                injected.fault
            ));
            continue;
        };
        let next = history
            .injected
            .get(index + 1)
            .map(|next| next.over - injected.over);
        // Another fault has begun meanwhile: its recovery is the one that counts.
        if next.is_some_and(|next| next < took) {
            continue;
        }
        let class = injected.fault.recovery();
        if took > class.limit() {
            late.push(format!(
                "{} ms after {} (limit {} ms)",
                took.as_millis(),
                injected.fault,
                class.limit().as_millis()
            ));
        }
        by_class
            .entry(class)
            .or_default()
            .push((took, injected.fault.to_string()));
    }
    let recovered = Recovery::ALL.into_iter().filter_map(|class| {
        let mut times = by_class.remove(&class)?;
        times.sort();
        let (median, _) = times[times.len() / 2].clone();
        let (worst, worst_after) = times.last()?.clone();
        Some(Recovered {
            class: class.name(),
            faults: times.len(),
            median_ms: median.as_millis(),
            worst_ms: worst.as_millis(),
            worst_after,
            limit_ms: class.limit().as_millis(),
        })
    });
    (recovered.collect(), late)
}
