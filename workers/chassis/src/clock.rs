//! The two sources of chance that a worker has: what time it is, and a new id.

use jiff::Timestamp;
use uuid::Uuid;

/// The wall clock, for stamps on what happened. Deadlines are decided by the database's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the better home the lint speaks of"
)]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    #[cfg(feature = "failpoints")]
    let now = now + crate::failpoint::clock_error();
    now
}

/// A `UUIDv7`, growing within this process.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the better home the lint speaks of"
)]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}
