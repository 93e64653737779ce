//! Partners: other firms' systems, which act for themselves, over HTTP and on NATS. A partner is a client that gets its
//! tokens by `client_credentials` and by nothing else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::clients::{Client, ClientAndSecret, Clients};
use crate::{
    Access, Command, Query, Scope,
    catalog::{GetProduct, ListCategories, ListProducts, Suggest, UpsertProduct},
    orders::{CancelOrder, GetOrder, ListOrders, PlaceOrder},
    stock::{AdjustStock, GetLevels, ListMovements},
};

/// What a partner can be given.
pub const SCOPES: [&str; 5] = [
    "catalog:write",
    "orders:place",
    "orders:read",
    "orders:write",
    "stock:write",
];

/// What every partner may ask on NATS, as everybody may over HTTP.
const PUBLIC: [&str; 5] = [
    GetProduct::SUBJECT,
    ListProducts::SUBJECT,
    ListCategories::SUBJECT,
    Suggest::SUBJECT,
    GetLevels::SUBJECT,
];

/// What it may ask besides, by scope.
const BY_SCOPE: [(&str, &[&str]); 5] = [
    ("catalog:write", &[UpsertProduct::SUBJECT]),
    ("orders:place", &[PlaceOrder::SUBJECT]),
    ("orders:read", &[GetOrder::SUBJECT, ListOrders::SUBJECT]),
    (
        "orders:write",
        &[CancelOrder::SUBJECT, GetOrder::SUBJECT, ListOrders::SUBJECT],
    ),
    (
        "stock:write",
        &[AdjustStock::SUBJECT, ListMovements::SUBJECT],
    ),
];

/// What somebody with these scopes may ask on NATS, in order.
pub fn subjects_for<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Vec<&'static str> {
    let mut subjects: Vec<&str> = PUBLIC.into();
    for scope in scopes {
        let granted = BY_SCOPE.iter().filter(|(name, _)| *name == scope);
        subjects.extend(granted.flat_map(|(_, subjects)| *subjects));
    }
    subjects.sort_unstable();
    subjects.dedup();
    subjects
}

/// All that any partner can be allowed to ask.
pub fn subjects() -> Vec<&'static str> {
    subjects_for(SCOPES)
}

/// Where a partner's request for a subject arrives: only the server can send there, and it says who has asked.
pub fn arrival_of(subject: &str) -> Option<String> {
    let (_shop, rest) = subject.split_once('.')?;
    subjects()
        .contains(&subject)
        .then(|| format!("{ARRIVALS}.{rest}"))
}

/// The first word of the subjects at which requests of partners arrive.
pub const ARRIVALS: &str = "partner";

/// The `typ` of what a partner's connection is called: signed as access tokens are, and good for nothing else.
pub const CONNECTION_TYPE: &str = "partner+jwt";

/// Registers a partner, and gives it a secret that is shown once. Its scopes of
/// staff are at most those of whoever registers it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPartner {
    pub name: String,
    /// Scopes.
    pub allow: Vec<String>,
}

impl Command for AddPartner {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.add_partner";
    const ACCESS: Access = Access::Scope(Scope::PartnersWrite);
    type Reply = ClientAndSecret;
}

/// One partner.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetPartner {
    pub id: Uuid,
}

impl Query for GetPartner {
    const SUBJECT: &'static str = "shop.qry.auth.v1.partner";
    const ACCESS: Access = Access::Scope(Scope::PartnersWrite);
    type Reply = Client;
}

/// The partners, the oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPartners {
    /// Those too that were revoked.
    #[serde(default)]
    pub revoked: bool,
    #[serde(default)]
    pub limit: Option<u32>,
    #[serde(default)]
    pub cursor: Option<String>,
}

impl Query for ListPartners {
    const SUBJECT: &'static str = "shop.qry.auth.v1.partners";
    const ACCESS: Access = Access::Scope(Scope::PartnersWrite);
    type Reply = Clients;
}

/// Gives a partner another secret; those it has are good for a while longer, and its connections stay.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotatePartnerSecret {
    pub id: Uuid,
    /// How long those before it are good, in seconds: a day unless said otherwise.
    #[serde(default)]
    pub overlap_s: Option<u32>,
}

impl Command for RotatePartnerSecret {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.rotate_partner_secret";
    const ACCESS: Access = Access::Scope(Scope::PartnersWrite);
    type Reply = ClientAndSecret;
}

/// Ends a partner: its connections to NATS are cut within a second, and its tokens count for nothing within seconds.
///
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokePartner {
    pub id: Uuid,
}

impl Command for RevokePartner {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.revoke_partner";
    const ACCESS: Access = Access::Scope(Scope::PartnersWrite);
    type Reply = Client;
}
