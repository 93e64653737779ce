//! Tells people by e-mail: what became of an order, one for each order and kind, and what concerns an account.
//!
//! A mail is written in the transaction that handles the event, so that there is exactly one. Without
//! a mail server that is all: it is kept, and `shopzen mail ls` shows it. With one it is handed over at
//! least once (a server that dies between taking a mail and saying so gets it again, under the same
//! Message-ID, by which the repeat can be known).

mod account_letter;
mod commands;
mod config;
mod events;
mod gateway;
mod letter;
mod people;
mod queries;
mod sending;
mod store;

use std::{sync::Arc, time::Duration};

use shopzen_chassis::{Kinds, Worker, queue};
use shopzen_contracts::{
    Service,
    auth::erasure::AccountErased,
    notify::{AuditMails, ListMails, ListOwnMails, SendLetter},
    orders::{OrderCancelled, OrderConfirmed, OrderRejected},
};

pub use config::{Config, ConfigError, Sender, SmtpUrl};

use gateway::Gateway;

/// How often mails are looked for whose time has come again.
const SEND_EVERY: Duration = Duration::from_millis(500);
/// Attempts that are over and wait to be recorded.
const OUTCOMES_MAX: usize = 256;

/// What the handlers need besides the transaction.
#[derive(Debug)]
pub(crate) struct Notify {
    /// What the shop calls itself.
    shop: String,
    /// None where there is no mail server.
    gateway: Option<Arc<Gateway>>,
}

pub fn worker(config: Config) -> Worker {
    let (outcomes, received) = queue(OUTCOMES_MAX);
    let database = config.database();
    let shop = config.sender.shop_name();
    let gateway = config
        .smtp_url
        .transport()
        .map(|transport| Arc::new(Gateway::new(transport, config, outcomes)));
    let notify = Notify { shop, gateway };
    Worker::builder(Service::Notify, &store::MIGRATOR, database, notify)
        .on_events(
            Kinds::default()
                .in_passing::<OrderConfirmed>()
                .in_passing::<OrderRejected>()
                .in_passing::<OrderCancelled>(),
            events::tell,
        )
        .on_event::<AccountErased, _>(people::on_account_erased)
        .on_commands::<SendLetter, _>(commands::send_letter)
        .answer::<ListMails, _>(queries::list_mails)
        .answer::<ListOwnMails, _>(people::own_mails)
        .answer::<AuditMails, _>(queries::audit_mails)
        .every("send mails", SEND_EVERY, sending::send_due)
        .every("look after people", people::LOOK_EVERY, people::look)
        .every(
            "forget letters",
            people::FORGET_EVERY,
            people::forget_letters,
        )
        .drain(received, |_| true, sending::record)
        .build()
}
