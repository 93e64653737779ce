//! Points at which a process dies, and a clock that jumps: what a build with the feature `failpoints` can be
//! told to do (`shopzen chaos` tells it). In any other build a point is nothing.

use serde::{Deserialize, Serialize};

/// Whether this build has them.
pub const ARE_BUILT_IN: bool = cfg!(feature = "failpoints");

/// What is said before a process dies at a point, with the point's name in the field `point`.
pub const LAST_WORDS: &str = "this process dies here, as it was told to";

/// Where a process can die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// All is written, and the transaction is still open.
    BeforeCommit,
    /// The database has it, and nobody has been told.
    AfterCommit,
    /// The broker has it, and the outbox does not know.
    AfterPublish,
    /// All is done, and the broker does not know.
    BeforeAck,
    /// The gateway has done it, and nobody has written that down.
    AfterGateway,
}

impl Failpoint {
    pub const ALL: [Self; 5] = [
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::AfterPublish,
        Self::BeforeAck,
        Self::AfterGateway,
    ];

    /// Its name in the settings, in logs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeCommit => "before_commit",
            Self::AfterCommit => "after_commit",
            Self::AfterPublish => "after_publish",
            Self::BeforeAck => "before_ack",
            Self::AfterGateway => "after_gateway",
        }
    }
}

/// How often a process dies at each point: a share of the times it passes there, from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FailpointsConfig {
    pub before_commit: f64,
    pub after_commit: f64,
    pub after_publish: f64,
    pub before_ack: f64,
    pub after_gateway: f64,
    /// A process that started less than so many seconds ago does not die. Whoever starts it again gives it pauses
    /// where it dies too often.
    pub grace_s: u32,
    /// The clock by which workers stamp what they write is wrong by up to so many milliseconds, and by another
    /// amount every ten seconds.
    pub clock_jump_ms: u32,
}

/// A build without the feature was told to die.
#[derive(Debug, thiserror::Error)]
#[error("[failpoints] is set, and this build has none")]
pub struct NotBuiltIn;

/// Sets for this process what happens at each point.
pub fn arm(config: &FailpointsConfig) -> Result<(), NotBuiltIn> {
    if *config == FailpointsConfig::default() {
        return Ok(());
    }
    #[cfg(feature = "failpoints")]
    {
        armed::arm(config);
        Ok(())
    }
    #[cfg(not(feature = "failpoints"))]
    Err(NotBuiltIn)
}

/// Dies here as often as it was told to.
#[inline]
pub fn pass(point: Failpoint) {
    #[cfg(feature = "failpoints")]
    armed::pass(point);
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

/// By how much the clock is wrong now.
#[cfg(feature = "failpoints")]
pub(crate) use armed::clock_error;

#[cfg(feature = "failpoints")]
mod armed {
    use std::{
        sync::OnceLock,
        time::{Duration, Instant},
    };

    use jiff::SignedDuration;
    use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

    use super::{Failpoint, FailpointsConfig, LAST_WORDS};

    /// How long the clock is wrong by the same amount, in seconds.
    const JUMP_PERIOD_S: u64 = 10;

    struct Armed {
        config: FailpointsConfig,
        at: Instant,
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    pub(super) fn arm(config: &FailpointsConfig) {
        ARMED.get_or_init(|| Armed {
            config: config.clone(),
            at: Instant::now(),
        });
    }

    pub(super) fn pass(point: Failpoint) {
        let Some(Armed { config, at }) = ARMED.get() else {
            return;
        };
        let share = match point {
            Failpoint::BeforeCommit => config.before_commit,
            Failpoint::AfterCommit => config.after_commit,
            Failpoint::AfterPublish => config.after_publish,
            Failpoint::BeforeAck => config.before_ack,
            Failpoint::AfterGateway => config.after_gateway,
        };
        let grace_is_over = at.elapsed() >= Duration::from_secs(config.grace_s.into());
        if grace_is_over && rand::rng().random_bool(share.clamp(0.0, 1.0)) {
            tracing::error!(point = point.name(), "{LAST_WORDS}");
            std::process::abort();
        }
    }

    pub(crate) fn clock_error() -> SignedDuration {
        let Some(Armed { config, at }) = ARMED.get().filter(|it| it.config.clock_jump_ms > 0)
        else {
            return SignedDuration::ZERO;
        };
        let period = at.elapsed().as_secs() / JUMP_PERIOD_S;
        let seed = u64::from(std::process::id()) << 32 | period;
        let most = i64::from(config.clock_jump_ms);
        SignedDuration::from_millis(SmallRng::seed_from_u64(seed).random_range(-most..=most))
    }
}
