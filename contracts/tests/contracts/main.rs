//! The contract as files: what is said today, and what was ever said, can be read by everybody.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod files;
mod samples;
mod schemas;
mod subjects;
