//! The secret that lets a guest see an order: 128 random bits, of which only the hash is kept.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

const BYTES: usize = 16;

/// A new secret, and what is kept of it.
pub(crate) fn new() -> (String, Vec<u8>) {
    let token = BASE64URL_NOPAD.encode(&rand::random::<[u8; BYTES]>());
    let hash = hash(&token);
    (token, hash)
}

pub(crate) fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_new_each_time_and_known_by_its_hash() {
        let (token, kept) = new();
        assert_eq!(hash(&token), kept);
        assert_ne!(new().0, token);
        assert_eq!(token.len(), 22);
    }
}
