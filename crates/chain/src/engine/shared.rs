//! What a store, its writers and its tasks share.

use std::future::Future;
use std::sync::{Arc, MutexGuard};

use cairn_core::ids::{ChunkId, DiskIncarnation};
use cairn_runtime::{Blocking, BlockingError, Spawner};

use super::{Engine, EngineError};
use crate::ledger::{Entry, Ledger, State};
use crate::store::{DeleteError, ReadError, WriteError};

/// What is kept in memory of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) length: u64,
    pub(crate) room: u64,
    /// It is damaged and put aside.
    pub(crate) aside: bool,
}

impl Entry for Kept {
    fn length(&self) -> u64 {
        self.length
    }

    fn room(&self) -> u64 {
        self.room
    }

    fn listed(&self) -> bool {
        !self.aside
    }
}

/// A change was not begun, or gave no result.
#[derive(Debug)]
pub(super) enum NoResult {
    Closed,
    Interrupted(BlockingError),
}

impl From<NoResult> for WriteError {
    fn from(error: NoResult) -> Self {
        match error {
            NoResult::Closed => Self::Closed,
            NoResult::Interrupted(error) => error.into(),
        }
    }
}

impl From<NoResult> for DeleteError {
    fn from(error: NoResult) -> Self {
        match error {
            NoResult::Closed => Self::Closed,
            NoResult::Interrupted(error) => error.into(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared<E> {
    pub(super) engine: E,
    pub(super) disk: DiskIncarnation,
    pub(super) ledger: Arc<Ledger<Kept>>,
    pub(super) spawner: Spawner,
}

impl<E: Engine> Shared<E> {
    pub(super) fn new(
        engine: E,
        disk: DiskIncarnation,
        state: State<Kept>,
        spawner: Spawner,
    ) -> Self {
        // The engine knows where its work runs; the ledger only counts tasks.
        let ledger = Ledger::new(state, Blocking::inline());
        Self { engine, disk, ledger, spawner }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<Kept>> {
        self.ledger.state()
    }

    /// What is known of a chunk that can be read.
    pub(super) fn held(&self, chunk: ChunkId) -> Result<Kept, ReadError> {
        let held = self.state().get(chunk).copied().filter(Entry::listed);
        held.ok_or(ReadError::NotFound { chunk })
    }

    /// Runs a change of what is stored to its end, whoever goes away; closing waits for it.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NoResult> {
        let token = self.ledger.hold_open().ok_or(NoResult::Closed)?;
        let task = self.spawner.spawn(async move {
            let result = work.await;
            drop(token);
            result
        });
        task.await.map_err(|error| {
            let panicked = error.is_panic();
            let why = if panicked { BlockingError::Panicked } else { BlockingError::Closed };
            NoResult::Interrupted(why)
        })
    }

    /// After a failure that leaves open what is durable nothing more is written; what is held is still served.
    pub(super) fn note(&self, error: &EngineError) {
        if matches!(error, EngineError::Failed { .. }) && self.state().disk_failed() {
            tracing::error!(
                target: "cairn",
                disk = %self.disk,
                %error,
                "the store failed to make data durable: it takes no more writes until it is opened again"
            );
        }
    }
}
