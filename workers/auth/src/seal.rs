//! Keeps secrets in the database from who has only the database.

/// What the key is derived for.
pub(crate) const PURPOSE: &[u8] = b"shopzen auth: secrets in the database, v1";

pub(crate) use shopzen_chassis::Seal;
