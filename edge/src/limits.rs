//! How much one address may ask: a token bucket each, in a table that does not grow.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::http::HeaderValue;
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};
use serde::{Deserialize, Serialize};

/// How much one address may ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// `false`: everybody may ask as much as they like, as benchmarks do.
    pub enabled: bool,
    /// Requests a second that one address may send for as long as it likes.
    pub requests_per_s: NonZeroU32,
    /// Requests that it may send at once after a pause.
    pub requests_burst: NonZeroU32,
    /// Event streams that one address may have open.
    pub streams_max: u32,
    /// Attempts a minute to register, to sign in, to have a password set or a token issued, that one address may make for
    /// as long as it likes.
    pub attempts_per_min: NonZeroU32,
    /// Attempts that it may make at once after a pause.
    pub attempts_burst: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            enabled: true,
            requests_per_s: NonZeroU32::new(200).expect("it is not zero"),
            requests_burst: NonZeroU32::new(2_000).expect("it is not zero"),
            streams_max: 100,
            attempts_per_min: NonZeroU32::new(10).expect("it is not zero"),
            attempts_burst: NonZeroU32::new(20).expect("it is not zero"),
        }
    }
}

/// Buckets. Addresses that fall into the same one share it; which do is chosen by chance at the
/// start, so that nobody can aim.
const BUCKETS: usize = 8_192;

type Gcra = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

#[derive(Debug)]
pub(crate) struct Limiter {
    buckets: Box<[Bucket]>,
    hasher: RandomState,
    clock: DefaultClock,
    requests_per_s: NonZeroU32,
    streams_max: u32,
    /// `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    pub(crate) policy: HeaderValue,
}

#[derive(Debug)]
struct Bucket {
    requests: Gcra,
    attempts: DefaultDirectRateLimiter,
    streams: Arc<AtomicU32>,
}

/// What the bucket of an address says to one more request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Passed { left: u32, refilled_in: Duration },
    Refused { wait: Duration },
}

impl Verdict {
    /// `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
    pub(crate) fn field(self) -> HeaderValue {
        let (left, wait) = match self {
            Self::Passed { left, refilled_in } => (left, refilled_in),
            Self::Refused { wait } => (0, wait),
        };
        let seconds = wait.as_millis().div_ceil(1000);
        format!("\"address\";r={left};t={seconds}")
            .parse()
            .expect("ASCII is a header value")
    }
}

impl Limiter {
    /// `None` where limits are switched off.
    pub(crate) fn new(limits: &Limits) -> Option<Self> {
        if !limits.enabled {
            return None;
        }
        let quota = Quota::per_second(limits.requests_per_s).allow_burst(limits.requests_burst);
        let attempts =
            Quota::per_minute(limits.attempts_per_min).allow_burst(limits.attempts_burst);
        let bucket = || Bucket {
            requests: DefaultDirectRateLimiter::direct(quota)
                .with_middleware::<StateInformationMiddleware>(),
            attempts: DefaultDirectRateLimiter::direct(attempts),
            streams: Arc::default(),
        };
        let seconds = limits
            .requests_burst
            .get()
            .div_ceil(limits.requests_per_s.get());
        let policy = format!("\"address\";q={};w={seconds}", limits.requests_burst);
        Some(Self {
            buckets: (0..BUCKETS).map(|_| bucket()).collect(),
            hasher: RandomState::new(),
            clock: DefaultClock::default(),
            requests_per_s: limits.requests_per_s,
            streams_max: limits.streams_max,
            policy: policy.parse().expect("ASCII is a header value"),
        })
    }

    /// How long an address has to wait before it may try again to be let in. None where it may now.
    pub(crate) fn attempt(&self, address: IpAddr) -> Option<Duration> {
        let refused = self.bucket(address).attempts.check().err()?;
        Some(refused.wait_time_from(self.clock.now()))
    }

    pub(crate) fn judge(&self, address: IpAddr) -> Verdict {
        match self.bucket(address).requests.check() {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let missing = state.quota().burst_size().get().saturating_sub(left);
                Verdict::Passed {
                    left,
                    refilled_in: Duration::from_secs(1) * missing / self.requests_per_s.get(),
                }
            }
            Err(refused) => Verdict::Refused {
                wait: refused.wait_time_from(self.clock.now()),
            },
        }
    }

    /// A place for one more stream, given back when it is dropped; `None` where there are too many.
    pub(crate) fn stream(&self, address: IpAddr) -> Option<StreamPlace> {
        let streams = &self.bucket(address).streams;
        let taken = streams.try_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < self.streams_max).then_some(open + 1)
        });
        taken.is_ok().then(|| StreamPlace(Arc::clone(streams)))
    }

    fn bucket(&self, address: IpAddr) -> &Bucket {
        // Who has one IPv6 address has 2^64 of them.
        let key = match address.to_canonical() {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits() >> 64 | 1 << 127,
        };
        let hash = usize::try_from(self.hasher.hash_one(key) >> 33).unwrap_or_default();
        &self.buckets[hash % BUCKETS]
    }
}

/// An open stream of one address.
#[derive(Debug)]
pub(crate) struct StreamPlace(Arc<AtomicU32>);

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(requests_per_s: u32, requests_burst: u32, streams_max: u32) -> Limiter {
        let number = |count| NonZeroU32::new(count).unwrap();
        Limiter::new(&Limits {
            enabled: true,
            requests_per_s: number(requests_per_s),
            requests_burst: number(requests_burst),
            streams_max,
            attempts_per_min: number(1),
            attempts_burst: number(2),
        })
        .unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_burst_and_then_waits_and_others_do_not() {
        let limiter = limiter(1, 3, 1);
        for left in [2, 1, 0] {
            let Verdict::Passed { left: said, .. } = limiter.judge(address("192.0.2.1")) else {
                panic!("refused too early");
            };
            assert_eq!(said, left);
        }
        let refused = limiter.judge(address("192.0.2.1"));
        assert!(matches!(refused, Verdict::Refused { wait } if wait <= Duration::from_secs(1)));
        assert_eq!(refused.field(), "\"address\";r=0;t=1");
        let passed = (2..40)
            .filter(|last| {
                let other = address(&format!("192.0.2.{last}"));
                matches!(limiter.judge(other), Verdict::Passed { .. })
            })
            .count();
        // Two of forty addresses may by chance share a bucket of 8,192.
        assert!(passed >= 36, "{passed}");
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let limiter = limiter(1, 1, 1);
        assert!(matches!(
            limiter.judge(address("2001:db8::1")),
            Verdict::Passed { .. }
        ));
        assert!(matches!(
            limiter.judge(address("2001:db8::2")),
            Verdict::Refused { .. }
        ));
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let limiter = limiter(1, 1, 1);
        assert!(matches!(
            limiter.judge(address("192.0.2.1")),
            Verdict::Passed { .. }
        ));
        assert!(matches!(
            limiter.judge(address("::ffff:192.0.2.1")),
            Verdict::Refused { .. }
        ));
    }

    #[test]
    fn a_closed_stream_gives_its_place_back() {
        let limiter = limiter(1, 1, 2);
        let here = address("192.0.2.1");
        let first = limiter.stream(here).unwrap();
        let _second = limiter.stream(here).unwrap();
        assert!(limiter.stream(here).is_none());
        drop(first);
        assert!(limiter.stream(here).is_some());
    }

    #[test]
    fn attempts_have_a_limit_of_their_own() {
        let limiter = limiter(100, 100, 1);
        let here = address("192.0.2.1");
        assert_eq!(limiter.attempt(here), None);
        assert_eq!(limiter.attempt(here), None);
        let wait = limiter.attempt(here).unwrap();
        assert!(
            wait > Duration::from_secs(50) && wait <= Duration::from_mins(1),
            "{wait:?}"
        );
    }

    #[test]
    fn limits_that_are_off_are_not_there() {
        assert!(
            Limiter::new(&Limits {
                enabled: false,
                ..Limits::default()
            })
            .is_none()
        );
    }
}
