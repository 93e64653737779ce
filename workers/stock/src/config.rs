use serde::{Deserialize, Serialize};
use shopzen_chassis::{DatabaseConfig, Secret};

/// The stock worker's settings.
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
        let database = DatabaseConfig::default();
        Self {
            database_url: database.database_url,
            database_connections_max: database.database_connections_max,
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
