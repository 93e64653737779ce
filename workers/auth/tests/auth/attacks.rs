//! What is known to have broken other verifiers of tokens, for ours with a running auth worker behind it: there is one
//! for all tests of this binary, so they are called from `verifying.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};

use shopzen_chassis::harness::Harness;

use crate::verifying::{Forge, status};

/// The order of the group of P-256 (FIPS 186-5, as SEC 2 writes it).
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

type Attacks = Vec<(String, String)>;

/// Any text for head and body, rightly signed.
fn signed(forge: &Forge, head: &str, body: &str) -> String {
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let message = format!("{}.{}", part(head), part(body));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &forge.key, Algorithm::ES256);
    format!("{message}.{}", signature.unwrap())
}

fn head(forge: &Forge, changes: &Value) -> Value {
    let mut head = json!({ "alg": "ES256", "typ": "at+jwt", "kid": forge.header.kid });
    for (name, value) in changes.as_object().unwrap() {
        head[name] = value.clone();
    }
    head
}

/// A token that brings its own key, names a place where to get one, or asks for rules of its own.
fn key_injections(forge: &Forge) -> Attacks {
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let evil = EncodingKey::from_ec_der(pair.unwrap().as_ref());
    let evil_jwk = Jwk::from_encoding_key(&evil, Algorithm::ES256).unwrap();
    let claims = forge.claims.to_string();
    let mut attacks = Attacks::new();
    for (what, changes) in [
        ("jku", json!({ "jku": "https://evil.example/jwks.json" })),
        (
            "jku of ours",
            json!({ "jku": "http://127.0.0.1:8080/.well-known/jwks.json" }),
        ),
        ("x5u", json!({ "x5u": "https://evil.example/chain.pem" })),
        ("x5c", json!({ "x5c": ["MIIB"] })),
        ("jwk", json!({ "jwk": evil_jwk })),
        ("jwk of ours", json!({ "jwk": forge.public_jwk })),
        (
            "crit that nobody knows",
            json!({ "crit": ["evil"], "evil": true }),
        ),
        ("crit that is known", json!({ "crit": ["exp"], "exp": 0 })),
        (
            "crit for an unencoded body",
            json!({ "crit": ["b64"], "b64": false }),
        ),
        ("no crit at all", json!({ "crit": [] })),
        (
            "a key id of a file",
            json!({ "kid": "../../../../dev/null" }),
        ),
        (
            "a key id of SQL",
            json!({ "kid": "x' UNION SELECT 'secret' --" }),
        ),
        ("a key id that is long", json!({ "kid": "k".repeat(2_000) })),
        ("a key id that is empty", json!({ "kid": "" })),
        ("a key id that is a list", json!({ "kid": ["old"] })),
        ("a type of another case", json!({ "typ": "JWT" })),
        ("a type with a blank", json!({ "typ": "at+jwt " })),
        ("compressed", json!({ "zip": "DEF", "alg": "none" })),
    ] {
        let head = head(forge, &changes).to_string();
        attacks.push((what.to_owned(), signed(forge, &head, &claims)));
    }
    // Signed with the key that it brings along, under the id of one that is believed.
    let mut header = forge.header.clone();
    header.jwk = Some(evil_jwk);
    let brought = jsonwebtoken::encode(&header, &forge.claims, &evil).unwrap();
    attacks.push(("signed with a jwk of its own".to_owned(), brought));
    attacks
}

/// Two readers that take another one of two members would read two tokens.
fn duplicates(forge: &Forge) -> Attacks {
    let head = head(forge, &json!({})).to_string();
    let claims = forge.claims.to_string();
    let twice = |of: &str, member: &str| of.replacen('{', &format!("{{{member},"), 1);
    let in_claims = [
        r#""scope":"ops:write""#,
        r#""exp":99999999999"#,
        r#""sub":"00000000-0000-0000-0000-000000000000""#,
        r#""aud":"somebody-else""#,
        r#""iss":"https://evil.example""#,
        r#""nbf":0"#,
    ];
    let in_head = [
        r#""alg":"none""#,
        r#""alg":"ES256""#,
        r#""typ":"JWT""#,
        r#""kid":"other""#,
    ];
    let of_claims = in_claims.map(|member| (member, signed(forge, &head, &twice(&claims, member))));
    let of_head = in_head.map(|member| (member, signed(forge, &twice(&head, member), &claims)));
    let all = of_claims.into_iter().chain(of_head);
    all.map(|(member, token)| (format!("{member} twice"), token))
        .collect()
}

/// Times that are no whole seconds, and claims that are no claims.
fn odd_claims(forge: &Forge) -> Attacks {
    let mut attacks = Attacks::new();
    for (what, changes) in [
        (
            "exp as text (CVE-2026-25537)",
            json!({ "exp": "9999999999" }),
        ),
        ("nbf as text", json!({ "nbf": "0" })),
        ("exp with a fraction", json!({ "exp": 9_999_999_999.5 })),
        ("exp below zero", json!({ "exp": -1 })),
        ("exp true", json!({ "exp": true })),
        ("exp in a list", json!({ "exp": [9_999_999_999_u64] })),
        ("exp in milliseconds of long ago", json!({ "exp": 1_000 })),
        ("scope as a list", json!({ "scope": ["stock:write"] })),
        ("aud as a list", json!({ "aud": ["shopzen"] })),
        ("iss as a list", json!({ "iss": ["shopzen"] })),
    ] {
        attacks.push((what.to_owned(), forge.with_claims(changes)));
    }
    let head = head(forge, &json!({})).to_string();
    for body in ["[]", "null", "\"claims\"", "1", "", "{}", "{"] {
        attacks.push((format!("claims {body:?}"), signed(forge, &head, body)));
    }
    let huge = format!("{}1e999{}", r#"{"exp":"#, "}");
    attacks.push((
        "exp that no number is".to_owned(),
        signed(forge, &head, &huge),
    ));
    attacks
}

/// The same bytes in base64 that is not the one there is.
fn other_encodings(good: &str) -> Attacks {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut attacks = Attacks::new();
    let parts: Vec<&str> = good.split('.').collect();
    for (index, part) in parts.iter().enumerate() {
        // Bits of the last letter that say nothing.
        let unused = match part.len() % 4 {
            2 => 4,
            3 => 2,
            _ => 0,
        };
        let last = ALPHABET
            .iter()
            .position(|letter| *letter == part.as_bytes()[part.len() - 1]);
        for bits in 1..1 << unused {
            let letter = char::from(ALPHABET[last.unwrap() | bits]);
            let changed = format!("{}{letter}", &part[..part.len() - 1]);
            attacks.push((
                format!("part {index} with bits {bits}"),
                with_part(&parts, index, &changed),
            ));
        }
        for (what, changed) in [
            ("padded", format!("{part}=")),
            ("with a blank", format!("{} {}", &part[..4], &part[4..])),
            ("percent-encoded", format!("{part}%2E")),
        ] {
            attacks.push((
                format!("part {index} {what}"),
                with_part(&parts, index, &changed),
            ));
        }
    }
    let standard = good.replace('-', "+").replace('_', "/");
    if standard != good {
        attacks.push(("the other alphabet".to_owned(), standard));
    }
    attacks
}

fn with_part(parts: &[&str], index: usize, changed: &str) -> String {
    let mut parts = parts.to_vec();
    parts[index] = changed;
    parts.join(".")
}

/// Signatures with a part of it cut off, made longer, or out of range.
fn odd_signatures(good: &str) -> Attacks {
    let (message, signature) = good.rsplit_once('.').unwrap();
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let (r, s) = signature.split_at(32);
    let (zero, order) = ([0_u8; 32], order());
    let der = [&[0x30, 68, 2, 32][..], r, &[2, 32], s].concat();
    [
        ("r of 0", [&zero[..], s].concat()),
        ("s of 0", [r, &zero].concat()),
        ("r of the order", [&order[..], s].concat()),
        ("s of the order", [r, &order].concat()),
        ("both of the order", [order, order].concat()),
        ("all ones", vec![0xff; 64]),
        ("the halves the other way round", [s, r].concat()),
        ("one byte less", signature[..63].to_vec()),
        ("one byte more", [&signature[..], &[0]].concat()),
        ("in DER", der),
    ]
    .map(|(what, bytes)| {
        (
            format!("signature: {what}"),
            format!("{message}.{}", BASE64URL_NOPAD.encode(&bytes)),
        )
    })
    .into()
}

fn order() -> [u8; 32] {
    let bytes = data_encoding::HEXLOWER.decode(ORDER.as_bytes()).unwrap();
    bytes.try_into().unwrap()
}

/// The other signature of the same words: whoever has (r, s) has (r, order − s).
fn mirrored(good: &str) -> String {
    let (message, signature) = good.rsplit_once('.').unwrap();
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let (mut other, mut borrow) = (signature.clone(), 0_i16);
    for (index, of_order) in order().iter().enumerate().rev() {
        let difference = i16::from(*of_order) - i16::from(signature[32 + index]) - borrow;
        borrow = i16::from(difference < 0);
        other[32 + index] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{message}.{}", BASE64URL_NOPAD.encode(&other))
}

/// None of them gets in.
pub(crate) async fn fail(guarded: &Harness, forge: &Forge) {
    let good = forge.with_claims(json!({}));
    let (head, claims) = (head(forge, &json!({})), &forge.claims);
    let by_hand = signed(forge, &head.to_string(), &claims.to_string());
    assert_eq!(
        status(guarded, &by_hand).await,
        200,
        "what is written by hand is good"
    );
    let attacks = [
        key_injections(forge),
        duplicates(forge),
        odd_claims(forge),
        other_encodings(&good),
        odd_signatures(&good),
    ];
    let mut tried = 0;
    for (what, token) in attacks.into_iter().flatten() {
        assert_eq!(status(guarded, &token).await, 401, "{what}: {token}");
        tried += 1;
    }
    for end in 0..good.len() {
        assert_eq!(status(guarded, &good[..end]).await, 401, "cut off at {end}");
        tried += 1;
    }
    assert!(tried > 400, "{tried}");
}

/// That is in the nature of ECDSA. It says what the first one says, and so allows no more: nothing here
/// tells tokens apart by their bytes.
pub(crate) async fn a_mirrored_signature_says_nothing_new(guarded: &Harness, forge: &Forge) {
    let may = forge.with_claims(json!({}));
    assert_eq!(mirrored(&mirrored(&may)), may);
    for (what, changes, expected) in [
        ("good", json!({}), 200),
        ("without the scope", json!({ "scope": "orders:read" }), 403),
        ("expired", json!({ "exp": 1_000 }), 401),
    ] {
        let token = forge.with_claims(changes);
        assert_eq!(status(guarded, &token).await, expected, "{what}");
        assert_eq!(
            status(guarded, &mirrored(&token)).await,
            expected,
            "{what}, mirrored"
        );
    }
}

/// Four KiB are read, and not a byte more.
pub(crate) async fn a_token_has_a_largest_size(guarded: &Harness, forge: &Forge) {
    let of_size = |padding: usize| forge.with_claims(json!({ "client_id": "x".repeat(padding) }));
    // Base64 grows in steps.
    let mut smaller = (2_000..3_000).rev().map(of_size);
    let largest = smaller.find(|token| token.len() <= 4_096).unwrap();
    assert!(largest.len() > 4_090, "{}", largest.len());
    assert_eq!(status(guarded, &largest).await, 200);
    let larger = (2_000..3_000)
        .map(of_size)
        .find(|token| token.len() > 4_096);
    assert_eq!(status(guarded, &larger.unwrap()).await, 401);
}
