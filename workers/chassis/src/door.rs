//! Who may connect to NATS without being one of the shop's own: the server asks for each (auth callout, ADR-26).
//!
//! The shop's own users are in the server's configuration and never come this way: while nobody answers here, only new
//! connections of partners wait.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, HeaderMap, Message};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use futures::{StreamExt, future::BoxFuture};
use jiff::Timestamp;
use nkeys::{KeyPair, KeyPairType, XKey};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shopzen_contracts::auth::partners;
use sqlx::PgPool;
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Failure, Secret, clock, failure, inbox_prefix, partner};

/// Where the server asks.
const ASKED: &str = "$SYS.REQ.USER.AUTH";
/// What the server seals its question with.
const SERVER_XKEY: &str = "Nats-Server-Xkey";
/// Questions that are looked at at the same time; the server waits with the others.
const QUESTIONS_MAX: usize = 16;
/// How often it is looked whether somebody has to go.
const CUT_EVERY: Duration = Duration::from_millis(250);
const CUT_TIMEOUT: Duration = Duration::from_secs(1);
/// What one connection of a partner may have.
const SUBSCRIPTIONS_MAX: u32 = 100;
const PAYLOAD_BYTES_MAX: u32 = 64 * 1024;
/// Shorter secrets can be guessed.
const SECRET_BYTES_MIN: usize = 32;

/// By which the server believes what is answered here, and nobody else reads it.
pub struct DoorKeys {
    issuer: KeyPair,
    seal: XKey,
}

/// The halves that the server's configuration has.
#[derive(Clone, Debug)]
pub struct PublicDoorKeys {
    pub issuer: String,
    pub xkey: String,
}

impl DoorKeys {
    /// Both from one secret. None where it is too short.
    pub fn new(secret: &Secret) -> Option<Self> {
        let secret = secret.expose();
        if secret.len() < SECRET_BYTES_MIN {
            return None;
        }
        let seed = |purpose: &str| -> [u8; 32] {
            Sha256::new()
                .chain_update(purpose)
                .chain_update([0])
                .chain_update(secret)
                .finalize()
                .into()
        };
        Some(Self {
            issuer: KeyPair::new_from_raw(KeyPairType::Account, seed("shopzen nats issuer"))
                .expect("any 32 bytes are a seed"),
            seal: XKey::new_from_raw(seed("shopzen nats seal")),
        })
    }

    pub fn public(&self) -> PublicDoorKeys {
        PublicDoorKeys {
            issuer: self.issuer.public_key(),
            xkey: self.seal.public_key(),
        }
    }

    /// A JWT as NATS has them.
    fn sign(&self, mut claims: Value) -> Option<String> {
        claims["iss"] = self.issuer.public_key().into();
        claims["iat"] = clock::now().as_second().into();
        let jti = Sha256::digest(clock::new_id().as_bytes());
        claims["jti"] = BASE32_NOPAD.encode(&jti).into();
        let head = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
        let part = |json: &Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = self.issuer.sign(signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
    }
}

impl std::fmt::Debug for DoorKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DoorKeys")
            .field("issuer", &self.issuer.public_key())
            .finish_non_exhaustive()
    }
}

/// A connection that waits to be let in, and what it shows.
pub struct Knock {
    pub connection: Connection,
    pub token: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
}

// Not what it shows: that is secret.
impl std::fmt::Debug for Knock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Knock")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

/// One connection to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    pub server_id: String,
    pub id: u64,
}

/// Who is let in.
#[derive(Clone, Debug)]
pub struct Admission {
    pub client_id: Uuid,
    /// What the connection is called: what workers believe of it, signed.
    pub name: Secret,
    pub scopes: Vec<String>,
    pub until: Timestamp,
}

/// Knows who may come in, and who has to go.
pub trait Door: Send + Sync + 'static {
    /// Nobody is let in without an answer.
    fn admit<'a>(
        &'a self,
        db: &'a PgPool,
        knock: &'a Knock,
    ) -> BoxFuture<'a, Result<Option<Admission>, Failure>>;

    /// Connections that were let in and whose owner may not be there any more.
    fn to_cut<'a>(&'a self, db: &'a PgPool) -> BoxFuture<'a, Result<Vec<Connection>, Failure>>;

    /// They are gone.
    fn were_cut<'a>(
        &'a self,
        db: &'a PgPool,
        cut: &'a [Connection],
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// What is needed to keep a door.
pub(crate) struct Keeper {
    pub(crate) keys: DoorKeys,
    pub(crate) door: Box<dyn Door>,
}

/// What the server asks.
#[derive(Deserialize)]
struct Question {
    iss: String,
    nats: Asked,
}

#[derive(Deserialize)]
struct Asked {
    server_id: Server,
    user_nkey: String,
    client_info: ClientInfo,
    connect_opts: Shown,
}

#[derive(Deserialize)]
struct Server {
    id: String,
}

#[derive(Deserialize)]
struct ClientInfo {
    id: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Shown {
    auth_token: Option<String>,
    user: Option<String>,
    pass: Option<String>,
}

/// Answers the server until shutdown.
pub(crate) fn keep(
    keeper: Arc<Keeper>,
    client: Client,
    queue: &'static str,
    pool: PgPool,
    shutdown: CancellationToken,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let asked = client.queue_subscribe(ASKED, queue.to_owned()).await;
        let Ok(mut questions) = asked else {
            tracing::error!("partners cannot be let in: NATS is closed");
            return;
        };
        let places = Arc::new(Semaphore::new(QUESTIONS_MAX));
        let tasks = tokio_util::task::TaskTracker::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let question = tokio::select! {
                () = shutdown.cancelled() => break,
                question = questions.next() => question,
            };
            let Some(question) = question else { break };
            let (keeper, client, pool) = (Arc::clone(&keeper), client.clone(), pool.clone());
            tasks.spawn(async move {
                keeper.answer(&client, &pool, &question).await;
                drop(place);
            });
        }
        tasks.close();
        tasks.wait().await;
    })
}

impl Keeper {
    async fn answer(&self, client: &Client, pool: &PgPool, question: &Message) {
        // What nobody but a server could have asked is answered, and nothing else.
        let (Some(reply), Some((asked, server))) = (&question.reply, self.read(question)) else {
            tracing::warn!("something asked to be let in that is no server");
            return;
        };
        let knock = Knock {
            connection: Connection {
                server_id: asked.server_id.id.clone(),
                id: asked.client_info.id,
            },
            token: asked.connect_opts.auth_token,
            user: asked.connect_opts.user,
            password: asked.connect_opts.pass,
        };
        let admission = match self.door.admit(pool, &knock).await {
            Ok(admission) => admission,
            Err(failure) => {
                // The server gives up by itself, and the partner tries again.
                let error = failure::chain(&failure);
                tracing::warn!(error, "it cannot be found out who may be let in");
                return;
            }
        };
        let said = match &admission {
            Some(admission) => self
                .sign(user_claims(admission, &asked.user_nkey))
                .map(|jwt| json!({ "jwt": jwt })),
            None => Some(json!({ "error": "not known here" })),
        };
        let Some(mut said) = said else { return };
        said["type"] = "authorization_response".into();
        said["version"] = 2.into();
        let response = json!({
            "sub": asked.user_nkey, "aud": asked.server_id.id, "nats": said,
        });
        let sealed = self
            .sign(response)
            .and_then(|jwt| self.keys.seal.seal(jwt.as_bytes(), &server).ok());
        let Some(sealed) = sealed else { return };
        let sent = client
            .publish_with_headers(reply.clone(), HeaderMap::new(), sealed.into())
            .await;
        if let Err(error) = sent {
            tracing::debug!(%error, "an answer to the server was lost");
        }
    }

    fn sign(&self, claims: Value) -> Option<String> {
        self.keys.sign(claims)
    }

    /// What a server asks, and the key that the answer is sealed for.
    fn read(&self, question: &Message) -> Option<(Asked, XKey)> {
        let key = question.headers.as_ref()?.get(SERVER_XKEY)?;
        let server = XKey::from_public_key(key.as_str()).ok()?;
        let opened = self.keys.seal.open(&question.payload, &server).ok()?;
        let jwt = String::from_utf8(opened).ok()?;
        let (signed, signature) = jwt.rsplit_once('.')?;
        let (_, claims) = signed.split_once('.')?;
        let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
        let Question { iss, nats } = serde_json::from_slice(&claims).ok()?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
        let by = KeyPair::from_public_key(&iss).ok()?;
        let is_its = iss == nats.server_id.id && by.verify(signed.as_bytes(), &signature).is_ok();
        is_its.then_some((nats, server))
    }
}

/// What a partner may do on its connection, and for how long.
fn user_claims(admission: &Admission, user_nkey: &str) -> Value {
    let scopes = admission.scopes.iter().map(String::as_str);
    let inbox = inbox_prefix(&admission.client_id.to_string());
    json!({
        "sub": user_nkey,
        "aud": partner::ACCOUNT,
        "name": admission.name.expose(),
        "exp": admission.until.as_second(),
        "nats": {
            "type": "user",
            "version": 2,
            "pub": { "allow": partners::subjects_for(scopes) },
            "sub": { "allow": [format!("{inbox}.>")] },
            "subs": SUBSCRIPTIONS_MAX,
            "payload": PAYLOAD_BYTES_MAX,
            "data": -1,
            "allowed_connection_types": ["STANDARD"],
        },
    })
}

/// Cuts the connections of those who have to go, until shutdown.
pub(crate) fn watch(
    keeper: Arc<Keeper>,
    client: Client,
    pool: PgPool,
    shutdown: CancellationToken,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut tick = interval(CUT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            let cut = tokio::select! {
                () = shutdown.cancelled() => return,
                cut = keeper.cut(&client, &pool) => cut,
            };
            if let Err(failure) = cut {
                let error = failure::chain(&failure);
                tracing::warn!(
                    error,
                    "it cannot be found out whose connections are to be cut"
                );
            }
        }
    })
}

impl Keeper {
    async fn cut(&self, client: &Client, pool: &PgPool) -> Result<(), Failure> {
        let all = self.door.to_cut(pool).await?;
        let mut cut = Vec::new();
        for connection in all {
            let subject = format!("$SYS.REQ.SERVER.{}.KICK", connection.server_id);
            let asked = client.request(subject, json!({ "cid": connection.id }).to_string().into());
            // A server that does not answer may have the connection still: it is asked again.
            if matches!(timeout(CUT_TIMEOUT, asked).await, Ok(Ok(_))) {
                cut.push(connection);
            }
        }
        if cut.is_empty() {
            return Ok(());
        }
        tracing::info!(connections = cut.len(), "cut connections to NATS");
        self.door.were_cut(pool, &cut).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_from_a_secret_that_cannot_be_guessed() {
        assert!(DoorKeys::new(&Secret::new("k".repeat(31))).is_none());
        let keys = |secret: &str| DoorKeys::new(&Secret::new(secret)).unwrap().public();
        let (one, other) = (keys(&"k".repeat(32)), keys(&"l".repeat(32)));
        assert!(
            one.issuer.starts_with('A') && one.xkey.starts_with('X'),
            "{one:?}"
        );
        assert_eq!(one.issuer, keys(&"k".repeat(32)).issuer);
        assert_ne!((one.issuer, one.xkey), (other.issuer, other.xkey));
    }

    #[test]
    fn a_partner_may_send_what_its_scopes_allow_and_hear_its_own_answers() {
        let admission = Admission {
            client_id: Uuid::nil(),
            name: Secret::new("name"),
            scopes: vec!["stock:write".to_owned()],
            until: Timestamp::from_second(1_000).unwrap(),
        };
        let claims = user_claims(&admission, "U");
        let allowed = claims["nats"]["pub"]["allow"].as_array().unwrap();
        let allows = |verb: &str| {
            let ends = |subject: &Value| subject.as_str().unwrap().ends_with(verb);
            allowed.iter().any(ends)
        };
        assert!(allows(".stock.v1.adjust") && allows(".catalog.v1.get"));
        assert!(!allows(".orders.v1.place") && !allows(".catalog.v1.upsert"));
        assert!(
            allowed
                .iter()
                .all(|it| !it.as_str().unwrap().contains(['*', '>']))
        );
        let inbox = format!("_INBOX_{}.>", Uuid::nil());
        assert_eq!(claims["nats"]["sub"]["allow"], json!([inbox]));
        assert_eq!(claims["exp"], 1_000);
    }
}
