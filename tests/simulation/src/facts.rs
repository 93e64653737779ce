//! What is said in the simulated shop: who speaks, of what, and who follows.

use std::rc::Rc;

use shopzen_contracts::{Currency, Money, Sku, orders::OrderLineInput};

/// Milliseconds since a run began, by the database's clock.
pub(crate) type Millis = u64;

/// Who owns data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    Orders,
    Stock,
    Payments,
    Notify,
    Catalog,
}

impl Service {
    pub(crate) const ALL: [Self; 5] = [
        Self::Orders,
        Self::Stock,
        Self::Payments,
        Self::Notify,
        Self::Catalog,
    ];

    /// Whose streams this worker follows.
    pub(crate) const fn sources(self) -> &'static [Self] {
        match self {
            Self::Orders => &[Self::Stock, Self::Payments, Self::Catalog],
            Self::Stock | Self::Notify => &[Self::Orders],
            Self::Payments => &[Self::Orders, Self::Stock],
            Self::Catalog => &[],
        }
    }
}

/// The name of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OrderNo(pub(crate) u64);

/// The name of an event. As in a `UUIDv7` the clock of whoever made it stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EventId(pub(crate) u64);

/// A shopper's means of payment, named for how it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Card {
    Good,
    Declined,
    /// The shopper has to authenticate.
    Asks,
    /// Authorised, but the money is not given when it is asked for.
    NotCapturable,
    /// Of a gateway that nobody knows.
    Foreign,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    Placed {
        lines: Rc<[OrderLineInput]>,
        total: Money,
        card: Card,
    },
    Confirmed,
    Rejected,
    Cancelled,
    StockReserved,
    StockRejected,
    StockAllocated,
    StockReleased,
    Authorised,
    Declined,
    ActionRequired,
    PaymentUnknown,
    Captured,
    CaptureFailed,
    Voided,
    Refunded,
    ProductChanged {
        sku: usize,
        version: u64,
        price: i64,
    },
}

impl Fact {
    pub(crate) const fn owner(&self) -> Service {
        match self {
            Self::Placed { .. } | Self::Confirmed | Self::Rejected | Self::Cancelled => {
                Service::Orders
            }
            Self::StockReserved
            | Self::StockRejected
            | Self::StockAllocated
            | Self::StockReleased => Service::Stock,
            Self::ProductChanged { .. } => Service::Catalog,
            _ => Service::Payments,
        }
    }

    pub(crate) const fn followers(&self) -> &'static [Service] {
        match self {
            Self::Placed { .. } => &[Service::Stock, Service::Payments],
            Self::Confirmed | Self::Rejected | Self::Cancelled => {
                &[Service::Stock, Service::Payments, Service::Notify]
            }
            Self::StockReserved => &[Service::Orders, Service::Payments],
            Self::StockAllocated | Self::StockReleased => &[],
            _ => &[Service::Orders],
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: EventId,
    /// What it is about. Products have a name of their own in the fact.
    pub(crate) order: OrderNo,
    pub(crate) fact: Fact,
}

/// Kinds of goods in the shop.
pub(crate) const SKUS: usize = 3;

pub(crate) fn sku(number: usize) -> Sku {
    Sku::parse(format!("SKU-{number}")).expect("it is a name")
}

/// The number of a SKU that [`sku`] made.
pub(crate) fn number_of(sku: &Sku) -> usize {
    let digits = sku.as_str().trim_start_matches("SKU-");
    digits.parse().expect("the simulation made it")
}

pub(crate) const fn euros(amount_minor: i64) -> Money {
    Money::new(amount_minor, Currency::EUR)
}
