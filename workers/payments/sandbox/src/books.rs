//! The gateway's books: every charge, what became of every key, and the totals. No I/O.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::charge::{Charge, NewCharge, Refusal, Standing, Status, Step};
use crate::index::{Index, Place};
use crate::tokens::Line;
use crate::totals::Totals;
use crate::values::{ChargeId, Currency, Key, KeyDigest};

/// How many charges one page looks at: it bounds how long a filter keeps everybody else waiting.
const PAGE_SCAN_MAX: usize = 10_000;

/// One thing that happened, as the journal keeps it. Entered again in order, entries give the books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    /// The shopper's authentication comes without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Key>,
    pub(crate) charge_id: ChargeId,
    pub(crate) effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    Open(NewCharge),
    Step(Step),
}

/// What a caller asks under a key, and what the key stands for from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Open(NewCharge),
    Step(ChargeId, Step),
}

impl Request {
    /// Whether the shop hears of it as soon as it is done: it is the shop's own, and its answer is neither
    /// late nor lost.
    pub(crate) fn is_answered_at_once(&self) -> bool {
        match self {
            Self::Open(new) => matches!(new.token.line(), Line::Prompt | Line::FirstFails),
            Self::Step(_, step) => !matches!(step, Step::Authenticate { .. }),
        }
    }
}

/// What became of a key: the charge as it stood right after, and the step if it was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) charge: Charge,
    pub(crate) step: Option<Step>,
}

impl Done {
    /// Did the key stand for just this?
    pub(crate) fn answers(&self, request: &Request) -> bool {
        match (self.step, request) {
            (None, Request::Open(new)) => {
                self.charge.order_id == new.order_id
                    && self.charge.amount_minor == new.amount_minor.minor()
                    && self.charge.currency == new.currency
                    && self.charge.token == new.token
            }
            (Some(step), Request::Step(id, asked)) => self.charge.id == *id && step == *asked,
            _ => false,
        }
    }

    /// The bank refused a capture where it leaves the charge as it was.
    pub(crate) fn capture_failed(&self) -> bool {
        matches!(self.step, Some(Step::Capture { .. }))
            && self.charge.standing.status == Status::Authorised
    }
}

/// All charges and what became of all keys, each in the order in which they came in. They are kept
/// for ever, so they are packed: about 260 bytes for a charge that was captured.
#[derive(Default)]
pub(crate) struct Books {
    charges: Vec<Filed>,
    by_id: Index,
    /// Leads to the newest charge of an order; the others hang on it.
    by_order: Index,
    operations: Vec<Operation>,
    by_key: Index,
    totals: BTreeMap<Currency, Totals>,
}

struct Filed {
    charge: Charge,
    previous_of_order: Option<Place>,
}

struct Operation {
    key: KeyDigest,
    charge: Place,
    step: Option<Step>,
    after: Standing,
}

impl Books {
    /// Enters what happened, if it may happen. `record` is called just before it takes effect, and
    /// where that fails the books stay as they are.
    pub(crate) fn enter<E: From<Refusal>>(
        &mut self,
        entry: &Entry,
        record: impl FnOnce(&Entry) -> Result<(), E>,
    ) -> Result<Done, E> {
        let done = match entry.effect {
            Effect::Open(new) => {
                let charge = Charge::open(entry.charge_id, entry.at, new);
                record(entry)?;
                let place = self.file(charge);
                self.finish(entry, place, None, None)
            }
            Effect::Step(step) => {
                let place = self.place(entry.charge_id).ok_or(Refusal::UnknownCharge)?;
                let before = self.charges[place.row()].charge;
                let after = before.after(step)?;
                record(entry)?;
                self.charges[place.row()].charge.standing = after;
                self.finish(entry, place, Some(step), Some(before.standing))
            }
        };
        Ok(done)
    }

    /// Enters what the journal tells, which is no longer to be recorded.
    pub(crate) fn replay(&mut self, entry: &Entry) -> Result<(), Refusal> {
        self.enter(entry, |_| Ok::<(), Refusal>(())).map(drop)
    }

    fn file(&mut self, charge: Charge) -> Place {
        let place = Place::new(self.charges.len());
        let Self {
            charges,
            by_id,
            by_order,
            ..
        } = self;
        by_id.insert(&charge.id, place, |place| charges[place.row()].charge.id);
        let previous_of_order = by_order.insert(&charge.order_id, place, |place| {
            charges[place.row()].charge.order_id
        });
        charges.push(Filed {
            charge,
            previous_of_order,
        });
        place
    }

    /// What follows from every effect: the totals, and what its key stands for.
    fn finish(
        &mut self,
        entry: &Entry,
        place: Place,
        step: Option<Step>,
        before: Option<Standing>,
    ) -> Done {
        let charge = self.charges[place.row()].charge;
        self.totals
            .entry(charge.currency)
            .or_default()
            .count(before, &charge);
        if let Some(key) = &entry.key {
            let Self {
                operations, by_key, ..
            } = self;
            let key = key.digest();
            let place_of_operation = Place::new(operations.len());
            by_key.insert(&key, place_of_operation, |place| {
                operations[place.row()].key
            });
            operations.push(Operation {
                key,
                charge: place,
                step,
                after: charge.standing,
            });
        }
        Done { charge, step }
    }

    fn place(&self, id: ChargeId) -> Option<Place> {
        self.by_id
            .find(&id, |place| self.charges[place.row()].charge.id)
    }

    pub(crate) fn operation(&self, key: &Key) -> Option<Done> {
        let place = self
            .by_key
            .find(&key.digest(), |place| self.operations[place.row()].key)?;
        let operation = &self.operations[place.row()];
        let charge = self.charges[operation.charge.row()].charge;
        Some(Done {
            charge: Charge {
                standing: operation.after,
                ..charge
            },
            step: operation.step,
        })
    }

    pub(crate) fn charge(&self, id: ChargeId) -> Option<Charge> {
        self.place(id).map(|place| self.charges[place.row()].charge)
    }

    /// Charges from the newest to the oldest. `None` where the cursor is not one of this list.
    pub(crate) fn page(
        &self,
        filter: &Filter,
        limit: usize,
        cursor: Option<usize>,
    ) -> Option<Page> {
        let older = |place: usize| match filter.order_id {
            Some(_) => self.charges[place].previous_of_order.map(Place::row),
            None => place.checked_sub(1),
        };
        let mut next = match (cursor, filter.order_id) {
            (Some(place), order_id) => {
                let last_seen = self.charges.get(place)?;
                if order_id.is_some_and(|order_id| order_id != last_seen.charge.order_id) {
                    return None;
                }
                older(place)
            }
            (None, Some(order_id)) => {
                let order_at = |place: Place| self.charges[place.row()].charge.order_id;
                self.by_order.find(&order_id, order_at).map(Place::row)
            }
            (None, None) => self.charges.len().checked_sub(1),
        };

        let mut page = Page {
            items: Vec::new(),
            next_cursor: None,
        };
        for _ in 0..PAGE_SCAN_MAX {
            let Some(place) = next else { break };
            let charge = &self.charges[place].charge;
            if filter
                .status
                .is_none_or(|status| status == charge.standing.status)
            {
                page.items.push(*charge);
            }
            page.next_cursor = Some(place);
            next = older(place);
            if page.items.len() == limit {
                break;
            }
        }
        page.next_cursor = page.next_cursor.filter(|_| next.is_some());
        Some(page)
    }

    pub(crate) fn totals(&self) -> Vec<(Currency, Totals)> {
        self.totals
            .iter()
            .map(|(currency, totals)| (*currency, *totals))
            .collect()
    }
}

/// Which charges a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) order_id: Option<Uuid>,
    pub(crate) status: Option<Status>,
}

/// A part of a list. The cursor is the place of the last charge that was looked at.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<Charge>,
    pub(crate) next_cursor: Option<usize>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::charge::Authentication;
    use crate::tokens::Token;
    use crate::values::Amount;

    fn amount(minor: i64) -> Amount {
        minor.try_into().unwrap()
    }

    fn key(text: impl Into<String>) -> Key {
        Key::try_from(text.into()).unwrap()
    }

    fn opening(number: u128, order: u128, token: Token, amount_minor: i64) -> Entry {
        Entry {
            at: Timestamp::UNIX_EPOCH,
            key: Some(key(format!("open-{number}"))),
            charge_id: ChargeId(Uuid::from_u128(number)),
            effect: Effect::Open(NewCharge {
                order_id: Uuid::from_u128(order),
                amount_minor: amount(amount_minor),
                currency: Currency::try_from("EUR".to_owned()).unwrap(),
                token,
            }),
        }
    }

    fn step(charge: u128, step: Step) -> Entry {
        Entry {
            at: Timestamp::UNIX_EPOCH,
            key: None,
            charge_id: ChargeId(Uuid::from_u128(charge)),
            effect: Effect::Step(step),
        }
    }

    fn of_order(order: u128) -> Filter {
        Filter {
            order_id: Some(Uuid::from_u128(order)),
            status: None,
        }
    }

    /// Walks a list to its end, as ids.
    fn walk(books: &Books, filter: &Filter, limit: usize) -> Vec<u128> {
        let mut ids = Vec::new();
        let mut cursor = None;
        loop {
            let page = books.page(filter, limit, cursor).unwrap();
            assert!(page.items.len() <= limit);
            ids.extend(page.items.iter().map(|charge| charge.id.0.as_u128()));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return ids;
            }
        }
    }

    #[test]
    fn pages_show_each_charge_once_and_the_newest_first() {
        let mut books = Books::default();
        for number in 1..=9 {
            let token = if number % 2 == 0 {
                Token::Declined
            } else {
                Token::Ok
            };
            books
                .replay(&opening(number, number % 3, token, 5))
                .unwrap();
        }
        for limit in 1..=10 {
            assert_eq!(
                walk(&books, &Filter::default(), limit),
                [9, 8, 7, 6, 5, 4, 3, 2, 1]
            );
            assert_eq!(walk(&books, &of_order(1), limit), [7, 4, 1]);
            let declined = Filter {
                order_id: None,
                status: Some(Status::Declined),
            };
            assert_eq!(walk(&books, &declined, limit), [8, 6, 4, 2]);
        }
        assert_eq!(walk(&books, &of_order(77), 5), []);
    }

    #[test]
    fn a_page_that_finds_nothing_still_leads_on() {
        let mut books = Books::default();
        let charges = u128::try_from(PAGE_SCAN_MAX).unwrap() + 1;
        for number in 1..=charges {
            let token = if number == 1 {
                Token::Declined
            } else {
                Token::Ok
            };
            books.replay(&opening(number, number, token, 5)).unwrap();
        }
        let declined = Filter {
            order_id: None,
            status: Some(Status::Declined),
        };
        let page = books.page(&declined, 10, None).unwrap();
        assert!(page.items.is_empty() && page.next_cursor.is_some());
        assert_eq!(walk(&books, &declined, 10), [1]);
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let mut books = Books::default();
        books.replay(&opening(1, 1, Token::Ok, 5)).unwrap();
        books.replay(&opening(2, 2, Token::Ok, 5)).unwrap();
        assert!(books.page(&of_order(1), 5, Some(1)).is_none());
        assert!(books.page(&Filter::default(), 5, Some(2)).is_none());
        assert!(
            books
                .page(&Filter::default(), 5, Some(usize::MAX))
                .is_none()
        );
    }

    #[test]
    fn a_key_keeps_the_charge_as_it_stood() {
        let mut books = Books::default();
        books.replay(&opening(1, 1, Token::Ok, 100)).unwrap();
        books
            .replay(&step(
                1,
                Step::Capture {
                    amount_minor: amount(70),
                },
            ))
            .unwrap();

        let done = books.operation(&key("open-1")).unwrap();
        assert_eq!(done.charge.standing.status, Status::Authorised);
        let charge = books.charge(done.charge.id).unwrap();
        assert_eq!(charge.standing.captured_minor, 70);
    }

    #[test]
    fn an_entry_that_is_not_recorded_has_no_effect() {
        let mut books = Books::default();
        books.replay(&opening(1, 1, Token::Ok, 100)).unwrap();
        let totals = books.totals();
        for entry in [opening(2, 1, Token::Ok, 100), step(1, Step::Void)] {
            let refused: Result<Done, Refusal> =
                books.enter(&entry, |_| Err(Refusal::UnknownCharge));
            assert!(refused.is_err());
        }
        assert_eq!(walk(&books, &of_order(1), 5), [1]);
        assert_eq!(books.totals(), totals);
        let charge = books.charge(ChargeId(Uuid::from_u128(1))).unwrap();
        assert_eq!(charge.standing.status, Status::Authorised);
        assert!(books.operation(&key("open-2")).is_none());
    }

    const TOKENS: [Token; 4] = [
        Token::Ok,
        Token::InsufficientFunds,
        Token::RequiresAction,
        Token::CaptureFails,
    ];

    fn entries() -> impl Strategy<Value = Entry> {
        let charges = 1..6_u128;
        prop_oneof![
            (
                charges.clone(),
                prop::sample::select(TOKENS.as_slice()),
                1..50_i64
            )
                .prop_map(|(number, token, minor)| opening(number, 1, token, minor)),
            (charges.clone(), 1..50_i64).prop_map(|(number, minor)| {
                step(
                    number,
                    Step::Capture {
                        amount_minor: amount(minor),
                    },
                )
            }),
            (charges.clone(), 1..50_i64).prop_map(|(number, minor)| {
                step(
                    number,
                    Step::Refund {
                        amount_minor: amount(minor),
                    },
                )
            }),
            charges.clone().prop_map(|number| step(number, Step::Void)),
            charges.prop_map(|number| {
                step(
                    number,
                    Step::Authenticate {
                        result: Authentication::Ok,
                    },
                )
            }),
        ]
    }

    proptest! {
        #[test]
        fn the_totals_are_the_sums_over_the_charges(
            entries in prop::collection::vec(entries(), 0..60),
        ) {
            let mut books = Books::default();
            for entry in entries {
                let known = books.charge(entry.charge_id).is_some();
                if !(known && matches!(entry.effect, Effect::Open(_))) {
                    let _ = books.replay(&entry);
                }
            }
            let charges = books.page(&Filter::default(), 100, None).unwrap().items;
            let totals = books.totals().first().map_or_else(Totals::default, |(_, totals)| *totals);
            let count = |of: fn(&Standing) -> bool| {
                u64::try_from(charges.iter().filter(|charge| of(&charge.standing)).count()).unwrap()
            };
            let sum = |of: fn(&Standing) -> i64| {
                charges.iter().map(|charge| i128::from(of(&charge.standing))).sum::<i128>()
            };
            prop_assert_eq!(totals.charges, count(|_| true));
            prop_assert_eq!(totals.declined_count, count(|now| now.status == Status::Declined));
            prop_assert_eq!(totals.voided_count, count(|now| now.status == Status::Voided));
            prop_assert_eq!(totals.captured_count, count(|now| now.captured_minor > 0));
            prop_assert_eq!(totals.captured_minor, sum(|now| now.captured_minor));
            prop_assert_eq!(totals.refunded_count, count(|now| now.refunded_minor > 0));
            prop_assert_eq!(totals.refunded_minor, sum(|now| now.refunded_minor));
            prop_assert!(totals.authorised_minor >= totals.captured_minor);
        }
    }
}
