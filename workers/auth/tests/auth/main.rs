//! The auth worker on a real database and a real broker.

mod attacks;
mod fixtures;
mod issuing;
mod keys;
mod roles;
mod signatures;
mod verifying;
