//! Providers with whose accounts people sign in, as the configuration names them (OpenID Connect Core 1.0, 3.1; PKCE by
//! RFC 7636; whose answer it is by RFC 9207).
//!
//! Our own lines and not the crate `openidconnect`: that brings a second verifier of tokens with `rsa`, which has no version
//! without RUSTSEC-2023-0071. The HTTP client and the verifier that are here anyway do all that is needed.

mod id_token;
mod remote;

use std::{collections::BTreeMap, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shopzen_chassis::{Cx, Failure, Secret};
use shopzen_contracts::{
    Confidential, Problem,
    auth::identities::{PROVIDERS_PATH, Provider},
};
use url::{Host, Url};
use uuid::Uuid;

use crate::Auth;

pub(crate) use remote::{Question, Remote};

/// How long somebody may be away at a provider, and may take to link what it has shown.
pub(crate) const TRIP_LIFETIME: Duration = Duration::from_mins(10);
/// Characters of a provider's name: it stands in addresses.
const NAME_LENGTH_MAX: usize = 32;

/// A provider as the configuration names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its `iss`, below which its `/.well-known/openid-configuration` is.
    pub issuer: String,
    /// As what the shop is registered there, with `<http.public_url>/sign-in/with/<name>/back` as its redirect URI.
    pub client_id: String,
    pub client_secret: Secret,
    /// As people know it. Empty: its name.
    pub title: String,
}

/// Those that are configured.
#[derive(Debug)]
pub(crate) struct Providers {
    by_name: BTreeMap<String, Remote>,
    /// Why one of them cannot be used.
    fault: Option<String>,
}

impl Providers {
    pub(crate) fn new(configured: BTreeMap<String, ProviderConfig>) -> Self {
        let mut providers = Self {
            by_name: BTreeMap::new(),
            fault: None,
        };
        for (name, config) in configured {
            match Remote::new(&name, config) {
                Ok(remote) => {
                    providers.by_name.insert(name, remote);
                }
                Err(why) => providers.fault = Some(format!("auth.providers.{name}: {why}")),
            }
        }
        providers
    }

    pub(crate) fn list(&self) -> Vec<Provider> {
        self.by_name.values().map(Remote::provider).collect()
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Remote, Problem> {
        let why = "nobody signs in here with that provider";
        let found = self.by_name.get(name);
        found.ok_or_else(|| Problem::new(404, "provider_unknown", why))
    }

    /// As people know it, also where it is configured no more.
    pub(crate) fn describe(&self, name: &str) -> Provider {
        let found = self.by_name.get(name).map(Remote::provider);
        found.unwrap_or_else(|| Provider {
            name: name.to_owned(),
            title: name.to_owned(),
        })
    }
}

/// A provider that cannot be used stops the start: later nobody would look.
pub(crate) async fn at_start(_: &mut Cx, auth: &Auth) -> Result<bool, Failure> {
    match &auth.providers.fault {
        Some(fault) => Err(Failure::Inconsistent(fault.clone())),
        None => Ok(false),
    }
}

/// What is wrong with how a provider is configured.
fn check(name: &str, config: &ProviderConfig) -> Result<Url, &'static str> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.chars().all(is_plain) {
        return Err("a name has up to 32 small letters, digits and hyphens");
    }
    if config.client_id.is_empty() {
        return Err("client_id is missing");
    }
    let issuer = Url::parse(&config.issuer).map_err(|_| "issuer must be an address")?;
    if !is_safe(&issuer, is_loopback(&issuer)) {
        return Err("issuer must begin with https://");
    }
    if issuer.query().is_some() || issuer.fragment().is_some() {
        return Err("issuer must have neither query nor fragment");
    }
    Ok(issuer)
}

/// Whether what is sent there nobody reads on the way. A provider on this machine may do without TLS, and only such a one
/// may name addresses on this machine.
fn is_safe(url: &Url, is_local: bool) -> bool {
    let has_password = !url.username().is_empty() || url.password().is_some();
    let scheme_is_right = if is_local {
        is_loopback(url) && matches!(url.scheme(), "http" | "https")
    } else {
        url.scheme() == "https" && !is_loopback(url)
    };
    scheme_is_right && !has_password
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Where a provider sends browsers back to: an address for each, so that none can answer for another (RFC 9700, 4.4.2).
pub(crate) fn redirect_uri(issuer: &str, provider: &str) -> String {
    format!("{issuer}{PROVIDERS_PATH}/{provider}/back")
}

/// What is sealed, and lies with a browser or passes through the edge: nobody reads it there, and nobody makes it up.
pub(crate) trait Parcel: Serialize + DeserializeOwned {
    /// What it is, so that none is taken for another.
    const KIND: &'static str;

    fn sealed_at(&self) -> Timestamp;
}

/// A browser on its way to a provider.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TripSeal {
    pub(crate) id: Uuid,
    pub(crate) provider: String,
    pub(crate) state: Confidential,
    pub(crate) nonce: Confidential,
    pub(crate) verifier: Confidential,
    pub(crate) return_to: String,
    pub(crate) is_to_link: bool,
    /// Whether the provider says with each answer that it is its own.
    pub(crate) names_itself: bool,
    pub(crate) at: Timestamp,
}

/// A code that has arrived.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TicketSeal {
    pub(crate) id: Uuid,
    pub(crate) provider: String,
    pub(crate) code: Confidential,
    pub(crate) nonce: Confidential,
    pub(crate) verifier: Confidential,
    pub(crate) at: Timestamp,
}

/// Who somebody is elsewhere.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IdentitySeal {
    /// The trip's.
    pub(crate) id: Uuid,
    pub(crate) provider: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    /// Whether the provider vouches for it.
    pub(crate) is_email_verified: bool,
    pub(crate) name: Option<String>,
    pub(crate) at: Timestamp,
}

impl IdentitySeal {
    /// By which its owner knows it.
    pub(crate) fn label(&self) -> &str {
        let known = self.email.as_deref().or(self.name.as_deref());
        known.unwrap_or(&self.subject)
    }
}

impl Parcel for TripSeal {
    const KIND: &'static str = "provider trip";

    fn sealed_at(&self) -> Timestamp {
        self.at
    }
}

impl Parcel for TicketSeal {
    const KIND: &'static str = "provider ticket";

    fn sealed_at(&self) -> Timestamp {
        self.at
    }
}

impl Parcel for IdentitySeal {
    const KIND: &'static str = "provider identity";

    fn sealed_at(&self) -> Timestamp {
        self.at
    }
}

pub(crate) fn close<P: Parcel>(auth: &Auth, parcel: &P) -> Result<Confidential, Failure> {
    let clear = serde_json::to_vec(parcel).expect("a parcel is plain data");
    let sealed = auth.signing.seal()?.close(P::KIND, &clear)?;
    Ok(Confidential::new(BASE64URL_NOPAD.encode(&sealed)))
}

/// None where it is not ours, of another kind, or too old.
pub(crate) fn open<P: Parcel>(
    auth: &Auth,
    sealed: &Confidential,
    now: Timestamp,
) -> Result<Option<P>, Failure> {
    let seal = auth.signing.seal()?;
    let bytes = BASE64URL_NOPAD.decode(sealed.expose().as_bytes()).ok();
    let clear = bytes.and_then(|bytes| seal.open(P::KIND, &bytes));
    let parcel: Option<P> = clear.and_then(|clear| serde_json::from_slice(&clear).ok());
    let lifetime = SignedDuration::try_from(TRIP_LIFETIME).unwrap_or(SignedDuration::MAX);
    Ok(parcel.filter(|it| now.duration_since(it.sealed_at()) <= lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(issuer: &str) -> ProviderConfig {
        ProviderConfig {
            issuer: issuer.to_owned(),
            client_id: "shop".to_owned(),
            ..ProviderConfig::default()
        }
    }

    #[test]
    fn only_what_is_encrypted_or_on_this_machine_is_asked() {
        for good in [
            "https://accounts.example",
            "https://accounts.example/realms/a",
            "http://127.0.0.1:4000",
            "http://[::1]:4000",
            "http://localhost:4000",
        ] {
            check("a", &config(good)).unwrap();
        }
        for bad in [
            "",
            "accounts.example",
            "http://accounts.example",
            "https://user:password@accounts.example",
            "https://accounts.example/?a=b",
            "https://accounts.example/#a",
            "ftp://127.0.0.1",
            "file:///etc/passwd",
        ] {
            assert!(check("a", &config(bad)).is_err(), "{bad}");
        }
        for bad in ["", "A", "a/b", "a b", "ä", &"a".repeat(33)] {
            assert!(check(bad, &config("https://a.example")).is_err(), "{bad}");
        }
        let at = |url: &str, is_local| is_safe(&Url::parse(url).unwrap(), is_local);
        assert!(at("https://a.example", false) && at("http://127.0.0.1:1", true));
        // A provider elsewhere does not lead us to what listens here, nor one here elsewhere.
        assert!(!at("https://127.0.0.1", false) && !at("https://localhost", false));
        assert!(!at("https://a.example", true));
    }

    #[test]
    fn one_that_cannot_be_used_is_named() {
        let mut configured = BTreeMap::new();
        configured.insert("good".to_owned(), config("https://a.example"));
        assert!(Providers::new(configured.clone()).fault.is_none());
        configured.insert("bad".to_owned(), config("http://a.example"));
        let fault = Providers::new(configured).fault.unwrap();
        assert!(fault.contains("auth.providers.bad"), "{fault}");
    }
}
