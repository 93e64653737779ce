//! Keys and tokens. Pure but for the chance a new key needs.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    errors::Error,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};
use serde::{Deserialize, Serialize};
use shopzen_chassis::Failure;
use shopzen_contracts::{
    Scope,
    auth::{AUDIENCE, Claims},
};
use uuid::Uuid;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};

/// `typ` of an access token, which tells it from every other kind of JWT (RFC 9068, 2.1).
const TOKEN_TYPE: &str = "at+jwt";
/// `typ` of an ID token.
const IDENTITY_TYPE: &str = "JWT";
/// Longer tokens are not ours.
const TOKEN_BYTES_MAX: usize = 4_096;
/// Who a token is for that a browser in our own pages uses.
pub(crate) const PAGES_CLIENT_ID: &str = "shopzen-pages";
/// Who a token is for, where no client was registered: the operator's own scripts.
const CLIENT_ID: &str = "shopzen-cli";

/// A key pair to sign tokens with.
pub(crate) struct KeyPair {
    /// The public key's thumbprint (RFC 7638).
    pub(crate) kid: String,
    /// PKCS #8, DER.
    pub(crate) private_key: Vec<u8>,
    /// RFC 7517; nothing secret.
    pub(crate) public_jwk: serde_json::Value,
}

/// A new ES256 key pair.
pub(crate) fn new_key() -> Result<KeyPair, Failure> {
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|_| unusable("no key could be generated"))?;
    let private_key = pair.as_ref().to_vec();
    let describe = || -> Result<(String, serde_json::Value), Error> {
        let key = EncodingKey::from_ec_der(&private_key);
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok((kid, serde_json::to_value(&jwk)?))
    };
    let (kid, public_jwk) = describe().map_err(|error| unusable(&error.to_string()))?;
    Ok(KeyPair {
        kid,
        private_key,
        public_jwk,
    })
}

/// Whom a token is about, who holds it, and what it comes from.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) id: Uuid,
    pub(crate) client_id: &'a str,
    /// The session or the credential: where that is revoked, the token counts for nothing.
    pub(crate) sid: Option<Uuid>,
    /// Parted by spaces.
    pub(crate) scope: String,
}

impl Subject<'_> {
    /// An account, for the operator's scripts.
    pub(crate) fn of_operator(id: Uuid, scopes: &[Scope]) -> Self {
        Self {
            id,
            client_id: CLIENT_ID,
            sid: None,
            scope: in_token(scopes),
        }
    }
}

/// Scopes as they stand in a token.
pub(crate) fn in_token(scopes: &[Scope]) -> String {
    let names: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
    names.join(" ")
}

/// What a token says.
pub(crate) fn claims(
    issuer: &str,
    subject: Subject<'_>,
    jti: Uuid,
    now: Timestamp,
    lifetime: Duration,
) -> Claims {
    let now = u64::try_from(now.as_second()).unwrap_or(0);
    Claims {
        iss: issuer.to_owned(),
        sub: subject.id,
        aud: AUDIENCE.to_owned(),
        exp: now.saturating_add(lifetime.as_secs()),
        nbf: now,
        iat: now,
        jti,
        sid: subject.sid,
        client_id: subject.client_id.to_owned(),
        scope: subject.scope,
    }
}

/// By which key a token says it was signed, where it may be one of ours.
pub(crate) fn key_id(token: &str) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let head = jsonwebtoken::decode_header(token).ok()?;
    let is_ours = head.alg == Algorithm::ES256 && head.typ.as_deref() == Some(TOKEN_TYPE);
    head.kid.filter(|_| is_ours)
}

/// What a token says that was signed with this key, and has not expired.
pub(crate) fn read(token: &str, jwk: &serde_json::Value, issuer: &str) -> Option<Claims> {
    let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    rules.set_audience(&[AUDIENCE]);
    rules.set_issuer(&[issuer]);
    rules.leeway = 0;
    Some(jsonwebtoken::decode(token, &key, &rules).ok()?.claims)
}

/// By which key an ID token says it was signed, where it may be one of ours.
pub(crate) fn hint_key_id(token: &str) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let head = jsonwebtoken::decode_header(token).ok()?;
    let is_ours = head.alg == Algorithm::ES256 && head.typ.as_deref() == Some(IDENTITY_TYPE);
    head.kid.filter(|_| is_ours)
}

/// Whom an ID token is about that was signed with this key for this client. It may have expired since (OpenID Connect Core
/// 1.0, 3.1.2.1, `id_token_hint`).
pub(crate) fn read_hint(
    token: &str,
    jwk: &serde_json::Value,
    issuer: &str,
    client_id: &str,
) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Hint {
        sub: Uuid,
    }
    let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_required_spec_claims(&["aud", "iss", "sub"]);
    rules.set_audience(&[client_id]);
    rules.set_issuer(&[issuer]);
    rules.validate_exp = false;
    let read = jsonwebtoken::decode::<Hint>(token, &key, &rules).ok()?;
    Some(read.claims.sub)
}

/// What an ID token says (OpenID Connect Core 1.0, 2 and 5.1).
#[derive(Serialize)]
pub(crate) struct IdentityClaims {
    pub(crate) iss: String,
    pub(crate) sub: Uuid,
    /// The client.
    pub(crate) aud: String,
    pub(crate) exp: u64,
    pub(crate) iat: u64,
    /// When they showed who they are.
    pub(crate) auth_time: u64,
    /// And how (RFC 8176), where that has a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) amr: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) email_verified: Option<bool>,
}

/// A key ready to sign with.
pub(crate) struct Signer {
    pub(crate) kid: String,
    key: EncodingKey,
}

impl Signer {
    pub(crate) fn new(kid: String, private_key: &[u8]) -> Self {
        Self {
            kid,
            key: EncodingKey::from_ec_der(private_key),
        }
    }

    /// An ID token, which is not to be taken for an access token: its `typ` is another.
    pub(crate) fn sign_identity(&self, claims: &IdentityClaims) -> Result<String, Failure> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.key)
            .map_err(|error| unusable(&error.to_string()))
    }

    /// The token.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, Failure> {
        self.sign_as(TOKEN_TYPE, claims)
    }

    /// A token that is no access token.
    pub(crate) fn sign_as(&self, kind: &str, claims: &Claims) -> Result<String, Failure> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(kind.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.key)
            .map_err(|error| unusable(&error.to_string()))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

pub(crate) fn unusable(why: &str) -> Failure {
    Failure::Inconsistent(format!("the signing key: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_has_nothing_private_in_it() {
        let key = new_key().unwrap();
        let mut members: Vec<&String> = key.public_jwk.as_object().unwrap().keys().collect();
        members.sort();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!(key.public_jwk["kid"], key.kid);
        assert_eq!(key.kid.len(), 43, "SHA-256 in base64url");
        assert_ne!(new_key().unwrap().kid, key.kid);
    }

    #[test]
    fn a_token_says_who_for_whom_and_until_when() {
        let now = Timestamp::from_second(1_000).unwrap();
        let subject = Subject::of_operator(Uuid::nil(), &[Scope::OrdersPlace, Scope::StockWrite]);
        let issuer = "https://shop.example";
        let claims = claims(issuer, subject, Uuid::max(), now, Duration::from_mins(10));
        assert_eq!(claims.iss, issuer);
        assert_eq!((claims.iat, claims.nbf, claims.exp), (1_000, 1_000, 1_600));
        assert_eq!(claims.scope, "orders:place stock:write");
        let key = new_key().unwrap();
        let signer = Signer::new(key.kid, &key.private_key);
        let token = signer.sign(&claims).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(
            (header.alg, header.typ.as_deref()),
            (Algorithm::ES256, Some("at+jwt"))
        );
    }
}
