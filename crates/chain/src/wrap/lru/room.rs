//! The index with what happens around it: waiting for room, and making it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::ids::ChunkId;
use cairn_runtime::{Clock, Spawner};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::index::Index;
use super::{LruConfig, LruSeams, LruStats};
use crate::pins::Pins;
use crate::report::{Fault, TierError, TierErrors, TierOp};
use crate::store::{ChunkStore, ReadError, WriteError};
use crate::turns::Turns;

/// Chunks that one call evicts.
const EVICTION_BATCH: usize = 64;
/// Wait before an eviction that failed is tried again.
const EVICTION_PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Room {
    store: Arc<dyn ChunkStore>,
    tier: Arc<str>,
    clock: Clock,
    spawner: Spawner,
    wait: Duration,
    pins: Pins,
    errors: TierErrors,
    index: Mutex<Index>,
    /// Publishing, deleting and evicting a chunk take turns, so that the index says what the store holds.
    pub(super) turns: Arc<Turns>,
    /// Chunks were chosen for eviction.
    chosen: Notify,
    /// Room became free, or an eviction failed.
    changed: Notify,
    closed: CancellationToken,
    evicted: AtomicU64,
    evicted_bytes: AtomicU64,
    failed_evictions: AtomicU64,
    refused: AtomicU64,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("tier", &self.tier).finish_non_exhaustive()
    }
}

impl Room {
    pub(super) fn new(store: Arc<dyn ChunkStore>, config: &LruConfig, seams: LruSeams) -> Self {
        let LruSeams { tier, spawner, clock, pins, errors } = seams;
        Self {
            store,
            tier,
            clock,
            spawner,
            wait: config.wait,
            pins,
            errors,
            index: Mutex::new(Index::new(config.capacity, config.cushion())),
            turns: Arc::default(),
            chosen: Notify::new(),
            changed: Notify::new(),
            closed: CancellationToken::new(),
            evicted: AtomicU64::new(0),
            evicted_bytes: AtomicU64::new(0),
            failed_evictions: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn store(&self) -> &dyn ChunkStore {
        &*self.store
    }

    /// Starts a task that runs to its end whoever goes away.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.spawner.spawn(work)
    }

    /// The index, for one short look or change.
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> LruStats {
        let index = self.index();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LruStats {
            capacity: index.capacity(),
            cushion: index.cushion(),
            remaining: i64::try_from(index.remaining()).unwrap_or(i64::MAX),
            chunks: index.chunks() as u64,
            evicted: count(&self.evicted),
            evicted_bytes: count(&self.evicted_bytes),
            failed_evictions: count(&self.failed_evictions),
            refused: count(&self.refused),
        }
    }

    /// Promises room for a chunk; waits, within the bound, until what has to leave is gone.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        chunk: ChunkId,
        bytes: u64,
    ) -> Result<Reservation, WriteError> {
        if bytes > self.index().capacity() {
            return Err(self.refuse(bytes));
        }
        let waited = self.clock.timeout(self.wait, self.reserve_in_time(chunk, bytes)).await;
        waited.unwrap_or_else(|_| Err(self.refuse(bytes)))
    }

    async fn reserve_in_time(
        self: &Arc<Self>,
        chunk: ChunkId,
        bytes: u64,
    ) -> Result<Reservation, WriteError> {
        let reservation = loop {
            let changed = self.changed.notified();
            if let Some(reservation) = self.try_reserve(chunk, bytes) {
                break reservation;
            }
            self.or_closed(changed).await?;
        };
        loop {
            // What is pinned may leave as soon as it is copied.
            let (changed, unpinned) = (self.changed.notified(), self.pins.released());
            {
                let mut index = self.index();
                self.choose(&mut index);
                if index.remaining() >= 0 {
                    return Ok(reservation);
                }
            }
            let either = async {
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = unpinned => {}
                }
            };
            self.or_closed(either).await?;
        }
    }

    /// Nothing while the chunk is leaving: what is written then would leave with it.
    fn try_reserve(self: &Arc<Self>, chunk: ChunkId, bytes: u64) -> Option<Reservation> {
        let mut index = self.index();
        (!index.is_leaving(chunk)).then(|| {
            let reserved = index.reserve(chunk, bytes);
            Reservation { room: Arc::clone(self), chunk, reserved }
        })
    }

    async fn or_closed(&self, changed: impl Future<Output = ()>) -> Result<(), WriteError> {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(WriteError::Closed),
            () = changed => Ok(()),
        }
    }

    fn refuse(&self, wanted: u64) -> WriteError {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let free = u64::try_from(self.index().remaining()).unwrap_or(0);
        WriteError::NoRoom { wanted, free }
    }

    /// What is too much leaves.
    pub(super) fn make_room(&self) {
        self.choose(&mut self.index());
    }

    /// Chooses what leaves, when nothing remains.
    fn choose(&self, index: &mut Index) {
        if !index.choose(|chunk| self.pins.holds(chunk)).is_empty() {
            self.chosen.notify_one();
        }
    }

    /// A chunk was opened, or was not there. Sets the index right where it said otherwise, unless somebody is at work on the
    /// chunk, who will.
    pub(super) async fn was_read(&self, chunk: ChunkId, found: bool) {
        {
            let mut index = self.index();
            if index.is_tracked(chunk) == found {
                index.touch(chunk);
                return;
            }
        }
        let Some(_turn) = self.turns.try_take(chunk) else {
            return;
        };
        match self.store.stat(chunk).await {
            Ok(stat) => {
                let mut index = self.index();
                if !index.is_tracked(chunk) {
                    index.track(chunk, stat.length);
                    self.choose(&mut index);
                }
            }
            Err(ReadError::NotFound { .. }) => self.gone(&[chunk]),
            Err(_) => {}
        }
    }

    /// Chunks are gone from the store; the caller has a turn at them.
    pub(super) fn gone(&self, chunks: &[ChunkId]) {
        let mut index = self.index();
        for chunk in chunks {
            index.forget(*chunk);
        }
        drop(index);
        self.changed.notify_waiters();
    }

    /// Forgets those of `chunks` that the store does not hold; the caller has a turn at them.
    pub(super) async fn forget_absent(&self, chunks: &[ChunkId]) {
        for chunk in chunks {
            if let Err(ReadError::NotFound { .. }) = self.store.stat(*chunk).await {
                self.gone(&[*chunk]);
            }
        }
    }

    /// Waits until nothing is leaving.
    pub(super) async fn settle(&self) {
        loop {
            let changed = self.changed.notified();
            if self.index().leaving().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Writes that wait for room end.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Deletes what is chosen, until `stop`.
    pub(super) async fn evict_until(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let unpinned = self.pins.released();
            self.make_room();
            while !stop.is_cancelled() && self.evict_some().await {}
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.chosen.notified() => {}
                () = unpinned => {}
            }
        }
    }

    /// Deletes a batch of what is chosen; false when there is none.
    async fn evict_some(&self) -> bool {
        let mut batch = self.index().leaving();
        batch.truncate(EVICTION_BATCH);
        if batch.is_empty() {
            return false;
        }
        let failed = self.delete_leaving(batch).await.err();
        if let Some(error) = failed {
            self.eviction_failed(&error);
            tokio::select! {
                biased;
                () = self.closed.cancelled() => {}
                () = self.clock.sleep(EVICTION_PAUSE) => self.make_room(),
            }
        }
        true
    }

    async fn delete_leaving(&self, mut batch: Vec<ChunkId>) -> Result<(), (Vec<ChunkId>, Fault)> {
        let _turn = self.turns.take(batch.iter().copied()).await;
        // Some may have been deleted meanwhile.
        batch.retain(|chunk| self.index().is_leaving(*chunk));
        if let Err(error) = self.store.delete(batch.clone()).await {
            return Err((batch, Fault::from(&error)));
        }
        let bytes = batch.iter().filter_map(|chunk| self.index().forget(*chunk)).sum();
        self.evicted.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.evicted_bytes.fetch_add(bytes, Ordering::Relaxed);
        tracing::debug!(target: "cairn", tier = %self.tier, chunks = batch.len(), bytes, "evicted");
        self.changed.notify_waiters();
        Ok(())
    }

    /// The chunks stay where they were in the order, to be chosen again.
    fn eviction_failed(&self, (batch, error): &(Vec<ChunkId>, Fault)) {
        self.failed_evictions.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let error = TierError {
            tier: Arc::clone(&self.tier),
            op: TierOp::Evict,
            chunk: batch.first().copied(),
            error: error.clone(),
        };
        self.errors.report(error);
        for chunk in batch {
            self.index().stays(*chunk);
        }
        self.changed.notify_waiters();
    }
}

/// Room promised to a write; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    room: Arc<Room>,
    chunk: ChunkId,
    reserved: u64,
}

impl Reservation {
    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// The chunk is in the store: it is tracked instead.
    pub(super) fn settle(self, length: u64) {
        let mut index = self.room.index();
        index.track(self.chunk, length);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut index = self.room.index();
        index.release(self.chunk, self.reserved);
        self.room.choose(&mut index);
        drop(index);
        self.room.changed.notify_waiters();
    }
}
