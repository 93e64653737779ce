//! Partners on NATS: who they are, as the server says, and how much they may ask.
//!
//! Their account imports services of the shop's with `share: true`, so the server puts a header on each request that
//! says whose connection it came over, in the place of any that the request brought. Nobody but the server can send to
//! the subjects at which such requests arrive.

use std::{num::NonZeroU32, time::Duration};

use async_nats::HeaderMap;
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use serde::Deserialize;
use shopzen_contracts::{
    Problem,
    auth::{AUDIENCE, Claims},
};
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

/// Somebody whom the server let in, as it says on each of their requests: the name of their connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partner {
    pub(crate) id: Uuid,
    /// What it signed in with.
    pub(crate) credential: Uuid,
    /// Parted by spaces.
    pub(crate) scope: String,
}

#[derive(Deserialize)]
struct RequestInfo {
    acc: String,
    user: String,
}

impl Partner {
    /// What a connection is called.
    pub(crate) fn name(&self) -> String {
        format!("{} {} {}", self.id, self.credential, self.scope)
    }

    fn parse(name: &str) -> Option<Self> {
        let mut words = name.splitn(3, ' ');
        Some(Self {
            id: words.next()?.parse().ok()?,
            credential: words.next()?.parse().ok()?,
            scope: words.next()?.to_owned(),
        })
    }

    /// Who asks, where the server says so, and says it once.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut said = headers.get_all(REQUEST_INFO);
        let (info, others) = (said.next()?, said.next());
        if others.is_some() {
            return None;
        }
        let info: RequestInfo = serde_json::from_str(info.as_str()).ok()?;
        let partner = Self::parse(&info.user)?;
        (info.acc == ACCOUNT).then_some(partner)
    }

    /// As if it had shown a token. How long that is good, the server sees to.
    pub(crate) fn into_claims(self, issuer: &str, jti: Uuid, now: u64) -> Claims {
        Claims {
            iss: issuer.to_owned(),
            sub: self.id,
            aud: AUDIENCE.to_owned(),
            exp: now,
            nbf: now,
            iat: now,
            jti,
            sid: Some(self.credential),
            client_id: self.id.to_string(),
            scope: self.scope,
        }
    }
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

    fn partner() -> Partner {
        Partner {
            id: clock::new_id(),
            credential: clock::new_id(),
            scope: "orders:place stock:write".to_owned(),
        }
    }

    fn headers(infos: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (account, user) in infos {
            let info = serde_json::json!({ "acc": account, "user": user, "rtt": 1 });
            headers.append(REQUEST_INFO, info.to_string().as_str());
        }
        headers
    }

    #[test]
    fn a_partner_is_who_the_server_says_and_says_once() {
        let partner = partner();
        let name = partner.name();
        let good = headers(&[(ACCOUNT, &name)]);
        assert_eq!(Partner::of(&good), Some(partner.clone()));
        for bad in [
            HeaderMap::new(),
            headers(&[("SHOP", &name)]),
            headers(&[(ACCOUNT, "orders")]),
            headers(&[(ACCOUNT, &name), (ACCOUNT, &name)]),
        ] {
            assert_eq!(Partner::of(&bad), None, "{bad:?}");
        }
        let mut other_case = HeaderMap::new();
        other_case.insert("nats-request-info", "{}");
        assert_eq!(Partner::of(&other_case), None);
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
