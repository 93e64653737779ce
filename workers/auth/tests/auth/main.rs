//! The auth worker on a real database and a real broker.

mod accounts;
mod attacks;
mod authenticator;
mod authorization;
mod clients;
mod factors;
mod fixtures;
mod issuing;
mod keys;
mod openid;
mod people;
mod providers;
mod registered;
mod roles;
mod sessions;
mod signatures;
mod tokens;
mod verifying;
