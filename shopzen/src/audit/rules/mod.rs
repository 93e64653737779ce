//! What must be true, as functions over what was answered. Pure.

mod orders;
mod payments;

pub use self::{
    orders::{OrderView, always, once_quiet},
    payments::is_doubtful,
};

use shopzen_contracts::{
    orders::WrongAnswer,
    payments::LedgerTotal,
    stock::{Counts, LevelFacts},
};

use super::{About, Invariant, Violation, books::BooksTotal};

fn broken(invariant: Invariant, about: About, what: String) -> Violation {
    Violation {
        invariant,
        about,
        what,
    }
}

/// I1 and I2, of a level beside its sums.
pub fn level(facts: &LevelFacts) -> Vec<Violation> {
    let LevelFacts {
        sku,
        location,
        level,
        moved,
        held_reserved,
        held_allocated,
    } = facts;
    let mut found = Vec::new();
    let mut add = |invariant, what| {
        found.push(broken(invariant, About::Sku(sku.clone()), what));
    };
    let Some(level) = level else {
        add(
            Invariant::I1,
            format!("there is no level at {location}, though there are movements or reservations"),
        );
        return found;
    };
    let Counts {
        on_hand,
        reserved,
        allocated,
    } = level;
    if *reserved < 0 || *allocated < 0 || reserved + allocated > *on_hand {
        add(
            Invariant::I1,
            format!("{on_hand} on hand at {location}, {reserved} reserved, {allocated} allocated"),
        );
    }
    for (name, counted, sum) in [
        ("on hand", on_hand, &moved.on_hand),
        ("reserved", reserved, &moved.reserved),
        ("allocated", allocated, &moved.allocated),
    ] {
        if counted != sum {
            add(
                Invariant::I1,
                format!("{counted} {name} at {location}, and {sum} by its movements"),
            );
        }
    }
    for (name, counted, sum) in [
        ("reserved", reserved, held_reserved),
        ("allocated", allocated, held_allocated),
    ] {
        if counted != sum {
            add(
                Invariant::I2,
                format!("{counted} {name} at {location}, and {sum} by what orders hold"),
            );
        }
    }
    found
}

/// I11: the gateway's totals lie between what our ledger said before they were asked for, and what it
/// said afterwards together with what the gateway was being asked for. Where nothing is under way, all
/// of them are equal.
pub fn totals(
    before: &[LedgerTotal],
    books: &[BooksTotal],
    after: &[LedgerTotal],
) -> Vec<Violation> {
    let mut currencies: Vec<&str> = before.iter().chain(after).map(|t| &*t.currency).collect();
    currencies.extend(books.iter().map(|total| &*total.currency));
    currencies.sort_unstable();
    currencies.dedup();
    let of = |totals: &[LedgerTotal], currency: &str| {
        let found = totals.iter().find(|total| total.currency == currency);
        found.map_or((0, 0, 0, 0), |t| {
            (
                i128::from(t.captured_minor),
                i128::from(t.refunded_minor),
                i128::from(t.capturing_minor),
                i128::from(t.refunding_minor),
            )
        })
    };
    let mut found = Vec::new();
    for currency in currencies {
        let (captured_before, refunded_before, ..) = of(before, currency);
        let (captured, refunded, capturing, refunding) = of(after, currency);
        let theirs = books.iter().find(|total| total.currency == currency);
        let (taken, given) = theirs.map_or((0, 0), |t| (t.captured_minor, t.refunded_minor));
        for (name, least, value, most) in [
            ("captured", captured_before, taken, captured + capturing),
            ("refunded", refunded_before, given, refunded + refunding),
        ] {
            if value < least || value > most {
                let ours = if least == most {
                    format!("{least}")
                } else {
                    format!("{least} to {most}")
                };
                found.push(broken(
                    Invariant::I11,
                    About::Currency(currency.to_owned()),
                    format!("{ours} {name} by our ledger, {value} by the gateway's books"),
                ));
            }
        }
    }
    found
}

/// I10, and I5 of those who were told that their order is accepted.
pub fn answer(wrong: &WrongAnswer) -> Violation {
    let about = About::Key(wrong.answer.key.clone());
    match (wrong.order_id, wrong.order_total_minor, wrong.total_minor) {
        (Some(id), None, _) => broken(
            Invariant::I5,
            about,
            format!("order {id} was accepted, and there is no such order"),
        ),
        (Some(id), Some(total), Some(said)) => broken(
            Invariant::I10,
            about,
            format!("the answer says that order {id} comes to {said}, and it comes to {total}"),
        ),
        (..) => broken(
            Invariant::I10,
            about,
            "the answer that is kept speaks of no order".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level_of(on_hand: i64, reserved: i64, allocated: i64) -> LevelFacts {
        let counts = Counts {
            on_hand,
            reserved,
            allocated,
        };
        LevelFacts {
            sku: "LAMP".to_owned(),
            location: "main".to_owned(),
            level: Some(counts),
            moved: counts,
            held_reserved: reserved,
            held_allocated: allocated,
        }
    }

    fn names(found: &[Violation]) -> Vec<&'static str> {
        found.iter().map(|v| v.invariant.name()).collect()
    }

    #[test]
    fn a_level_that_adds_up_is_well() {
        assert_eq!(level(&level_of(10, 2, 8)), []);
        assert_eq!(level(&level_of(0, 0, 0)), []);
    }

    #[test]
    fn an_oversold_level_breaks_i1() {
        for odd in [level_of(9, 2, 8), level_of(9, -1, 2), level_of(9, 2, -1)] {
            assert_eq!(names(&level(&odd)), ["I1"], "{odd:?}");
        }
    }

    #[test]
    fn a_level_that_is_not_its_movements_breaks_i1() {
        let mut odd = level_of(10, 2, 3);
        odd.moved.on_hand = 11;
        let found = level(&odd);
        assert_eq!(names(&found), ["I1"]);
        assert!(found[0].to_string().contains("SKU LAMP: 10 on hand"));
        odd.level = None;
        assert_eq!(names(&level(&odd)), ["I1"]);
    }

    #[test]
    fn a_level_that_is_not_what_orders_hold_breaks_i2() {
        let mut odd = level_of(10, 2, 3);
        odd.held_reserved = 3;
        assert_eq!(names(&level(&odd)), ["I2"]);
        odd.held_allocated = 0;
        assert_eq!(names(&level(&odd)), ["I2", "I2"]);
    }

    fn ledger(captured_minor: i64, refunded_minor: i64, capturing_minor: i64) -> Vec<LedgerTotal> {
        vec![LedgerTotal {
            currency: "EUR".to_owned(),
            captured_minor,
            refunded_minor,
            capturing_minor,
            refunding_minor: 0,
        }]
    }

    fn books(captured_minor: i128, refunded_minor: i128) -> Vec<BooksTotal> {
        vec![BooksTotal {
            currency: "EUR".to_owned(),
            captured_minor,
            refunded_minor,
        }]
    }

    #[test]
    fn totals_that_differ_break_i11() {
        let ours = ledger(100, 20, 0);
        assert_eq!(totals(&ours, &books(100, 20), &ours), []);
        for theirs in [books(99, 20), books(101, 20), books(100, 19), Vec::new()] {
            let found = totals(&ours, &theirs, &ours);
            assert!(names(&found).iter().all(|name| *name == "I11"));
            assert!(!found.is_empty(), "{theirs:?}");
        }
        assert_eq!(names(&totals(&[], &books(1, 0), &[])), ["I11"]);
    }

    #[test]
    fn a_capture_under_way_may_be_in_the_books_or_not() {
        let (before, after) = (ledger(100, 0, 0), ledger(100, 0, 50));
        for taken in [100, 130, 150] {
            assert_eq!(totals(&before, &books(taken, 0), &after), [], "{taken}");
        }
        assert_eq!(names(&totals(&before, &books(151, 0), &after)), ["I11"]);
    }

    proptest! {
        /// Whatever happens between the three answers, in whatever order, is no violation.
        #[test]
        fn a_gateway_at_work_raises_no_alarm(
            steps in prop::collection::vec((0..4_u8, 1..100_i64), 0..60),
            cuts in (0..60_usize, 0..60_usize, 0..60_usize),
        ) {
            // Asked, captured by the gateway, booked by us: in this order, one after the other.
            let (mut asked, mut captured, mut booked) = (Vec::new(), 0_usize, 0_usize);
            let mut cuts = [cuts.0, cuts.1, cuts.2];
            cuts.sort_unstable();
            let (mut before, mut theirs, mut after) = (Vec::new(), Vec::new(), Vec::new());
            let sum = |amounts: &[i64]| amounts.iter().sum::<i64>();
            for at in 0..=60_usize {
                let ours = ledger(sum(&asked[..booked]), 0, sum(&asked[booked..]));
                if cuts[0] == at { before.clone_from(&ours); }
                if cuts[1] == at { theirs = books(i128::from(sum(&asked[..captured])), 0); }
                if cuts[2] == at { after = ours; }
                match steps.get(at) {
                    Some((0, amount)) => asked.push(*amount),
                    Some((1 | 2, _)) if captured < asked.len() => captured += 1,
                    Some((3, _)) if booked < captured => booked += 1,
                    _ => {}
                }
            }
            prop_assert_eq!(totals(&before, &theirs, &after), []);
        }
    }
}
