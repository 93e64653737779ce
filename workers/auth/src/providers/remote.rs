//! Asking a provider: what it is (OpenID Connect Discovery 1.0), by which keys it signs, and who somebody is.
//!
//! Only a configured issuer is asked, and what its own document names. Nobody is followed elsewhere, each call has a
//! deadline, and no answer may be long.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use reqwest::{
    Client, RequestBuilder, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
    redirect::Policy,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};
use serde_json::Value;
use shopzen_chassis::Secret;
use shopzen_contracts::{Confidential, Problem, auth::identities::Provider};
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use super::{
    ProviderConfig, TicketSeal, check,
    id_token::{self, Expected, Fault, Profile},
    is_loopback, is_safe,
};

/// A connection that cannot be made within this is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// One call, and all that belong to one sign-in.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
const ALL_CALLS_TIMEOUT: Duration = Duration::from_secs(9);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How long what a provider says about itself, and its keys, are believed without asking again.
const KNOWN_FOR: Duration = Duration::from_mins(10);
/// A key that nobody knows has us ask for the keys again, at most this often.
const KEYS_EVERY: Duration = Duration::from_secs(10);
/// Keys that are looked at.
const KEYS_MAX: usize = 100;

/// Why there is no answer that can be used.
#[derive(Debug)]
pub(crate) enum WrongAnswer {
    /// It is away, or answers nonsense: later it may work.
    Away(String),
    /// It does not say who somebody is: starting again may help.
    Refused(String),
}

impl WrongAnswer {
    /// For the person before the browser; the log says more.
    pub(crate) fn into_problem(self, provider: &str) -> Problem {
        match self {
            Self::Away(why) => {
                tracing::warn!(provider, why, "a provider cannot be asked");
                let said = "the other side cannot be reached just now; try again later, or sign in another way";
                Problem::new(503, "provider_unavailable", said)
            }
            Self::Refused(why) => {
                tracing::warn!(provider, why, "a provider's answer was refused");
                let said = "the other side did not show who you are; start again";
                Problem::new(422, "provider_refused", said)
            }
        }
    }
}

/// What a provider says about itself, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    #[serde(deserialize_with = "address")]
    authorization_endpoint: Url,
    #[serde(deserialize_with = "address")]
    token_endpoint: Url,
    #[serde(deserialize_with = "address")]
    jwks_uri: Url,
    #[serde(default, deserialize_with = "some_address")]
    userinfo_endpoint: Option<Url>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// RFC 9207.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

fn some_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    address(deserializer).map(Some)
}

#[derive(Clone)]
struct Keys {
    keys: Arc<Vec<Value>>,
    read_at: Instant,
}

/// A provider, and what is known of it.
pub(crate) struct Remote {
    provider: Provider,
    issuer: String,
    client_id: String,
    client_secret: Secret,
    http: Client,
    is_local: bool,
    metadata: Mutex<Option<(Arc<Metadata>, Instant)>>,
    keys: Mutex<Option<Keys>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// What is asked of a browser that is led to a provider.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) redirect_uri: &'a str,
    pub(crate) state: &'a str,
    pub(crate) nonce: &'a str,
    /// SHA-256 of the verifier, in base64url.
    pub(crate) challenge: &'a str,
}

/// Who somebody is.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    pub(crate) is_email_verified: bool,
    pub(crate) name: Option<String>,
}

impl Remote {
    pub(super) fn new(name: &str, config: ProviderConfig) -> Result<Self, String> {
        let issuer = check(name, &config)?;
        let is_local = is_loopback(&issuer);
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT);
        if is_local {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| error.to_string())?;
        let title = if config.title.is_empty() {
            name.to_owned()
        } else {
            config.title
        };
        Ok(Self {
            provider: Provider {
                name: name.to_owned(),
                title,
            },
            issuer: config.issuer,
            client_id: config.client_id,
            client_secret: config.client_secret,
            http,
            is_local,
            metadata: Mutex::default(),
            keys: Mutex::default(),
        })
    }

    pub(crate) fn provider(&self) -> Provider {
        self.provider.clone()
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where to lead the browser, and whether the provider will say with its answer that it is its own.
    pub(crate) async fn address(
        &self,
        question: &Question<'_>,
    ) -> Result<(Confidential, bool), WrongAnswer> {
        let metadata = self.metadata().await?;
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", question.redirect_uri)
            .append_pair("scope", "openid email profile")
            .append_pair("state", question.state)
            .append_pair("nonce", question.nonce)
            .append_pair("code_challenge", question.challenge)
            .append_pair("code_challenge_method", "S256");
        let names_itself = metadata.authorization_response_iss_parameter_supported;
        Ok((Confidential::new(url.as_str()), names_itself))
    }

    /// Exchanges a code, and says who it is of.
    pub(crate) async fn person(
        &self,
        ticket: &TicketSeal,
        redirect_uri: &str,
        now: Timestamp,
    ) -> Result<Person, WrongAnswer> {
        let asked = self.ask_for_person(ticket, redirect_uri, now);
        let in_time = tokio::time::timeout(ALL_CALLS_TIMEOUT, asked).await;
        in_time.unwrap_or_else(|_| Err(WrongAnswer::Away("it took too long".to_owned())))
    }

    async fn ask_for_person(
        &self,
        ticket: &TicketSeal,
        redirect_uri: &str,
        now: Timestamp,
    ) -> Result<Person, WrongAnswer> {
        #[derive(Deserialize)]
        struct Issued {
            id_token: Confidential,
            access_token: Option<Confidential>,
        }
        let metadata = self.metadata().await?;
        let issued: Issued = self
            .read(self.exchange(&metadata, ticket, redirect_uri))
            .await?;
        let read = self
            .verify(&metadata, &issued.id_token, ticket, now)
            .await?;
        let mut profile = read.profile;
        // Some say it there only.
        if profile.email.is_none()
            && let (Some(url), Some(token)) = (&metadata.userinfo_endpoint, &issued.access_token)
        {
            profile = self.userinfo(url, token, &read.sub).await?;
        }
        Ok(Person {
            subject: read.sub,
            is_email_verified: profile.is_email_verified(),
            email: profile.email,
            name: profile.name,
        })
    }

    /// RFC 6749, 4.1.3, and 2.3.1 for the secret.
    fn exchange(
        &self,
        metadata: &Metadata,
        ticket: &TicketSeal,
        redirect_uri: &str,
    ) -> RequestBuilder {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", ticket.code.expose())
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_verifier", ticket.verifier.expose());
        let request = self.http.post(metadata.token_endpoint.clone());
        let secret = self.client_secret.expose();
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
        // Where nothing is said it is Basic (OpenID Connect Discovery 1.0, 3).
        let is_basic = methods.is_none_or(|all| all.iter().any(|it| it == "client_secret_basic"));
        let request = if secret.is_empty() {
            form.append_pair("client_id", &self.client_id);
            request
        } else if is_basic {
            let encoded =
                |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request.basic_auth(encoded(&self.client_id), Some(encoded(secret)))
        } else {
            form.append_pair("client_id", &self.client_id)
                .append_pair("client_secret", secret);
            request
        };
        request
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.finish())
    }

    async fn verify(
        &self,
        metadata: &Metadata,
        token: &Confidential,
        ticket: &TicketSeal,
        now: Timestamp,
    ) -> Result<id_token::IdToken, WrongAnswer> {
        let expected = Expected {
            issuer: &self.issuer,
            client_id: &self.client_id,
            nonce: ticket.nonce.expose(),
        };
        let verify = |keys: &[Value]| id_token::verify(token.expose(), keys, expected, now);
        let mut verified = verify(&self.keys(metadata, KNOWN_FOR).await?);
        if matches!(verified, Err(Fault::KeyUnknown)) {
            verified = verify(&self.keys(metadata, KEYS_EVERY).await?);
        }
        verified.map_err(|fault| {
            let why = match fault {
                Fault::KeyUnknown => "nobody knows the key of the ID token",
                Fault::Wrong(why) => why,
            };
            WrongAnswer::Refused(why.to_owned())
        })
    }

    /// OpenID Connect Core 1.0, 5.3.
    async fn userinfo(
        &self,
        url: &Url,
        token: &Confidential,
        subject: &str,
    ) -> Result<Profile, WrongAnswer> {
        #[derive(Deserialize)]
        struct Info {
            sub: String,
            #[serde(flatten)]
            profile: Profile,
        }
        let asked = self.http.get(url.clone()).bearer_auth(token.expose());
        let info: Info = self.read(asked).await?;
        if info.sub != subject {
            return Err(WrongAnswer::Refused("userinfo is about another".to_owned()));
        }
        Ok(info.profile)
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, WrongAnswer> {
        {
            let known = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((metadata, read_at)) = known.as_ref()
                && read_at.elapsed() < KNOWN_FOR
            {
                return Ok(Arc::clone(metadata));
            }
        }
        let issuer = self.issuer.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let metadata: Metadata = self.read(self.http.get(url)).await?;
        if metadata.issuer != self.issuer {
            // Somebody else's document (OpenID Connect Discovery 1.0, 4.3).
            let why = "its document names another issuer than is configured";
            return Err(WrongAnswer::Away(why.to_owned()));
        }
        let named = [
            Some(&metadata.authorization_endpoint),
            Some(&metadata.token_endpoint),
            Some(&metadata.jwks_uri),
            metadata.userinfo_endpoint.as_ref(),
        ];
        if !named
            .into_iter()
            .flatten()
            .all(|url| is_safe(url, self.is_local))
        {
            let why = "its document names an address that is not encrypted, or on this machine";
            return Err(WrongAnswer::Away(why.to_owned()));
        }
        let metadata = Arc::new(metadata);
        let mut known = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((Arc::clone(&metadata), Instant::now()));
        Ok(metadata)
    }

    /// Its keys, no older than that.
    async fn keys(
        &self,
        metadata: &Metadata,
        age_max: Duration,
    ) -> Result<Arc<Vec<Value>>, WrongAnswer> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<Value>,
        }
        {
            let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = known.as_ref().filter(|it| it.read_at.elapsed() < age_max) {
                return Ok(Arc::clone(&known.keys));
            }
        }
        let mut set: KeySet = self.read(self.http.get(metadata.jwks_uri.clone())).await?;
        set.keys.truncate(KEYS_MAX);
        let keys = Arc::new(set.keys);
        let mut known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Keys {
            keys: Arc::clone(&keys),
            read_at: Instant::now(),
        });
        Ok(keys)
    }

    /// A call's answer. What is refused says why in `error`, of which nothing else is kept.
    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, WrongAnswer> {
        let away = |error: reqwest::Error| WrongAnswer::Away(error.without_url().to_string());
        let request = request.header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(away)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(WrongAnswer::Away("its answer is too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        if status == StatusCode::OK {
            let read = serde_json::from_slice(&body);
            return read.map_err(|_| WrongAnswer::Away("its answer cannot be read".to_owned()));
        }
        if status.is_client_error() {
            let said: Option<Value> = serde_json::from_slice(&body).ok();
            let error = said.as_ref().and_then(|said| said["error"].as_str());
            let error =
                error.filter(|it| it.len() < 100 && it.bytes().all(|b| b.is_ascii_graphic()));
            let why = format!(
                "it answers {status}: {}",
                error.unwrap_or("and does not say why")
            );
            return Err(WrongAnswer::Refused(why));
        }
        Err(WrongAnswer::Away(format!("it answers {status}")))
    }
}
