use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shopzen_chassis::{DatabaseConfig, Secret};

/// The orders worker's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database`.
    pub database_url: Secret,
    /// Connections at the most.
    pub database_connections_max: u32,
    /// Seals people's keys in the database: at least 32 characters, as `openssl rand -hex 32` makes them.
    pub key_encryption_key: Secret,
    /// An order that is neither confirmed nor ended after so long is cancelled.
    pub deadline_s: u32,
    /// The same, from the moment the shopper is asked to do something, such as 3-D Secure.
    pub action_deadline_s: u32,
    /// Tax contained in the prices of taxable goods, in hundredths of a per cent.
    pub tax_rate_bp: u32,
    /// What each shipping method costs, in minor units of the order's currency.
    pub shipping_minor: BTreeMap<String, i64>,
    /// Payment gateways that orders may name.
    pub gateways: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let database = DatabaseConfig::default();
        Self {
            database_url: database.database_url,
            database_connections_max: database.database_connections_max,
            key_encryption_key: Secret::default(),
            deadline_s: 60,
            action_deadline_s: 900,
            tax_rate_bp: 1_900,
            shipping_minor: [("standard".to_owned(), 0), ("express".to_owned(), 990)].into(),
            gateways: vec!["sandbox".to_owned()],
        }
    }
}

impl Config {
    pub(crate) fn database(&self) -> DatabaseConfig {
        DatabaseConfig {
            database_url: self.database_url.clone(),
            database_connections_max: self.database_connections_max,
        }
    }
}
