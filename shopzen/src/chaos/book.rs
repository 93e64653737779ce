//! What the shoppers saw: kept on their side, so that it can be held against what the shop says later.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use shopzen_contracts::OrderId;

/// Answers that nobody should get, of which the first are kept word for word.
const ODD_KEPT_MAX: usize = 20;

/// An order that the shop accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub key: String,
    /// A guest's secret for it.
    pub token: String,
    /// Units of the scarce SKU in it.
    pub scarce: u64,
}

/// An order from the request to the answer that it is confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Checkout {
    pub began: Instant,
    pub confirmed: Instant,
}

/// A time in which nobody was told that an order is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    pub from: Instant,
    pub until: Instant,
}

impl Silence {
    pub fn length(&self) -> Duration {
        self.until - self.from
    }
}

#[derive(Debug, Default)]
struct Pages {
    accepted: BTreeMap<OrderId, Accepted>,
    checkouts: Vec<Checkout>,
    /// How often which answer came.
    answers: BTreeMap<String, u64>,
    repeated: u64,
    /// A key that was given two orders, or another key's.
    broken_keys: Vec<String>,
    odd: Vec<String>,
    slowest: Duration,
}

#[derive(Debug, Default)]
pub struct Book(Mutex<Pages>);

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an accepted order. The same key must not lead to another one.
    pub fn accept(&self, id: OrderId, accepted: Accepted) {
        let mut pages = self.pages();
        if let Some(known) = pages.accepted.get(&id)
            && known.key != accepted.key
        {
            let broken = format!(
                "order {id} was given for {} and for {}",
                known.key, accepted.key
            );
            pages.broken_keys.push(broken);
        }
        pages.accepted.insert(id, accepted);
    }

    /// Notes what the same request was answered the second time.
    pub fn repeat(&self, key: &str, first: OrderId, second: OrderId) {
        let mut pages = self.pages();
        pages.repeated += 1;
        if first != second {
            let broken = format!("{key} led to {first} and to {second}");
            pages.broken_keys.push(broken);
        }
    }

    pub fn confirm(&self, checkout: Checkout) {
        self.pages().checkouts.push(checkout);
    }

    pub fn answer(&self, kind: &str, took: Duration) {
        let mut pages = self.pages();
        *pages.answers.entry(kind.to_owned()).or_default() += 1;
        pages.slowest = pages.slowest.max(took);
    }

    /// Notes an answer that nobody should get, whatever is broken.
    pub fn odd(&self, what: String) {
        let mut pages = self.pages();
        if pages.odd.len() < ODD_KEPT_MAX {
            pages.odd.push(what);
        }
    }

    pub fn accepted(&self) -> BTreeMap<OrderId, Accepted> {
        self.pages().accepted.clone()
    }

    pub fn accepted_count(&self) -> u64 {
        u64::try_from(self.pages().accepted.len()).unwrap_or(u64::MAX)
    }

    pub fn confirmed_count(&self) -> u64 {
        u64::try_from(self.pages().checkouts.len()).unwrap_or(u64::MAX)
    }

    /// How long it took from `since` until an order was confirmed that was placed after it.
    pub fn recovery(&self, since: Instant) -> Option<Duration> {
        let pages = self.pages();
        let after = pages.checkouts.iter().filter(|it| it.began >= since);
        after.map(|it| it.confirmed - since).min()
    }

    /// The longest times between one confirmation and the next, longest first.
    pub fn silences(&self, count: usize) -> Vec<Silence> {
        let pages = self.pages();
        let mut confirmed: Vec<Instant> = pages.checkouts.iter().map(|it| it.confirmed).collect();
        confirmed.sort_unstable();
        let mut silences: Vec<Silence> = confirmed
            .windows(2)
            .map(|pair| Silence {
                from: pair[0],
                until: pair[1],
            })
            .collect();
        silences.sort_unstable_by_key(|silence| Reverse(silence.length()));
        silences.truncate(count);
        silences
    }

    pub fn answers(&self) -> BTreeMap<String, u64> {
        self.pages().answers.clone()
    }

    pub fn slowest(&self) -> Duration {
        self.pages().slowest
    }

    pub fn repeated(&self) -> u64 {
        self.pages().repeated
    }

    pub fn broken_keys(&self) -> Vec<String> {
        self.pages().broken_keys.clone()
    }

    pub fn oddities(&self) -> Vec<String> {
        self.pages().odd.clone()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn accepted(key: &str) -> Accepted {
        Accepted {
            key: key.to_owned(),
            token: String::new(),
            scarce: 0,
        }
    }

    #[test]
    fn one_key_is_one_order() {
        let book = Book::default();
        let [one, other] = [1, 2].map(|id| OrderId(Uuid::from_u128(id)));
        book.accept(one, accepted("a"));
        book.accept(one, accepted("a"));
        book.repeat("a", one, one);
        assert!(book.broken_keys().is_empty());
        assert_eq!((book.accepted_count(), book.repeated()), (1, 1));
        book.accept(one, accepted("b"));
        book.repeat("a", one, other);
        assert_eq!(book.broken_keys().len(), 2);
    }

    #[test]
    fn recovery_is_shown_by_an_order_that_was_placed_afterwards() {
        let book = Book::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        book.confirm(Checkout {
            began: at(0),
            confirmed: at(150),
        });
        assert_eq!(book.recovery(at(100)), None);
        book.confirm(Checkout {
            began: at(300),
            confirmed: at(400),
        });
        book.confirm(Checkout {
            began: at(200),
            confirmed: at(500),
        });
        assert_eq!(book.recovery(at(100)), Some(Duration::from_millis(300)));
    }

    #[test]
    fn a_silence_is_from_one_confirmation_to_the_next() {
        let book = Book::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (began, confirmed) in [(0, 400), (100, 200), (300, 1_000), (500, 1_100)] {
            book.confirm(Checkout {
                began: at(began),
                confirmed: at(confirmed),
            });
        }
        let silence = |from, until| Silence {
            from: at(from),
            until: at(until),
        };
        assert_eq!(book.silences(2), [silence(400, 1_000), silence(200, 400)]);
    }
}
