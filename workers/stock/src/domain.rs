//! The rules of stock. Pure: what is there and what is asked come in, what follows goes out.

use std::collections::BTreeMap;

use shopzen_contracts::{Quantity, Sku, orders::OrderLineInput, stock::Shortage};

/// What is held for one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reservation {
    /// Nothing is known of the order.
    Unknown,
    /// Every line is held.
    Reserved,
    /// A line was short, so nothing was ever held.
    Rejected,
    /// Every line is the order's own.
    Allocated,
    /// The order has ended; nothing is held any more.
    Ended,
}

/// What can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The order was placed, and every line is there.
    PlacedInFull,
    /// The order was placed, and a line is short.
    PlacedShort,
    Confirmed,
    /// The order was rejected or cancelled.
    Ended,
}

/// What must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    Hold,
    Refuse,
    Allocate,
    ReleaseReserved,
    ReleaseAllocated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub next: Reservation,
    pub effect: Option<Effect>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reservation that is {state:?} cannot take {input:?}")]
pub struct Illegal {
    state: Reservation,
    input: Input,
}

impl Reservation {
    pub const ALL: [Self; 5] = [
        Self::Unknown,
        Self::Reserved,
        Self::Rejected,
        Self::Allocated,
        Self::Ended,
    ];

    /// The life of a reservation, whole.
    pub fn apply(self, input: Input) -> Result<Step, Illegal> {
        use Effect::{Allocate, Hold, Refuse, ReleaseAllocated, ReleaseReserved};
        use Reservation::{Allocated, Ended, Rejected, Reserved, Unknown};
        match (self, input) {
            (Unknown, Input::PlacedInFull) => moved(Reserved, Hold),
            (Unknown, Input::PlacedShort) => moved(Rejected, Refuse),
            (Reserved, Input::Confirmed) => moved(Allocated, Allocate),
            (Reserved, Input::Ended) => moved(Ended, ReleaseReserved),
            // Cancelled after it was confirmed: what was its own is for sale again.
            (Allocated, Input::Ended) => moved(Ended, ReleaseAllocated),
            // The end came before the beginning: nothing will be held when that comes.
            (Unknown, Input::Ended) => Ok(Step {
                next: Ended,
                effect: None,
            }),

            // Late or repeated news changes nothing.
            (state @ Ended, _) => unchanged(state),
            (state @ (Reserved | Allocated), Input::PlacedInFull | Input::PlacedShort) => {
                unchanged(state)
            }
            (state @ Allocated, Input::Confirmed) => unchanged(state),
            (state @ Rejected, Input::PlacedInFull | Input::PlacedShort | Input::Ended) => {
                unchanged(state)
            }

            (state, input) => Err(Illegal { state, input }),
        }
    }

    /// As it stands in the column; [`Reservation::Unknown`] has no row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Reserved => "reserved",
            Self::Rejected => "rejected",
            Self::Allocated => "allocated",
            Self::Ended => "ended",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

fn moved(next: Reservation, effect: Effect) -> Result<Step, Illegal> {
    Ok(Step {
        next,
        effect: Some(effect),
    })
}

fn unchanged(next: Reservation) -> Result<Step, Illegal> {
    Ok(Step { next, effect: None })
}

/// The grid of all states and all inputs, for `STATES.md`.
pub fn grid() -> String {
    let inputs = [
        Input::PlacedInFull,
        Input::PlacedShort,
        Input::Confirmed,
        Input::Ended,
    ];
    let mut text = String::from(
        "# The life of a reservation\n\nWritten by a test from `src/domain.rs`. A cell says the next state and what follows; \
         `-` changes nothing, `illegal` goes to the dead letters.\n\n| |",
    );
    for input in inputs {
        text.push_str(&format!(" {input:?} |"));
    }
    text.push_str("\n|---|---|---|---|---|\n");
    for state in Reservation::ALL {
        text.push_str(&format!("| **{state:?}** |"));
        for input in inputs {
            let cell = match state.apply(input) {
                Ok(Step { next, effect: None }) if next == state => "-".to_owned(),
                Ok(Step { next, effect: None }) => format!("{next:?}"),
                Ok(Step {
                    next,
                    effect: Some(effect),
                }) => format!("{next:?}: {effect:?}"),
                Err(_) => "illegal".to_owned(),
            };
            text.push_str(&format!(" {cell} |"));
        }
        text.push('\n');
    }
    text
}

/// What an order wants of each SKU; lines of one SKU are summed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand(BTreeMap<Sku, i64>);

impl Demand {
    pub fn of_lines(lines: &[OrderLineInput]) -> Self {
        let mut wanted = BTreeMap::new();
        for line in lines {
            *wanted.entry(line.sku.clone()).or_default() += i64::from(line.quantity.get());
        }
        Self(wanted)
    }

    pub fn of_rows(skus: Vec<String>, quantities: Vec<i32>) -> Self {
        let skus = skus.into_iter().filter_map(|sku| Sku::parse(sku).ok());
        Self(skus.zip(quantities.into_iter().map(i64::from)).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Sku, i64)> {
        self.0.iter().map(|(sku, quantity)| (sku, *quantity))
    }
}

/// What is left of each SKU while a batch of orders is decided, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Shelf(BTreeMap<Sku, i64>);

impl Shelf {
    pub fn new(available: impl IntoIterator<Item = (Sku, i64)>) -> Self {
        Self(available.into_iter().collect())
    }

    /// Takes everything an order wants, or says what is short and takes nothing.
    pub fn take(&mut self, demand: &Demand) -> Result<(), Vec<Shortage>> {
        let shortages: Vec<Shortage> = demand
            .iter()
            .filter_map(|(sku, wanted)| {
                let available = self.0.get(sku).copied().unwrap_or(0).max(0);
                (wanted > available).then(|| Shortage {
                    sku: sku.clone(),
                    requested: Quantity::parse(wanted).unwrap_or_else(|_| {
                        Quantity::parse(i64::from(Quantity::MAX)).expect("the most there is")
                    }),
                    available,
                })
            })
            .collect();
        if !shortages.is_empty() {
            return Err(shortages);
        }
        for (sku, wanted) in demand.iter() {
            if let Some(left) = self.0.get_mut(sku) {
                *left -= wanted;
            }
        }
        Ok(())
    }

    /// What an order took is there for the next one.
    pub fn give_back(&mut self, demand: &Demand) {
        for (sku, taken) in demand.iter() {
            if let Some(left) = self.0.get_mut(sku) {
                *left += taken;
            }
        }
    }
}

/// How an order's goods move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deltas {
    pub on_hand: i64,
    pub reserved: i64,
    pub allocated: i64,
}

impl Deltas {
    pub fn add(&mut self, other: Self) {
        self.on_hand += other.on_hand;
        self.reserved += other.reserved;
        self.allocated += other.allocated;
    }
}

impl Effect {
    /// What `quantity` of a SKU does to its level.
    pub fn deltas(self, quantity: i64) -> Deltas {
        match self {
            Self::Hold => Deltas {
                reserved: quantity,
                ..Deltas::default()
            },
            Self::Refuse => Deltas::default(),
            Self::Allocate => Deltas {
                reserved: -quantity,
                allocated: quantity,
                on_hand: 0,
            },
            Self::ReleaseReserved => Deltas {
                reserved: -quantity,
                ..Deltas::default()
            },
            Self::ReleaseAllocated => Deltas {
                allocated: -quantity,
                ..Deltas::default()
            },
        }
    }
}

/// How far a feed moves what is on hand. The difference to what the last feed said counts, so that
/// what was sold in between stays sold; goods that are held or owed cannot vanish.
pub fn feed_delta(on_hand: i64, held: i64, imported: Option<i64>, said: i64) -> i64 {
    let wanted = said - imported.unwrap_or(on_hand);
    wanted.max(held - on_hand)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sku(name: &str) -> Sku {
        Sku::parse(name).unwrap()
    }

    fn demand(lines: &[(&str, i64)]) -> Demand {
        Demand(
            lines
                .iter()
                .map(|(name, quantity)| (sku(name), *quantity))
                .collect(),
        )
    }

    #[test]
    fn an_order_gets_all_of_it_or_nothing() {
        let mut shelf = Shelf::new([(sku("A"), 5), (sku("B"), 1)]);
        let shortages = shelf.take(&demand(&[("A", 2), ("B", 2)])).unwrap_err();
        assert_eq!(shortages.len(), 1);
        assert_eq!(
            (shortages[0].sku.as_str(), shortages[0].available),
            ("B", 1)
        );
        assert!(
            shelf.take(&demand(&[("A", 5), ("B", 1)])).is_ok(),
            "a refusal takes nothing"
        );
    }

    #[test]
    fn a_small_order_fits_behind_a_large_one_that_did_not() {
        let mut shelf = Shelf::new([(sku("A"), 3)]);
        assert!(shelf.take(&demand(&[("A", 4)])).is_err());
        assert!(shelf.take(&demand(&[("A", 3)])).is_ok());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut shelf = Shelf::new([(sku("A"), 2)]);
        let all = demand(&[("A", 2)]);
        assert!(shelf.take(&all).is_ok());
        assert!(shelf.take(&all).is_err());
        shelf.give_back(&all);
        assert!(shelf.take(&all).is_ok());
    }

    #[test]
    fn a_feed_that_is_repeated_changes_nothing() {
        // 10 were said and 4 have been shipped since.
        assert_eq!(feed_delta(6, 0, Some(10), 10), 0);
        assert_eq!(feed_delta(6, 0, Some(10), 13), 3);
        assert_eq!(feed_delta(0, 0, None, 10), 10);
        assert_eq!(
            feed_delta(6, 5, Some(10), 0),
            -1,
            "what is held cannot vanish"
        );
    }

    #[test]
    fn states_are_as_printed() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/STATES.md");
        let printed = std::fs::read_to_string(path).unwrap_or_default();
        if printed != grid() {
            std::fs::write(path, grid()).unwrap();
            panic!("STATES.md was not up to date; it is written anew: look at the difference");
        }
    }

    fn inputs() -> impl Strategy<Value = Vec<Input>> {
        proptest::collection::vec(
            proptest::sample::select(vec![
                Input::PlacedInFull,
                Input::PlacedShort,
                Input::Confirmed,
                Input::Ended,
            ]),
            0..8,
        )
    }

    proptest! {
        #[test]
        fn what_is_held_is_what_the_state_says(inputs in inputs()) {
            let mut state = Reservation::Unknown;
            let (mut reserved, mut allocated) = (0, 0);
            for input in inputs {
                let Ok(step) = state.apply(input) else { continue };
                if let Some(effect) = step.effect {
                    let deltas = effect.deltas(3);
                    reserved += deltas.reserved;
                    allocated += deltas.allocated;
                }
                state = step.next;
                let expected = match state {
                    Reservation::Reserved => (3, 0),
                    Reservation::Allocated => (0, 3),
                    _ => (0, 0),
                };
                prop_assert_eq!((reserved, allocated), expected);
            }
        }

        #[test]
        fn no_unit_is_taken_twice(
            available in 0_i64..50,
            wanted in proptest::collection::vec(1_i64..20, 0..20),
        ) {
            let mut shelf = Shelf::new([(sku("A"), available)]);
            let taken: i64 =
                wanted.iter().filter(|n| shelf.take(&demand(&[("A", **n)])).is_ok()).sum();
            prop_assert!(taken <= available);
        }

        #[test]
        fn a_feed_never_takes_what_is_held(
            on_hand in 0_i64..100, held in 0_i64..100, imported in proptest::option::of(0_i64..100), said in 0_i64..100,
        ) {
            prop_assume!(held <= on_hand);
            prop_assert!(on_hand + feed_delta(on_hand, held, imported, said) >= held);
        }
    }
}
