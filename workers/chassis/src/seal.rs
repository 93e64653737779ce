//! Keeps what is sealed from who has not the key: AES-256-GCM (NIST SP 800-38D), with a key that stands in the
//! configuration or was itself sealed with one.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
};

use crate::{Failure, Secret};

/// Characters of a secret at the least: 190 bits where they are random letters and digits.
const SECRET_LENGTH_MIN: usize = 32;
/// Bytes of a key.
pub const SEAL_KEY_BYTES: usize = 32;

/// Seals and opens with one key.
pub struct Seal(RandomizedNonceKey);

impl Seal {
    /// With a key that is derived from a secret (RFC 5869). `purpose` is its `info`: other uses of the same secret
    /// have other keys. None where the secret is too short to be one.
    pub fn derived(secret: &Secret, purpose: &[u8]) -> Option<Self> {
        let secret = secret.expose().as_bytes();
        if secret.len() < SECRET_LENGTH_MIN {
            return None;
        }
        let mut key = [0; SEAL_KEY_BYTES];
        Salt::new(HKDF_SHA256, &[])
            .extract(secret)
            .expand(&[purpose], HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut key))
            .ok()?;
        Self::of_key(&key)
    }

    /// None where this is no key of [`SEAL_KEY_BYTES`].
    pub fn of_key(key: &[u8]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, key).ok().map(Self)
    }

    /// `of` is whose secret it is: sealed for one, it cannot be opened as another's.
    ///
    /// # Errors
    ///
    /// Where there is no randomness.
    pub fn close(&self, of: &str, clear: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut sealed = clear.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(of), &mut sealed)
            .map_err(|Unspecified| Failure::Inconsistent("a secret cannot be sealed".to_owned()))?;
        Ok([&nonce.as_ref()[..], &sealed].concat())
    }

    /// None where it was sealed with another key or for somebody else, or was changed.
    pub fn open(&self, of: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut clear = sealed.to_vec();
        let length = self
            .0
            .open_in_place(nonce, Aad::from(of), &mut clear)
            .ok()?
            .len();
        clear.truncate(length);
        Some(clear)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(secret: &str) -> Seal {
        Seal::derived(&Secret::new(secret), b"a test").unwrap()
    }

    #[test]
    fn only_the_same_secret_opens_it_and_only_for_whom_it_was_sealed() {
        let secret = "a".repeat(32);
        let ours = seal(&secret);
        let sealed = ours.close("key 1", b"private").unwrap();
        assert!(!sealed.windows(7).any(|bytes| bytes == b"private"));
        assert_eq!(ours.open("key 1", &sealed).unwrap(), b"private");
        assert_eq!(ours.open("key 2", &sealed), None);
        assert_eq!(seal(&"b".repeat(32)).open("key 1", &sealed), None);
        let elsewhere = Seal::derived(&Secret::new(secret), b"another use").unwrap();
        assert_eq!(elsewhere.open("key 1", &sealed), None);
        assert_ne!(ours.close("key 1", b"private").unwrap(), sealed);
    }

    #[test]
    fn what_was_changed_or_cut_is_not_opened() {
        let seal = seal(&"a".repeat(32));
        let sealed = seal.close("key", b"private").unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(seal.open("key", &changed), None, "{place}");
            assert_eq!(seal.open("key", &sealed[..place]), None, "{place}");
        }
    }

    #[test]
    fn a_short_secret_is_none() {
        for short in ["", &"a".repeat(31)] {
            assert!(Seal::derived(&Secret::new(short), b"a test").is_none());
        }
        assert!(Seal::of_key(&[0; 31]).is_none());
    }
}
