//! What can keep a message from being handled, and what becomes of it: decided here, once.

use std::time::Duration;

use shopzen_contracts::Problem;

/// We could not find out. Not to be confused with a refusal, which is an answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// Something this worker needs does not answer.
    #[error("{what} is not available: {why}")]
    Unavailable { what: &'static str, why: String },
    /// The message came before its cause. It is tried again.
    #[error("came too early: {0}")]
    NotYet(String),
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// A step that does not exist, or a row that does not fit the domain.
    #[error("inconsistent: {0}")]
    Inconsistent(String),
    #[error("the handler panicked: {0}")]
    Panicked(String),
    /// Somebody else changed the same rows first; the transaction is run again.
    #[error("overtaken by a concurrent change")]
    Overtaken,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Run the transaction again at once: it lost a race.
    RunAgain,
    /// Wait and try again, however often: what is missing comes back.
    Wait,
    /// Wait and try again, but not for ever.
    WaitBriefly,
    /// It will never work: to the dead letters.
    GiveUp,
}

/// Deliveries after which a message that [`Remedy::WaitBriefly`] did not help is dead.
pub(crate) const BRIEF_DELIVERIES_MAX: i64 = 8;

impl Failure {
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Overtaken => Remedy::RunAgain,
            Self::Database(error) => remedy_for(error),
            Self::Unavailable { .. } => Remedy::Wait,
            Self::NotYet(_) | Self::Panicked(_) => Remedy::WaitBriefly,
            Self::Unreadable(_) | Self::Inconsistent(_) => Remedy::GiveUp,
        }
    }
}

/// By SQLSTATE class (PostgreSQL manual, appendix A).
fn remedy_for(error: &sqlx::Error) -> Remedy {
    let sqlx::Error::Database(database) = error else {
        return match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Remedy::Wait,
            _ => Remedy::GiveUp,
        };
    };
    match database.code().as_deref() {
        Some("40001" | "40P01") => Remedy::RunAgain,
        // Lock not available, statement cancelled by a time-out.
        Some("55P03" | "57014") => Remedy::Wait,
        Some(code) if ["08", "53", "57", "58", "XX"].contains(&code.get(..2).unwrap_or("")) => {
            Remedy::Wait
        }
        // No such table, no such right: a migration or a grant is on its way, or an operator is.
        Some("42P01" | "42501") => Remedy::WaitBriefly,
        _ => Remedy::GiveUp,
    }
}

/// The wait before delivery `n + 1`, after the `n`th failed: 0.2 s doubling to 5 s.
pub(crate) fn backoff(deliveries: i64) -> Duration {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);
    let doublings = u32::try_from(deliveries.clamp(1, 9) - 1).unwrap_or(0);
    (FIRST * 2_u32.pow(doublings)).min(LONGEST)
}

/// The whole chain in one line, outermost first.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

/// Why a request gets no reply of its own kind.
#[derive(Debug)]
pub enum Refused {
    /// An answer all the same: it goes to the caller as it is.
    Problem(Box<Problem>),
    /// We could not find out; the caller is told to come back.
    Failure(Failure),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl<E: Into<Failure>> From<E> for Refused {
    fn from(failure: E) -> Self {
        Self::Failure(failure.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        assert_eq!(backoff(0), Duration::from_millis(200));
        assert_eq!(backoff(1), Duration::from_millis(200));
        assert_eq!(backoff(3), Duration::from_millis(800));
        assert_eq!(backoff(1_000), Duration::from_secs(5));
    }

    #[test]
    fn a_lost_connection_is_waited_for_and_nonsense_is_not() {
        assert_eq!(
            Failure::from(sqlx::Error::PoolTimedOut).remedy(),
            Remedy::Wait
        );
        assert_eq!(Failure::Unreadable(String::new()).remedy(), Remedy::GiveUp);
        assert_eq!(
            Failure::from(sqlx::Error::RowNotFound).remedy(),
            Remedy::GiveUp
        );
    }
}
