//! What an operator can set.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use shopzen_chassis::{DatabaseConfig, Secret};

use crate::providers::ProviderConfig;

/// What staff need to do more than shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaffSecondFactor {
    Off,
    Required,
}

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
    /// Whether staff must have a second factor: "required", and who has none may only shop until they have; or "off".
    pub staff_second_factor: StaffSecondFactor,
    /// Who tokens say they are from: the shop's address, without a slash at the end. Empty: `http.public_url`.
    pub issuer: String,
    /// Signs what NATS is told about partners who connect: at least 32 characters, of which NATS has the public halves
    /// (`shopzen partner door`). Empty: no partner can connect to NATS.
    pub door_secret: Secret,
    /// Seconds an access token is good for.
    pub token_lifetime_s: u32,
    /// Seals signing keys in the database: at least 32 characters, as `openssl rand -hex 32` makes them.
    pub key_encryption_key: Secret,
    /// With whose accounts people can sign in, by names that stand in addresses: `[auth.providers.google]` with `issuer`,
    /// `client_id`, `client_secret` and `title`.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Days after which the next signing key is made; 0 leaves it to `shopzen keys rotate`.
    pub key_rotation_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: Secret::default(),
            database_connections_max: 4,
            demo_accounts: true,
            staff_second_factor: StaffSecondFactor::Off,
            issuer: String::new(),
            door_secret: Secret::default(),
            token_lifetime_s: 600,
            key_encryption_key: Secret::default(),
            providers: BTreeMap::new(),
            key_rotation_days: 30,
        }
    }
}

impl Config {
    pub(crate) fn key_rotation(&self) -> Option<Duration> {
        let days = u64::from(self.key_rotation_days);
        (days > 0).then(|| Duration::from_hours(24 * days))
    }

    pub(crate) fn into_database(self) -> DatabaseConfig {
        DatabaseConfig {
            database_url: self.database_url,
            database_connections_max: self.database_connections_max,
        }
    }
}
