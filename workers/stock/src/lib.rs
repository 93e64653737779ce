//! Goods: on hand, reserved and allocated per SKU and location, with a ledger of every movement.
//!
//! An order's goods are held all together or not at all. Only what becomes of the order releases or
//! allocates them: stock has no deadlines of its own.

mod commands;
mod config;
pub mod domain;
mod events;
mod queries;
mod store;

pub use config::Config;

use shopzen_chassis::{Kinds, Worker};
use shopzen_contracts::{
    Service,
    catalog::ProductChanged,
    orders::{OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected},
    stock::{AdjustStock, AuditLevels, AuditReservations, GetLevels, ImportLevels, ListMovements},
};
use tokio::sync::Mutex;

/// What handlers need besides their transaction: nothing.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    /// What audits need not add up again.
    added_up: Mutex<Option<store::audit::AddedUp>>,
}

/// Holds goods for orders, and says what can be bought.
pub fn worker(config: &Config) -> Worker {
    let stock = Stock::default();
    Worker::builder(Service::Stock, &store::MIGRATOR, config.database(), stock)
        .on_events(
            Kinds::default()
                .urgent::<OrderPlaced>()
                .in_passing::<OrderConfirmed>()
                .in_passing::<OrderRejected>()
                .in_passing::<OrderCancelled>(),
            events::advance,
        )
        .on_event::<ProductChanged, _>(events::on_product_changed)
        .on_command::<AdjustStock, _>(commands::adjust)
        .on_command::<ImportLevels, _>(commands::import_levels)
        .answer::<GetLevels, _>(queries::levels)
        .answer::<ListMovements, _>(queries::movements)
        .answer::<AuditLevels, _>(queries::audit_levels)
        .answer::<AuditReservations, _>(queries::audit_reservations)
        .build()
}
