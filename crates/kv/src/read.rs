//! Reading, the same inside a transaction and on a snapshot.

use std::cell::OnceCell;

use bytes::Bytes;

use crate::error::{AccessError, StorageFailure};
use crate::range::{Direction, KeyRange};

/// A key and its value.
pub type Entry = (Bytes, Bytes);

/// What [`Txn`](crate::Txn) and [`Snapshot`](crate::Snapshot) can both do, so that domain code which
/// only reads is written once.
pub trait Read {
    /// The value of `key`, if it has one.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, AccessError>;

    /// The first `limit` entries of `range`, met in `direction`.
    ///
    /// Fewer than `limit` entries mean that the range ends there. For the next page, scan
    /// [`KeyRange::after`] (or [`KeyRange::before`]) the last key.
    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Entry>, AccessError>;
}

/// Remembers the first read that failed, so that a closure cannot go on to commit, or to reject for
/// a reason that it did not really see.
#[derive(Debug, Default)]
pub(crate) struct FirstFailure(OnceCell<StorageFailure>);

impl FirstFailure {
    /// Passes `result` on, and keeps a copy of its failure.
    pub(crate) fn note<T>(&self, result: Result<T, StorageFailure>) -> Result<T, AccessError> {
        result.map_err(|failure| {
            self.0.get_or_init(|| failure.clone());
            AccessError::Storage(failure)
        })
    }

    /// The failure, if there was one.
    pub(crate) fn take(self) -> Option<StorageFailure> {
        self.0.into_inner()
    }
}
