//! What can be bought of each SKU, whether it is for sale yet or not.

use std::collections::HashMap;

use shopzen_contracts::Sku;

/// What stock said of one SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) sku: Sku,
    pub(crate) available: i64,
    /// Grows with each change.
    pub(crate) version: i64,
}

#[derive(Debug, Default)]
pub(super) struct Levels {
    /// Available, and the version of that.
    known: HashMap<Sku, (i64, i64)>,
}

impl Levels {
    /// SKUs nobody has counted are 0.
    pub(super) fn available(&self, sku: &Sku) -> i64 {
        self.known.get(sku).map_or(0, |(available, _)| *available)
    }

    /// False where something as new is known.
    pub(super) fn insert(&mut self, level: Level) -> bool {
        let Level {
            sku,
            available,
            version,
        } = level;
        match self.known.get_mut(&sku) {
            Some((_, known)) if *known >= version => false,
            Some(entry) => {
                *entry = (available, version);
                true
            }
            None => {
                self.known.insert(sku, (available, version));
                true
            }
        }
    }
}
