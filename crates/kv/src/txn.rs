//! A transaction as its closure sees it.

use bytes::Bytes;

use crate::contain::contained;
use crate::error::{AccessError, StorageFailure, TransactError};
use crate::limits::{LimitError, MAX_KEY_BYTES, MAX_TXN_BYTES, MAX_TXN_WRITES, MAX_VALUE_BYTES};
use crate::overlay::{Change, Overlay};
use crate::range::{Direction, KeyRange};
use crate::read::{Entry, FirstFailure, Read};
use crate::source::{Layered, Source, collect};

/// Reads the store and buffers writes. It sees its own writes.
pub struct Txn<'a> {
    base: &'a dyn Source,
    writes: Overlay,
    failure: FirstFailure,
}

impl Txn<'_> {
    /// Sets the value of a key.
    pub fn put(
        &mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<(), AccessError> {
        self.change(key.into(), Change::Put(value.into()))
    }

    /// Removes a key; one that is not there may be removed too.
    pub fn delete(&mut self, key: impl Into<Bytes>) -> Result<(), AccessError> {
        self.change(key.into(), Change::Delete)
    }

    fn change(&mut self, key: Bytes, change: Change) -> Result<(), AccessError> {
        self.check_limits(&key, &change)?;
        self.writes.set(key, change);
        Ok(())
    }

    fn check_limits(&self, key: &[u8], change: &Change) -> Result<(), LimitError> {
        if key.len() > MAX_KEY_BYTES {
            return Err(LimitError::KeyTooLong { len: key.len() });
        }
        if change.value_len() > MAX_VALUE_BYTES {
            return Err(LimitError::ValueTooLong { len: change.value_len() });
        }
        if self.writes.len() >= MAX_TXN_WRITES && self.writes.get(key).is_none() {
            return Err(LimitError::TooManyWrites);
        }
        if self.writes.bytes_with(key, change) > MAX_TXN_BYTES {
            return Err(LimitError::TooManyBytes);
        }
        Ok(())
    }

    fn layered(&self) -> Layered<'_> {
        Layered { base: self.base, overlay: &self.writes }
    }
}

impl Read for Txn<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, AccessError> {
        self.failure.note(self.layered().get(key))
    }

    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Entry>, AccessError> {
        self.failure.note(collect(&self.layered(), range, limit, direction))
    }
}

impl std::fmt::Debug for Txn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Txn").field("writes", &self.writes.len()).finish_non_exhaustive()
    }
}

/// Why a closure came to no result.
#[derive(Debug)]
pub(crate) enum Stop<E> {
    Rejected(E),
    Panicked(String),
    Storage(StorageFailure),
}

impl<E> From<Stop<E>> for TransactError<E> {
    fn from(stop: Stop<E>) -> Self {
        match stop {
            Stop::Rejected(error) => TransactError::Rejected(error),
            Stop::Panicked(message) => TransactError::Panicked { message },
            Stop::Storage(failure) => TransactError::Storage(failure),
        }
    }
}

/// Runs a closure over `base`: its result and what it wants to write.
pub(crate) fn run<T, E>(
    base: &dyn Source,
    f: &mut impl FnMut(&mut Txn<'_>) -> Result<T, E>,
) -> Result<(T, Overlay), Stop<E>> {
    let mut txn = Txn { base, writes: Overlay::default(), failure: FirstFailure::default() };
    let result = contained(|| f(&mut txn));
    let value = judge(txn.failure, result)?;
    Ok((value, txn.writes))
}

/// What a closure came to. A failed read outweighs whatever the closure made of it.
pub(crate) fn judge<T, E>(
    failure: FirstFailure,
    result: Result<Result<T, E>, String>,
) -> Result<T, Stop<E>> {
    match failure.take() {
        Some(failure) => Err(Stop::Storage(failure)),
        None => result.map_err(Stop::Panicked)?.map_err(Stop::Rejected),
    }
}
