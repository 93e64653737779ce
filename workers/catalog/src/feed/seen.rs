//! Which names a feed has used already.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Names, each kept as a fingerprint of eight bytes.
///
/// Two different names of one feed have the same fingerprint about once in 2⁶⁴ pairs. The later
/// product is then refused for want of a unique name; two products are never taken for one.
#[derive(Debug, Default)]
pub(super) struct Seen(HashSet<u64>);

impl Seen {
    /// Whether `name` comes for the first time.
    pub(super) fn insert(&mut self, name: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        self.0.insert(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_new_once() {
        let mut seen = Seen::default();
        assert!(seen.insert("a"));
        assert!(seen.insert("A"));
        assert!(!seen.insert("a"));
    }
}
