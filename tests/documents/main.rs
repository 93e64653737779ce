//! Documents that are made from the contract: a test writes each, and fails where it was not so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod asyncapi;
mod catalogue;
mod rights;
mod schemas;
