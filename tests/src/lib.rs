//! shopzen-tests
