//! What a provider has signed about somebody (OpenID Connect Core 1.0, 3.1.3.7): pure.

use jiff::Timestamp;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use crate::proof::is_signed_by;

/// Signatures that are believed. None is made with a secret that both have.
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::RS256,
    Algorithm::ES256,
    Algorithm::PS256,
    Algorithm::EdDSA,
];
/// Longer ones are not read.
const BYTES_MAX: usize = 16 * 1024;
/// Clocks may differ by this much, in seconds.
const LEEWAY_S: i64 = 60;
/// A token was made for this sign-in, so it is not older, in seconds.
const AGE_S_MAX: i64 = 600;
/// Bytes of a `sub` (OpenID Connect Core 1.0, 2).
const SUBJECT_BYTES_MAX: usize = 255;

/// What one has to say to be the one that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
}

/// What it says about somebody.
#[derive(Debug, Deserialize)]
pub(super) struct IdToken {
    iss: String,
    pub(super) sub: String,
    aud: Audience,
    exp: i64,
    iat: i64,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    azp: Option<String>,
    #[serde(flatten)]
    pub(super) profile: Profile,
}

/// Where it may stand in the ID token, or come from `userinfo`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Profile {
    #[serde(default)]
    pub(super) email: Option<String>,
    #[serde(default)]
    email_verified: Value,
    #[serde(default)]
    pub(super) name: Option<String>,
}

impl Profile {
    /// Some say it as a text.
    pub(super) fn is_email_verified(&self) -> bool {
        self.email_verified == Value::Bool(true) || self.email_verified == "true"
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Why it is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// None of these keys has its name: the provider may have a new one.
    KeyUnknown,
    Wrong(&'static str),
}

/// Verifies it by the provider's keys (RFC 7517).
pub(super) fn verify(
    token: &str,
    keys: &[Value],
    expected: Expected<'_>,
    now: Timestamp,
) -> Result<IdToken, Fault> {
    if token.len() > BYTES_MAX {
        return Err(Fault::Wrong("the ID token is too long"));
    }
    // Read before it is believed, to know by which key.
    let read = jsonwebtoken::dangerous::insecure_decode::<IdToken>(token);
    let unread = read.map_err(|_| Fault::Wrong("the ID token cannot be read"))?;
    let algorithm = unread.header.alg;
    if !ALGORITHMS.contains(&algorithm) {
        return Err(Fault::Wrong("the ID token is not signed as it should be"));
    }
    if has_critical(token) {
        return Err(Fault::Wrong("the ID token asks for what is unknown here"));
    }
    let kid = unread.header.kid.as_deref();
    let mut named = keys
        .iter()
        .filter(|key| kid.is_none() || key["kid"].as_str() == kid)
        .filter(|key| key["use"] != "enc")
        .peekable();
    if named.peek().is_none() {
        return Err(Fault::KeyUnknown);
    }
    if !named.any(|key| is_signed_by(key, algorithm, token)) {
        return Err(Fault::Wrong(
            "no key of the provider has signed the ID token",
        ));
    }
    match fault(&unread.claims, expected, now) {
        Some(why) => Err(Fault::Wrong(why)),
        None => Ok(unread.claims),
    }
}

/// Whether it has extensions that must be understood (RFC 7515, 4.1.11): we understand none.
fn has_critical(token: &str) -> bool {
    let head = token.split('.').next().unwrap_or_default();
    let head = data_encoding::BASE64URL_NOPAD.decode(head.as_bytes()).ok();
    let head: Option<Value> = head.and_then(|head| serde_json::from_slice(&head).ok());
    head.is_none_or(|head| head.get("crit").is_some())
}

fn fault(claims: &IdToken, expected: Expected<'_>, now: Timestamp) -> Option<&'static str> {
    let now = now.as_second();
    let ours = expected.client_id;
    let is_for_us = match &claims.aud {
        Audience::One(audience) => audience == ours,
        // It may be for others too, if it was given to us.
        Audience::Many(all) => {
            all.iter().any(|it| it == ours) && (all.len() == 1 || claims.azp.is_some())
        }
    };
    if claims.iss != expected.issuer {
        Some("the ID token is of another issuer")
    } else if !is_for_us || claims.azp.as_deref().is_some_and(|azp| azp != ours) {
        Some("the ID token is for another client")
    } else if now >= claims.exp.saturating_add(LEEWAY_S) {
        Some("the ID token has expired")
    } else if claims.iat > now.saturating_add(LEEWAY_S)
        || claims.iat < now.saturating_sub(AGE_S_MAX)
    {
        Some("the ID token was not made just now")
    } else if claims.nonce.as_deref() != Some(expected.nonce) {
        Some("the ID token belongs to another sign-in")
    } else if claims.sub.is_empty()
        || claims.sub.len() > SUBJECT_BYTES_MAX
        || claims.sub.contains(char::is_control)
    {
        Some("the ID token does not say about whom it is")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;
    use crate::token::{KeyPair, new_key};

    const NOW: i64 = 1_000_000;
    const EXPECTED: Expected<'_> = Expected {
        issuer: "https://accounts.example",
        client_id: "shop",
        nonce: "n",
    };

    fn claims() -> Value {
        json!({
            "iss": "https://accounts.example", "sub": "s", "aud": "shop", "nonce": "n",
            "iat": NOW, "exp": NOW + 600, "email": "a@b.example", "email_verified": true,
        })
    }

    fn signed(key: &KeyPair, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key.kid.clone());
        encode(&header, claims, &EncodingKey::from_ec_der(&key.private_key)).unwrap()
    }

    fn verified(token: &str, keys: &[Value]) -> Result<IdToken, Fault> {
        verify(token, keys, EXPECTED, Timestamp::from_second(NOW).unwrap())
    }

    #[test]
    fn only_what_was_made_for_this_very_sign_in_is_believed() {
        let key = new_key().unwrap();
        let keys = [key.public_jwk.clone()];
        let good = verified(&signed(&key, &claims()), &keys).unwrap();
        assert_eq!(good.sub, "s");
        assert!(good.profile.is_email_verified());
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            claims
        };
        let several = |azp: Value| {
            let mut claims = with("aud", json!(["shop", "other"]));
            claims["azp"] = azp;
            claims
        };
        for good in [with("aud", json!(["shop"])), several("shop".into())] {
            verified(&signed(&key, &good), &keys).unwrap();
        }
        for bad in [
            with("iss", "https://accounts.example/".into()),
            with("aud", "other".into()),
            with("aud", json!([])),
            with("aud", json!(["shop", "other"])),
            several("other".into()),
            with("azp", "other".into()),
            with("exp", (NOW - 61).into()),
            with("exp", "never".into()),
            with("iat", (NOW + 61).into()),
            with("iat", (NOW - 601).into()),
            with("nonce", "m".into()),
            with("nonce", Value::Null),
            with("sub", "".into()),
            with("sub", "s".repeat(256).into()),
        ] {
            let refused = verified(&signed(&key, &bad), &keys);
            assert!(matches!(refused, Err(Fault::Wrong(_))), "{bad}");
        }
    }

    #[test]
    fn only_the_providers_keys_sign_and_in_ways_that_are_allowed() {
        let (key, other) = (new_key().unwrap(), new_key().unwrap());
        let keys = [key.public_jwk.clone()];
        let unknown = verified(&signed(&other, &claims()), &keys).unwrap_err();
        assert_eq!(unknown, Fault::KeyUnknown);
        let named = KeyPair {
            kid: key.kid.clone(),
            ..other
        };
        assert!(matches!(
            verified(&signed(&named, &claims()), &keys),
            Err(Fault::Wrong(_))
        ));

        let encoded =
            |value: &Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let none = json!({ "alg": "none", "kid": key.kid });
        let none = format!("{}.{}.", encoded(&none), encoded(&claims()));
        // Signed with what everybody knows: the public key as a secret.
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(key.kid.clone());
        let secret = EncodingKey::from_secret(key.public_jwk.to_string().as_bytes());
        let confused = encode(&header, &claims(), &secret).unwrap();
        let good = signed(&key, &claims());
        let (signed_part, _) = good.rsplit_once('.').unwrap();
        let critical = json!({ "alg": "ES256", "kid": key.kid, "crit": ["x"], "x": 1 });
        let critical = format!("{}.{}", encoded(&critical), good.split_once('.').unwrap().1);
        for bad in [
            none,
            confused,
            format!("{signed_part}."),
            critical,
            "x".repeat(20_000),
        ] {
            assert!(
                matches!(verified(&bad, &keys), Err(Fault::Wrong(_))),
                "{bad}"
            );
        }
        let for_secrets = json!([{ "kty": "oct", "kid": key.kid, "k": "c2VjcmV0" }]);
        let refused = verified(&good, for_secrets.as_array().unwrap());
        assert!(matches!(refused, Err(Fault::Wrong(_))));
    }

    #[test]
    fn an_address_is_verified_where_the_provider_says_so_and_nowhere_else() {
        let said = |value: Value| {
            let profile: Profile =
                serde_json::from_value(json!({ "email": "a", "email_verified": value })).unwrap();
            profile.is_email_verified()
        };
        assert!(said(true.into()) && said("true".into()));
        for no in [
            false.into(),
            "false".into(),
            1.into(),
            Value::Null,
            json!({}),
        ] {
            assert!(!said(no));
        }
    }
}
