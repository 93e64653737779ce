//! A few thousand schedules, fixed ones and fresh ones; the planted bugs; and what was once wrong.

// Lists stand there as they were printed.
#[rustfmt::skip]
mod reproductions;

use std::time::{SystemTime, UNIX_EPOCH};

use shopzen_simulation::{Campaign, Outcome, Planted, Report, run, schedule};

const FIXED: u64 = 2_000;
const FRESH: u64 = 1_000;
/// So many schedules are enough to find any planted bug, several times over.
const PLANTED_MAX: u64 = 20_000;

fn campaign(first_seed: u64, schedules: u64) -> Report {
    let campaign = Campaign {
        first_seed,
        schedules,
        planted: None,
        stop_at_first: true,
    };
    campaign.run(&|_| {})
}

fn assert_holds(report: &Report) {
    if let Some(failure) = report.tell_first_failure(None) {
        panic!("{failure}");
    }
}

#[test]
fn the_invariants_hold_under_fixed_seeds() {
    let report = campaign(1, FIXED);
    assert_holds(&report);
    // Runs in which nothing happens would hold, too.
    assert!(
        report.confirmed > FIXED && report.decided_under_faults > FIXED,
        "{report}"
    );
}

#[test]
fn the_invariants_hold_under_fresh_seeds() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a fresh seed must not repeat itself"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = (u64::from(now.subsec_nanos()) << 32) | now.as_secs();
    assert_holds(&campaign(seed, FRESH));
}

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<Planted> = Planted::ALL
        .into_iter()
        .filter(|planted| {
            let campaign = Campaign {
                first_seed: 1,
                schedules: PLANTED_MAX,
                planted: Some(*planted),
                stop_at_first: true,
            };
            campaign.run(&|_| {}).failed.is_empty()
        })
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in 0..20 {
        let runs: Vec<Outcome> = [(); 2]
            .map(|()| run(seed, &schedule(seed), Some(Planted::NoTailGuard)))
            .into();
        assert_eq!(format!("{:?}", runs[0]), format!("{:?}", runs[1]));
    }
}

#[test]
fn any_part_of_a_schedule_is_a_schedule() {
    for seed in 0..200 {
        let ops = schedule(seed);
        for part in [2, 3, 5] {
            let some: Vec<_> = ops.iter().copied().step_by(part).collect();
            let violation = run(seed, &some, None).violation;
            assert!(
                violation.is_none(),
                "every {part}th of seed {seed}: {violation:?}"
            );
        }
    }
}
