//! Orders: takes them in, follows each through stock and payment, and alone decides how it ends.

mod commands;
mod config;
pub mod domain;
mod events;
mod pricing;
mod queries;
mod store;
mod token;

use std::time::Duration;

use shopzen_chassis::Worker;
use shopzen_contracts::{
    Service,
    catalog::ProductChanged,
    orders::{
        AuditAnswers, AuditDeadlines, AuditOrders, CancelOrder, GetOrder, GetProgress, ListOrders,
        PlaceOrder,
    },
    payments::{
        PaymentActionRequired, PaymentAuthorised, PaymentCaptureFailed, PaymentCaptured,
        PaymentDeclined, PaymentRefunded, PaymentUnknown, PaymentVoided,
    },
    stock::{StockRejected, StockReserved},
};

pub use config::Config;
pub use events::end_overdue;

/// How often overdue orders are looked for.
const OVERDUE_EVERY: Duration = Duration::from_millis(500);

/// Takes orders in, leads each through stock and payment, and tells the others how it ended.
pub fn worker(config: Config) -> Worker<Config> {
    Worker::new(Service::Orders, &store::MIGRATOR, config.database(), config)
        .on_commands::<PlaceOrder, _>(commands::place)
        .on_command::<CancelOrder, _>(commands::cancel)
        .on_event::<StockReserved, _>(events::on_stock_reserved)
        .on_event::<StockRejected, _>(events::on_stock_rejected)
        .on_event::<PaymentAuthorised, _>(events::on_payment_authorised)
        .on_event::<PaymentDeclined, _>(events::on_payment_declined)
        .on_event::<PaymentActionRequired, _>(events::on_payment_action_required)
        .on_event::<PaymentUnknown, _>(events::on_payment_unknown)
        .on_event::<PaymentCaptured, _>(events::on_payment_captured)
        .on_event::<PaymentCaptureFailed, _>(events::on_payment_capture_failed)
        .on_event::<PaymentVoided, _>(events::on_payment_voided)
        .on_event::<PaymentRefunded, _>(events::on_payment_refunded)
        .on_event::<ProductChanged, _>(events::on_product_changed)
        .answer::<GetOrder, _>(queries::get)
        .answer::<GetProgress, _>(queries::progress)
        .answer::<ListOrders, _>(queries::list)
        .answer::<AuditOrders, _>(queries::audit)
        .answer::<AuditDeadlines, _>(queries::audit_deadlines)
        .answer::<AuditAnswers, _>(queries::audit_answers)
        .every("overdue orders", OVERDUE_EVERY, end_overdue)
}
