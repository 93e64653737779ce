//! Finds the place in a list where a key stands, without keeping the key a second time.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// A place in a list of at most 2³² rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    pub(crate) fn new(row: usize) -> Self {
        Self(u32::try_from(row).expect("memory ends long before the numbers of places do"))
    }

    pub(crate) fn row(self) -> usize {
        usize::try_from(self.0).expect("a place was made from a row")
    }
}

/// Leads from keys to places. The list it belongs to tells which key stands at a place.
///
/// A `HashMap` with the keys in it would be the half of what the books take in memory.
#[derive(Default)]
pub(crate) struct Index {
    places: HashTable<Place>,
    hasher: RandomState,
}

impl Index {
    pub(crate) fn find<K: Hash + Eq>(&self, key: &K, key_at: impl Fn(Place) -> K) -> Option<Place> {
        let hash = self.hasher.hash_one(key);
        self.places
            .find(hash, |place| key_at(*place) == *key)
            .copied()
    }

    /// Lets `key` lead to `place` from now on, and gives the place where it led until now.
    pub(crate) fn insert<K: Hash + Eq>(
        &mut self,
        key: &K,
        place: Place,
        key_at: impl Fn(Place) -> K,
    ) -> Option<Place> {
        let hash = self.hasher.hash_one(key);
        let is_key = |place: &Place| key_at(*place) == *key;
        let rehash = |place: &Place| self.hasher.hash_one(key_at(*place));
        match self.places.entry(hash, is_key, rehash) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(entry.get_mut(), place)),
            Entry::Vacant(entry) => {
                entry.insert(place);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_to_its_last_place() {
        let keys: Vec<usize> = (0..1000).map(|row| row % 300).collect();
        let key_at = |place: Place| keys[place.row()];
        let mut index = Index::default();
        for (row, key) in keys.iter().enumerate() {
            let before = index.insert(key, Place::new(row), key_at);
            assert_eq!(before.map(Place::row), row.checked_sub(300));
        }
        for key in 0..300 {
            let place = index.find(&key, key_at).unwrap();
            assert_eq!((place.row() % 300, place.row() >= 700), (key, true));
        }
        assert_eq!(index.find(&300, key_at), None);
    }
}
