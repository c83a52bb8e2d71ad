//! Repair: chunks that have too few good copies get new ones, the most endangered first.
//!
//! ```text
//! census ─► queue ─► look ─► place ─► turn ─► begin ─► Chunks.Copy at the target, from a good copy ─► finish
//!                      │ needs nothing any more  the copy is named   proven and durable there  └─ failed ─► give up
//! ```
//!
//! A copy that a reader, a scrub or fsck found bad, and one on a disk that its node has no more, is made anew at once; those of a
//! node that is away only after [`crate::Config::repair_after`], so that a restart moves nothing. Nothing is taken away before
//! its replacement is durable. What the queue forgets comes back with the next round of the census.

pub(crate) mod change;
mod look;
mod queue;

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::copies::{ChunkWant, CopyReceipt, Place};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::placement::TooFewNodes;
use cairn_kv::{Durability, Snapshot, TransactError, Txn, ViewError};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;

use self::change::RepairError;
use self::look::{Need, Short, look};
use self::queue::Queue;
use crate::catalog::{Held, record};
use crate::config::SeededBug;
use crate::error::NotPlaced;
use crate::master::Master;
use crate::nodes::Unreached;

/// Copies made at a time.
const AT_ONCE: usize = 4;
/// Nodes that are tried in the place of one that makes no copy.
const OTHER_TARGETS: usize = 2;
/// The slowest that a copy may be on its way, in bytes a second, on top of the bound on a call.
const SLOWEST: u64 = 1 << 20;

/// What repair remembers; a restart begins anew.
#[derive(Debug, Default)]
pub(crate) struct Repairer {
    queue: Mutex<Queue>,
    /// When the next copy may begin, on the monotonic clock.
    next_turn: Mutex<Duration>,
    offered: Notify,
}

/// Why a chunk was not repaired this time.
#[derive(Debug, thiserror::Error)]
enum NotRepaired {
    #[error("read the catalog: {0}")]
    View(#[from] ViewError<RepairError>),
    #[error("change the catalog: {0}")]
    Transact(#[from] TransactError<RepairError>),
    #[error("find a place: {0}")]
    Place(#[from] NotPlaced),
    #[error("copy it: {0}")]
    Copy(#[from] Unreached),
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It needs nothing now.
    Enough,
    /// It has a copy more, and so many good ones now.
    Copied { good: usize, wanted: usize, bytes: u64 },
    /// Meanwhile somebody else changed it.
    Overtaken,
}

impl Repairer {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A chunk has only so many good copies, at least one.
    pub(crate) fn offer(&self, chunk: ChunkId, good: usize) {
        if self.queue().offer(chunk, good) {
            self.offered.notify_one();
        }
    }

    /// Chunks that wait, and those that are worked on.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        self.queue().len()
    }

    /// How long to wait, so that `bytes` keep the `rate` a second.
    fn turn(&self, now: Duration, bytes: u64, rate: u64) -> Duration {
        let mut next = self.next_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = now.max(*next);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        *next = begins + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        begins - now
    }
}

/// Repairs what is offered, until the master stops.
pub(crate) async fn run(master: &Master) {
    let mut at_work = FuturesUnordered::new();
    loop {
        at_work.extend(take(master, at_work.len()));
        tokio::select! {
            biased;
            () = master.stop.cancelled() => return,
            Some(()) = at_work.next() => {}
            () = master.repairer.offered.notified() => {}
        }
    }
}

/// Repairs what was offered, until nothing waits.
pub(crate) async fn until_idle(master: &Master) {
    let mut at_work = FuturesUnordered::new();
    loop {
        at_work.extend(take(master, at_work.len()));
        if at_work.next().await.is_none() {
            return;
        }
    }
}

/// Takes as many chunks as may be worked on beside those `at_work`.
fn take(master: &Master, at_work: usize) -> Vec<impl Future<Output = ()>> {
    let room = AT_ONCE.saturating_sub(at_work);
    let taken = std::iter::from_fn(|| next(master)).take(room);
    let begun = taken.map(|chunk| one(master, chunk)).collect();
    let (waiting, working) = master.repairer.waiting();
    master.metrics.repairs(waiting, working);
    begun
}

/// The next chunk to be worked on. A master that does not do the duties leaves them to the one that does.
fn next(master: &Master) -> Option<ChunkId> {
    let mut queue = master.repairer.queue();
    if master.config.repair_rate == 0 || !master.duties.are_mine(master.clock.monotonic()) {
        queue.clear();
    }
    queue.next()
}

async fn one(master: &Master, chunk: ChunkId) {
    let repaired = AssertUnwindSafe(repair(master, chunk)).catch_unwind().await;
    master.repairer.queue().done(chunk);
    let Ok(repaired) = repaired else {
        master.metrics.repair_failed();
        tracing::error!(target: "cairn", %chunk, "the repair of a chunk panicked");
        return;
    };
    match repaired {
        Ok(Outcome::Copied { good, wanted, bytes }) => {
            master.metrics.repaired(bytes);
            tracing::debug!(target: "cairn", %chunk, good, wanted, "a copy was made anew");
            if good < wanted {
                master.repairer.offer(chunk, good);
            }
        }
        Ok(Outcome::Enough | Outcome::Overtaken) => {}
        Err(NotRepaired::Place(error)) => {
            tracing::debug!(target: "cairn", %chunk, %error, "there is no place for another copy");
        }
        Err(error) => {
            master.metrics.repair_failed();
            tracing::warn!(target: "cairn", %chunk, %error, "a chunk is short of copies and was not repaired");
        }
    }
}

async fn repair(master: &Master, chunk: ChunkId) -> Result<Outcome, NotRepaired> {
    let short = match look_at(master, chunk).await? {
        Need::Nothing => return Ok(Outcome::Enough),
        Need::Forget if master.config.faults().has(SeededBug::KeepBegunCopies) => {
            return Ok(Outcome::Enough);
        }
        Need::Forget => {
            let forget = move |txn: &mut Txn<'_>| change::forget_begun(txn, chunk);
            master.kv.transact(Durability::Buffered, forget).await?;
            return Ok(Outcome::Enough);
        }
        Need::Copy(short) => short,
    };
    let turn =
        master.repairer.turn(master.clock.monotonic(), short.length, master.config.repair_rate);
    master.clock.sleep(turn).await;
    let mut failed = Vec::new();
    loop {
        let target = place(master, &short, &failed)?;
        match copy_to(master, &short, &target).await {
            // Another node may do what this one does not.
            Err(NotRepaired::Copy(_)) if failed.len() < OTHER_TARGETS => failed.push(target.node),
            ended => return ended,
        }
    }
}

/// Makes one copy at `target`.
async fn copy_to(master: &Master, short: &Short, target: &Place) -> Result<Outcome, NotRepaired> {
    let (chunk, hash, node) = (short.chunk, short.hash, target.node);
    let begin = move |txn: &mut Txn<'_>| change::begin(txn, chunk, hash, node);
    if !master.kv.transact(Durability::Buffered, begin).await? {
        return Ok(Outcome::Overtaken);
    }
    match copy(master, short, target).await {
        Ok(receipt) => {
            let finish = move |txn: &mut Txn<'_>| change::finish(txn, chunk, hash, receipt);
            let named = master.kv.transact(Durability::Synced, finish).await?;
            let (good, wanted, bytes) = (short.good.len() + 1, short.wanted, short.length);
            Ok(if named { Outcome::Copied { good, wanted, bytes } } else { Outcome::Overtaken })
        }
        Err(error) => {
            let give_up = move |txn: &mut Txn<'_>| change::give_up(txn, chunk, node);
            master.kv.transact(Durability::Buffered, give_up).await?;
            Err(error.into())
        }
    }
}

/// What the chunk needs; nothing while the catalog may be older than the nodes.
async fn look_at(master: &Master, chunk: ChunkId) -> Result<Need, NotRepaired> {
    let directory = master.nodes.directory();
    let awaited = master.nodes.away_for_less_than(master.config.repair_after);
    let closure = move |view: &Snapshot<'_>| -> Result<_, RepairError> {
        if record::get::<Held>(view, &())?.is_some() {
            return Ok(Need::Nothing);
        }
        Ok(look(view, chunk, &directory, &awaited)?)
    };
    Ok(master.kv.view(closure).await?)
}

/// Chooses where the next copy goes: another node than those that have, or had, one; else one of those that had. Not to one that
/// has just `failed`.
fn place(master: &Master, short: &Short, failed: &[NodeId]) -> Result<Place, NotPlaced> {
    let Short { chunk, length, good, awaited, bad, dropping, .. } = short;
    let want = |not: &[&[NodeId]]| ChunkWant {
        index: chunk.index,
        length: *length,
        copies: 1,
        holders: [good.as_slice(), awaited].concat(),
        failed: not.concat(),
    };
    let chosen = match master.nodes.place(chunk.blob, &[want(&[bad, dropping, failed])], 1) {
        Err(_) if !bad.is_empty() => {
            master.nodes.place(chunk.blob, &[want(&[dropping, failed])], 1)?
        }
        chosen => chosen?,
    };
    let places = chosen.keep().into_iter().flat_map(|placed| placed.places);
    let (wanted, found, nodes, with_room) = (1, 0, 0, 0);
    places.into_iter().next().ok_or(TooFewNodes { wanted, found, nodes, with_room }.into())
}

/// Has the target fetch the chunk from the good copies, one after another.
async fn copy(master: &Master, short: &Short, target: &Place) -> Result<CopyReceipt, Unreached> {
    let bound = master.config.node_call + Duration::from_secs(short.length / SLOWEST);
    let mut last = None;
    for source in &short.sources {
        let copied =
            master.peers.copy(target, source, short.chunk, (short.length, short.hash), bound);
        match copied.await {
            Ok(receipt) => return Ok(receipt),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or(Unreached::NoSource))
}
