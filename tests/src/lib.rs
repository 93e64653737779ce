//! What end-to-end tests share: a whole shop, and what must always be true of it.

pub mod invariants;
pub mod shop;
