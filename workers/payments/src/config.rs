//! What an operator can set.

use std::{ops::RangeInclusive, str::FromStr};

use data_encoding::BASE64;
use hyper::Uri;
use serde::{Deserialize, Serialize};
use shopzen_chassis::{DatabaseConfig, Secret};

/// The payments worker's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database`.
    pub database_url: Secret,
    /// Connections at the most.
    pub database_connections_max: u32,
    /// Where the sandbox gateway is. Empty: there is none, and who wants to pay with it is declined.
    pub sandbox_url: SandboxUrl,
    /// What the sandbox gateway signs its webhooks with: `whsec_` and 24 to 64 bytes in Base64. Empty: it
    /// sends none, and whatever says that it comes from there is refused.
    pub webhook_secret: WebhookSecret,
    /// Milliseconds one call of a gateway may take, waiting for a free connection included. After that
    /// it is unknown whether the gateway acted.
    pub gateway_timeout_ms: u32,
    /// Calls of gateways at the same time, and so connections to them.
    pub gateway_connections_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        let database = DatabaseConfig::default();
        Self {
            database_url: database.database_url,
            database_connections_max: database.database_connections_max,
            sandbox_url: SandboxUrl("http://127.0.0.1:9090/sandbox-gateway".to_owned()),
            webhook_secret: WebhookSecret::default(),
            gateway_timeout_ms: 3_000,
            gateway_connections_max: 256,
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

/// Why a setting was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("the sandbox gateway's address must be like `http://host:port/path`, or empty")]
    SandboxUrl,
    #[error(
        "the secret of webhooks must be {SECRET_PREFIX} and {} to {} bytes in Base64, or empty",
        SECRET_BYTES.start(),
        SECRET_BYTES.end()
    )]
    WebhookSecret,
}

/// How the secrets of Standard Webhooks begin, so that they are recognised where they should not be.
const SECRET_PREFIX: &str = "whsec_";
/// What the specification asks for.
const SECRET_BYTES: RangeInclusive<usize> = 24..=64;

/// `http://host:port/path`, without a slash at the end; or empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SandboxUrl(String);

impl SandboxUrl {
    /// None where there is no sandbox.
    pub fn get(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }
}

impl FromStr for SandboxUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim_end_matches('/');
        let is_usable = text.parse::<Uri>().is_ok_and(|uri| {
            // The sandbox runs beside the shop and holds no money: it needs no TLS.
            uri.scheme_str() == Some("http") && uri.host().is_some() && uri.query().is_none()
        });
        if is_usable || text.is_empty() {
            Ok(Self(text.to_owned()))
        } else {
            Err(ConfigError::SandboxUrl)
        }
    }
}

impl TryFrom<String> for SandboxUrl {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

/// `whsec_` and a key in Base64; or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct WebhookSecret(Secret);

impl WebhookSecret {
    /// As it is set.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// None where there is no secret.
    pub(crate) fn key(&self) -> Option<Vec<u8>> {
        key_of(self.expose())
    }
}

fn key_of(text: &str) -> Option<Vec<u8>> {
    BASE64
        .decode(text.strip_prefix(SECRET_PREFIX)?.as_bytes())
        .ok()
}

impl FromStr for WebhookSecret {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let is_usable = key_of(text).is_some_and(|key| SECRET_BYTES.contains(&key.len()));
        if is_usable || text.is_empty() {
            Ok(Self(Secret::new(text)))
        } else {
            Err(ConfigError::WebhookSecret)
        }
    }
}

impl TryFrom<String> for WebhookSecret {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_address_stops_the_start() {
        for bad in [
            "127.0.0.1:9090",
            "https://host",
            "ftp://host/x",
            "http://",
            "http://h/?q=1",
        ] {
            assert_eq!(
                bad.parse::<SandboxUrl>(),
                Err(ConfigError::SandboxUrl),
                "{bad}"
            );
        }
        let url: SandboxUrl = "http://127.0.0.1:9090/sandbox-gateway/".parse().unwrap();
        assert_eq!(url.get(), Some("http://127.0.0.1:9090/sandbox-gateway"));
        assert_eq!("".parse::<SandboxUrl>().unwrap().get(), None);
    }

    #[test]
    fn an_unusable_secret_stops_the_start_and_is_not_shown() {
        for bad in [
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
        ] {
            let refused = bad.parse::<WebhookSecret>();
            assert_eq!(refused, Err(ConfigError::WebhookSecret), "{bad}");
        }
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let secret: WebhookSecret = text.parse().unwrap();
        assert_eq!((secret.expose(), secret.key().unwrap().len()), (text, 24));
        assert!(!format!("{secret:?}").contains("MfKQ"));
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"\"");
        assert_eq!("".parse::<WebhookSecret>().unwrap().key(), None);
    }

    #[test]
    fn the_defaults_survive_being_written_and_read() {
        let json = serde_json::to_string(&Config::default()).unwrap();
        let read: Config = serde_json::from_str(&json).unwrap();
        assert_eq!(read.sandbox_url, Config::default().sandbox_url);
        serde_json::from_str::<Config>(r#"{"sandbox_uri": ""}"#).unwrap_err();
    }
}
