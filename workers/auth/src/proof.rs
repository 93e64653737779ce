//! Clients prove who they are, by a secret or by what they sign.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, ThumbprintHash},
};
use serde::Deserialize;
use serde_json::Value;
use shopzen_chassis::{Cx, Failure};
use shopzen_contracts::{
    Problem,
    auth::clients::{ClientProof, TOKEN_PATH},
};
use uuid::Uuid;

use crate::{
    Auth,
    secrets::{self, hash},
    store::{
        self,
        clients::{ClientKey, ShownSecret},
    },
};

/// What a secret begins with, so that one that got somewhere it should not be is found there.
const SECRET_PREFIX: &str = "szs_";
/// A proof that is signed is good for this long at the most (RFC 7523, 3).
const ASSERTION_LIFETIME_MAX: Duration = Duration::from_mins(5);
/// Clients' clocks may differ from ours by this much.
const LEEWAY: Duration = Duration::from_mins(1);
/// Longer proofs are none.
const ASSERTION_BYTES_MAX: usize = 8_192;
const JTI_BYTES_MAX: usize = 256;
/// Bytes of an RSA key's modulus.
const RSA_BYTES_MIN: usize = 256;
const RSA_BYTES_MAX: usize = 1_024;

/// Signatures that clients may prove themselves with.
pub(crate) const ALGORITHMS: [&str; 5] = ["ES256", "ES384", "EdDSA", "PS256", "RS256"];

/// A client that has shown who it is.
#[derive(Clone, Debug)]
pub(crate) struct Proven {
    pub(crate) id: Uuid,
    /// What it has shown.
    pub(crate) credential: Uuid,
    pub(crate) grants: Vec<String>,
    pub(crate) scopes: Vec<String>,
}

/// A new secret, and what is kept of it.
pub(crate) fn new_secret() -> Result<(String, [u8; 32]), Failure> {
    let secret = format!("{SECRET_PREFIX}{}", secrets::new_secret()?.expose());
    let hash = hash(&secret);
    Ok((secret, hash))
}

/// Which clients these proofs are of: an answer for each.
pub(crate) async fn prove(
    cx: &mut Cx,
    auth: &Auth,
    proofs: &[&ClientProof],
) -> Result<Vec<Result<Proven, Problem>>, Failure> {
    // Secrets are looked up together; what nobody can have is looked up all the same, and not found.
    let shown: Vec<ShownSecret> = proofs
        .iter()
        .filter_map(|proof| match proof {
            ClientProof::Secret { client_id, secret } => Some(ShownSecret {
                client_id: client_id.parse().unwrap_or(Uuid::nil()),
                hash: hash(secret),
            }),
            ClientProof::Assertion { .. } | ClientProof::Public { .. } => None,
        })
        .collect();
    let mut found = if shown.is_empty() {
        Vec::new()
    } else {
        store::clients::find_proven(cx.db(), &shown).await?
    }
    .into_iter();
    let mut answers = Vec::with_capacity(proofs.len());
    for proof in proofs {
        answers.push(match proof {
            ClientProof::Secret { .. } => found
                .next()
                .flatten()
                .ok_or_else(|| unproven("this client does not exist, or its secret is another")),
            ClientProof::Assertion {
                client_id,
                assertion,
            } => by_assertion(cx, auth, client_id.as_deref(), assertion).await?,
            ClientProof::Public { client_id } => {
                let id = client_id.parse().unwrap_or(Uuid::nil());
                let found = store::clients::find_public(cx.db(), id).await?;
                found.ok_or_else(|| unproven("this client does not exist, or has to show a secret"))
            }
        });
    }
    Ok(answers)
}

/// 401: RFC 6749, 5.2.
fn unproven(why: &str) -> Problem {
    Problem::new(401, "invalid_client", why)
}

/// What a client says of itself when it signs (RFC 7523, 3).
#[derive(Deserialize)]
struct Assertion {
    iss: String,
    sub: String,
    aud: OneOrMany,
    exp: u64,
    #[serde(default)]
    nbf: Option<u64>,
    jti: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Assertion {
    /// What is wrong with it, its signature apart.
    fn fault(&self, issuer: &str, now: Timestamp) -> Option<&'static str> {
        let now = u64::try_from(now.as_second()).unwrap_or(0);
        let token_endpoint = format!("{issuer}{TOKEN_PATH}");
        let ours = |audience: &String| audience == issuer || *audience == token_endpoint;
        // One that is for others as well, they could show us.
        let is_for_us = match &self.aud {
            OneOrMany::One(audience) => ours(audience),
            OneOrMany::Many(all) => !all.is_empty() && all.iter().all(ours),
        };
        if self.iss != self.sub {
            Some("iss and sub must both be the client_id")
        } else if !is_for_us {
            Some("aud must be the issuer, or the address of the token endpoint, and nothing else")
        } else if now >= self.exp.saturating_add(LEEWAY.as_secs()) {
            Some("it has expired")
        } else if self.exp > now + ASSERTION_LIFETIME_MAX.as_secs() + LEEWAY.as_secs() {
            Some("exp must be within five minutes")
        } else if self.nbf.is_some_and(|nbf| nbf > now + LEEWAY.as_secs()) {
            Some("it is not good yet")
        } else if self.jti.is_empty() || self.jti.len() > JTI_BYTES_MAX {
            Some("jti must have 1 to 256 bytes")
        } else {
            None
        }
    }
}

async fn by_assertion(
    cx: &mut Cx,
    auth: &Auth,
    client_id: Option<&str>,
    assertion: &str,
) -> Result<Result<Proven, Problem>, Failure> {
    let refused = |why: &str| Ok(Err(unproven(&format!("client_assertion: {why}"))));
    if assertion.len() > ASSERTION_BYTES_MAX {
        return refused("it is too long");
    }
    // Read before it is believed, to know whose keys to believe it by.
    let Ok(unread) = jsonwebtoken::dangerous::insecure_decode::<Assertion>(assertion) else {
        return refused("it is no JWT with iss, sub, aud, exp and jti");
    };
    let claims = unread.claims;
    if client_id.is_some_and(|id| id != claims.sub) {
        return refused("it is of another client than client_id says");
    }
    if let Some(fault) = claims.fault(&auth.issuer, cx.now()) {
        return refused(fault);
    }
    let keys = match claims.sub.parse() {
        Ok(id) => store::clients::find_client_keys(cx.db(), id).await?,
        Err(_) => Vec::new(),
    };
    let named = unread.header.kid.as_deref();
    let signed_by = keys.into_iter().find(|(_, key)| {
        named.is_none_or(|kid| kid == key.kid) && has_signed(key, unread.header.alg, assertion)
    });
    let Some((proven, _)) = signed_by else {
        return refused("no key of this client has signed it");
    };
    let kept_for = ASSERTION_LIFETIME_MAX + LEEWAY * 2;
    let is_new =
        store::clients::insert_assertion(cx.db(), proven.id, &hash(&claims.jti), kept_for).await?;
    if !is_new {
        return refused("its jti was used before");
    }
    Ok(Ok(proven))
}

fn has_signed(key: &ClientKey, algorithm: Algorithm, assertion: &str) -> bool {
    is_signed_by(&key.jwk, algorithm, assertion)
}

/// Whether a JWT is signed with this public key (RFC 7517); what it says is for the caller to look at.
pub(crate) fn is_signed_by(jwk: &Value, algorithm: Algorithm, token: &str) -> bool {
    let Ok(jwk) = serde_json::from_value::<Jwk>(jwk.clone()) else {
        return false;
    };
    // The algorithm is the key's (RFC 8725, 3.1).
    if !algorithms_of(&jwk).contains(&algorithm) {
        return false;
    }
    let Ok(key) = DecodingKey::from_jwk(&jwk) else {
        return false;
    };
    // Nothing but the signature: the rest was looked at.
    let mut rules = Validation::new(algorithm);
    rules.set_required_spec_claims::<&str>(&[]);
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules.validate_aud = false;
    jsonwebtoken::decode::<Value>(token, &key, &rules).is_ok()
}

fn algorithms_of(jwk: &Jwk) -> &'static [Algorithm] {
    match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => &[],
        },
        AlgorithmParameters::RSA(key) => {
            let length = BASE64URL_NOPAD.decode(key.n.as_bytes()).map(|n| n.len());
            if length.is_ok_and(|length| (RSA_BYTES_MIN..=RSA_BYTES_MAX).contains(&length)) {
                &[Algorithm::RS256, Algorithm::PS256]
            } else {
                &[]
            }
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => &[],
    }
}

/// A key as it is kept, or what is wrong with it.
pub(crate) fn client_key(id: Uuid, jwk: &Value) -> Result<ClientKey, &'static str> {
    const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];
    const KID_BYTES_MAX: usize = 256;
    let members = jwk.as_object().ok_or("is no JSON Web Key")?;
    if PRIVATE.iter().any(|name| members.contains_key(*name)) {
        return Err("has a private half, which is for nobody but the client; make another key");
    }
    let key: Jwk = serde_json::from_value(jwk.clone()).map_err(|_| "is no JSON Web Key")?;
    if algorithms_of(&key).is_empty() || DecodingKey::from_jwk(&key).is_err() {
        return Err("must be of P-256, P-384, Ed25519, or RSA with at least 2048 bits");
    }
    let kid = match key.common.key_id.clone() {
        Some(kid) if kid.is_empty() || kid.len() > KID_BYTES_MAX || kid.contains('\0') => {
            return Err("has a kid that is empty or too long");
        }
        Some(kid) => kid,
        None => key
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(|_| "has no thumbprint")?,
    };
    Ok(ClientKey {
        id,
        kid,
        jwk: jwk.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://shop.example";

    fn assertion() -> Assertion {
        Assertion {
            iss: "c".to_owned(),
            sub: "c".to_owned(),
            aud: OneOrMany::One(ISSUER.to_owned()),
            exp: 1_060,
            nbf: None,
            jti: "1".to_owned(),
        }
    }

    #[test]
    fn a_proof_is_for_us_alone_and_short_lived() {
        let fault =
            |assertion: &Assertion| assertion.fault(ISSUER, Timestamp::from_second(1_000).unwrap());
        assert_eq!(fault(&assertion()), None);
        let both = vec![ISSUER.to_owned(), format!("{ISSUER}/oauth2/token")];
        let good = [
            Assertion {
                aud: OneOrMany::Many(both.clone()),
                ..assertion()
            },
            Assertion {
                exp: 1_000 + 300,
                ..assertion()
            },
        ];
        assert!(good.iter().all(|it| fault(it).is_none()));
        let others = [both, vec!["https://other.example".to_owned()]].concat();
        let bad = [
            Assertion {
                sub: "d".to_owned(),
                ..assertion()
            },
            Assertion {
                aud: OneOrMany::Many(others),
                ..assertion()
            },
            Assertion {
                aud: OneOrMany::Many(Vec::new()),
                ..assertion()
            },
            Assertion {
                aud: OneOrMany::One(format!("{ISSUER}/")),
                ..assertion()
            },
            Assertion {
                exp: 940,
                ..assertion()
            },
            Assertion {
                exp: 1_361,
                ..assertion()
            },
            Assertion {
                exp: u64::MAX,
                ..assertion()
            },
            Assertion {
                nbf: Some(1_061),
                ..assertion()
            },
            Assertion {
                jti: String::new(),
                ..assertion()
            },
            Assertion {
                jti: "x".repeat(257),
                ..assertion()
            },
        ];
        for (index, assertion) in bad.iter().enumerate() {
            assert!(fault(assertion).is_some(), "{index}");
        }
    }

    #[test]
    fn a_secret_is_random_and_known_by_its_beginning() {
        let (secret, kept) = new_secret().unwrap();
        assert!(secret.starts_with("szs_") && secret.len() == 47, "{secret}");
        assert_eq!(hash(&secret), kept);
        assert_ne!(new_secret().unwrap().0, secret);
    }

    #[test]
    fn a_key_is_public_and_strong_or_is_refused() {
        let good = serde_json::json!({
            "kty": "EC", "crv": "P-256",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        });
        let key = client_key(Uuid::nil(), &good).unwrap();
        assert_eq!(key.kid.len(), 43, "a thumbprint");
        let with = |name: &str, value: Value| {
            let mut jwk = good.clone();
            jwk[name] = value;
            jwk
        };
        let bad = [
            serde_json::json!("x"),
            serde_json::json!({ "kty": "oct", "k": "c2VjcmV0" }),
            serde_json::json!({ "kty": "RSA", "e": "AQAB", "n": "AQAB" }),
            with("d", "x".into()),
            with("crv", "P-521".into()),
            with("kid", "".into()),
        ];
        for jwk in bad {
            assert!(client_key(Uuid::nil(), &jwk).is_err(), "{jwk}");
        }
    }
}
