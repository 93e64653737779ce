//! Payments: what gateways promised, took and gave back, with a double-entry ledger.
//!
//! An operation at a gateway is a row before it is a call, and has one name there and here for ever.
//! So whatever dies between the row and the answer, asking under that name tells what happened; until it
//! has been told, it is unknown, which is never taken for a no. What orders decides (confirm, end) and
//! what gateways answer meet in one row and one table ([`domain`]): money that an order does not want any
//! more is given back, however late it turns up.

mod answers;
pub mod attempt;
mod batch;
mod calls;
mod commands;
mod config;
pub mod domain;
mod events;
mod gateway;
mod queries;
mod store;
mod webhook;

use std::{sync::Arc, time::Duration};

use shopzen_chassis::{Kinds, Worker, queue};
use shopzen_contracts::{
    Service,
    orders::{OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected},
    payments::{AuditLedger, AuditPayments, ReceiveWebhook},
    stock::StockReserved,
};

pub use config::{Config, ConfigError, SandboxUrl, WebhookSecret};

use calls::{Answered, Calls};
use tokio::sync::Mutex;

/// How often attempts are looked for that are to be looked at again.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(250);
/// Answers of gateways that wait to be recorded; further ones wait at their gateway's place.
const ANSWERS_MAX: usize = 4_096;

/// What handlers need besides the transaction.
#[derive(Debug)]
pub(crate) struct Payments {
    calls: Arc<Calls>,
    /// What audits need not look at again.
    verified: Mutex<Option<store::audit::Verified>>,
}

/// Pays orders.
pub fn worker(config: &Config) -> Worker {
    let (answers, received) = queue(ANSWERS_MAX);
    let payments = Payments {
        calls: Arc::new(Calls::new(config, answers)),
        verified: Mutex::default(),
    };
    Worker::builder(
        Service::Payments,
        &store::MIGRATOR,
        config.database(),
        payments,
    )
    .on_events(
        Kinds::default()
            .in_passing::<OrderPlaced>()
            .urgent::<StockReserved>()
            .in_passing::<OrderConfirmed>()
            .in_passing::<OrderRejected>()
            .in_passing::<OrderCancelled>(),
        events::advance,
    )
    .on_commands::<ReceiveWebhook, _>(commands::receive_webhook)
    .answer::<AuditPayments, _>(queries::audit)
    .answer::<AuditLedger, _>(queries::audit_ledger)
    .drain(received, Answered::is_urgent, answers::record)
    .every(
        "look again at attempts",
        LOOK_AGAIN_EVERY,
        answers::look_again,
    )
    .every(
        "forget old webhooks",
        commands::FORGET_EVERY,
        commands::forget_webhooks,
    )
    .build()
}
