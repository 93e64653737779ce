//! shopzen-payments
