//! The auth worker on a real database and a real broker.

mod clients;
mod fixtures;
mod issuing;
mod keys;
mod registered;
mod tokens;
mod verifying;
