//! What tests of the whole have in common: a whole shop, its shoppers, and what must always be true of it, the tree's
//! files, and who speaks with whom.
//!
//! One test binary each: `tidy` (rules that a compiler does not know), `documents` (what is generated
//! from the contract), `permissions` (what each role may do on NATS, on a real server), `end_to_end`
//! (the real program), `chaos` (the same, broken).

pub mod books;
pub mod browser;
pub mod crowd;
pub mod invariants;
pub mod roles;
pub mod shop;
pub mod tree;
