//! Schedules that were once wrong, or would be with a planted bug, each under a name that says what was wrong.
//!
//! A failing run prints such a list. It belongs here once its cause is mended.

use shopzen_simulation::{Card, Op, Planted, Says, run};

use Op::{LoseTail, Place, Reprice, Round, Step, SyncBroker, Wait, Wipe};

/// Nothing is wrong with it now.
fn holds(seed: u64, ops: &[Op]) {
    let violation = run(seed, ops, None).violation;
    assert!(violation.is_none(), "{violation:?}");
}

/// It still shows what it was kept for: with this bug an invariant is broken.
fn shows(planted: Planted, invariant: &str, seed: u64, ops: &[Op]) {
    let violation = run(seed, ops, Some(planted)).violation;
    assert_eq!(
        violation.map(|violation| violation.invariant),
        Some(invariant)
    );
}

#[test]
fn an_event_whose_tail_was_lost_is_published_again() {
    let ops = [
        Reprice { sku: 2, price: 133 },
        Round {
            choice: 2_571_902_113,
        },
        Round {
            choice: 630_395_494,
        },
        LoseTail,
    ];
    shows(Planted::NoTailGuard, "I6", 19, &ops);
    holds(19, &ops);
}
