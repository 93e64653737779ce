//! The values that cross the wire and stand in the journal, each checked where it is made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The longest idempotency key.
const KEY_CHARS_MAX: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(&'static str);

/// An amount of money in minor units, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub(crate) struct Amount(i64);

impl Amount {
    pub(crate) fn minor(self) -> i64 {
        self.0
    }
}

impl From<Amount> for i64 {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}

impl TryFrom<i64> for Amount {
    type Error = Invalid;

    fn try_from(minor: i64) -> Result<Self, Invalid> {
        if minor > 0 {
            Ok(Self(minor))
        } else {
            Err(Invalid("an amount is greater than zero"))
        }
    }
}

/// An ISO 4217 code, by its form: three capital letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Currency([u8; 3]);

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.to_string()
    }
}

impl TryFrom<String> for Currency {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        match text.as_bytes() {
            letters @ &[a, b, c] if letters.iter().all(u8::is_ascii_uppercase) => {
                Ok(Self([a, b, c]))
            }
            _ => Err(Invalid("a currency is three capital letters")),
        }
    }
}

/// Written `ch_` and the 32 digits of a `UUIDv7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ChargeId(pub(crate) Uuid);

impl fmt::Display for ChargeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ch_{}", self.0.simple())
    }
}

impl FromStr for ChargeId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.strip_prefix("ch_")
            .filter(|digits| digits.len() == uuid::fmt::Simple::LENGTH)
            .and_then(|digits| Uuid::try_parse(digits).ok())
            .map(Self)
            .ok_or(Invalid("a charge id is ch_ and 32 hexadecimal digits"))
    }
}

impl From<ChargeId> for String {
    fn from(id: ChargeId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ChargeId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

/// An idempotency key: 1 to 255 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Key(Box<str>);

impl Key {
    pub(crate) fn digest(&self) -> KeyDigest {
        let digest: [u8; 32] = Sha256::digest(self.0.as_bytes()).into();
        let (half, _) = digest
            .split_first_chunk()
            .expect("32 bytes have a first 16");
        KeyDigest(*half)
    }
}

/// Half of the key's SHA-256, which no other key shares. The books keep it in place of the key,
/// whose text may be many times as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyDigest([u8; 16]);

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0.into()
    }
}

impl TryFrom<String> for Key {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if printable && (1..=KEY_CHARS_MAX).contains(&text.len()) {
            Ok(Self(text.into()))
        } else {
            Err(Invalid(
                "an idempotency key is 1 to 255 printable ASCII characters",
            ))
        }
    }
}
