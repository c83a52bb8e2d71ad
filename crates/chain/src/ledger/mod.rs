//! What a store that keeps chunks itself knows in memory, and the guards over half-done work: which chunks are held, what
//! room is promised, who is at work on which chunk.
//!
//! ```text
//! reserve ─► Reservation ── settled: the room is used        claim ─► Claim: alone with a chunk
//!                 └── dropped: the room is free again           └── dropped: the next one's turn
//! ```
//!
//! A chunk is in the ledger only when it is durable. Whoever publishes or removes a chunk has claimed it, so that two
//! writers of one chunk, or a writer and a deletion, take turns.

mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::ids::{BlobId, ChunkId};
use cairn_runtime::{Blocking, BlockingError};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

pub(crate) use state::{Entry, State, WriteId};

use crate::store::{DeleteError, WriteError};

/// See the module.
pub(crate) struct Ledger<E> {
    state: Mutex<State<E>>,
    /// A claim was given back.
    unclaimed: Notify,
    /// Jobs that change what is stored; closing waits for them.
    jobs: TaskTracker,
    blocking: Blocking,
}

impl<E> fmt::Debug for Ledger<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl<E: Entry> Ledger<E> {
    /// Jobs run on `blocking`.
    pub(crate) fn new(state: State<E>, blocking: Blocking) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(state),
            unclaimed: Notify::new(),
            jobs: TaskTracker::new(),
            blocking,
        })
    }

    /// The state, for one short look or change. A panic cannot leave a change half made: each is one call.
    pub(crate) fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs work that [`Self::close`] need not wait for.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        self.blocking.run(work).await
    }

    /// Runs a change of what is stored to its end, whoever goes away; [`Self::close`] waits for it.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let token = self.jobs.token();
        let job = move || {
            let result = work();
            drop(token);
            result
        };
        self.blocking.run(job).await
    }

    /// Makes [`Self::close`] wait until the token is dropped; nothing once the store is closed.
    pub(crate) fn hold_open(&self) -> Option<TaskTrackerToken> {
        let state = self.state();
        (!state.is_closed()).then(|| self.jobs.token())
    }

    /// Promises `room` bytes for a chunk and makes it an open write.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        chunk: ChunkId,
        room: u64,
    ) -> Result<Reservation<E>, WriteError> {
        let write = self.state().reserve(chunk, room)?;
        Ok(Reservation { ledger: Arc::clone(self), write })
    }

    /// Waits until nobody else publishes or removes one of `chunks`.
    pub(crate) async fn claim(self: &Arc<Self>, chunks: Vec<ChunkId>) -> Claim<E> {
        loop {
            let unclaimed = self.unclaimed.notified();
            if let Some(claim) = self.try_claim(&chunks) {
                return claim;
            }
            unclaimed.await;
        }
    }

    /// Claims `chunks`, unless somebody is at work on one of them.
    pub(crate) fn try_claim(self: &Arc<Self>, chunks: &[ChunkId]) -> Option<Claim<E>> {
        self.state().try_claim(chunks).then(|| self.claimed(chunks.to_vec()))
    }

    /// Refuses more of `blob`, waits until nobody works on a chunk of it, claims up to `limit` of its chunks and tells
    /// whether there are more.
    pub(crate) async fn claim_erased(
        self: &Arc<Self>,
        blob: BlobId,
        limit: usize,
    ) -> Result<(Claim<E>, bool), DeleteError> {
        loop {
            let unclaimed = self.unclaimed.notified();
            {
                let mut state = self.state();
                state.takes_deletes()?;
                state.mark_erased(blob);
                if let Some((chunks, more)) = state.try_claim_blob(blob, limit) {
                    drop(state);
                    return Ok((self.claimed(chunks), more));
                }
            }
            unclaimed.await;
        }
    }

    fn claimed(self: &Arc<Self>, chunks: Vec<ChunkId>) -> Claim<E> {
        Claim { ledger: Arc::clone(self), chunks }
    }

    /// Refuses further changes and waits for those at work.
    pub(crate) async fn close(&self) {
        self.state().close();
        self.jobs.close();
        self.jobs.wait().await;
    }
}

/// Room promised to an open write; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation<E: Entry> {
    ledger: Arc<Ledger<E>>,
    write: WriteId,
}

impl<E: Entry> Reservation<E> {
    pub(crate) fn write(&self) -> WriteId {
        self.write
    }

    /// The chunk is durable: its room is used. Gives what it takes the place of.
    pub(crate) fn settle(self, chunk: ChunkId, entry: E) -> Option<E> {
        self.ledger.state().settle(self.write, chunk, entry)
    }
}

impl<E: Entry> Drop for Reservation<E> {
    fn drop(&mut self) {
        self.ledger.state().release(self.write);
    }
}

/// The right to publish and remove some chunks; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim<E: Entry> {
    ledger: Arc<Ledger<E>>,
    chunks: Vec<ChunkId>,
}

impl<E: Entry> Claim<E> {
    pub(crate) fn chunks(&self) -> &[ChunkId] {
        &self.chunks
    }
}

impl<E: Entry> Drop for Claim<E> {
    fn drop(&mut self) {
        self.ledger.state().unclaim(&self.chunks);
        self.ledger.unclaimed.notify_waiters();
    }
}
