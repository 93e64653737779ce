//! An authenticator in software (<https://www.w3.org/TR/webauthn-3/#sctn-authenticator-data>), which can lie as ours must not
//! be lied to.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Somebody was there, it was verified who, and a key comes along.
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const HAS_KEY: u8 = 0x40;

const ID: &[u8] = b"an authenticator";

/// One passkey, with what it would say.
pub(crate) struct Authenticator {
    key: EcdsaKeyPair,
    pub(crate) origin: String,
    pub(crate) rp_id: String,
    pub(crate) counter: u32,
    pub(crate) flags: u8,
    user: Vec<u8>,
}

impl Authenticator {
    pub(crate) fn new(origin: &str, rp_id: &str) -> Self {
        let key =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .expect("a key can be made");
        Self {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref())
                .expect("it is one"),
            origin: origin.to_owned(),
            rp_id: rp_id.to_owned(),
            counter: 1,
            flags: PRESENT | VERIFIED,
            user: Vec::new(),
        }
    }

    pub(crate) fn verifies_nobody(&mut self) {
        self.flags = PRESENT;
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let data = json!({
            "type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false,
        });
        data.to_string().into_bytes()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let mut data = Sha256::digest(self.rp_id.as_bytes()).to_vec();
        data.push(flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// What comes of `navigator.credentials.create`.
    pub(crate) fn create(&mut self, options: &Value) -> Value {
        let user = options["user"]["id"].as_str().expect("a user");
        self.user = BASE64URL_NOPAD.decode(user.as_bytes()).expect("base64url");
        let mut data = self.data(self.flags | HAS_KEY);
        data.extend([0; 16]);
        data.extend([0, 16]);
        data.extend(ID);
        // A COSE key (RFC 9052, 7): EC2, ES256, P-256, x and y.
        let point = self.key.public_key().as_ref();
        data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(&point[1..33]);
        data.extend([0x22, 0x58, 0x20]);
        data.extend(&point[33..]);
        // {"fmt": "none", "attStmt": {}, "authData": data} in CBOR.
        let mut attestation = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        attestation.push(u8::try_from(data.len()).expect("it is short"));
        attestation.extend(data);
        json!({
            "id": BASE64URL_NOPAD.encode(ID), "rawId": BASE64URL_NOPAD.encode(ID), "type": "public-key",
            "response": {
                "clientDataJSON": BASE64URL_NOPAD.encode(&self.client_data("webauthn.create", options)),
                "attestationObject": BASE64URL_NOPAD.encode(&attestation),
            },
        })
    }

    /// What comes of `navigator.credentials.get`.
    pub(crate) fn get(&mut self, options: &Value) -> Value {
        self.counter += 1;
        let client_data = self.client_data("webauthn.get", options);
        let data = self.data(self.flags);
        let signed = [&data[..], &Sha256::digest(&client_data)].concat();
        let signature = self
            .key
            .sign(&SystemRandom::new(), &signed)
            .expect("it signs");
        json!({
            "id": BASE64URL_NOPAD.encode(ID), "rawId": BASE64URL_NOPAD.encode(ID), "type": "public-key",
            "response": {
                "clientDataJSON": BASE64URL_NOPAD.encode(&client_data),
                "authenticatorData": BASE64URL_NOPAD.encode(&data),
                "signature": BASE64URL_NOPAD.encode(signature.as_ref()),
                "userHandle": BASE64URL_NOPAD.encode(&self.user),
            },
        })
    }
}
