//! The catalog worker on a real database and a real broker.

mod asking;
mod changing;
mod fixtures;
mod following;
mod replicas;
mod speed;
