//! Verifies access tokens. A worker trusts no edge: it looks for itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
use sha2::{Digest, Sha256};
use shopzen_contracts::{
    Problem, Query,
    auth::{AUDIENCE, Claims, GetKeys, ISSUER, KeySet},
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{clock, handle::Caller};

/// Tokens are a few hundred bytes; this leaves room and stops nonsense before it is hashed.
const TOKEN_BYTES_MAX: usize = 4_096;
/// Clocks of one shop may differ by this much.
const LEEWAY: Duration = Duration::from_secs(5);
/// Unknown key ids may ask for the keys this often: made-up ones cannot cause a storm, and a key that signs at once,
/// because those before it were withdrawn, is soon known.
const FETCH_EVERY: Duration = Duration::from_secs(1);
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// A key that was withdrawn is believed about this much longer, and as long as the auth worker is away.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// Verified tokens that are remembered.
const VERIFIED_MAX: usize = 10_000;
/// A remembered token is verified again after this long.
const VERIFIED_FOR: Duration = Duration::from_mins(1);

/// Knows the auth worker's public keys, and remembers what it has verified.
pub(crate) struct Verifier {
    client: async_nats::Client,
    keys: Mutex<Keys>,
    verified: Mutex<HashMap<[u8; 32], Verified>>,
}

struct Verified {
    claims: Claims,
    /// It counts only while this key is believed.
    key_id: String,
    until: Instant,
}

#[derive(Default)]
struct Keys {
    by_id: HashMap<String, DecodingKey>,
    fetched_at: Option<Instant>,
}

impl Verifier {
    pub(crate) fn new(client: async_nats::Client) -> Self {
        Self {
            client,
            keys: Mutex::default(),
            verified: Mutex::default(),
        }
    }

    /// Who the token says is asking. No token is nobody; a bad one is refused.
    pub(crate) async fn verify(&self, token: Option<&str>) -> Result<Caller, Problem> {
        let Some(token) = token else {
            return Ok(Caller::Anonymous);
        };
        let bad = || Problem::unauthenticated("the access token is not valid; get a new one");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(bad());
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(claims) = self.remembered(&digest) {
            return Ok(Caller::Verified(claims));
        }
        let head = jsonwebtoken::decode_header(token).map_err(|_| bad())?;
        // The algorithm is the key's, never the header's choice (RFC 8725, 3.1).
        if head.alg != Algorithm::ES256 || head.typ.as_deref() != Some("at+jwt") {
            return Err(bad());
        }
        // A token that brings a key along, or says where to get one, or asks for rules that we do not know (RFC 8725,
        // 3.10; RFC 7515, 4.1.11).
        if head.jku.is_some()
            || head.jwk.is_some()
            || head.x5u.is_some()
            || head.x5c.is_some()
            || head.crit.is_some()
        {
            return Err(bad());
        }
        let key_id = head.kid.ok_or_else(bad)?;
        let key = if let Some(key) = self.key(&key_id) {
            key
        } else {
            self.fetch_keys().await?;
            self.key(&key_id).ok_or_else(bad)?
        };
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &rules())
            .map_err(|_| bad())?
            .claims;
        self.remember(digest, key_id, &claims);
        Ok(Caller::Verified(claims))
    }

    /// Asks for the keys every few seconds until shutdown.
    pub(crate) fn keep_fresh(
        self: Arc<Self>,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut tick = interval(REFRESH_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    _ = tick.tick() => {}
                }
                let keys = tokio::select! {
                    () = shutdown.cancelled() => return,
                    keys = self.ask_for_keys() => keys,
                };
                // While nobody answers, what was good stays good.
                if let Some(keys) = keys {
                    self.believe(keys);
                }
            }
        })
    }

    /// Trusts a key without asking the auth worker: for tests.
    pub(crate) fn trust(&self, key_id: &str, key: DecodingKey) {
        let mut keys = self
            .keys
            .lock()
            .expect("nothing panics while it holds this");
        keys.by_id.insert(key_id.to_owned(), key);
    }

    fn remembered(&self, digest: &[u8; 32]) -> Option<Claims> {
        let verified = self
            .verified
            .lock()
            .expect("nothing panics while it holds this");
        let Verified {
            claims,
            key_id,
            until,
        } = verified.get(digest)?;
        let expired = u64::try_from(clock::now().as_second()).is_ok_and(|now| now > claims.exp);
        let counts = *until > Instant::now() && !expired && self.key(key_id).is_some();
        counts.then(|| claims.clone())
    }

    fn remember(&self, digest: [u8; 32], key_id: String, claims: &Claims) {
        let mut verified = self
            .verified
            .lock()
            .expect("nothing panics while it holds this");
        if verified.len() >= VERIFIED_MAX {
            verified.clear();
        }
        let one = Verified {
            claims: claims.clone(),
            key_id,
            until: Instant::now() + VERIFIED_FOR,
        };
        verified.insert(digest, one);
    }

    fn key(&self, key_id: &str) -> Option<DecodingKey> {
        self.keys
            .lock()
            .expect("nothing panics while it holds this")
            .by_id
            .get(key_id)
            .cloned()
    }

    async fn fetch_keys(&self) -> Result<(), Problem> {
        let away = || {
            Problem::new(
                503,
                "identity_unavailable",
                "identities cannot be checked right now",
            )
        };
        {
            let mut keys = self
                .keys
                .lock()
                .expect("nothing panics while it holds this");
            let now = Instant::now();
            if !keys.by_id.is_empty() && keys.fetched_at.is_some_and(|at| now < at + FETCH_EVERY) {
                return Ok(());
            }
            keys.fetched_at = Some(now);
        }
        let keys = self.ask_for_keys().await.ok_or_else(away)?;
        self.believe(keys);
        Ok(())
    }

    async fn ask_for_keys(&self) -> Option<HashMap<String, DecodingKey>> {
        let body = serde_json::to_vec(&GetKeys {}).expect("a contract is plain data");
        let asked = self.client.request(GetKeys::SUBJECT, body.into());
        let reply = timeout(FETCH_TIMEOUT, asked).await.ok()?.ok()?;
        let set: KeySet = serde_json::from_slice(&reply.payload).ok()?;
        let keys = set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        Some(
            keys.filter_map(|jwk| {
                let key_id = jwk.common.key_id.clone()?;
                Some((key_id, DecodingKey::from_jwk(&jwk).ok()?))
            })
            .collect(),
        )
    }

    fn believe(&self, by_id: HashMap<String, DecodingKey>) {
        self.keys
            .lock()
            .expect("nothing panics while it holds this")
            .by_id = by_id;
    }
}

/// The library's defaults check too little (research, security.md §1.4), so every rule stands here.
fn rules() -> Validation {
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    rules.set_audience(&[AUDIENCE]);
    rules.set_issuer(&[ISSUER]);
    rules.validate_nbf = true;
    rules.leeway = LEEWAY.as_secs();
    rules
}
