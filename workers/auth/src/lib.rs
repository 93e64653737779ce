//! Who is who: accounts, and the signed access tokens by which every worker knows them.
//!
//! A token is an `at+jwt` (RFC 9068) signed with ES256. Workers verify it themselves, with the public
//! keys this worker gives to whoever asks.
//!
//! `IssueToken` gives a token to whoever may publish on its subject: NATS permissions leave that to
//! operators.

mod commands;
mod config;
mod queries;
mod seed;
mod store;
mod token;

use std::time::Duration;

use shopzen_chassis::Worker;
use shopzen_contracts::{
    Service,
    auth::{GetKeys, IssueToken},
};

pub use config::Config;

/// What the handlers need besides the transaction.
#[derive(Debug)]
pub(crate) struct Auth {
    demo_accounts: bool,
    token_lifetime: Duration,
}

pub fn worker(config: Config) -> Worker {
    let auth = Auth {
        demo_accounts: config.demo_accounts,
        token_lifetime: Duration::from_secs(config.token_lifetime_s.into()),
    };
    Worker::builder(
        Service::Auth,
        &store::MIGRATOR,
        config.into_database(),
        auth,
    )
    .at_start(seed::signing_key)
    .at_start(seed::demo_accounts)
    .on_command::<IssueToken, _>(commands::issue_token)
    .answer::<GetKeys, _>(queries::keys)
    .build()
}
