//! shopzen-catalog

pub mod feed;
