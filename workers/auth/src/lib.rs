//! Who is who: accounts, and the signed access tokens by which every worker knows them.
//!
//! A token is an `at+jwt` (RFC 9068) signed with ES256. Workers verify it themselves, with the public
//! keys this worker gives to whoever asks.
//!
//! `IssueToken` and `IssueOperatorToken` give a token to whoever may publish on their subjects: NATS
//! permissions leave that to operators.

mod authorization;
mod clients;
mod commands;
mod config;
mod door;
mod factors;
mod grants;
mod keys;
mod letters;
mod partners;
mod passwords;
mod proof;
mod providers;
mod queries;
mod registration;
mod roles;
mod seal;
mod secrets;
mod seed;
mod store;
mod token;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use shopzen_chassis::{Cx, DoorKeys, Failure, Queue, Worker, WorkerBuilder, queue};
use shopzen_contracts::{
    Service,
    auth::{
        GetAccountRoles, GetCustomerRoles, GetKeys, GetTrust, IssueOperatorToken, IssueToken,
        ListRoles, ListSigningKeys, RotateSigningKeys, SetAccountRoles, SetCustomerRoles,
        accounts::{
            ChangeEmail, ChangeMe, ChangePassword, ConfirmEmail, EndSession, GetMe, ListSessions,
            Register, RequestPasswordReset, ResetPassword, SignIn, SignOut, UseSession,
        },
        addresses::{AddAddress, ChangeAddress, GetAddress, ListAddresses, RemoveAddress},
        authorization::{Authorize, GetUserinfo},
        clients::{
            AddClient, GetClient, GetMetadata, IntrospectToken, ListClients, RequestToken,
            RevokeClient, RevokeToken, RotateClientSecret, SetClientKeys,
        },
        erasure::{EraseMe, ExportMe},
        factors::{
            AddPasskey, AddTotp, AskForPasskey, ConfirmTotp, FinishSignIn, ListFactors,
            RemovePasskey, RemoveTotp, RenamePasskey, RenewRecoveryCodes, SignInByPasskey,
            StartPasskey, StepUp,
        },
        identities::{
            AskProvider, BeginTrip, DescribeIdentity, EndTrip, LinkIdentity, ListIdentities,
            ListProviders, SignInByProvider, UnlinkIdentity,
        },
        partners::{AddPartner, GetPartner, ListPartners, RevokePartner, RotatePartnerSecret},
    },
};

use commands::{
    accounts, addresses, authorize, erasure, factors as second, identities, sessions, tokens,
};
use factors::passkeys::Passkeys;
use letters::Taken;
use passwords::Passwords;
use providers::Providers;

use seal::Seal;
use secrets::Links;
use token::Signer;

pub use config::{Config, StaffSecondFactor};
pub use providers::ProviderConfig;

/// Letters that are taken and wait to be recorded.
const LETTERS_TAKEN_MAX: usize = 256;
/// How often what is long past is forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(10);
/// How long wishes for accounts, and failures to sign in, are remembered.
const WISHES_KEPT_FOR: Duration = Duration::from_hours(1);
const FAILURES_KEPT_FOR: Duration = Duration::from_hours(24);
/// How long it is remembered that a letter was written.
const LETTERS_KEPT_FOR: Duration = Duration::from_hours(30 * 24);

/// What the handlers need besides the transaction.
#[derive(Debug)]
pub(crate) struct Auth {
    demo_accounts: bool,
    /// The `iss` of all tokens, and where links lead.
    issuer: String,
    token_lifetime: Duration,
    /// None where keys are rotated by command only.
    key_rotation: Option<Duration>,
    signing: Arc<Signing>,
    passwords: Passwords,
    passkeys: Passkeys,
    staff_second_factor: StaffSecondFactor,
    providers: Providers,
    links: Links,
    /// Where tasks say which letters the notify worker has.
    letters_taken: Queue<Taken>,
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
    let (letters_taken, taken) = queue(LETTERS_TAKEN_MAX);
    let mut config = config;
    let auth = Auth {
        demo_accounts: config.demo_accounts,
        issuer: config.issuer.trim_end_matches('/').to_owned(),
        token_lifetime: Duration::from_secs(config.token_lifetime_s.into()),
        key_rotation: config.key_rotation(),
        signing: Arc::new(Signing {
            seal: Seal::derived(&config.key_encryption_key, seal::PURPOSE),
            signer: Mutex::default(),
        }),
        passwords: Passwords::new(),
        passkeys: Passkeys::new(&config.issuer),
        staff_second_factor: config.staff_second_factor,
        providers: Providers::new(std::mem::take(&mut config.providers)),
        links: Links::new(&config.key_encryption_key),
        letters_taken,
    };
    let door = door::PartnersDoor {
        issuer: auth.issuer.clone(),
        lasts: auth.token_lifetime,
        signing: Arc::clone(&auth.signing),
    };
    let door_keys = DoorKeys::new(&config.door_secret);
    own_affairs(Worker::builder(
        Service::Auth,
        &store::MIGRATOR,
        config.into_database(),
        auth,
    ))
    .keeps_door(door_keys, door)
    .at_start(keys::at_start)
    .at_start(providers::at_start)
    .at_start(seed::demo_accounts)
    .on_command::<IssueToken, _>(tokens::issue_token)
    .on_command::<IssueOperatorToken, _>(tokens::issue_operator_token)
    .on_command::<RotateSigningKeys, _>(keys::rotate)
    .on_command::<Register, _>(accounts::register)
    .on_command::<ConfirmEmail, _>(accounts::confirm_email)
    .on_commands::<RequestPasswordReset, _>(accounts::request_password_reset)
    .on_command::<ResetPassword, _>(accounts::reset_password)
    .on_command::<ChangeMe, _>(accounts::change_me)
    .on_command::<ChangePassword, _>(accounts::change_password)
    .on_command::<ChangeEmail, _>(accounts::change_email)
    .on_command::<SignIn, _>(sessions::sign_in)
    .on_commands::<SignOut, _>(sessions::sign_out)
    .on_commands::<UseSession, _>(sessions::use_session)
    .on_commands::<EndSession, _>(sessions::end_session)
    .answer::<GetMe, _>(queries::me)
    .answer::<ListSessions, _>(queries::sessions)
    .every(
        "answer wishes",
        accounts::ANSWER_EVERY,
        accounts::answer_wishes,
    )
    .every("letters", letters::SEND_EVERY, letters::send_due)
    .every("forget", FORGET_EVERY, forget)
    .drain(taken, |_| true, letters::record)
    .answer::<ListProviders, _>(identities::list_providers)
    .answer::<BeginTrip, _>(identities::begin_trip)
    .on_commands::<EndTrip, _>(identities::end_trip)
    .answer::<AskProvider, _>(identities::ask_provider)
    .on_command::<SignInByProvider, _>(identities::sign_in)
    .answer::<DescribeIdentity, _>(identities::describe)
    .on_command::<LinkIdentity, _>(identities::link_identity)
    .answer::<ListIdentities, _>(identities::list)
    .on_command::<UnlinkIdentity, _>(identities::unlink)
    .on_commands::<Authorize, _>(authorize::authorize)
    .answer::<GetUserinfo, _>(queries::userinfo)
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
    .on_command::<SetCustomerRoles, _>(roles::set_of_customer)
    .on_command::<SetAccountRoles, _>(roles::set_of_account)
    .answer::<ListRoles, _>(roles::list)
    .answer::<GetCustomerRoles, _>(roles::of_customer)
    .answer::<GetAccountRoles, _>(roles::of_account)
    .answer::<GetKeys, _>(queries::keys)
    .answer::<ListSigningKeys, _>(queries::signing_keys)
    .every("signing keys", keys::LOOK_AFTER_EVERY, keys::look_after)
    .build()
}

/// What people look after themselves: second factors, addresses, and all that is known of them.
fn own_affairs(worker: WorkerBuilder<Auth>) -> WorkerBuilder<Auth> {
    worker
        .on_command::<FinishSignIn, _>(second::finish_sign_in)
        .on_command::<SignInByPasskey, _>(second::sign_in_by_passkey)
        .on_commands::<AskForPasskey, _>(second::ask_for_passkey)
        .on_command::<StepUp, _>(second::step_up)
        .answer::<ListFactors, _>(queries::factors)
        .on_command::<AddTotp, _>(second::add_totp)
        .on_command::<ConfirmTotp, _>(second::confirm_totp)
        .on_command::<RemoveTotp, _>(second::remove_totp)
        .on_command::<RenewRecoveryCodes, _>(second::renew_recovery_codes)
        .on_command::<StartPasskey, _>(second::start_passkey)
        .on_command::<AddPasskey, _>(second::add_passkey)
        .on_command::<RenamePasskey, _>(second::rename_passkey)
        .on_command::<RemovePasskey, _>(second::remove_passkey)
        .on_commands::<AddAddress, _>(addresses::add)
        .on_commands::<ChangeAddress, _>(addresses::change)
        .on_commands::<RemoveAddress, _>(addresses::remove)
        .answer::<ListAddresses, _>(queries::addresses)
        .answer::<GetAddress, _>(queries::address)
        .answer::<ExportMe, _>(queries::export_me)
        .on_command::<EraseMe, _>(erasure::erase_me)
}

async fn forget(cx: &mut Cx, _: &Auth) -> Result<bool, Failure> {
    store::accounts::forget_registrations(cx.db(), WISHES_KEPT_FOR).await?;
    store::letters::forget(cx.db(), LETTERS_KEPT_FOR).await?;
    store::authorization::forget_codes(cx.db(), grants::CODES_KEPT_FOR).await?;
    store::sessions::forget(cx.db()).await?;
    store::erasure::forget_orphans(cx.db()).await?;
    store::factors::forget(cx.db(), factors::LIFETIME, factors::TRIES_WINDOW).await?;
    identities::forget(cx).await?;
    store::sessions::forget_failures(cx.db(), FAILURES_KEPT_FOR).await?;
    Ok(false)
}
