//! What shoppers, staff and the gateway ask for, and what shoppers are told.

use std::{collections::BTreeMap, rc::Rc};

use shopzen_contracts::orders::OrderLineInput;

use crate::facts::{Card, OrderNo};

/// What somebody wants to buy.
#[derive(Clone, Debug)]
pub(crate) struct Basket {
    pub(crate) lines: Rc<[OrderLineInput]>,
    pub(crate) card: Card,
    /// What the shopper says that it costs; where that is wrong nothing is ordered.
    pub(crate) expected_total: Option<i64>,
    /// Stands for the body: the same only where all of it is the same.
    pub(crate) fingerprint: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Request {
    Place { key: u8, basket: Basket },
    Cancel { key: u8, by_staff: bool },
    Adjust { sku: usize, delta: i64 },
    Import { sku: usize, on_hand: i64 },
    Reprice { sku: usize, price: i64 },
    Webhook { order: OrderNo, number: u8 },
}

/// An answer to a request to place an order. Other answers nobody relies on.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) key: u8,
    pub(crate) fingerprint: u64,
    pub(crate) said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Accepted(OrderNo),
    KeyReused,
    Refused,
}

/// What shoppers remember: under each key the body and the order that was accepted.
#[derive(Debug, Default)]
pub(crate) struct Shoppers {
    pub(crate) accepted: BTreeMap<u8, (u64, OrderNo)>,
}

impl Shoppers {
    /// Hears an answer; says what is wrong with it (I10).
    pub(crate) fn hear(&mut self, reply: &Reply) -> Result<(), String> {
        let Reply {
            key,
            fingerprint,
            said,
        } = reply;
        match (said, self.accepted.get(key)) {
            (Said::Accepted(order), None) => {
                self.accepted.insert(*key, (*fingerprint, *order));
                Ok(())
            }
            (Said::Accepted(order), Some((body, known)))
                if order != known || body != fingerprint =>
            {
                Err(format!(
                    "key {key} stood for {known:?} and now for {order:?}"
                ))
            }
            (Said::KeyReused, Some((body, _))) if body == fingerprint => {
                Err(format!("key {key} is refused with the body it had before"))
            }
            _ => Ok(()),
        }
    }
}
