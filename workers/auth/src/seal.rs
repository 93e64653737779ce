//! Keeps secrets in the database from who has only the database: AES-256-GCM (NIST SP 800-38D), with a key that
//! stands in the configuration.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
};
use shopzen_chassis::{Failure, Secret};

/// Characters of the secret at the least: 190 bits where they are random letters and digits.
const SECRET_LENGTH_MIN: usize = 32;
/// What the key is derived for (RFC 5869, `info`): other uses of the same secret would have other keys.
const PURPOSE: &[u8] = b"shopzen auth: secrets in the database, v1";

pub(crate) struct Seal(RandomizedNonceKey);

impl Seal {
    /// None where the secret is too short to be one.
    pub(crate) fn new(secret: &Secret) -> Option<Self> {
        let secret = secret.expose().as_bytes();
        if secret.len() < SECRET_LENGTH_MIN {
            return None;
        }
        let mut key = [0; 32];
        Salt::new(HKDF_SHA256, &[])
            .extract(secret)
            .expand(&[PURPOSE], HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut key))
            .ok()?;
        RandomizedNonceKey::new(&AES_256_GCM, &key).ok().map(Self)
    }

    /// `of` is whose secret it is: sealed for one, it cannot be opened as another's.
    pub(crate) fn close(&self, of: &str, clear: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut sealed = clear.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(of), &mut sealed)
            .map_err(|Unspecified| Failure::Inconsistent("a secret cannot be sealed".to_owned()))?;
        Ok([&nonce.as_ref()[..], &sealed].concat())
    }

    /// None where it was sealed with another secret or for somebody else, or was changed.
    pub(crate) fn open(&self, of: &str, sealed: &[u8]) -> Option<Vec<u8>> {
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
        Seal::new(&Secret::new(secret)).unwrap()
    }

    #[test]
    fn only_the_same_secret_opens_it_and_only_for_whom_it_was_sealed() {
        let ours = seal(&"a".repeat(32));
        let sealed = ours.close("key 1", b"private").unwrap();
        assert!(!sealed.windows(7).any(|bytes| bytes == b"private"));
        assert_eq!(ours.open("key 1", &sealed).unwrap(), b"private");
        assert_eq!(ours.open("key 2", &sealed), None);
        assert_eq!(seal(&"b".repeat(32)).open("key 1", &sealed), None);
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
        assert!(Seal::new(&Secret::new("a".repeat(31))).is_none());
        assert!(Seal::new(&Secret::default()).is_none());
    }
}
