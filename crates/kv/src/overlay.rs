//! Writes that are not committed yet.

use std::collections::{BTreeMap, btree_map};

use bytes::Bytes;

use crate::range::{Direction, KeyRange};

/// What happens to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Bytes),
    Delete,
}

/// The last change of each key, in key order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    changes: BTreeMap<Bytes, Change>,
    bytes: usize,
}

impl Change {
    pub(crate) fn value_len(&self) -> usize {
        match self {
            Change::Put(value) => value.len(),
            Change::Delete => 0,
        }
    }
}

impl Overlay {
    /// Changes a key; an earlier change of the same key is forgotten.
    pub(crate) fn set(&mut self, key: Bytes, change: Change) {
        self.bytes = self.bytes_with(&key, &change);
        self.changes.insert(key, change);
    }

    /// Adds the changes of a later transaction.
    pub(crate) fn absorb(&mut self, later: Overlay) {
        for (key, change) in later.changes {
            self.set(key, change);
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Change> {
        self.changes.get(key)
    }

    /// The changes within `range`, which is not empty.
    pub(crate) fn range<'a>(
        &'a self,
        range: &KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = (&'a Bytes, &'a Change)> + 'a> {
        let changes = self.changes.range::<[u8], _>(range.bounds());
        match direction {
            Direction::Forward => Box::new(changes),
            Direction::Backward => Box::new(changes.rev()),
        }
    }

    pub(crate) fn iter(&self) -> btree_map::Iter<'_, Bytes, Change> {
        self.changes.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many keys are changed.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// How many bytes of keys and values the changes hold.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many bytes the changes would hold after one more.
    pub(crate) fn bytes_with(&self, key: &[u8], change: &Change) -> usize {
        match self.changes.get(key) {
            Some(earlier) => self.bytes - earlier.value_len() + change.value_len(),
            None => self.bytes + key.len() + change.value_len(),
        }
    }
}

impl IntoIterator for Overlay {
    type Item = (Bytes, Change);
    type IntoIter = btree_map::IntoIter<Bytes, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.changes.into_iter()
    }
}
