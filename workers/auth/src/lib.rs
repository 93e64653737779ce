//! shopzen-auth
