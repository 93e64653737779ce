//! What each role may do on NATS: written from what the workers say of themselves, and proved on a
//! real server with the shop's own configuration.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod broker;
mod refusals;
mod shop;
mod written;
