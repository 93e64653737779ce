//! Webhooks as Standard Webhooks (standardwebhooks.com) has them: whether one is from who has the secret,
//! and was sent just now. Pure.
//!
//! What stands in one is a hint and no more. It can be late, or come before the answer to the call that
//! caused it, and so the gateway is asked how it stands.

use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use shopzen_contracts::{Problem, payments::ReceiveWebhook};

use crate::config::WebhookSecret;

/// How far a webhook's time may be from ours, either way: who overheard one cannot send it for ever.
const TOLERANCE: Duration = Duration::from_mins(5);
/// What stands before each signature of this kind; others may stand beside it.
const VERSION: &str = "v1,";

/// Compares every signature in full, so that the time it takes says nothing about the right one.
pub(crate) fn verify(
    secret: &WebhookSecret,
    webhook: &ReceiveWebhook,
    now: Timestamp,
) -> Result<(), Problem> {
    let ReceiveWebhook {
        id,
        timestamp,
        signature,
        body,
        gateway: _,
    } = webhook;
    let key = secret
        .key()
        .ok_or_else(|| unverified("this shop has no secret for the gateway's webhooks"))?;
    let mut mac =
        Hmac::<Sha256>::new_from_slice(&key).expect("this kind of MAC takes a key of any length");
    for part in [id, ".", timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    let is_signed = signature
        .split(' ')
        .filter_map(|signature| signature.strip_prefix(VERSION))
        .filter_map(|signature| BASE64.decode(signature.as_bytes()).ok())
        .any(|signature| mac.clone().verify_slice(&signature).is_ok());
    if !is_signed {
        return Err(unverified("no signature fits what was sent"));
    }
    let sent_at = timestamp
        .parse()
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| unverified("its time is not in seconds since 1970"))?;
    if now.duration_since(sent_at).unsigned_abs() > TOLERANCE {
        let minutes = TOLERANCE.as_secs() / 60;
        return Err(unverified(&format!(
            "its time is more than {minutes} minutes from ours"
        )));
    }
    Ok(())
}

fn unverified(detail: &str) -> Problem {
    Problem::new(401, "webhook_unverified", detail)
}

/// For what is signed and yet cannot be read.
pub(crate) fn unreadable(why: &serde_json::Error) -> Problem {
    Problem::new(
        400,
        "malformed_json",
        format!("the body is not a webhook's: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, "Verifying webhooks manually".
    fn example() -> (WebhookSecret, ReceiveWebhook, Timestamp) {
        let webhook = ReceiveWebhook {
            gateway: "sandbox".to_owned(),
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            timestamp: "1614265330".to_owned(),
            signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned(),
            body: r#"{"test": 2432232314}"#.to_owned(),
        };
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        (
            secret,
            webhook,
            Timestamp::from_second(1_614_265_330).unwrap(),
        )
    }

    #[track_caller]
    fn assert_refused(secret: &WebhookSecret, webhook: &ReceiveWebhook, now: Timestamp) {
        let problem = verify(secret, webhook, now).unwrap_err();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (401, "webhook_unverified"),
            "{webhook:?}"
        );
    }

    #[test]
    fn the_example_of_the_specification_is_believed() {
        let (secret, webhook, now) = example();
        verify(&secret, &webhook, now).unwrap();
    }

    #[test]
    fn one_right_signature_among_others_is_enough() {
        let (secret, mut webhook, now) = example();
        let right = webhook.signature.clone();
        webhook.signature = format!("v1a,{right} v1,AAAA {right} v1,nonsense");
        verify(&secret, &webhook, now).unwrap();
    }

    #[test]
    fn whatever_is_changed_it_is_refused() {
        type Change = fn(&mut ReceiveWebhook);
        let (secret, webhook, now) = example();
        let changes: [Change; 9] = [
            |it| it.body.push(' '),
            |it| it.id.push('x'),
            |it| it.timestamp = "1614265331".to_owned(),
            |it| it.timestamp.insert(0, '0'),
            |it| it.signature.clear(),
            |it| it.signature = it.signature.replace("v1,", "v2,"),
            |it| it.signature = it.signature.replace("v1,", ""),
            // Part of the right one.
            |it| it.signature = "v1,g0hM".to_owned(),
            |it| it.signature = "v1,".to_owned(),
        ];
        for change in changes {
            let mut changed = webhook.clone();
            change(&mut changed);
            assert_refused(&secret, &changed, now);
        }
        let other = "whsec_AAAA9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert_refused(&other, &webhook, now);
        assert_refused(&WebhookSecret::default(), &webhook, now);
    }

    #[test]
    fn it_is_believed_within_five_minutes_either_way() {
        let (secret, webhook, now) = example();
        for (minutes, is_believed) in [(-6, false), (-5, true), (5, true), (6, false)] {
            let now = now + jiff::SignedDuration::from_mins(minutes);
            assert_eq!(
                verify(&secret, &webhook, now).is_ok(),
                is_believed,
                "{minutes}"
            );
        }
    }
}
