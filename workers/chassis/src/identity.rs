//! Verifies access tokens. A worker trusts no edge: it looks for itself.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::HeaderMap;
use futures::future::BoxFuture;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
use sha2::{Digest, Sha256};
use shopzen_contracts::{
    Problem, Query,
    auth::{AUDIENCE, Claims, GetTrust, Trust, partners::CONNECTION_TYPE},
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    clock,
    handle::Caller,
    partner::{self, Pace},
};

/// Tokens are a few hundred bytes; this leaves room and stops nonsense before it is hashed.
const TOKEN_BYTES_MAX: usize = 4_096;
/// Clocks of one shop may differ by this much.
const LEEWAY: Duration = Duration::from_secs(5);
/// Unknown key ids may ask for the keys this often: made-up ones cannot cause a storm, and a key that signs at once,
/// because those before it were withdrawn, is soon known.
const FETCH_EVERY: Duration = Duration::from_secs(1);
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// What was withdrawn, be it a key, a token or what a token comes from, is believed about this much longer, and as
/// long as the auth worker is away.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// Verified tokens that are remembered.
const VERIFIED_MAX: usize = 10_000;
/// A remembered token is verified again after this long.
const VERIFIED_FOR: Duration = Duration::from_mins(1);

/// Knows what the auth worker says is to be believed, and remembers what it has verified.
pub(crate) struct Verifier {
    client: async_nats::Client,
    known: Mutex<Known>,
    verified: Mutex<HashMap<[u8; 32], Verified>>,
    /// Of partners on NATS.
    pace: Pace,
}

struct Verified {
    claims: Claims,
    /// It counts only while this key is believed.
    key_id: String,
    until: Instant,
}

#[derive(Default)]
struct Known {
    trusted: Arc<Trusted>,
    fetched_at: Option<Instant>,
}

/// What is believed.
#[derive(Clone, Default)]
struct Trusted {
    issuer: String,
    keys: HashMap<String, DecodingKey>,
    revoked: HashSet<Uuid>,
}

impl Trusted {
    fn new(trust: Trust) -> Self {
        let keys = trust
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let by_id = keys.filter_map(|jwk| {
            let key_id = jwk.common.key_id.clone()?;
            Some((key_id, DecodingKey::from_jwk(&jwk).ok()?))
        });
        Self {
            issuer: trust.issuer,
            keys: by_id.collect(),
            revoked: trust.revoked.into_iter().collect(),
        }
    }

    /// The claims of a token, where its key is one of ours.
    fn read(&self, token: &str, key_id: &str) -> Option<Claims> {
        let key = self.keys.get(key_id)?;
        let rules = rules(&self.issuer);
        let claims = jsonwebtoken::decode::<Claims>(token, key, &rules)
            .ok()?
            .claims;
        (!self.is_withdrawn(&claims)).then_some(claims)
    }

    /// Whether what was read before would be read again.
    fn still_believes(&self, Verified { claims, key_id, .. }: &Verified) -> bool {
        let expired = u64::try_from(clock::now().as_second()).is_ok_and(|now| now > claims.exp);
        !expired
            && claims.iss == self.issuer
            && self.keys.contains_key(key_id)
            && !self.is_withdrawn(claims)
    }

    fn is_withdrawn(&self, claims: &Claims) -> bool {
        claims.ids().any(|id| self.revoked.contains(&id))
    }
}

impl Verifier {
    pub(crate) fn new(client: async_nats::Client) -> Self {
        Self {
            client,
            known: Mutex::default(),
            verified: Mutex::default(),
            pace: Pace::default(),
        }
    }

    /// Who the token says is asking. No token is nobody; a bad one is refused.
    pub(crate) async fn verify(&self, token: Option<&str>) -> Result<Caller, Problem> {
        let Some(token) = token else {
            return Ok(Caller::Anonymous);
        };
        self.read(token, "at+jwt").await.map(Caller::Verified)
    }

    /// What a token says that auth has signed and nobody has withdrawn.
    async fn read(&self, token: &str, kind: &str) -> Result<Claims, Problem> {
        let bad = || Problem::unauthenticated("the access token is not valid; get a new one");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(bad());
        }
        // A token of one kind is none of another, remembered or not.
        let digest = Sha256::new()
            .chain_update(kind)
            .chain_update([0])
            .chain_update(token)
            .finalize()
            .into();
        if let Some(claims) = self.remembered(&digest) {
            return Ok(claims);
        }
        let head = jsonwebtoken::decode_header(token).map_err(|_| bad())?;
        // The algorithm is the key's, never the header's choice (RFC 8725, 3.1).
        if head.alg != Algorithm::ES256 || head.typ.as_deref() != Some(kind) {
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
        let mut trusted = self.trusted();
        if !trusted.keys.contains_key(&key_id) {
            self.fetch().await?;
            trusted = self.trusted();
        }
        let claims = trusted.read(token, &key_id).ok_or_else(bad)?;
        self.remember(digest, key_id, &claims);
        Ok(claims)
    }

    /// Who asks, where the server says over which connection: a partner that does not ask too much.
    pub(crate) async fn vouched_for(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let unknown = || Problem::unauthenticated("it cannot be told who asks");
        let name = partner::connection_of(headers).ok_or_else(unknown)?;
        let claims = self.read(&name, CONNECTION_TYPE).await?;
        self.pace.check(claims.sub)?;
        Ok(Caller::Verified(claims))
    }

    /// Asks what is to be believed every few seconds until shutdown.
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
                let trusted = tokio::select! {
                    () = shutdown.cancelled() => return,
                    trusted = self.ask() => trusted,
                };
                // While nobody answers, what was good stays good.
                if let Some(trusted) = trusted {
                    self.believe(trusted);
                }
            }
        })
    }

    /// Trusts a key, and who issues tokens with it, without asking the auth worker: for tests.
    pub(crate) fn trust(&self, issuer: &str, key_id: &str, key: DecodingKey) {
        self.believe(Trusted {
            issuer: issuer.to_owned(),
            keys: HashMap::from([(key_id.to_owned(), key)]),
            revoked: HashSet::new(),
        });
    }

    fn remembered(&self, digest: &[u8; 32]) -> Option<Claims> {
        let trusted = self.trusted();
        let verified = self
            .verified
            .lock()
            .expect("nothing panics while it holds this");
        let one = verified.get(digest)?;
        let counts = one.until > Instant::now() && trusted.still_believes(one);
        counts.then(|| one.claims.clone())
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

    fn trusted(&self) -> Arc<Trusted> {
        let known = self
            .known
            .lock()
            .expect("nothing panics while it holds this");
        Arc::clone(&known.trusted)
    }

    async fn fetch(&self) -> Result<(), Problem> {
        let away = || {
            Problem::new(
                503,
                "identity_unavailable",
                "identities cannot be checked right now",
            )
        };
        {
            let mut known = self
                .known
                .lock()
                .expect("nothing panics while it holds this");
            let now = Instant::now();
            let is_known = !known.trusted.keys.is_empty();
            if is_known && known.fetched_at.is_some_and(|at| now < at + FETCH_EVERY) {
                return Ok(());
            }
            known.fetched_at = Some(now);
        }
        let trusted = self.ask().await.ok_or_else(away)?;
        self.believe(trusted);
        Ok(())
    }

    async fn ask(&self) -> Option<Trusted> {
        let body = serde_json::to_vec(&GetTrust {}).expect("a contract is plain data");
        let asked = self.client.request(GetTrust::SUBJECT, body.into());
        let reply = timeout(FETCH_TIMEOUT, asked).await.ok()?.ok()?;
        serde_json::from_slice(&reply.payload)
            .ok()
            .map(Trusted::new)
    }

    fn believe(&self, trusted: Trusted) {
        self.known
            .lock()
            .expect("nothing panics while it holds this")
            .trusted = Arc::new(trusted);
    }
}

/// The library's defaults check too little (research, security.md §1.4), so every rule stands here.
fn rules(issuer: &str) -> Validation {
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    rules.set_audience(&[AUDIENCE]);
    rules.set_issuer(&[issuer]);
    rules.validate_nbf = true;
    rules.leeway = LEEWAY.as_secs();
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(sid: Option<Uuid>) -> Verified {
        let now = u64::try_from(clock::now().as_second()).unwrap();
        let claims = Claims {
            iss: "https://shop.example".to_owned(),
            sub: clock::new_id(),
            aud: AUDIENCE.to_owned(),
            exp: now + 60,
            nbf: now,
            iat: now,
            jti: clock::new_id(),
            sid,
            client_id: "test".to_owned(),
            scope: String::new(),
        };
        Verified {
            claims,
            key_id: "key".to_owned(),
            until: Instant::now() + VERIFIED_FOR,
        }
    }

    fn trusted(issuer: &str, revoked: &[Uuid]) -> Trusted {
        Trusted {
            issuer: issuer.to_owned(),
            keys: HashMap::from([("key".to_owned(), DecodingKey::from_secret(b"any"))]),
            revoked: revoked.iter().copied().collect(),
        }
    }

    #[test]
    fn what_is_remembered_counts_only_while_nothing_of_it_is_withdrawn() {
        const OURS: &str = "https://shop.example";
        let session = clock::new_id();
        let one = verified(Some(session));
        let Claims { sub, jti, .. } = one.claims;
        assert!(trusted(OURS, &[clock::new_id()]).still_believes(&one));
        for withdrawn in [session, sub, jti] {
            assert!(!trusted(OURS, &[withdrawn]).still_believes(&one));
        }
        assert!(!trusted("https://other.example", &[]).still_believes(&one));
        let mut without_key = trusted(OURS, &[]);
        without_key.keys.clear();
        assert!(!without_key.still_believes(&one));
    }
}
