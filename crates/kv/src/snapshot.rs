//! A consistent state of the store, as a view sees it.

use bytes::Bytes;

use crate::contain::contained;
use crate::error::{AccessError, ViewError};
use crate::range::{Direction, KeyRange};
use crate::read::{Entry, FirstFailure, Read};
use crate::source::{Source, collect};
use crate::txn::{Stop, judge};

/// Reads one state of the store: everything transacted before the view began, nothing after.
pub struct Snapshot<'a> {
    base: &'a dyn Source,
    failure: FirstFailure,
}

impl Read for Snapshot<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, AccessError> {
        self.failure.note(self.base.get(key))
    }

    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Entry>, AccessError> {
        self.failure.note(collect(self.base, range, limit, direction))
    }
}

impl std::fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

impl<E> From<Stop<E>> for ViewError<E> {
    fn from(stop: Stop<E>) -> Self {
        match stop {
            Stop::Rejected(error) => ViewError::Rejected(error),
            Stop::Panicked(message) => ViewError::Panicked { message },
            Stop::Storage(failure) => ViewError::Storage(failure),
        }
    }
}

/// Runs a view over `base`.
pub(crate) fn run<T, E>(
    base: &dyn Source,
    f: &mut impl FnMut(&Snapshot<'_>) -> Result<T, E>,
) -> Result<T, Stop<E>> {
    let snapshot = Snapshot { base, failure: FirstFailure::default() };
    let result = contained(|| f(&snapshot));
    judge(snapshot.failure, result)
}
