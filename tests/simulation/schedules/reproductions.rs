//! Schedules in which something was wrong, or would be with a planted bug, each under a name that says what.
//!
//! A failing run prints such a list. It belongs here as it stands, once its cause is mended.

#![expect(clippy::unreadable_literal, reason = "pasted as it was printed")]

use shopzen_simulation::Op::*;
use shopzen_simulation::{Card, Fate, Op, Planted, Says, run};

/// Nothing is wrong with it now.
fn holds(seed: u64, ops: &[Op]) {
    let violation = run(seed, ops, None).violation;
    assert!(violation.is_none(), "{violation:?}");
}

/// It still shows what it was kept for: with this bug an invariant is broken.
fn shows(planted: Planted, invariant: &str, seed: u64, ops: &[Op]) {
    let violation = run(seed, ops, Some(planted)).violation;
    assert_eq!(violation.map(|found| found.invariant), Some(invariant));
    holds(seed, ops);
}

#[test]
fn an_event_that_the_broker_forgot_is_published_again() {
    shows(
        Planted::NoTailGuard,
        "I6",
        19,
        &[
            Reprice { sku: 2, price: 133 },
            Round { choice: 2571902113 },
            Round { choice: 630395494 },
            LoseTail,
        ],
    );
}

/// The chassis does so (`outbox::record`): the event whose receipt was dropped is in the stream, on no list,
/// and lost for good once the broker forgets it.
#[test]
fn of_two_receipts_for_one_place_only_that_which_is_kept_counts() {
    shows(
        Planted::TwoReceiptsForOnePlace,
        "I6",
        5045,
        &[
            Reprice { sku: 2, price: 130 },
            Round { choice: 2078285473 },
            Place {
                key: 5,
                basket: 5,
                card: Card::Asks,
                says: Says::Nothing,
            },
            Cancel {
                key: 0,
                by_staff: true,
            },
            Step {
                replica: 14,
                choice: 1161307232,
            },
            Step {
                replica: 49,
                choice: 728693257,
            },
            Step {
                replica: 14,
                choice: 3493547649,
            },
            Place {
                key: 0,
                basket: 0,
                card: Card::Good,
                says: Says::WhatItCosts,
            },
            Round { choice: 3575974241 },
            Wipe,
            Round { choice: 905252166 },
            Wipe,
        ],
    );
}

#[test]
fn a_gateway_that_is_slow_has_not_declined() {
    shows(
        Planted::UnknownTakenForDeclined,
        "I11",
        5000,
        &[
            Place {
                key: 3,
                basket: 4,
                card: Card::Good,
                says: Says::Nothing,
            },
            Round { choice: 591247810 },
            Round { choice: 709504786 },
            Round { choice: 1403910957 },
            Round { choice: 2965278751 },
            Wire {
                call: 5,
                fate: Fate::Slow,
            },
        ],
    );
}

#[test]
fn an_attempt_is_a_row_before_it_is_a_call() {
    shows(
        Planted::GatewayBeforeCommit,
        "I11",
        5399,
        &[
            Round { choice: 2914364149 },
            Place {
                key: 0,
                basket: 0,
                card: Card::Good,
                says: Says::Nothing,
            },
            Round { choice: 2789496768 },
            Step {
                replica: 8,
                choice: 629449672,
            },
            Round { choice: 616816189 },
            Round { choice: 3214103385 },
            Crash { replica: 67 },
            Cancel {
                key: 0,
                by_staff: false,
            },
        ],
    );
}
