//! The gateway over a real listener: each token, each refusal, and what hang-ups do.

mod charges;
mod hostile;
mod keys;
mod support;
mod tokens;
