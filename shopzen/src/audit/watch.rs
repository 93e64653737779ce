//! The role that audits a running shop all the time: it keeps a metric, and the check `audit` of
//! `/readyz`. At night it reconciles.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use shopzen_chassis::{Asker, Bus, Process, StartError, clock, respond};
use shopzen_contracts::{
    Problem,
    audit::{AuditReport, GetReport, InvariantReport},
};
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::{
    AuditError, Auditor, Invariant, Sources, Thoroughness, Violation,
    auditor::{Report, timed},
    reconcile,
};
use crate::config::Config;

/// The name of the check, and of the role.
pub const CHECK: &str = "audit";
/// The shortest time from the beginning of one sieve to that of the next, and the longest after a swift one.
/// With the sieve itself it stays below the ten seconds within which a change by hand has to show.
const PERIOD: Duration = Duration::from_secs(4);
const PERIOD_MAX: Duration = Duration::from_secs(6);
/// A sieve, and a pass, is followed by a pause so many times as long as what it took, as far as the limits allow.
const PAUSE_FACTOR: u32 = 40;
/// For what a sieve takes longer than this it pauses so much longer, so that the cost does not grow with the
/// shop from there on. Whether it does so by itself, or had to wait for others, shows in the swiftest of the
/// last few: a machine that is busy, or a first look at everything, must not make the next one late.
const SWIFT: Duration = Duration::from_secs(1);
const LAST_FEW: usize = 8;
/// The same of a pass, which nobody waits for.
const SWIFT_PASS: Duration = Duration::from_millis(500);
/// However long it took: what is broken is seen a few minutes later at most.
const LONG_PAUSE_MAX: Duration = Duration::from_mins(1);
/// After a round that could not be completed: somebody is away, and may be back soon.
const RETRY: Duration = Duration::from_secs(1);
/// Who has not completed a round for so long does not know any more how the shop is.
const STALE: Duration = Duration::from_mins(1);
/// Violations that the check and the log name; the others are counted.
const NAMED_MAX: usize = 5;

/// Why the audit cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error(transparent)]
    Sources(#[from] AuditError),
    #[error(transparent)]
    Answer(#[from] StartError),
}

/// A round that was completed.
#[derive(Clone, Debug)]
struct Round {
    report: Report,
    at: Timestamp,
    took: Duration,
}

/// What is known, for those who ask how the process is, or how the shop is.
#[derive(Debug)]
struct Standing {
    last: Option<Round>,
    /// The end of the last round; before the first, the start.
    completed: Instant,
    /// Without this a pause that is long on purpose would look like a halt.
    next_within: Duration,
    /// Why the last round could not be completed.
    trouble: Option<String>,
}

impl Standing {
    fn violations(&self) -> &[Violation] {
        self.last
            .as_ref()
            .map_or(&[], |round| &round.report.violations)
    }

    /// The last round, for staff.
    fn report(&self, gateway_compared: bool) -> Result<AuditReport, Problem> {
        let Some(Round { report, at, took }) = &self.last else {
            let detail = "the audit has not completed a round yet";
            return Err(Problem::new(503, "temporarily_unavailable", detail));
        };
        let violations = &report.violations;
        let of = |invariant: Invariant| {
            let broken = violations.iter().filter(|it| it.invariant == invariant);
            InvariantReport {
                invariant,
                rule: invariant.text().to_owned(),
                violations: in_u64(broken.count()),
            }
        };
        Ok(AuditReport {
            ok: violations.is_empty(),
            completed_at: *at,
            invariants: Invariant::ALL.map(of).into(),
            violations: violations
                .iter()
                .take(AuditReport::VIOLATIONS_MAX)
                .cloned()
                .collect(),
            orders: in_u64(report.orders),
            unsure: in_u64(report.unsure),
            gateway_compared,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            trouble: self.trouble.clone(),
        })
    }

    fn check(&self) -> Result<(), String> {
        if !self.violations().is_empty() {
            return Err(named(self.violations()));
        }
        let age = self.completed.elapsed();
        if age > STALE + self.next_within {
            let why = self.trouble.as_deref().unwrap_or("it takes too long");
            return Err(format!(
                "no audit was completed for {} s: {why}",
                age.as_secs()
            ));
        }
        Ok(())
    }
}

fn named(violations: &[Violation]) -> String {
    let first: Vec<String> = violations
        .iter()
        .take(NAMED_MAX)
        .map(Violation::to_string)
        .collect();
    let more = violations.len() - first.len();
    let first = first.join("; ");
    if more == 0 {
        first
    } else {
        format!("{first}; and {more} more")
    }
}

fn in_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Audits until shutdown, and says what it found to staff who ask.
pub async fn watch(config: &Config, bus: Bus, process: &Process) -> Result<(), WatchError> {
    let standing = Arc::new(Mutex::new(Standing {
        last: None,
        completed: Instant::now(),
        next_within: Duration::ZERO,
        trouble: None,
    }));
    let asked = Arc::clone(&standing);
    process.health.register(CHECK, move || {
        let check = lock(&asked).check();
        async move { check }
    });
    let sources = Sources::new(Asker::new(bus.clone()), config)?;
    let report = || lock(&standing).report(sources.has_books());
    let (answered, (), ()) = tokio::join!(
        respond::<GetReport>(&bus, CHECK, report, &process.shutdown),
        reconcile::nightly(&sources, config.audit.own.reconcile_at, &process.shutdown),
        look(Auditor::new(sources.clone()), &standing, process),
    );
    Ok(answered?)
}

/// One round after the other, until shutdown.
async fn look(mut auditor: Auditor, standing: &Mutex<Standing>, process: &Process) {
    let mut pass_at = TokioInstant::now();
    let mut last_few = [Duration::ZERO; LAST_FEW];
    loop {
        let done = tokio::select! {
            () = process.shutdown.cancelled() => return,
            done = round(&mut auditor, standing, &mut last_few, &mut pass_at) => done,
        };
        let pause = done.unwrap_or_else(|error| {
            tracing::debug!(%error, "an audit could not be completed");
            lock(standing).trouble = Some(error.to_string());
            RETRY
        });
        tokio::select! {
            () = process.shutdown.cancelled() => return,
            () = sleep_until(TokioInstant::now() + pause) => {}
        }
    }
}

/// A sieve, of which it is told at once, and the next part of the passes where it is time for it. Returns the
/// pause until the next round.
async fn round(
    auditor: &mut Auditor,
    standing: &Mutex<Standing>,
    last_few: &mut [Duration; LAST_FEW],
    pass_at: &mut TokioInstant,
) -> Result<Duration, AuditError> {
    let (report, sieved) = timed(Box::pin(auditor.sieve(Thoroughness::Round))).await;
    settle(standing, report?, sieved);
    last_few.rotate_left(1);
    last_few[LAST_FEW - 1] = sieved;
    let pause = pause_after(last_few);
    let mut passed = Duration::ZERO;
    if *pass_at <= TokioInstant::now() {
        let report;
        (report, passed) = timed(Box::pin(auditor.pass(Thoroughness::Round, clock::now()))).await;
        let report = report?;
        metrics::counter!("audit_orders_total").increment(in_u64(report.orders));
        settle(standing, report, sieved + passed);
        *pass_at = TokioInstant::now() + pause_after_pass(passed);
    }
    let pause = pause.saturating_sub(passed);
    metrics::histogram!("audit_duration_seconds").record((sieved + passed).as_secs_f64());
    metrics::gauge!("audit_last_completed_timestamp_seconds")
        .set(clock::now().as_duration().as_secs_f64());
    let mut standing = lock(standing);
    standing.completed = Instant::now();
    standing.next_within = pause;
    standing.trouble = None;
    Ok(pause)
}

/// What is known from here on.
fn settle(standing: &Mutex<Standing>, report: Report, took: Duration) {
    let mut standing = lock(standing);
    tell(&report, standing.violations());
    standing.last = Some(Round {
        report,
        at: clock::now(),
        took,
    });
}

/// The pause after the last of these.
fn pause_after(sieves: &[Duration; LAST_FEW]) -> Duration {
    let last = sieves[LAST_FEW - 1];
    let swiftest = sieves.iter().copied().min().unwrap_or(last);
    let period = (last * PAUSE_FACTOR).clamp(PERIOD, PERIOD_MAX);
    let long = (swiftest.saturating_sub(SWIFT) * PAUSE_FACTOR).min(LONG_PAUSE_MAX);
    period.saturating_sub(last).max(long)
}

fn pause_after_pass(passed: Duration) -> Duration {
    (passed.saturating_sub(SWIFT_PASS) * PAUSE_FACTOR).min(LONG_PAUSE_MAX)
}

fn lock(standing: &Mutex<Standing>) -> std::sync::MutexGuard<'_, Standing> {
    standing.lock().expect("nothing panics while it holds this")
}

/// Metrics, and a line in the log for what is new and for what is mended.
fn tell(report: &Report, before: &[Violation]) {
    let mut counts: BTreeMap<Invariant, u32> = Invariant::ALL.map(|one| (one, 0)).into();
    for violation in &report.violations {
        *counts.entry(violation.invariant).or_default() += 1;
    }
    for (invariant, count) in counts {
        metrics::gauge!("audit_violations", "invariant" => invariant.name()).set(count);
    }
    for new in report
        .violations
        .iter()
        .filter(|violation| !before.contains(violation))
        .take(NAMED_MAX)
    {
        tracing::error!(invariant = new.invariant.name(), about = %new.about, "{}", new.what);
    }
    if report.violations.is_empty() && !before.is_empty() {
        tracing::info!("what was broken is mended");
    }
}

#[cfg(test)]
mod tests {
    use shopzen_contracts::OrderId;
    use uuid::Uuid;

    use super::*;
    use crate::audit::About;

    fn standing(violations: usize) -> Standing {
        let violation = Violation {
            invariant: Invariant::I3,
            about: About::Order(OrderId(Uuid::nil())),
            what: "money is missing".to_owned(),
        };
        Standing {
            completed: Instant::now(),
            next_within: Duration::ZERO,
            last: Some(Round {
                report: Report {
                    violations: vec![violation; violations],
                    ..Report::default()
                },
                at: Timestamp::UNIX_EPOCH,
                took: Duration::ZERO,
            }),
            trouble: None,
        }
    }

    #[test]
    fn a_swift_sieve_is_never_late() {
        const SEEN_WITHIN: Duration = Duration::from_secs(10);
        for took_ms in [0, 50, 500, 1_000] {
            let took = Duration::from_millis(took_ms);
            let period = took + pause_after(&[took; LAST_FEW]);
            assert!(period <= PERIOD_MAX, "{took:?}");
            // What one has just missed the next one shows.
            assert!(period + took <= SEEN_WITHIN, "{took:?}");
        }
        assert_eq!(pause_after(&[Duration::ZERO; LAST_FEW]), PERIOD);
    }

    #[test]
    fn long_ones_take_a_small_part_and_come_all_the_same() {
        let long = Duration::from_secs(2);
        assert!(pause_after(&[long; LAST_FEW]) >= long * 20);
        assert!(pause_after_pass(long) >= long * 20);
        let very_long = Duration::from_mins(1);
        assert_eq!(pause_after(&[very_long; LAST_FEW]), LONG_PAUSE_MAX);
        assert_eq!(pause_after_pass(very_long), LONG_PAUSE_MAX);
        assert_eq!(pause_after_pass(SWIFT_PASS), Duration::ZERO);
    }

    #[test]
    fn one_that_had_to_wait_does_not_make_the_next_one_late() {
        let mut sieves = [Duration::from_secs(8); LAST_FEW];
        sieves[0] = SWIFT;
        assert_eq!(pause_after(&sieves), Duration::ZERO);
    }

    #[test]
    fn a_violation_is_named_and_many_are_counted() {
        assert_eq!(standing(0).check(), Ok(()));
        let one = standing(1).check().unwrap_err();
        assert!(one.starts_with("I3   order 0000"), "{one}");
        let many = standing(9).check().unwrap_err();
        assert!(many.ends_with("and 4 more"), "{many}");
    }

    #[test]
    fn a_report_counts_what_it_does_not_name() {
        let many = AuditReport::VIOLATIONS_MAX + 1;
        let report = standing(many).report(true).unwrap();
        assert!(!report.ok);
        assert_eq!(report.violations.len(), AuditReport::VIOLATIONS_MAX);
        let counted = report.invariants.iter().map(|it| it.violations);
        assert_eq!(counted.sum::<u64>(), in_u64(many));
        assert!(standing(0).report(true).unwrap().ok);
    }

    #[test]
    fn before_the_first_round_there_is_no_report() {
        let mut new = standing(0);
        new.last = None;
        assert_eq!(new.report(true).unwrap_err().status, 503);
    }

    #[test]
    fn who_has_not_looked_for_long_does_not_say_that_all_is_well() {
        let mut blind = standing(0);
        blind.trouble = Some("nobody answers".to_owned());
        assert_eq!(blind.check(), Ok(()));
        blind.completed = Instant::now()
            .checked_sub(STALE + Duration::from_secs(1))
            .unwrap();
        assert!(blind.check().unwrap_err().contains("nobody answers"));
        blind.next_within = Duration::from_secs(5);
        assert_eq!(blind.check(), Ok(()));
    }
}
