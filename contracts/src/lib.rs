//! What the parts of ShopZen say to each other: plain types, their subjects and schemas.
//!
//! No I/O and no behaviour beyond what keeps a value legal: a [`Sku`], a [`Quantity`] and a
//! [`Money`] cannot be built wrong. Each message stands in the module of the service that owns it,
//! with its subject written out beside it.
//!
//! Architecture invariant: this crate knows no broker, no database and no clock.

mod address;
mod confidential;
mod email;
mod ids;
mod message;
mod money;
mod problem;
mod quantity;

pub mod audit;
pub mod auth;
pub mod catalog;
pub mod catalogue;
pub mod notify;
pub mod orders;
pub mod payments;
pub mod privacy;
pub mod rights;
pub mod stock;

pub use address::{Address, PostalAddress};
pub use confidential::Confidential;
pub use email::is_email;
pub use ids::{OrderId, ProductId, Sku, Slug};
pub use message::{Command, Event, Notice, Query, Service, header};
pub use money::{Currency, Money, MoneyError};
pub use problem::{FieldError, Problem};
pub use quantity::Quantity;
pub use rights::{Access, Role, Scope};
