//! Partners on NATS: who they are, as the server says and auth has signed, and how much they may ask.
//!
//! Their account imports services of the shop's with `share: true`, so the server puts a header on each request that
//! has the name of the connection over which it came. Nobody but the server can send to the subjects at which such
//! requests arrive. But it looks at headers as bytes, and a partner that leaves their end out can have what the server
//! adds read as part of another header, beside one of its own making (tried on 2.15.1). So what is believed is the
//! signature: a connection's name is a token that auth has made for it, which nobody but its partner gets to see; and
//! what mentions the header twice is refused.

use std::{num::NonZeroU32, time::Duration};

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use serde::Deserialize;
use shopzen_contracts::Problem;
use uuid::Uuid;

/// The account of partners' connections.
pub(crate) const ACCOUNT: &str = "PARTNERS";
/// What the server says about who asks.
const REQUEST_INFO: &str = "Nats-Request-Info";

/// Requests a second that one partner may send to one process for as long as it likes.
const REQUESTS_PER_S: NonZeroU32 = NonZeroU32::new(100).expect("it is not zero");
/// Requests that it may send at once after a pause.
const REQUESTS_BURST: NonZeroU32 = NonZeroU32::new(500).expect("it is not zero");
/// Partners that are kept in mind; those that have been silent are forgotten first.
const PARTNERS_MAX: usize = 10_000;

#[derive(Deserialize)]
struct RequestInfo {
    acc: String,
    user: String,
}

/// The name of the connection over which a request came, where the server says it and nothing else does.
pub(crate) fn connection_of(headers: &HeaderMap) -> Option<String> {
    let mention = REQUEST_INFO.to_ascii_lowercase();
    let mentions = |text: &str| text.to_ascii_lowercase().matches(&mention).count();
    let of_header = |(name, values): (&HeaderName, &Vec<HeaderValue>)| {
        let in_values: usize = values.iter().map(|value| mentions(value.as_str())).sum();
        mentions(name.as_ref()) * values.len() + in_values
    };
    if headers.iter().map(of_header).sum::<usize>() != 1 {
        return None;
    }
    let info = headers.get(REQUEST_INFO)?;
    let info: RequestInfo = serde_json::from_str(info.as_str()).ok()?;
    (info.acc == ACCOUNT).then_some(info.user)
}

/// How much each partner has asked lately.
pub(crate) struct Pace {
    limiter: DefaultKeyedRateLimiter<Uuid>,
    clock: DefaultClock,
}

impl Default for Pace {
    fn default() -> Self {
        let quota = Quota::per_second(REQUESTS_PER_S).allow_burst(REQUESTS_BURST);
        Self {
            limiter: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
        }
    }
}

impl Pace {
    /// 429 for who asks too much.
    pub(crate) fn check(&self, partner: Uuid) -> Result<(), Problem> {
        if self.limiter.len() > PARTNERS_MAX {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&partner).map_err(|refused| {
            let wait = refused.wait_time_from(self.clock.now());
            too_much(wait)
        })
    }
}

fn too_much(wait: Duration) -> Problem {
    let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(1);
    let detail = "too many requests from this partner; see retry_after_s";
    Problem::new(429, "rate_limited", detail).with("retry_after_s", seconds.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn info(account: &str) -> String {
        serde_json::json!({ "acc": account, "user": "name", "rtt": 1 }).to_string()
    }

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, *value);
        }
        headers
    }

    #[test]
    fn who_asks_is_said_once_and_by_the_server() {
        let ours = info(ACCOUNT);
        let good = headers(&[("Idempotency-Key", "k"), (REQUEST_INFO, &ours)]);
        assert_eq!(connection_of(&good).as_deref(), Some("name"));
        // As the server's own text is read where it was added to the end of something.
        let glued = format!("a{REQUEST_INFO}: {ours}");
        for bad in [
            &[][..],
            &[(REQUEST_INFO, &*info("SHOP"))],
            &[(REQUEST_INFO, "{}")],
            &[(REQUEST_INFO, &ours), (REQUEST_INFO, &ours)],
            &[("nats-request-info", &ours)],
            &[("nats-request-info", &ours), (REQUEST_INFO, &ours)],
            &[(REQUEST_INFO, &ours), ("ZNats-Request-Info", &ours)],
            &[(REQUEST_INFO, &ours), ("Z", &glued)],
            &[(REQUEST_INFO, &format!("{ours} {glued}"))],
        ] {
            assert_eq!(connection_of(&headers(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn one_partner_cannot_use_up_what_another_may_ask() {
        let pace = Pace::default();
        let (loud, quiet) = (clock::new_id(), clock::new_id());
        let refused = (0..10_000).find_map(|_| pace.check(loud).err()).unwrap();
        assert_eq!(
            (refused.status, refused.code.as_str()),
            (429, "rate_limited")
        );
        assert_eq!(refused.members["retry_after_s"], 1);
        assert!(pace.check(quiet).is_ok());
    }
}
