//! The gateway over a real listener: each token, each refusal, and what hang-ups do; and webhooks, to a real one.

mod charges;
mod hostile;
mod keys;
mod receiver;
mod support;
mod tokens;
mod webhooks;
