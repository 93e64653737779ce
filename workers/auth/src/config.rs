//! What an operator can set.

use serde::{Deserialize, Serialize};
use shopzen_chassis::{DatabaseConfig, Secret};

/// The auth worker's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database`.
    pub database_url: Secret,
    /// Connections at the most.
    pub database_connections_max: u32,
    /// Whether `shopper@demo.test` and `staff@demo.test` exist. Not for a shop that others can reach.
    pub demo_accounts: bool,
    /// Seconds an access token is good for.
    pub token_lifetime_s: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: Secret::default(),
            database_connections_max: 4,
            demo_accounts: true,
            token_lifetime_s: 600,
        }
    }
}

impl Config {
    pub(crate) fn into_database(self) -> DatabaseConfig {
        DatabaseConfig {
            database_url: self.database_url,
            database_connections_max: self.database_connections_max,
        }
    }
}
