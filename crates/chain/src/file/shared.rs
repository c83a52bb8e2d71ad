//! What the store, its writers and its jobs share, and the guards over half-done work.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation};
use cairn_runtime::{Blocking, BlockingError, Spawner};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::paths::write_aside;
use super::state::{State, WriteId};
use crate::disk::{Disk, DiskLock};
use crate::store::{DeleteError, WriteError};

/// See the module.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) incarnation: DiskIncarnation,
    blocking: Blocking,
    spawner: Spawner,
    state: Mutex<State>,
    /// A claim was given back.
    unclaimed: Notify,
    /// Jobs that change the disk; closing waits for them.
    jobs: TaskTracker,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("disk", &self.disk)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

/// The parts of [`Shared`] that do not change.
pub(super) struct Parts {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) incarnation: DiskIncarnation,
    pub(super) blocking: Blocking,
    pub(super) spawner: Spawner,
    pub(super) lock: Box<dyn DiskLock>,
}

impl Shared {
    pub(super) fn new(parts: Parts, state: State) -> Self {
        let Parts { disk, incarnation, blocking, spawner, lock } = parts;
        Self {
            disk,
            incarnation,
            blocking,
            spawner,
            state: Mutex::new(state),
            unclaimed: Notify::new(),
            jobs: TaskTracker::new(),
            lock: Mutex::new(Some(lock)),
        }
    }

    /// The state, for one short look or change. A panic cannot leave a change half made: each is one call.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs work on the disk that [`Self::close`] need not wait for.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        self.blocking.run(work).await
    }

    /// Runs a change of the disk to its end, whoever goes away; [`Self::close`] waits for it.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let shared = Arc::clone(self);
        let token = self.jobs.token();
        let job = move || {
            let result = work(&shared);
            drop(token);
            result
        };
        self.blocking.run(job).await
    }

    /// Promises room for a chunk and makes it an open write.
    pub(super) fn reserve(
        self: &Arc<Self>,
        chunk: ChunkId,
        length: u64,
    ) -> Result<Reservation, WriteError> {
        let write = self.state().reserve(chunk, length)?;
        Ok(Reservation { shared: Arc::clone(self), write })
    }

    /// Waits until nobody else names or removes the files of `chunks`.
    pub(super) async fn claim(self: &Arc<Self>, chunks: Vec<ChunkId>) -> Claim {
        loop {
            let unclaimed = self.unclaimed.notified();
            if self.state().try_claim(&chunks) {
                return self.claimed(chunks);
            }
            unclaimed.await;
        }
    }

    /// Refuses more of `blob`, waits until nobody works on a chunk of it, claims up to `limit` of its chunks and tells
    /// whether there are more.
    pub(super) async fn claim_erased(
        self: &Arc<Self>,
        blob: BlobId,
        limit: usize,
    ) -> Result<(Claim, bool), DeleteError> {
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

    fn claimed(self: &Arc<Self>, chunks: Vec<ChunkId>) -> Claim {
        Claim { shared: Arc::clone(self), chunks }
    }

    /// A sync failed: nothing more is written, and what is held is still served.
    pub(super) fn disk_failed(&self, source: &std::io::Error) {
        if self.state().disk_failed() {
            tracing::error!(
                target: "cairn",
                disk = %self.incarnation,
                error = %source,
                "the disk failed to make data durable: the store takes no more writes until it is opened again"
            );
        }
    }

    /// See [`crate::ChunkStore::close`].
    pub(super) async fn close(&self) {
        self.state().close();
        self.jobs.close();
        self.jobs.wait().await;
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(lock);
    }

    /// Removes the file of a write that was given up, in the background. After closing it stays: the folder may be
    /// another's by then, and the next open removes it.
    fn remove_aside(self: &Arc<Self>, write: WriteId) {
        let state = self.state();
        if state.is_closed() {
            return;
        }
        let token = self.jobs.token();
        drop(state);
        let shared = Arc::clone(self);
        let removal = async move {
            let disk = Arc::clone(&shared.disk);
            let removed = shared.run(move || disk.remove(&write_aside(write))).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(target: "cairn", write, %error, "remove the file of a broken write");
            }
            drop(token);
        };
        drop(self.spawner.spawn(removal));
    }
}

/// Room promised to an open write; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    shared: Arc<Shared>,
    write: WriteId,
}

impl Reservation {
    pub(super) fn write(&self) -> WriteId {
        self.write
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.state().release(self.write);
    }
}

/// The file of an open write; removed when dropped, unless it was published.
#[derive(Debug)]
pub(super) struct Aside {
    reservation: Reservation,
    published: bool,
}

impl Aside {
    /// The file of `reservation`'s write was made.
    pub(super) fn new(reservation: Reservation) -> Self {
        Self { reservation, published: false }
    }

    pub(super) fn write(&self) -> WriteId {
        self.reservation.write()
    }

    /// The file has another name now and holds `chunk`: its room is used.
    pub(super) fn settle(mut self, chunk: ChunkId, length: u64) {
        self.published = true;
        let mut state = self.reservation.shared.state();
        state.settle(self.reservation.write, chunk, length);
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.published {
            self.reservation.shared.remove_aside(self.reservation.write);
        }
    }
}

/// The right to name and remove the files of some chunks; given back when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    shared: Arc<Shared>,
    chunks: Vec<ChunkId>,
}

impl Claim {
    pub(super) fn chunks(&self) -> &[ChunkId] {
        &self.chunks
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.state().unclaim(&self.chunks);
        self.shared.unclaimed.notify_waiters();
    }
}
