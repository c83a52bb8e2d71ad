//! Tiers that are written after the answer.
//!
//! ```text
//! begin ─► a slot, or a wait for one ─► … finish ─► journal ─► ready ─► worker ─► copied: journal, pin and slot let go
//!                                                               ▲         │ failed
//!                                                               └─ wait ──┘ longer each time
//! ```
//!
//! A chunk that waits is pinned in the tiers before. It is copied by one worker at a time, to the tiers behind in their order;
//! one that fails is tried again by itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::ids::{BlobId, ChunkId};
use cairn_runtime::Clock;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::config::BehindConfig;
use super::copy::{NotCopied, copy};
use super::journal::Journal;
use super::read::read_from;
use super::shared::Shared;
use crate::pins::Pin;
use crate::report::{Fault, FaultKind, TierOp};
use crate::store::{ReadError, WriteError};
use crate::turns::Turn;

/// What is written behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BehindStats {
    /// Chunks that are still to be copied.
    pub waiting: usize,
    /// Their bytes, as far as known: those of an earlier life count when they are tried.
    pub waiting_bytes: u64,
    /// Chunks that are in all tiers behind since opening.
    pub copied: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Chunks that were gone before they were copied.
    pub lost: u64,
}

/// A chunk that is still to be copied.
#[derive(Debug)]
struct Waiting {
    /// Tiers that lack it.
    left: Vec<usize>,
    bytes: u64,
    tries: u32,
    _pin: Pin,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<ChunkId, Waiting>,
    /// To be tried now, in order. May name chunks that do not wait any more.
    ready: VecDeque<ChunkId>,
    /// Chunks of an earlier life beyond the bound: as many slots are not given out again.
    over: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Behind {
    journal: Journal,
    targets: Vec<usize>,
    bound: Duration,
    slots: Arc<Semaphore>,
    queue: Mutex<Queue>,
    /// Something is ready.
    ready: Notify,
    /// A chunk does not wait any more.
    settled: Notify,
    /// Waits between tries end.
    hurry: Notify,
    copied: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
}

impl Behind {
    pub(super) fn new(mut journal: Journal, targets: Vec<usize>, config: &BehindConfig) -> Self {
        let mut queue = Queue::default();
        for (chunk, pin) in journal.take_recovered() {
            let waiting = Waiting { left: targets.clone(), bytes: 0, tries: 0, _pin: pin };
            queue.waiting.insert(chunk, waiting);
            queue.ready.push_back(chunk);
        }
        let most = config.queue.max(1);
        queue.over = queue.waiting.len().saturating_sub(most);
        let free = most.saturating_sub(queue.waiting.len());
        Self {
            journal,
            targets,
            bound: config.wait,
            slots: Arc::new(Semaphore::new(free)),
            queue: Mutex::new(queue),
            ready: Notify::new(),
            settled: Notify::new(),
            hurry: Notify::new(),
            copied: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chunks that a tier lacks.
    pub(super) fn waiting_for(&self, tier: usize) -> u64 {
        let lacks = |waiting: &&Waiting| waiting.left.contains(&tier);
        self.queue().waiting.values().filter(lacks).count() as u64
    }

    pub(super) fn stats(&self) -> BehindStats {
        let queue = self.queue();
        BehindStats {
            waiting: queue.waiting.len(),
            waiting_bytes: queue.waiting.values().map(|waiting| waiting.bytes).sum(),
            copied: self.copied.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Waits for a place among those that wait, and pins the chunk.
    pub(super) async fn slot(&self, chunk: ChunkId, clock: &Clock) -> Result<Slot, WriteError> {
        let slot = Arc::clone(&self.slots).acquire_owned();
        let Ok(Ok(permit)) = clock.timeout(self.bound, slot).await else {
            return Err(WriteError::Backlog { waiting: self.stats().waiting });
        };
        let pin = self.journal.pins().pin(chunk);
        Ok(Slot { chunk, permit, pin })
    }

    /// A chunk does not wait any more. The caller has its turn.
    fn settle(&self, chunk: ChunkId) {
        let mut queue = self.queue();
        if queue.waiting.remove(&chunk).is_none() {
            return;
        }
        let over = queue.over > 0;
        queue.over -= usize::from(over);
        drop(queue);
        self.slots.add_permits(usize::from(!over));
        self.journal.settle(chunk);
        self.settled.notify_waiters();
    }

    /// The chunks are deleted: they are not to be copied. The caller has their turn.
    pub(super) fn cancel(&self, chunks: impl IntoIterator<Item = ChunkId>) {
        chunks.into_iter().for_each(|chunk| self.settle(chunk));
    }

    /// The same for all chunks of a blob.
    pub(super) fn cancel_blob(&self, blob: BlobId) {
        let range = ChunkId::new(blob, 0)..=ChunkId::new(blob, u32::MAX);
        let chunks: Vec<_> = self.queue().waiting.range(range).map(|(chunk, _)| *chunk).collect();
        self.cancel(chunks);
    }

    fn make_ready(&self, chunk: ChunkId) {
        self.queue().ready.push_back(chunk);
        self.ready.notify_one();
    }

    /// Waits until what waits now is copied.
    pub(super) async fn flush(&self, stop: &CancellationToken) -> Result<(), WriteError> {
        let mut left: Vec<_> = self.queue().waiting.keys().copied().collect();
        self.hurry.notify_waiters();
        loop {
            let settled = self.settled.notified();
            {
                let queue = self.queue();
                left.retain(|chunk| queue.waiting.contains_key(chunk));
            }
            if left.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(WriteError::Closed),
                () = settled => {}
            }
        }
    }

    pub(super) async fn close(&self) {
        self.journal.close().await;
    }
}

/// A place among the chunks that wait, for one that is being written; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    chunk: ChunkId,
    permit: OwnedSemaphorePermit,
    pin: Pin,
}

impl Slot {
    /// The chunk is in `written` tiers: notes durably that the tiers behind, but those, are to have it too. The caller has its
    /// turn.
    pub(super) async fn note(
        self,
        shared: &Shared,
        written: &[usize],
        bytes: u64,
    ) -> Result<(), WriteError> {
        let Self { chunk, permit, pin } = self;
        let Some(behind) = &shared.behind else {
            return Ok(());
        };
        let mut left = behind.targets.clone();
        left.retain(|tier| !written.contains(tier));
        if left.is_empty() {
            return Ok(());
        }
        behind.journal.note(chunk).await?;
        let waiting = Waiting { left, bytes, tries: 0, _pin: pin };
        let before = behind.queue().waiting.insert(chunk, waiting);
        if before.is_none() {
            // Given back when the chunk is settled.
            permit.forget();
        }
        behind.make_ready(chunk);
        Ok(())
    }
}

/// Starts the workers.
pub(super) fn start(shared: &Arc<Shared>) {
    if shared.behind.is_none() {
        return;
    }
    for _ in 0..shared.config.behind.workers.max(1) {
        let worker = Arc::clone(shared);
        shared.spawn_background(async move { work(&worker).await });
    }
}

async fn work(shared: &Arc<Shared>) {
    let Some(behind) = &shared.behind else {
        return;
    };
    loop {
        let next = behind.queue().ready.pop_front();
        let Some(chunk) = next else {
            behind.ready.notified().await;
            continue;
        };
        // Whoever else waits for something ready may be needed.
        behind.ready.notify_one();
        let turn = shared.turns.take_patiently(chunk).await;
        let result = copy_to_all(shared, behind, chunk, &turn).await;
        drop(turn);
        match result {
            Tried::Settled => {}
            Tried::GaveWay => behind.make_ready(chunk),
            Tried::Failed { tries } => retry_later(shared, chunk, tries),
        }
    }
}

enum Tried {
    Settled,
    GaveWay,
    Failed { tries: u32 },
}

/// Copies a chunk to the tiers that lack it.
async fn copy_to_all(shared: &Arc<Shared>, behind: &Behind, chunk: ChunkId, turn: &Turn) -> Tried {
    let left = behind.queue().waiting.get(&chunk).map(|waiting| waiting.left.clone());
    let Some(mut left) = left else {
        return Tried::Settled;
    };
    let mut failed = false;
    for target in left.clone() {
        match copy_to(shared, behind, chunk, target, turn).await {
            Ok(()) => left.retain(|tier| *tier != target),
            Err(NotCopied::Wanted) => return Tried::GaveWay,
            Err(NotCopied::Read(ReadError::NotFound { .. })) => {
                behind.lost.fetch_add(1, Ordering::Relaxed);
                let fault = Fault::new(FaultKind::Missing, "gone before it was copied");
                shared.tiers[target].failed(TierOp::Copy, Some(chunk), fault);
                behind.settle(chunk);
                return Tried::Settled;
            }
            Err(not_copied) => {
                failed = true;
                behind.failed.fetch_add(1, Ordering::Relaxed);
                let fault = match &not_copied {
                    NotCopied::Write(error) => Fault::from(error),
                    NotCopied::Read(error) => Fault::from(error),
                    NotCopied::Wanted => Fault::new(FaultKind::Failed, "given up"),
                };
                shared.tiers[target].failed(TierOp::Copy, Some(chunk), fault);
            }
        }
    }
    if !failed {
        behind.copied.fetch_add(1, Ordering::Relaxed);
        behind.settle(chunk);
        return Tried::Settled;
    }
    let mut queue = behind.queue();
    let tries = queue.waiting.get_mut(&chunk).map_or(0, |waiting| {
        waiting.left = left;
        waiting.tries += 1;
        waiting.tries
    });
    Tried::Failed { tries }
}

/// Copies a chunk from any other tier to `target`, unless it is there.
async fn copy_to(
    shared: &Arc<Shared>,
    behind: &Behind,
    chunk: ChunkId,
    target: usize,
    turn: &Turn,
) -> Result<(), NotCopied> {
    let tier = &shared.tiers[target];
    let copied = async {
        let others = (0..shared.tiers.len()).filter(|at| *at != target).collect();
        let reader = read_from(shared, chunk, others).await.map_err(NotCopied::Read)?;
        if let Some(waiting) = behind.queue().waiting.get_mut(&chunk) {
            waiting.bytes = reader.header.length;
        }
        match tier.store.stat(chunk).await {
            Ok(held) if held.hash == reader.header.hash => Ok(0),
            _ => copy(chunk, reader, tier, turn.wanted()).await,
        }
    };
    match shared.clock.timeout(shared.config.behind.deadline, copied).await {
        Ok(copied) => copied.map(drop),
        Err(late) => Err(NotCopied::Write(WriteError::TimedOut(late.0))),
    }
}

/// Has a chunk tried again after a wait that doubles with each failure, spread so that many do not come back at once.
fn retry_later(shared: &Arc<Shared>, chunk: ChunkId, tries: u32) {
    let config = &shared.config.behind;
    let doubled = config.first_retry.saturating_mul(1_u32 << tries.saturating_sub(1).min(16));
    let wait = doubled.min(config.last_retry);
    let quarter = u64::try_from(wait.as_millis() / 4).unwrap_or(u64::MAX);
    let wait = wait.saturating_sub(Duration::from_millis(shared.entropy.below(quarter + 1)));
    let waiter = Arc::clone(shared);
    shared.spawn_background(async move {
        let Some(behind) = &waiter.behind else {
            return;
        };
        tokio::select! {
            biased;
            () = behind.hurry.notified() => {}
            () = waiter.clock.sleep(wait) => {}
        }
        behind.make_ready(chunk);
    });
}
