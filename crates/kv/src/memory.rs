//! The memory engine: an ordered map under a mutex.
//!
//! It has no thread and runs each closure at once on the caller's, so that a simulation which uses
//! it is deterministic. Nothing is durable.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use crate::durability::Durability;
use crate::error::{ClosedReason, StorageFailure, TransactError, ViewError};
use crate::overlay::{Change, Overlay};
use crate::range::{Direction, KeyRange};
use crate::snapshot::{self, Snapshot};
use crate::source::{Source, Visit};
use crate::stats::{Counters, Stats};
use crate::txn::{self, Txn};

#[derive(Debug, Default)]
pub(crate) struct Memory {
    state: Mutex<State>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Bytes, Bytes>,
    closed: bool,
}

impl Memory {
    pub(crate) fn transact<T, E>(
        &self,
        durability: Durability,
        mut f: impl FnMut(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<T, TransactError<E>> {
        let mut state = self.lock();
        if state.closed {
            return Err(TransactError::Closed(ClosedReason::ByOwner));
        }
        let result = match txn::run(&state.entries, &mut f) {
            Ok((value, writes)) => {
                if !writes.is_empty() {
                    state.apply(writes);
                    self.counters.committed(durability == Durability::Synced);
                }
                Ok(value)
            }
            Err(stop) => Err(stop.into()),
        };
        self.counters.answered(&result);
        result
    }

    pub(crate) fn view<T, E>(
        &self,
        mut f: impl FnMut(&Snapshot<'_>) -> Result<T, E>,
    ) -> Result<T, ViewError<E>> {
        let state = self.lock();
        if state.closed {
            return Err(ViewError::Closed(ClosedReason::ByOwner));
        }
        Ok(snapshot::run(&state.entries, &mut f)?)
    }

    /// All entries, in order.
    pub(crate) fn entries(&self) -> BTreeMap<Bytes, Bytes> {
        self.lock().entries.clone()
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.stats(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("closures are contained: nothing panics under this lock")
    }
}

impl State {
    fn apply(&mut self, writes: Overlay) {
        for (key, change) in writes {
            match change {
                Change::Put(value) => self.entries.insert(key, value),
                Change::Delete => self.entries.remove(&key),
            };
        }
    }
}

impl Source for BTreeMap<Bytes, Bytes> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageFailure> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn walk(
        &self,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageFailure> {
        let mut entries = self.range::<[u8], _>(range.bounds());
        let mut show = |(key, value): (&Bytes, &Bytes)| visit(key.clone(), value.clone());
        Ok(match direction {
            Direction::Forward => entries.try_for_each(&mut show),
            Direction::Backward => entries.rev().try_for_each(&mut show),
        })
    }
}
