//! Who speaks with whom: what permissions and the catalogue of messages are made from.

use std::fmt;

use shopzen_chassis::{Description, ping_of};
use shopzen_contracts::{
    Command, Event, Notice, Query, Service,
    audit::GetReport,
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
    catalog::{GetProduct, ImportProducts, ListCategories, ListProducts, Suggest, UpsertProduct},
    catalogue,
    notify::{AuditMails, ListMails, ListOwnMails, SendLetter},
    orders::{
        AuditAnswers, AuditDeadlines, AuditOrders, CancelOrder, ExportOrders, GetOrder,
        GetProgress, GetRecipients, ListOrders, OrdersProgressed, PlaceOrder,
    },
    payments::{AuditLedger, AuditPayments, ReceiveWebhook},
    stock::{
        AdjustStock, AuditLevels, AuditReservations, GetLevels, ImportLevels, LevelsChanged,
        ListMovements,
    },
};

/// Who signs in to NATS: a user of `nats/server.conf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Worker(Service),
    Edge,
    /// The audit that runs all the time.
    Audit,
    /// The operator's commands.
    Operator,
}

impl Role {
    pub fn all() -> Vec<Self> {
        let workers = Service::ALL.into_iter().map(Self::Worker);
        workers
            .chain([Self::Edge, Self::Audit, Self::Operator])
            .collect()
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Worker(service) => service.name(),
            Self::Edge => "edge",
            Self::Audit => "audit",
            Self::Operator => "operator",
        }
    }

    /// The requests it makes.
    pub fn asks(self) -> Vec<String> {
        match self {
            // Every worker verifies access tokens itself.
            Self::Worker(Service::Auth) => owned(&[GetTrust::SUBJECT, SendLetter::SUBJECT]),
            Self::Worker(Service::Notify) => owned(&[GetTrust::SUBJECT, GetRecipients::SUBJECT]),
            Self::Worker(_) => vec![GetTrust::SUBJECT.to_owned()],
            Self::Edge => owned(&[
                ListProducts::SUBJECT,
                GetProduct::SUBJECT,
                ListCategories::SUBJECT,
                Suggest::SUBJECT,
                UpsertProduct::SUBJECT,
                PlaceOrder::SUBJECT,
                GetOrder::SUBJECT,
                ListOrders::SUBJECT,
                GetProgress::SUBJECT,
                CancelOrder::SUBJECT,
                ReceiveWebhook::SUBJECT,
                GetLevels::SUBJECT,
                AdjustStock::SUBJECT,
                ListMovements::SUBJECT,
                GetReport::SUBJECT,
                GetKeys::SUBJECT,
                Register::SUBJECT,
                ConfirmEmail::SUBJECT,
                RequestPasswordReset::SUBJECT,
                ResetPassword::SUBJECT,
                SignIn::SUBJECT,
                SignOut::SUBJECT,
                UseSession::SUBJECT,
                GetMe::SUBJECT,
                ChangeMe::SUBJECT,
                ChangePassword::SUBJECT,
                ChangeEmail::SUBJECT,
                GetMetadata::SUBJECT,
                RequestToken::SUBJECT,
                RevokeToken::SUBJECT,
                IntrospectToken::SUBJECT,
                GetClient::SUBJECT,
                ListClients::SUBJECT,
                AddClient::SUBJECT,
                RotateClientSecret::SUBJECT,
                SetClientKeys::SUBJECT,
                RevokeClient::SUBJECT,
                ListRoles::SUBJECT,
                GetCustomerRoles::SUBJECT,
                SetCustomerRoles::SUBJECT,
                GetPartner::SUBJECT,
                ListPartners::SUBJECT,
                AddPartner::SUBJECT,
                RotatePartnerSecret::SUBJECT,
                RevokePartner::SUBJECT,
            ])
            .into_iter()
            .chain(of_people())
            .chain(of_openid())
            .chain(Service::ALL.into_iter().map(history))
            .chain(
                Service::ALL
                    .into_iter()
                    .flat_map(|it| of_letters(it, "staff")),
            )
            .chain(Service::ALL.into_iter().map(activity))
            .collect(),
            // It verifies the access tokens of those who ask it.
            Self::Audit => of_audits()
                .into_iter()
                .chain([GetTrust::SUBJECT.to_owned()])
                .chain(Service::ALL.into_iter().flat_map(of_events))
                .collect(),
            Self::Operator => owned(&[
                IssueToken::SUBJECT,
                IssueOperatorToken::SUBJECT,
                ListSigningKeys::SUBJECT,
                RotateSigningKeys::SUBJECT,
                ListClients::SUBJECT,
                AddClient::SUBJECT,
                RotateClientSecret::SUBJECT,
                RevokeClient::SUBJECT,
                GetAccountRoles::SUBJECT,
                SetAccountRoles::SUBJECT,
                ListPartners::SUBJECT,
                AddPartner::SUBJECT,
                RotatePartnerSecret::SUBJECT,
                RevokePartner::SUBJECT,
                ListProducts::SUBJECT,
                ImportProducts::SUBJECT,
                ImportLevels::SUBJECT,
                GetOrder::SUBJECT,
                ListMails::SUBJECT,
            ])
            .into_iter()
            .chain(of_audits())
            .chain(Service::ALL.into_iter().flat_map(of_events))
            .chain(
                Service::ALL
                    .into_iter()
                    .flat_map(|it| of_letters(it, "operator")),
            )
            .chain(Service::ALL.into_iter().map(activity))
            .collect(),
        }
    }

    /// The kinds of request that are made to it.
    pub const fn answers(self) -> &'static [&'static str] {
        match self {
            Self::Worker(_) => &["cmd", "qry"],
            Self::Audit => &["qry"],
            Self::Edge | Self::Operator => &[],
        }
    }

    /// Whom it asks for a sign of life when there is no answer.
    pub fn pings(self) -> Vec<String> {
        match self {
            // It waits for the answer with events in hand.
            Self::Worker(Service::Notify) => vec![ping_of(Service::Orders.name())],
            // The others ask for keys only, or by the way, and do without a sign of life.
            Self::Worker(_) => Vec::new(),
            Self::Edge => catalogue::OWNERS.map(ping_of).into(),
            Self::Audit => Service::ALL.map(|worker| ping_of(worker.name())).into(),
            // It may use the whole of the Services API.
            Self::Operator => Vec::new(),
        }
    }

    /// What it listens to as it passes by, to look again sooner.
    pub fn overhears(self) -> Vec<String> {
        match self {
            Self::Worker(_) | Self::Audit | Self::Operator => Vec::new(),
            Self::Edge => vec![
                OrdersProgressed::SUBJECT.to_owned(),
                format!("{}.*", LevelsChanged::SUBJECT),
            ],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn owned(subjects: &[&str]) -> Vec<String> {
    subjects
        .iter()
        .map(|subject| (*subject).to_owned())
        .collect()
}

/// What people ask about themselves.
fn of_people() -> Vec<String> {
    owned(&[
        ListSessions::SUBJECT,
        EndSession::SUBJECT,
        FinishSignIn::SUBJECT,
        SignInByPasskey::SUBJECT,
        AskForPasskey::SUBJECT,
        StepUp::SUBJECT,
        ListFactors::SUBJECT,
        AddTotp::SUBJECT,
        ConfirmTotp::SUBJECT,
        RemoveTotp::SUBJECT,
        RenewRecoveryCodes::SUBJECT,
        StartPasskey::SUBJECT,
        AddPasskey::SUBJECT,
        RenamePasskey::SUBJECT,
        RemovePasskey::SUBJECT,
        ListAddresses::SUBJECT,
        GetAddress::SUBJECT,
        AddAddress::SUBJECT,
        ChangeAddress::SUBJECT,
        RemoveAddress::SUBJECT,
        ExportMe::SUBJECT,
        ExportOrders::SUBJECT,
        ListOwnMails::SUBJECT,
        EraseMe::SUBJECT,
    ])
}

/// What is asked for who signs in with an account elsewhere, or elsewhere with theirs.
fn of_openid() -> Vec<String> {
    owned(&[
        Authorize::SUBJECT,
        GetUserinfo::SUBJECT,
        ListProviders::SUBJECT,
        BeginTrip::SUBJECT,
        EndTrip::SUBJECT,
        AskProvider::SUBJECT,
        SignInByProvider::SUBJECT,
        DescribeIdentity::SUBJECT,
        LinkIdentity::SUBJECT,
        ListIdentities::SUBJECT,
        UnlinkIdentity::SUBJECT,
    ])
}

fn history(service: Service) -> String {
    format!("shop.qry.{}.v1.history", service.name())
}

/// What staff did, for who has a token that allows to see it.
fn activity(service: Service) -> String {
    format!("shop.qry.{}.v1.activity", service.name())
}

/// What an audit asks: of one worker each.
fn of_audits() -> Vec<String> {
    owned(&[
        AuditOrders::SUBJECT,
        AuditDeadlines::SUBJECT,
        AuditAnswers::SUBJECT,
        AuditLevels::SUBJECT,
        AuditReservations::SUBJECT,
        AuditPayments::SUBJECT,
        AuditLedger::SUBJECT,
        AuditMails::SUBJECT,
    ])
}

/// What an audit asks every worker: what became of its events, and to publish again what somebody missed.
fn of_events(service: Service) -> Vec<String> {
    let name = service.name();
    vec![
        history(service),
        format!("shop.qry.{name}.v1.published"),
        format!("shop.qry.{name}.v1.handled"),
        format!("shop.qry.{name}.v1.strays"),
        format!("shop.qry.{name}.v1.missed"),
        // Harmless: a worker publishes its own events, and who had one drops the repeat.
        format!("shop.cmd.{name}.v1.republish"),
    ]
}

/// What is asked about dead letters, by `staff` or by an `operator`. Who asks stands at the end: a worker
/// believes an operator because nobody else may send there, and staff by their access token.
pub fn of_letters(service: Service, by: &str) -> Vec<String> {
    let name = service.name();
    vec![
        format!("shop.qry.{name}.v1.dead_letters.{by}"),
        format!("shop.qry.{name}.v1.dead_letter_groups.{by}"),
        format!("shop.qry.{name}.v1.dead_letter.{by}"),
        format!("shop.cmd.{name}.v1.edit_dead_letter.{by}"),
        format!("shop.cmd.{name}.v1.replay_dead_letter.{by}"),
        format!("shop.cmd.{name}.v1.drop_dead_letter.{by}"),
    ]
}

/// What every worker answers besides its own: the chassis does.
pub fn of_every_worker(service: Service) -> Vec<String> {
    [
        of_events(service),
        of_letters(service, "*"),
        vec![activity(service)],
    ]
    .concat()
}

/// What each worker says it listens to.
pub fn descriptions() -> Vec<Description> {
    vec![
        shopzen_auth::worker(shopzen_auth::Config::default()).describe(),
        shopzen_catalog::worker(shopzen_catalog::Config::default()).describe(),
        shopzen_orders::worker(shopzen_orders::Config::default()).describe(),
        shopzen_stock::worker(&shopzen_stock::Config::default()).describe(),
        shopzen_payments::worker(&shopzen_payments::Config::default()).describe(),
        shopzen_notify::worker(shopzen_notify::Config::default()).describe(),
    ]
}
