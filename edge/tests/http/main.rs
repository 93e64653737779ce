//! The edge from outside, over sockets, in front of a real NATS on which no worker listens: what it
//! does by itself, and what it says when a worker is away.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops there")]

mod client;
mod errors;
mod hostile;
mod limits;
mod pages;
mod protocol;
mod shutdown;
mod tls;
mod webhooks;
