//! shopzen-edge
