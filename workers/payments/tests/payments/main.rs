//! The payments worker on a real database, a real broker, and the real sandbox gateway.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod audits;
mod crashes;
mod fixtures;
mod gateways;
mod handlers;
mod tokens;
mod webhooks;
