//! Putting a chunk that was found further down into the tiers before, and damaged copies aside: in the background, one at a time
//! for each chunk, bounded, and given up as soon as the foreground wants the chunk.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::ids::ChunkId;
use tokio::sync::{Notify, Semaphore};

use super::config::PromoteConfig;
use super::copy::{NotCopied, copy};
use super::read::{Seen, read_from};
use super::shared::Shared;
use super::tier::OpenTier;
use crate::report::{Fault, FaultKind, TierOp};
use crate::store::{ReadError, WriteError};
use crate::turns::Turn;

/// What was put into the tiers before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PromoteStats {
    /// Copies made.
    pub done: u64,
    /// Damaged copies put aside.
    pub put_aside: u64,
    /// Not begun, since too many were on their way.
    pub skipped: u64,
    /// Not begun, since the chunk is too large for the tier.
    pub not_admitted: u64,
    /// Given up, since the chunk was written, deleted or copied at the time.
    pub gave_way: u64,
    /// Failed.
    pub failed: u64,
}

/// Who is promoted at the moment.
#[derive(Debug)]
pub(super) struct Promoter {
    queue: usize,
    running: Semaphore,
    chunks: Mutex<BTreeSet<ChunkId>>,
    ended: Notify,
    done: AtomicU64,
    put_aside: AtomicU64,
    skipped: AtomicU64,
    not_admitted: AtomicU64,
    gave_way: AtomicU64,
    failed: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Promoter {
    pub(super) fn new(config: &PromoteConfig) -> Self {
        Self {
            queue: config.queue,
            running: Semaphore::new(config.workers.max(1)),
            chunks: Mutex::default(),
            ended: Notify::new(),
            done: AtomicU64::new(0),
            put_aside: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            not_admitted: AtomicU64::new(0),
            gave_way: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    pub(super) fn stats(&self) -> PromoteStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PromoteStats {
            done: get(&self.done),
            put_aside: get(&self.put_aside),
            skipped: get(&self.skipped),
            not_admitted: get(&self.not_admitted),
            gave_way: get(&self.gave_way),
            failed: get(&self.failed),
        }
    }

    /// Waits until nothing is on its way.
    pub(super) async fn settle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.chunks().is_empty() {
                return;
            }
            ended.await;
        }
    }

    fn chunks(&self) -> MutexGuard<'_, BTreeSet<ChunkId>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a chunk, unless it is there or too many are.
    fn enter(&self, chunk: ChunkId) -> bool {
        let mut chunks = self.chunks();
        if chunks.contains(&chunk) {
            return false;
        }
        if chunks.len() >= self.queue {
            count(&self.skipped);
            return false;
        }
        chunks.insert(chunk)
    }
}

/// A chunk that is entered; left when dropped, also by a panic.
struct Entered {
    shared: Arc<Shared>,
    chunk: ChunkId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let promoter = &self.shared.promoter;
        promoter.chunks().remove(&self.chunk);
        promoter.ended.notify_waiters();
    }
}

/// Puts the chunk into the tiers that lack it, and aside where it is damaged. `length` is the chunk's, or none when no tier has it.
pub(super) fn put_right(shared: &Arc<Shared>, chunk: ChunkId, length: Option<u64>, seen: Seen) {
    let Seen { mut missing, damaged } = seen;
    missing.extend(&damaged);
    missing.sort_unstable();
    missing.dedup();
    missing.retain(|at| length.is_some_and(|length| admits(shared, &shared.tiers[*at], length)));
    if missing.is_empty() && damaged.is_empty()
        || shared.takes_writes().is_err()
        || !shared.promoter.enter(chunk)
    {
        return;
    }
    let entered = Entered { shared: Arc::clone(shared), chunk };
    shared.spawn_background(async move {
        let Entered { shared, chunk } = &entered;
        let Ok(_running) = shared.promoter.running.acquire().await else {
            return;
        };
        // Somebody who writes or deletes the chunk knows better than this read did.
        let Some(turn) = shared.turns.try_take(*chunk) else {
            count(&shared.promoter.gave_way);
            return;
        };
        for at in damaged {
            put_aside(shared, *chunk, at).await;
        }
        // The nearest tier first, as in a read that goes down and comes back.
        for at in missing.into_iter().rev() {
            promote(shared, *chunk, at, &turn).await;
        }
    });
}

fn admits(shared: &Shared, tier: &OpenTier, length: u64) -> bool {
    let part = u128::from(shared.config.promote.admit_percent);
    let most = u128::from(tier.store.usage().capacity) * part / 100;
    let fits = u128::from(length) <= most;
    if tier.promote && !fits {
        count(&shared.promoter.not_admitted);
    }
    tier.promote && fits
}

async fn put_aside(shared: &Shared, chunk: ChunkId, at: usize) {
    let tier = &shared.tiers[at];
    match tier.store.quarantine(chunk).await {
        Ok(true) => count(&shared.promoter.put_aside),
        Ok(false) => {}
        Err(error) => tier.failed(TierOp::Quarantine, Some(chunk), Fault::from(&error)),
    }
}

/// Copies a chunk to one tier before those that have it.
async fn promote(shared: &Arc<Shared>, chunk: ChunkId, to: usize, turn: &Turn) {
    let (tier, promoter) = (&shared.tiers[to], &shared.promoter);
    let copied = async {
        let below = (to + 1..shared.tiers.len()).collect();
        let reader = read_from(shared, chunk, below).await.map_err(NotCopied::Read)?;
        copy(chunk, reader, tier, turn.wanted()).await
    };
    let failed = |fault: Fault| {
        count(&promoter.failed);
        tier.failed(TierOp::Promote, Some(chunk), fault);
    };
    match shared.clock.timeout(shared.config.promote.deadline, copied).await {
        Ok(Ok(length)) => {
            count(&promoter.done);
            tracing::debug!(target: "cairn", tier = %tier.name, %chunk, length, "promoted");
        }
        Ok(Err(NotCopied::Wanted)) => count(&promoter.gave_way),
        // It was deleted since it was read.
        Ok(Err(NotCopied::Read(ReadError::NotFound { .. }))) => count(&promoter.gave_way),
        // A full cache, or a blob that is erased: nothing is wrong.
        Ok(Err(NotCopied::Write(WriteError::NoRoom { .. } | WriteError::Erased { .. }))) => {
            count(&promoter.not_admitted);
        }
        Ok(Err(NotCopied::Read(error))) => failed(Fault::from(&error)),
        Ok(Err(NotCopied::Write(error))) => failed(Fault::from(&error)),
        Err(late) => failed(Fault::new(FaultKind::TimedOut, late)),
    }
}
