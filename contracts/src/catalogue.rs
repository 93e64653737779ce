//! Every message there is, in one list. Schemas, samples, permissions and documents are made from it,
//! and tests compare it with what stands in the modules and in the workers.

use std::any::type_name;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Access, Command, Event, Notice, Query,
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
        erasure::{AccountErased, EraseMe, ExportMe},
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
    catalog::{
        GetProduct, ImportProducts, ListCategories, ListProducts, ProductChanged, Suggest,
        UpsertProduct,
    },
    notify::{AuditMails, ListMails, ListOwnMails, MailSent, SendLetter},
    orders::{
        AuditAnswers, AuditDeadlines, AuditOrders, CancelOrder, ExportOrders, GetOrder,
        GetProgress, GetRecipients, ListOrders, OrderCancelled, OrderConfirmed, OrderPlaced,
        OrderRejected, OrdersProgressed, PlaceOrder,
    },
    payments::{
        AuditLedger, AuditPayments, PaymentActionRequired, PaymentAuthorised, PaymentCaptureFailed,
        PaymentCaptured, PaymentDeclined, PaymentRefunded, PaymentUnknown, PaymentVoided,
        ReceiveWebhook,
    },
    stock::{
        AdjustStock, AuditLevels, AuditReservations, GetLevels, ImportLevels, LevelsChanged,
        ListMovements, StockAllocated, StockRejected, StockReleased, StockReserved,
    },
};

/// Who owns messages: the workers, and the audit.
pub const OWNERS: [&str; 7] = [
    "auth", "catalog", "orders", "stock", "payments", "notify", "audit",
];

/// How a message travels, and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Event,
    Command,
    Query,
    Notice,
}

/// One kind of message.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub kind: Kind,
    /// As it stands beside the type; of events without the key.
    pub subject: &'static str,
    pub body: Body,
    /// Who may ask, of commands and queries.
    pub access: Option<Access>,
    /// What commands and queries are answered with.
    pub reply: Option<Body>,
}

/// What stands in a message or in a reply.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// The type's whole path: `shopzen_contracts::stock::StockReserved`.
    pub path: &'static str,
    /// JSON Schema, draft 2020-12: of a request what is accepted, of all others what is sent.
    pub schema: fn() -> Schema,
    /// Reads a body as today's type, and says what that type understood.
    pub read: fn(&[u8]) -> Result<Value, serde_json::Error>,
}

impl Message {
    /// Who publishes it, or answers it: one of [`OWNERS`].
    pub fn owner(&self) -> &'static str {
        let owner = self.subject.split('.').nth(2);
        owner.expect("every subject names its owner")
    }
}

impl Body {
    /// The type's name without its path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit("::").next().unwrap_or(self.path)
    }

    /// The first sentence of what is said beside the type.
    pub fn meaning(&self) -> String {
        let schema = (self.schema)();
        let text = schema.get("description").and_then(Value::as_str);
        let sentence = text.unwrap_or_default().split(". ").next();
        let sentence = sentence.unwrap_or_default().trim_end_matches('.');
        sentence.replace('\n', " ")
    }
}

/// All of them, by service, and there in the order of reading.
pub fn messages() -> Vec<Message> {
    let mut messages = vec![
        command::<IssueToken>(),
        command::<IssueOperatorToken>(),
        query::<GetKeys>(),
        query::<GetTrust>(),
        query::<ListSigningKeys>(),
        command::<RotateSigningKeys>(),
        command::<Register>(),
        command::<ConfirmEmail>(),
        command::<RequestPasswordReset>(),
        command::<ResetPassword>(),
        command::<SignIn>(),
        command::<SignOut>(),
        command::<UseSession>(),
        query::<GetMe>(),
        command::<ChangeMe>(),
        command::<ChangePassword>(),
        command::<ChangeEmail>(),
        query::<ListSessions>(),
        command::<EndSession>(),
        query::<ListAddresses>(),
        query::<GetAddress>(),
        command::<AddAddress>(),
        command::<ChangeAddress>(),
        command::<RemoveAddress>(),
        query::<ExportMe>(),
        command::<EraseMe>(),
        event::<AccountErased>(),
        command::<FinishSignIn>(),
        command::<SignInByPasskey>(),
        command::<AskForPasskey>(),
        command::<StepUp>(),
        query::<ListFactors>(),
        command::<AddTotp>(),
        command::<ConfirmTotp>(),
        command::<RemoveTotp>(),
        command::<RenewRecoveryCodes>(),
        command::<StartPasskey>(),
        command::<AddPasskey>(),
        command::<RenamePasskey>(),
        command::<RemovePasskey>(),
        query::<ListProviders>(),
        query::<BeginTrip>(),
        command::<EndTrip>(),
        query::<AskProvider>(),
        command::<SignInByProvider>(),
        query::<DescribeIdentity>(),
        command::<LinkIdentity>(),
        query::<ListIdentities>(),
        command::<UnlinkIdentity>(),
        command::<Authorize>(),
        query::<GetUserinfo>(),
        command::<RequestToken>(),
        command::<RevokeToken>(),
        command::<IntrospectToken>(),
        query::<GetMetadata>(),
        query::<GetClient>(),
        query::<ListClients>(),
        command::<AddClient>(),
        command::<RotateClientSecret>(),
        command::<SetClientKeys>(),
        command::<RevokeClient>(),
        query::<ListRoles>(),
        query::<GetCustomerRoles>(),
        command::<SetCustomerRoles>(),
        query::<GetAccountRoles>(),
        command::<SetAccountRoles>(),
        query::<GetPartner>(),
        query::<ListPartners>(),
        command::<AddPartner>(),
        command::<RotatePartnerSecret>(),
        command::<RevokePartner>(),
    ];
    messages.extend(of_the_others());
    messages
}

/// Those of all but auth.
fn of_the_others() -> Vec<Message> {
    vec![
        query::<ListProducts>(),
        query::<GetProduct>(),
        query::<ListCategories>(),
        query::<Suggest>(),
        command::<UpsertProduct>(),
        command::<ImportProducts>(),
        event::<ProductChanged>(),
        command::<PlaceOrder>(),
        command::<CancelOrder>(),
        query::<GetOrder>(),
        query::<ListOrders>(),
        query::<GetProgress>(),
        query::<GetRecipients>(),
        query::<ExportOrders>(),
        query::<AuditOrders>(),
        query::<AuditDeadlines>(),
        query::<AuditAnswers>(),
        event::<OrderPlaced>(),
        event::<OrderConfirmed>(),
        event::<OrderRejected>(),
        event::<OrderCancelled>(),
        notice::<OrdersProgressed>(),
        query::<GetLevels>(),
        query::<ListMovements>(),
        query::<AuditLevels>(),
        query::<AuditReservations>(),
        command::<AdjustStock>(),
        command::<ImportLevels>(),
        event::<StockReserved>(),
        event::<StockRejected>(),
        event::<StockAllocated>(),
        event::<StockReleased>(),
        event::<LevelsChanged>(),
        command::<ReceiveWebhook>(),
        query::<AuditPayments>(),
        query::<AuditLedger>(),
        event::<PaymentAuthorised>(),
        event::<PaymentDeclined>(),
        event::<PaymentActionRequired>(),
        event::<PaymentUnknown>(),
        event::<PaymentCaptured>(),
        event::<PaymentCaptureFailed>(),
        event::<PaymentVoided>(),
        event::<PaymentRefunded>(),
        command::<SendLetter>(),
        query::<ListMails>(),
        query::<ListOwnMails>(),
        query::<AuditMails>(),
        event::<MailSent>(),
        query::<GetReport>(),
    ]
}

fn event<E: Event>() -> Message {
    Message {
        kind: Kind::Event,
        subject: E::SUBJECT,
        body: sent::<E>(),
        access: None,
        reply: None,
    }
}

fn command<C: Command>() -> Message {
    Message {
        kind: Kind::Command,
        subject: C::SUBJECT,
        body: accepted::<C>(),
        access: Some(C::ACCESS),
        reply: Some(sent::<C::Reply>()),
    }
}

fn query<Q: Query>() -> Message {
    Message {
        kind: Kind::Query,
        subject: Q::SUBJECT,
        body: accepted::<Q>(),
        access: Some(Q::ACCESS),
        reply: Some(sent::<Q::Reply>()),
    }
}

fn notice<N: Notice>() -> Message {
    Message {
        kind: Kind::Notice,
        subject: N::SUBJECT,
        body: sent::<N>(),
        access: None,
        reply: None,
    }
}

fn accepted<T: Serialize + DeserializeOwned + JsonSchema>() -> Body {
    Body {
        path: type_name::<T>(),
        schema: schema_of_accepted::<T>,
        read: read::<T>,
    }
}

fn sent<T: Serialize + DeserializeOwned + JsonSchema>() -> Body {
    Body {
        path: type_name::<T>(),
        schema: schema_of_sent::<T>,
        read: read::<T>,
    }
}

fn schema_of_accepted<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator()
        .into_root_schema_for::<T>()
}

fn schema_of_sent<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
}

fn read<T: Serialize + DeserializeOwned>(body: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_slice::<T>(body)?)
}
