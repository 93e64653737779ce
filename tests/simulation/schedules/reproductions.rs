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
fn of_two_receipts_for_one_place_neither_counts() {
    shows(Planted::TwoReceiptsForOnePlace, "I6", 5555, &[
        Round { choice: 626890920 },
        Place { key: 2, basket: 2, card: Card::Good, says: Says::WhatItCosts },
        Place { key: 5, basket: 5, card: Card::NotCapturable, says: Says::Nothing },
        Round { choice: 1227280022 },
        RecordLate { replica: 105, ms: 734 },
        LoseTail,
    ]);
}

/// No connection is lost, and the duplicates are forgotten before the place's true owner is published again.
#[test]
fn a_receipt_of_a_stream_that_was_deleted_counts_for_nothing() {
    shows(Planted::LateReceipts, "I6", 146278, &[
        Place { key: 5, basket: 5, card: Card::Asks, says: Says::WhatItCosts },
        Round { choice: 2431450902 },
        Round { choice: 172923370 },
        Round { choice: 279489073 },
        Wire { call: 4, fate: Fate::Answered },
        Act { key: 5, agrees: true },
        Round { choice: 2339393479 },
        Round { choice: 47993395 },
        Wait { ms: 2756 },
        Place { key: 3, basket: 3, card: Card::Good, says: Says::Nothing },
        Round { choice: 334254633 },
        Round { choice: 1214886998 },
        Step { replica: 21, choice: 3703837878 },
        Wait { ms: 1090 },
        Round { choice: 2519844317 },
        Wire { call: 6, fate: Fate::Answered },
        Reprice { sku: 1, price: 194 },
        Round { choice: 3706751363 },
        Round { choice: 637008821 },
        Round { choice: 2055125189 },
        Wait { ms: 1621 },
        Round { choice: 1420574352 },
        DeleteStream { owner: 85 },
        Step { replica: 193, choice: 848727738 },
        Round { choice: 2714072014 },
        Place { key: 0, basket: 1, card: Card::Good, says: Says::WhatItCosts },
        Round { choice: 879759110 },
        ForgetDuplicates,
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
        864699,
        &[
            Round { choice: 2250578127 },
            Place { key: 5, basket: 5, card: Card::Asks, says: Says::Nothing },
            Place { key: 3, basket: 4, card: Card::Good, says: Says::Nothing },
            Place { key: 5, basket: 5, card: Card::NotCapturable, says: Says::Less },
            Step { replica: 147, choice: 3386925947 },
            Round { choice: 1997012376 },
            Cancel { key: 2, by_staff: false },
            Wait { ms: 2912 },
            Place { key: 0, basket: 0, card: Card::Good, says: Says::Nothing },
            Step { replica: 21, choice: 539991338 },
            Round { choice: 3747143787 },
            Round { choice: 3718007836 },
            Round { choice: 1455276917 },
            Wait { ms: 656 },
            Round { choice: 1480678409 },
            Round { choice: 537974960 },
            Round { choice: 762741335 },
            Place { key: 1, basket: 1, card: Card::Good, says: Says::Nothing },
            Round { choice: 4142393326 },
            Round { choice: 547530834 },
            Wait { ms: 707 },
            Round { choice: 4183010165 },
            Round { choice: 545025181 },
            Step { replica: 1, choice: 3704391428 },
            Round { choice: 2101397265 },
            Step { replica: 42, choice: 801047401 },
            Step { replica: 29, choice: 965847560 },
            Round { choice: 1262294955 },
            Round { choice: 1838435694 },
            Step { replica: 9, choice: 2621638078 },
            Round { choice: 768775221 },
            Step { replica: 5, choice: 3733358929 },
            Step { replica: 186, choice: 1359998649 },
            Step { replica: 208, choice: 863852758 },
            Step { replica: 197, choice: 2062327902 },
            Round { choice: 688807800 },
            Round { choice: 1950796532 },
            LoseTail,
            Round { choice: 3898833669 },
            Round { choice: 2914928398 },
            ForgetDuplicates,
        ],
    );
}

/// Its order has ended, and the call is late: twice the gateway truly says that it has not heard of it, but not after
/// the silence that makes it true for ever.
#[test]
fn a_webhook_makes_no_pause_shorter_in_which_a_call_may_still_be_on_its_way() {
    shows(Planted::WebhookCutsPausesShort, "I11", 11717, &[
        Step { replica: 18, choice: 3366397382 },
        Step { replica: 51, choice: 2611776984 },
        Step { replica: 195, choice: 281888068 },
        Round { choice: 2126632285 },
        Place { key: 0, basket: 0, card: Card::Good, says: Says::WhatItCosts },
        Step { replica: 35, choice: 1735437126 },
        Place { key: 1, basket: 1, card: Card::Good, says: Says::Nothing },
        Step { replica: 7, choice: 1853048285 },
        Wait { ms: 1219 },
        Wait { ms: 21 },
        Round { choice: 477134136 },
        Step { replica: 251, choice: 2531490220 },
        Wait { ms: 1484 },
        Cancel { key: 3, by_staff: true },
        Step { replica: 249, choice: 1611160547 },
        Round { choice: 1109840309 },
        Round { choice: 2450394574 },
        Round { choice: 2347332581 },
        Place { key: 5, basket: 5, card: Card::Asks, says: Says::WhatItCosts },
        Wire { call: 6, fate: Fate::TurnedAway },
        Step { replica: 165, choice: 4053841943 },
        Step { replica: 232, choice: 3940976218 },
        Step { replica: 21, choice: 2232949899 },
        Step { replica: 124, choice: 3548323379 },
        Round { choice: 1827618078 },
        Round { choice: 448508497 },
        Place { key: 2, basket: 2, card: Card::Good, says: Says::WhatItCosts },
        Step { replica: 168, choice: 4054923808 },
        Round { choice: 605159112 },
        Step { replica: 168, choice: 4225822702 },
        Step { replica: 156, choice: 4028519643 },
        Reprice { sku: 0, price: 97 },
        Round { choice: 1675712466 },
        Round { choice: 2890323759 },
        Webhook { key: 2, number: 9 },
        Step { replica: 50, choice: 2873235286 },
        Step { replica: 197, choice: 2528233345 },
        Reprice { sku: 1, price: 137 },
        Webhook { key: 2, number: 9 },
        Step { replica: 205, choice: 320787417 },
        Round { choice: 2288882342 },
        Step { replica: 245, choice: 1648533256 },
        Step { replica: 52, choice: 2816629982 },
        Round { choice: 2963367783 },
        Webhook { key: 5, number: 13 },
        Wipe,
        Webhook { key: 0, number: 15 },
        Round { choice: 4020873136 },
        Step { replica: 38, choice: 3432468235 },
        Wire { call: 3, fate: Fate::Answered },
        Step { replica: 198, choice: 2314389278 },
        Round { choice: 3176849680 },
        Round { choice: 3985129273 },
        Step { replica: 95, choice: 131807758 },
        Step { replica: 2, choice: 3743916805 },
        Round { choice: 3274381987 },
        Round { choice: 2079063327 },
        Round { choice: 618405918 },
        Wait { ms: 2134 },
        Place { key: 4, basket: 4, card: Card::Asks, says: Says::Nothing },
        Webhook { key: 5, number: 5 },
        Webhook { key: 0, number: 5 },
        Round { choice: 1626007701 },
        Cancel { key: 0, by_staff: true },
        Round { choice: 2671409963 },
        Round { choice: 1634163697 },
        Webhook { key: 2, number: 10 },
        Webhook { key: 0, number: 1 },
        Step { replica: 109, choice: 4267133267 },
        Round { choice: 1959581431 },
        Webhook { key: 4, number: 2 },
        Place { key: 3, basket: 3, card: Card::Good, says: Says::WhatItCosts },
        Round { choice: 1761692566 },
        Round { choice: 2166563111 },
        Webhook { key: 4, number: 8 },
        Round { choice: 1872439646 },
        Wire { call: 4, fate: Fate::Mishap },
        Round { choice: 630139889 },
        Round { choice: 709894831 },
        Step { replica: 93, choice: 1193331078 },
        Step { replica: 40, choice: 1557962412 },
        RestartBroker,
        Cancel { key: 4, by_staff: false },
        Wire { call: 0, fate: Fate::Late },
        Round { choice: 746557080 },
        Wait { ms: 1415 },
    ]);
}
