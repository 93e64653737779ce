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

/// The event whose receipt was dropped would be on no list any more, and lost where the stream does not have it.
#[test]
fn of_two_receipts_for_one_place_only_that_which_is_kept_counts() {
    shows(Planted::TwoReceiptsForOnePlace, "I6", 1053, &[
        Reprice { sku: 2, price: 60 },
        Step { replica: 249, choice: 2624704356 },
        Round { choice: 811869821 },
        Reprice { sku: 2, price: 155 },
        Round { choice: 1026191970 },
        Wipe,
        Reprice { sku: 2, price: 92 },
        Round { choice: 2806286334 },
        Round { choice: 3310311075 },
    ]);
}

#[test]
fn a_gateway_that_is_slow_has_not_declined() {
    shows(
        Planted::UnknownTakenForDeclined,
        "I11",
        5000,
        &[
            Place { key: 3, basket: 4, card: Card::Good, says: Says::Nothing },
            Round { choice: 591247810 },
            Round { choice: 709504786 },
            Round { choice: 1403910957 },
            Round { choice: 2965278751 },
            Wire { call: 5, fate: Fate::Slow },
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
            Place { key: 0, basket: 0, card: Card::Good, says: Says::Nothing },
            Round { choice: 2789496768 },
            Step { replica: 8, choice: 629449672 },
            Round { choice: 616816189 },
            Round { choice: 3214103385 },
            Crash { replica: 67 },
            Cancel { key: 0, by_staff: false },
        ],
    );
}

/// What is published on a new connection may leave a wrong receipt below a right one, and the tail guard, which
/// looks at the newest first, does not see it.
#[test]
fn nothing_is_published_before_receipts_and_stream_were_compared() {
    shows(
        Planted::PublishBeforeComparing,
        "I6",
        1038152,
        &[
            Step { replica: 155, choice: 3608345159 },
            Wait { ms: 2360 },
            Step { replica: 83, choice: 1693832801 },
            Round { choice: 369245238 },
            Step { replica: 42, choice: 4073693637 },
            Round { choice: 3613655091 },
            Round { choice: 4148655177 },
            Place { key: 2, basket: 2, card: Card::Good, says: Says::Nothing },
            Round { choice: 2578524396 },
            Round { choice: 2620060096 },
            Crash { replica: 16 },
            Step { replica: 85, choice: 1641003188 },
            Step { replica: 210, choice: 3410053404 },
            Step { replica: 163, choice: 3411955073 },
            Step { replica: 13, choice: 3973118672 },
            Reprice { sku: 1, price: 43 },
            Round { choice: 468945973 },
            Step { replica: 198, choice: 790854071 },
            Step { replica: 53, choice: 2564975166 },
            Round { choice: 3158352297 },
            Place { key: 0, basket: 0, card: Card::Good, says: Says::Nothing },
            Step { replica: 163, choice: 926142470 },
            Step { replica: 98, choice: 4092503692 },
            Step { replica: 111, choice: 3745366997 },
            Step { replica: 88, choice: 2273721315 },
            Step { replica: 11, choice: 1743706570 },
            Step { replica: 213, choice: 2786871550 },
            Step { replica: 183, choice: 3829341005 },
            Step { replica: 236, choice: 434460532 },
            Wait { ms: 1012 },
            Wipe,
            Round { choice: 1221896442 },
            Round { choice: 4105214783 },
            Step { replica: 26, choice: 534813958 },
            Step { replica: 242, choice: 539419185 },
            Step { replica: 75, choice: 2949356032 },
            Import { sku: 1, on_hand: 10 },
            Round { choice: 4089210414 },
            Step { replica: 32, choice: 1269145290 },
            Step { replica: 23, choice: 2005554082 },
            Step { replica: 159, choice: 1042692043 },
            Step { replica: 112, choice: 1107226680 },
            DeliverAgain { consumer: 228, forget_acks: 0 },
            Step { replica: 128, choice: 2086582548 },
            Round { choice: 2848281931 },
            Step { replica: 24, choice: 31656475 },
            Step { replica: 253, choice: 1390026362 },
            Round { choice: 2510265435 },
            Round { choice: 704234757 },
            Step { replica: 86, choice: 2114916096 },
            Step { replica: 238, choice: 574460434 },
            Round { choice: 1651174359 },
            Step { replica: 148, choice: 886004172 },
            Round { choice: 2218087150 },
            Place { key: 3, basket: 4, card: Card::Good, says: Says::WhatItCosts },
            Wait { ms: 2054 },
            Step { replica: 131, choice: 2896185187 },
            Step { replica: 196, choice: 1861688074 },
            Wire { call: 1, fate: Fate::Answered },
            Round { choice: 4172018471 },
            Step { replica: 128, choice: 2691495066 },
            Step { replica: 133, choice: 3830792828 },
            Round { choice: 4177621182 },
            Round { choice: 3595392737 },
            Round { choice: 2317823266 },
            Step { replica: 137, choice: 3055278597 },
            Round { choice: 2310739285 },
            Wipe,
            Wait { ms: 1296 },
            Round { choice: 3089978316 },
            Step { replica: 34, choice: 3775341316 },
            Round { choice: 3807936568 },
            Wait { ms: 1930 },
            Step { replica: 161, choice: 663300724 },
            Step { replica: 106, choice: 2698874639 },
            Round { choice: 2916898284 },
            Round { choice: 459547150 },
            Step { replica: 94, choice: 3781890624 },
            Wipe,
            Round { choice: 4278407092 },
            ForgetDuplicates,
        ],
    );
}
