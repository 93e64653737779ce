//! What an operator can set.

use std::{fmt, str::FromStr};

use lettre::{
    AsyncSmtpTransport, Tokio1Executor, message::Mailbox,
    transport::smtp::AsyncSmtpTransportBuilder,
};
use serde::{Deserialize, Serialize, Serializer};
use shopzen_chassis::{DatabaseConfig, Secret};

/// The notify worker's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database`.
    pub database_url: Secret,
    /// Connections at the most.
    pub database_connections_max: u32,
    /// The mail server: `smtps://user:password@host` (TLS from the start, port 465),
    /// `smtp://user:password@host?tls=required` (STARTTLS, port 587), or `smtp://host` (no encryption,
    /// port 25; for a relay on this machine). Empty: mails are kept and not sent.
    pub smtp_url: SmtpUrl,
    /// Who mails are from. The name is what the shop calls itself in them.
    pub sender: Sender,
    /// Mails being handed over at the same time, and so connections to the mail server.
    pub sending_max: u32,
    /// Seconds the mail server may take for one mail.
    pub send_timeout_s: u32,
    /// Attempts after which a mail is given up: its state is then `kept`. Attempts come after 5 s,
    /// 10 s, 20 s … and once an hour from then on; 120 are four and a half days (RFC 5321, 4.5.4.1).
    pub attempts_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: Secret::default(),
            database_connections_max: 4,
            smtp_url: SmtpUrl::default(),
            sender: Sender::default(),
            sending_max: 8,
            send_timeout_s: 30,
            attempts_max: 120,
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
    #[error("the mail server's address is not usable: {0}")]
    SmtpUrl(String),
    #[error("the sender must be like `ShopZen <shop@example.org>`")]
    Sender,
}

/// Where the mail server is, and who we are there. Empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SmtpUrl(Secret);

impl SmtpUrl {
    /// None where there is no mail server.
    pub(crate) fn transport(&self) -> Option<AsyncSmtpTransportBuilder> {
        let url = self.0.expose();
        (!url.is_empty()).then(|| builder(url).expect("parsed before"))
    }
}

fn builder(url: &str) -> Result<AsyncSmtpTransportBuilder, ConfigError> {
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
        .map_err(|error| ConfigError::SmtpUrl(error.to_string()))
}

impl FromStr for SmtpUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if !text.is_empty() {
            builder(text)?;
        }
        Ok(Self(Secret::new(text)))
    }
}

impl TryFrom<String> for SmtpUrl {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl Serialize for SmtpUrl {
    /// There may be a password in it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Name and address that mails are from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Sender(Mailbox);

impl Sender {
    pub(crate) fn into_mailbox(self) -> Mailbox {
        self.0
    }

    /// The name, or the address's domain where there is none.
    pub(crate) fn shop_name(&self) -> String {
        self.0
            .name
            .clone()
            .unwrap_or_else(|| self.0.email.domain().to_owned())
    }
}

impl Default for Sender {
    fn default() -> Self {
        Self::from_str("ShopZen <shop@localhost>").expect("it is an address")
    }
}

impl FromStr for Sender {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        // The parser stops at the first character it does not like, and says nothing of the rest.
        let is_one_line = !text.contains(char::is_control);
        let ends_as_an_address = text.ends_with('>') || !text.contains('<');
        match text.parse() {
            Ok(mailbox) if is_one_line && ends_as_an_address => Ok(Self(mailbox)),
            _ => Err(ConfigError::Sender),
        }
    }
}

impl TryFrom<String> for Sender {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl Serialize for Sender {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_mail_server_stops_the_start() {
        for bad in [
            "mail.example.org",
            "http://mail.example.org",
            "smtp://host?tls=perhaps",
        ] {
            bad.parse::<SmtpUrl>().unwrap_err();
        }
        for good in [
            "",
            "smtp://127.0.0.1:25",
            "smtps://a:b@host",
            "smtp://a:b@host:587?tls=required",
        ] {
            good.parse::<SmtpUrl>().unwrap();
        }
    }

    #[test]
    fn a_refusal_does_not_tell_the_password() {
        let error = "smpt://shop:hunter2@host".parse::<SmtpUrl>().unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn the_sender_names_the_shop() {
        let sender: Sender = "Lamps & More <shop@lamps.example>".parse().unwrap();
        assert_eq!(sender.shop_name(), "Lamps & More");
        let sender: Sender = "shop@lamps.example".parse().unwrap();
        assert_eq!(sender.shop_name(), "lamps.example");
        for bad in [
            "",
            "Lamps",
            "a@b.example\r\nBcc: c@d.example",
            "A <a@b.example> c@d.example",
        ] {
            assert_eq!(bad.parse::<Sender>(), Err(ConfigError::Sender), "{bad:?}");
        }
    }

    #[test]
    fn the_defaults_survive_being_written_and_read() {
        let json = serde_json::to_string(&Config::default()).unwrap();
        let read: Config = serde_json::from_str(&json).unwrap();
        assert_eq!(read.sender, Config::default().sender);
        serde_json::from_str::<Config>(r#"{"smtp_uri": ""}"#).unwrap_err();
    }
}
