//! Who is who: accounts, and the signed access tokens by which every worker knows them.
//!
//! A token is an `at+jwt` (RFC 9068) signed with ES256. Workers verify it themselves, with the public
//! keys this worker gives to whoever asks.
//!
//! `IssueToken` and `IssueOperatorToken` give a token to whoever may publish on their subjects: NATS
//! permissions leave that to operators.

mod clients;
mod commands;
mod config;
mod door;
mod grants;
mod keys;
mod partners;
mod proof;
mod queries;
mod registration;
mod seal;
mod seed;
mod store;
mod token;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use shopzen_chassis::{DoorKeys, Failure, Worker};
use shopzen_contracts::{
    Service,
    auth::{
        GetKeys, GetTrust, IssueOperatorToken, IssueToken, ListSigningKeys, RotateSigningKeys,
        clients::{
            AddClient, GetClient, GetMetadata, IntrospectToken, ListClients, RequestToken,
            RevokeClient, RevokeToken, RotateClientSecret, SetClientKeys,
        },
        partners::{AddPartner, GetPartner, ListPartners, RevokePartner, RotatePartnerSecret},
    },
};

use seal::Seal;
use token::Signer;

pub use config::Config;

/// What the handlers need besides the transaction.
#[derive(Debug)]
pub(crate) struct Auth {
    demo_accounts: bool,
    /// The `iss` of all tokens.
    issuer: String,
    token_lifetime: Duration,
    /// None where keys are rotated by command only.
    key_rotation: Option<Duration>,
    signing: Arc<Signing>,
}

/// What the keys in the database are opened with.
#[derive(Debug)]
pub(crate) struct Signing {
    /// None where there is no secret to seal with.
    seal: Option<Seal>,
    /// What signed last, so that it need not be opened each time.
    signer: Mutex<Option<Arc<Signer>>>,
}

impl Signing {
    fn seal(&self) -> Result<&Seal, Failure> {
        self.seal.as_ref().ok_or_else(|| {
            Failure::Inconsistent(
                "auth.key_encryption_key is needed to seal signing keys, and must have at least 32 characters; \
                 `openssl rand -hex 32` makes one"
                    .to_owned(),
            )
        })
    }
}

pub fn worker(config: Config) -> Worker {
    let auth = Auth {
        demo_accounts: config.demo_accounts,
        issuer: config.issuer.trim_end_matches('/').to_owned(),
        token_lifetime: Duration::from_secs(config.token_lifetime_s.into()),
        key_rotation: config.key_rotation(),
        signing: Arc::new(Signing {
            seal: Seal::new(&config.key_encryption_key),
            signer: Mutex::default(),
        }),
    };
    let door = door::PartnersDoor {
        issuer: auth.issuer.clone(),
        lasts: auth.token_lifetime,
        signing: Arc::clone(&auth.signing),
    };
    let door_keys = DoorKeys::new(&config.door_secret);
    Worker::builder(
        Service::Auth,
        &store::MIGRATOR,
        config.into_database(),
        auth,
    )
    .keeps_door(door_keys, door)
    .at_start(keys::at_start)
    .at_start(seed::demo_accounts)
    .on_command::<IssueToken, _>(commands::issue_token)
    .on_command::<IssueOperatorToken, _>(commands::issue_operator_token)
    .on_command::<RotateSigningKeys, _>(keys::rotate)
    .on_commands::<RequestToken, _>(grants::request_token)
    .on_commands::<RevokeToken, _>(grants::revoke_token)
    .on_commands::<IntrospectToken, _>(grants::introspect_token)
    .on_command::<AddClient, _>(clients::add)
    .on_command::<RotateClientSecret, _>(clients::rotate_secret)
    .on_command::<SetClientKeys, _>(clients::set_keys)
    .on_command::<RevokeClient, _>(clients::revoke)
    .answer::<GetClient, _>(clients::get)
    .answer::<ListClients, _>(clients::list)
    .on_command::<AddPartner, _>(partners::add)
    .on_command::<RotatePartnerSecret, _>(partners::rotate_secret)
    .on_command::<RevokePartner, _>(partners::revoke)
    .answer::<GetPartner, _>(partners::get)
    .answer::<ListPartners, _>(partners::list)
    .answer::<GetMetadata, _>(queries::metadata)
    .answer::<GetTrust, _>(queries::trust)
    .answer::<GetKeys, _>(queries::keys)
    .answer::<ListSigningKeys, _>(queries::signing_keys)
    .every("signing keys", keys::LOOK_AFTER_EVERY, keys::look_after)
    .build()
}
