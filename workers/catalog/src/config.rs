//! What an operator can set.

use serde::{Deserialize, Serialize};
use shopzen_chassis::{DatabaseConfig, Secret};

/// The catalog worker's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database`.
    pub database_url: Secret,
    /// Connections at the most.
    pub database_connections_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: Secret::default(),
            database_connections_max: 4,
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
