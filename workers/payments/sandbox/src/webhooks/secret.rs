//! Signatures of the [Standard Webhooks](https://www.standardwebhooks.com) kind.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How a secret begins.
const PREFIX: &str = "whsec_";
/// The shortest key, in bytes.
const KEY_BYTES_MIN: usize = 24;
/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 64;

/// What signs webhooks, known to the gateway and the shop only. Neither `Debug` nor an error shows it.
#[derive(Clone)]
pub struct WebhookSecret(Hmac<Sha256>);

impl WebhookSecret {
    pub(super) fn of_key(key: &[u8]) -> Self {
        // With the key mixed in once and for all: a signature begins with a copy of this.
        Self(Hmac::new_from_slice(key).expect("any number of bytes is a key"))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl FromStr for WebhookSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret::Prefix)?;
        let key = BASE64
            .decode(encoded.as_bytes())
            .map_err(|_| InvalidSecret::Encoding)?;
        if (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
            Ok(Self::of_key(&key))
        } else {
            Err(InvalidSecret::Length(key.len()))
        }
    }
}

/// Why a text is no secret for webhooks. It does not say what the text was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    #[error("a secret for webhooks begins with `{PREFIX}`")]
    Prefix,
    #[error("behind `{PREFIX}`, a secret for webhooks is base64, padding included")]
    Encoding,
    #[error(
        "a secret for webhooks is {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes in base64, and this is {0}"
    )]
    Length(usize),
}

/// The value of the header `webhook-signature`. The id and the timestamp, in Unix seconds, are those
/// of the headers `webhook-id` and `webhook-timestamp`.
pub(super) fn sign(secret: &WebhookSecret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut mac = secret.0.clone();
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's `hmac`, and the example of the Standard Webhooks libraries.
    #[test]
    fn a_signature_is_what_standard_webhooks_says() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            sign(&secret, id, 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_is_whsec_and_24_to_64_bytes() {
        let secret = |bytes: usize| format!("{PREFIX}{}", BASE64.encode(&vec![7; bytes]));
        for bytes in [24, 25, 32, 64] {
            secret(bytes).parse::<WebhookSecret>().unwrap();
        }
        for (text, why) in [
            (String::new(), InvalidSecret::Prefix),
            (secret(32).replace("whsec_", "whpk_"), InvalidSecret::Prefix),
            (format!("{}!", secret(24)), InvalidSecret::Encoding),
            (
                secret(32).trim_end_matches('=').to_owned(),
                InvalidSecret::Encoding,
            ),
            (PREFIX.to_owned(), InvalidSecret::Length(0)),
            (secret(23), InvalidSecret::Length(23)),
            (secret(65), InvalidSecret::Length(65)),
        ] {
            assert_eq!(text.parse::<WebhookSecret>().unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let secret: WebhookSecret = text.parse().unwrap();
        assert_eq!(format!("{secret:?}"), "[secret]");
        let error = format!("{text}?").parse::<WebhookSecret>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("MfKQ"));
    }
}
