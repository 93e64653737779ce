//! Orders: takes them in, follows each through stock and payment, and alone decides how it ends.

mod commands;
mod config;
pub mod domain;
mod events;
mod keys;
mod people;
mod pricing;
mod queries;
mod store;
mod token;

use std::time::Duration;

use shopzen_chassis::{Kinds, Worker};
use shopzen_contracts::{
    Service,
    auth::erasure::AccountErased,
    catalog::ProductChanged,
    orders::{
        AuditAnswers, AuditDeadlines, AuditOrders, CancelOrder, ExportOrders, GetOrder,
        GetProgress, GetRecipients, ListOrders, PlaceOrder,
    },
    payments::{
        PaymentActionRequired, PaymentAuthorised, PaymentCaptureFailed, PaymentCaptured,
        PaymentDeclined, PaymentRefunded, PaymentUnknown, PaymentVoided,
    },
    stock::{StockRejected, StockReserved},
};

pub use config::Config;

use keys::Keys;

/// How often overdue orders are looked for.
const OVERDUE_EVERY: Duration = Duration::from_millis(500);

/// What the handlers need besides the transaction.
#[derive(Debug)]
pub(crate) struct Orders {
    config: Config,
    keys: Keys,
}

/// Takes orders in, leads each through stock and payment, and tells the others how it ended.
pub fn worker(config: Config) -> Worker {
    let database = config.database();
    let orders = Orders {
        keys: Keys::new(&config.key_encryption_key),
        config,
    };
    Worker::builder(Service::Orders, &store::MIGRATOR, database, orders)
        .at_start(keys::at_start)
        .on_commands::<PlaceOrder, _>(commands::place)
        .on_command::<CancelOrder, _>(commands::cancel)
        .on_events(
            Kinds::default()
                .in_passing::<StockReserved>()
                .urgent::<StockRejected>()
                .urgent::<PaymentAuthorised>()
                .urgent::<PaymentDeclined>()
                .urgent::<PaymentActionRequired>()
                .in_passing::<PaymentUnknown>()
                .in_passing::<PaymentCaptured>()
                .urgent::<PaymentCaptureFailed>()
                .in_passing::<PaymentVoided>()
                .in_passing::<PaymentRefunded>(),
            events::advance,
        )
        .on_event::<ProductChanged, _>(events::on_product_changed)
        .on_event::<AccountErased, _>(people::on_account_erased)
        .answer::<GetOrder, _>(queries::get)
        .answer::<GetProgress, _>(queries::progress)
        .answer::<ListOrders, _>(queries::list)
        .answer::<GetRecipients, _>(people::recipients)
        .answer::<ExportOrders, _>(people::export)
        .answer::<AuditOrders, _>(queries::audit)
        .answer::<AuditDeadlines, _>(queries::audit_deadlines)
        .answer::<AuditAnswers, _>(queries::audit_answers)
        .every("overdue orders", OVERDUE_EVERY, events::end_overdue)
        .every("erase people", people::ERASE_EVERY, people::erase)
        .build()
}
