//! Secrets that we give out, and know again without keeping them.

use aws_lc_rs::{hmac, rand};
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use shopzen_chassis::{Failure, Secret};
use shopzen_contracts::Confidential;
use uuid::Uuid;

/// Bytes of a secret: nobody guesses 256 random bits, so a plain hash of them tells nothing.
const SECRET_BYTES: usize = 32;
/// The key of links is the HMAC of this by the secret: other uses of the same secret have other keys.
const LINKS: &[u8] = b"shopzen auth: codes of links, v1";

/// A new secret, as its owner gets it.
pub(crate) fn new_secret() -> Result<Confidential, Failure> {
    let mut bytes = [0; SECRET_BYTES];
    rand::fill(&mut bytes)
        .map_err(|_| Failure::Inconsistent("there is no randomness".to_owned()))?;
    Ok(Confidential::new(BASE64URL_NOPAD.encode(&bytes)))
}

/// How a secret is kept, and an address where it is only to be known again.
pub(crate) fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Makes the codes of links, and knows them again. They are not kept: whoever reads the database, or an event, has
/// none of them.
pub(crate) struct Links(hmac::Key);

impl Links {
    pub(crate) fn new(secret: &Secret) -> Self {
        let keys = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let key = hmac::sign(&keys, LINKS);
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    /// What stands in the link of a letter.
    pub(crate) fn token(&self, letter_id: Uuid) -> Confidential {
        let code = hmac::sign(&self.0, letter_id.as_bytes());
        let code = BASE64URL_NOPAD.encode(code.as_ref());
        Confidential::new(format!("{}.{code}", letter_id.simple()))
    }

    /// The letter that a token is from. None where it is not ours.
    pub(crate) fn letter_of(&self, token: &Confidential) -> Option<Uuid> {
        let (letter_id, code) = token.expose().split_once('.')?;
        let letter_id = Uuid::parse_str(letter_id).ok()?;
        let code = BASE64URL_NOPAD.decode(code.as_bytes()).ok()?;
        hmac::verify(&self.0, letter_id.as_bytes(), &code).ok()?;
        Some(letter_id)
    }

    /// Says when something was asked, for a browser to bring back: it belongs to what it was asked `about`. Texts are longer
    /// than the ids of letters, so that none of the two is taken for the other.
    pub(crate) fn stamp(&self, at: Timestamp, about: &str) -> String {
        let at = at.as_millisecond();
        let code = hmac::sign(&self.0, format!("stamp {at} {about}").as_bytes());
        format!("{at}.{}", BASE64URL_NOPAD.encode(code.as_ref()))
    }

    /// When a stamp of ours says that this was asked.
    pub(crate) fn stamped_at(&self, stamp: &str, about: &str) -> Option<Timestamp> {
        let (at, code) = stamp.split_once('.')?;
        let at: i64 = at.parse().ok()?;
        let code = BASE64URL_NOPAD.decode(code.as_bytes()).ok()?;
        hmac::verify(&self.0, format!("stamp {at} {about}").as_bytes(), &code).ok()?;
        Timestamp::from_millisecond(at).ok()
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Links")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_secrets_are_the_same() {
        let (a, b) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.expose().len(), 43, "256 bits in base64url");
        assert_ne!(hash(a.expose()), hash(b.expose()));
    }

    #[test]
    fn a_stamp_belongs_to_what_was_asked() {
        let links = Links::new(&Secret::new("k".repeat(32)));
        let at = Timestamp::from_millisecond(1_234).unwrap();
        let stamp = links.stamp(at, "a question");
        assert_eq!(links.stamped_at(&stamp, "a question"), Some(at));
        assert_eq!(links.stamped_at(&stamp, "another question"), None);
        let (_, code) = stamp.split_once('.').unwrap();
        let forged = format!("1235.{code}");
        for bad in ["", ".", "1234.", "x", forged.as_str()] {
            assert_eq!(links.stamped_at(bad, "a question"), None, "{bad}");
        }
    }

    #[test]
    fn a_link_is_known_by_its_code_and_by_nothing_else() {
        let links = Links::new(&Secret::new("k".repeat(32)));
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let token = links.token(one);
        assert_eq!(links.letter_of(&token), Some(one));
        let code = token.expose().split_once('.').unwrap().1;
        for forged in [
            format!("{}.{code}", other.simple()),
            format!("{}.", one.simple()),
            one.simple().to_string(),
            token.expose()[..token.expose().len() - 1].to_owned(),
            String::new(),
            ".".to_owned(),
        ] {
            let forged = Confidential::new(forged);
            assert_eq!(links.letter_of(&forged), None, "{}", forged.expose());
        }
        let others = Links::new(&Secret::new("x".repeat(32)));
        assert_eq!(others.letter_of(&token), None);
    }
}
