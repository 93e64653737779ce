//! A place in a sorted list, which stays the same place whatever comes and goes around it.

use std::cmp::Reverse;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use shopzen_contracts::{Problem, ProductId, catalog::Sort};

/// The longest cursor, in bytes.
const CURSOR_LENGTH_MAX: usize = 2_048;

/// What a list is sorted by; the id makes it a place of one product alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    Relevance(Reverse<u32>, Reverse<ProductId>),
    Price(i64, ProductId),
    PriceDescending(Reverse<(i64, ProductId)>),
    Newest(Reverse<ProductId>),
    Name(Box<str>, ProductId),
}

impl Place {
    /// What a client hands back to go on from here. Opaque: it may look different tomorrow.
    pub(super) fn cursor(&self) -> String {
        let json = serde_json::to_vec(self).expect("a place is plain data");
        BASE64URL_NOPAD.encode(&json)
    }

    /// Reads what a client handed back, for a list that is sorted by `sort`.
    pub(super) fn parse(cursor: &str, sort: Sort) -> Result<Self, Problem> {
        let read = || {
            if cursor.len() > CURSOR_LENGTH_MAX {
                return None;
            }
            let json = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
            let place: Self = serde_json::from_slice(&json).ok()?;
            (place.sort() == sort).then_some(place)
        };
        read().ok_or_else(|| {
            let detail = "the cursor is not one this list gave; start again without one";
            Problem::new(400, "invalid_cursor", detail)
        })
    }

    fn sort(&self) -> Sort {
        match self {
            Self::Relevance(..) => Sort::Relevance,
            Self::Price(..) => Sort::Price,
            Self::PriceDescending(..) => Sort::PriceDescending,
            Self::Newest(..) => Sort::Newest,
            Self::Name(..) => Sort::Name,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> ProductId {
        ProductId(Uuid::from_u128(number))
    }

    #[test]
    fn a_cursor_is_of_the_list_that_gave_it() {
        let place = Place::Price(1_299, id(7));
        assert_eq!(Place::parse(&place.cursor(), Sort::Price).unwrap(), place);
        for sort in [
            Sort::Relevance,
            Sort::PriceDescending,
            Sort::Newest,
            Sort::Name,
        ] {
            let problem = Place::parse(&place.cursor(), sort).unwrap_err();
            assert_eq!(
                (problem.status, problem.code.as_str()),
                (400, "invalid_cursor")
            );
        }
    }

    #[test]
    fn places_are_in_the_order_of_the_list() {
        let descending = |price| Place::PriceDescending(Reverse((price, id(1))));
        assert!(descending(200) < descending(100));
        assert!(Place::Price(100, id(2)) < Place::Price(200, id(1)));
        assert!(Place::Newest(Reverse(id(2))) < Place::Newest(Reverse(id(1))));
        let relevance = |score| Place::Relevance(Reverse(score), Reverse(id(1)));
        assert!(relevance(16) < relevance(1));
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text: String, bytes: Vec<u8>) {
            Place::parse(&text, Sort::Name).unwrap_err();
            let _ = Place::parse(&BASE64URL_NOPAD.encode(&bytes), Sort::Name);
        }
    }
}
