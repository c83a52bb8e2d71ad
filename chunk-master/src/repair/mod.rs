//! Repair: chunks get the copies that they should have, where they should be, the most endangered first. A drain and a rebalance
//! are the same steps, for chunks that lose nothing by waiting.
//!
//! ```text
//! census, walks ─► queue ─► look ─► mend? ─ nothing to do
//!                                    ├─ copy, spread ─► place ─► begin ─► turn ─► Chunks.Copy at the target ─► finish
//!                                    │                       the copy is named      proven and durable there └─ failed ─► give up
//!                                    ├─ give up one ─► prove the others ─► unname ─► Chunks.Delete there; what it does not delete the sweep finds
//!                                    └─ forget ─► what an earlier life of a master began is not named any more
//! ```
//!
//! What is to be done is one pure rule, [`cairn_core::mend`], a step at a time. A copy that a reader, a scrub or fsck found bad, and
//! one on a disk that its node has no more, is made anew at once; those of a node that is away only after
//! [`crate::Config::repair_after`], so that a restart moves nothing. Nothing is taken away before its replacement is durable. What
//! the queue forgets comes back with the next round of the census.

mod change;
mod look;
mod proof;
mod queue;
mod turns;
mod walk;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::copies::{ChunkWant, CopyReceipt, Place};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::mend::{Mend, SeenCopy, Standing, Urgency};
use cairn_core::placement::TooFewNodes;
use cairn_kv::{Durability, Snapshot, TransactError, Txn, ViewError};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;

use self::change::RepairError;
pub(crate) use self::change::not_missed;
pub(crate) use self::look::{Around, is_kept};
use self::look::{Seen, look};
use self::queue::Queue;
use self::turns::{Lane, Rate, Turns};
use self::walk::Walks;
use crate::catalog::{Held, record};
use crate::config::SeededBug;
use crate::error::NotPlaced;
use crate::jobs::ask::repair_is_paused;
use crate::master::Master;
use crate::nodes::{Deleted, NodeView, Unreached};
use crate::object::report::ReportError;

/// Copies made at a time.
const AT_ONCE: usize = 4;
/// Nodes that are tried in the place of one that makes no copy.
const OTHER_TARGETS: usize = 2;
/// The slowest that a copy may be on its way, in bytes a second, on top of the bound on a call.
const SLOWEST: u64 = 1 << 20;
/// How much less full a node must be for a copy to be moved there, as a part of `u32::MAX`: 2 %.
const WORTH_MOVING: u32 = u32::MAX / 50;

/// What repair remembers; a restart begins anew.
#[derive(Debug, Default)]
pub(crate) struct Repairer {
    queue: Mutex<Queue>,
    turns: Turns,
    walks: Walks,
    offered: Notify,
}

/// Why a chunk was not mended this time.
#[derive(Debug, thiserror::Error)]
enum NotMended {
    #[error("read the catalog: {0}")]
    View(#[from] ViewError<RepairError>),
    #[error("change the catalog: {0}")]
    Transact(#[from] TransactError<RepairError>),
    #[error("note what was found: {0}")]
    Report(#[from] TransactError<ReportError>),
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
    /// It has a copy more, of so many bytes.
    Copied(u64),
    /// A copy is not named any more.
    Fewer,
    /// Meanwhile somebody else changed it, or there is no better place.
    Left,
}

impl Repairer {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is to be done for a chunk.
    pub(crate) fn offer(&self, chunk: ChunkId, urgency: Urgency) {
        self.offer_all(chunk, urgency, None);
    }

    fn offer_all(&self, chunk: ChunkId, urgency: Urgency, relieves: Option<NodeId>) {
        if self.queue().offer(chunk, urgency, relieves) {
            self.offered.notify_one();
        }
    }

    /// Chunks that wait, and those that are worked on.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        self.queue().len()
    }
}

/// Mends what is offered, until the master stops.
pub(crate) async fn run(master: &Master) {
    let mut at_work = FuturesUnordered::new();
    let mut walking = pin!(walk::on(master));
    loop {
        at_work.extend(take(master, at_work.len()));
        tokio::select! {
            biased;
            () = master.stop.cancelled() => return,
            Some(_) = at_work.next() => {}
            () = master.repairer.offered.notified() => {}
            () = &mut walking => return,
        }
    }
}

/// Mends what was offered, and what walks find, until nothing changes any more.
pub(crate) async fn until_idle(master: &Master) -> Result<(), ViewError<RepairError>> {
    loop {
        let mut changed = mend_all(master).await;
        walk::step(master).await?;
        changed |= mend_all(master).await;
        if !changed {
            return Ok(());
        }
    }
}

/// Mends what waits; whether anything was changed.
async fn mend_all(master: &Master) -> bool {
    let mut at_work = FuturesUnordered::new();
    let mut changed = false;
    loop {
        at_work.extend(take(master, at_work.len()));
        match at_work.next().await {
            Some(change) => changed |= change,
            None => return changed,
        }
    }
}

/// Takes as many chunks as may be worked on beside those `at_work`.
fn take(master: &Master, at_work: usize) -> Vec<impl Future<Output = bool>> {
    let room = AT_ONCE.saturating_sub(at_work);
    let taken = std::iter::from_fn(|| next(master)).take(room);
    let begun = taken.map(|(chunk, relieves)| one(master, chunk, relieves)).collect();
    let (waiting, working) = master.repairer.waiting();
    master.metrics.repairs(waiting, working);
    begun
}

/// The next chunk to be worked on. A master that does not do the duties leaves them to the one that does.
fn next(master: &Master) -> Option<(ChunkId, Option<NodeId>)> {
    let mut queue = master.repairer.queue();
    if master.config.repair_rate == 0 || !master.duties.are_mine(master.clock.monotonic()) {
        queue.clear();
    }
    queue.next()
}

/// Takes the next step for a chunk; whether it changed anything.
async fn one(master: &Master, chunk: ChunkId, relieves: Option<NodeId>) -> bool {
    let mended = AssertUnwindSafe(step(master, chunk, relieves)).catch_unwind().await;
    master.repairer.queue().done(chunk);
    let Ok(mended) = mended else {
        master.metrics.repair_failed();
        tracing::error!(target: "cairn", %chunk, "the repair of a chunk panicked");
        return false;
    };
    match mended {
        Ok(Outcome::Enough | Outcome::Left) => false,
        Ok(outcome @ (Outcome::Copied(_) | Outcome::Fewer)) => {
            if let Outcome::Copied(bytes) = outcome {
                master.metrics.repaired(bytes);
            }
            tracing::debug!(target: "cairn", %chunk, ?outcome, "a chunk was mended");
            offer_again(master, chunk).await;
            true
        }
        Err(NotMended::Place(error)) => {
            tracing::debug!(target: "cairn", %chunk, %error, "there is no place for another copy");
            false
        }
        Err(error) => {
            master.metrics.repair_failed();
            tracing::warn!(target: "cairn", %chunk, %error, "a chunk was not mended");
            false
        }
    }
}

/// A chunk that was changed may have a next step. When that cannot be told now, the census finds it.
async fn offer_again(master: &Master, chunk: ChunkId) {
    let around = Around::now(master);
    let Ok(Some((seen, mend))) = look_at(master, chunk, &around).await else { return };
    if let Some(urgency) = mend.urgency(&seen.copies, seen.wanted) {
        master.repairer.offer(chunk, urgency);
    }
}

/// Takes the next step for a chunk.
async fn step(
    master: &Master,
    chunk: ChunkId,
    relieves: Option<NodeId>,
) -> Result<Outcome, NotMended> {
    let around = Around::now(master).relieving(relieves);
    let Some((seen, mend)) = look_at(master, chunk, &around).await? else {
        return Ok(Outcome::Enough);
    };
    if mend == Mend::Spread {
        match add_one(master, &seen, mend, &around).await {
            Ok(Outcome::Left) | Err(NotMended::Place(_)) => {}
            ended => return ended,
        }
        // There is no place in another zone: what else is to be done must not wait for one.
        let around = around.settled();
        let mend = around.mend(&seen.copies, seen.wanted);
        return carry_out(master, &seen, mend, around).await;
    }
    carry_out(master, &seen, mend, around).await
}

async fn carry_out(
    master: &Master,
    seen: &Seen,
    mend: Mend,
    around: Around,
) -> Result<Outcome, NotMended> {
    let chunk = seen.chunk;
    match mend {
        Mend::Nothing => Ok(Outcome::Enough),
        Mend::Forget if master.config.faults().has(SeededBug::KeepBegunCopies) => {
            Ok(Outcome::Enough)
        }
        Mend::Forget => {
            let forget = move |txn: &mut Txn<'_>| change::forget_begun(txn, chunk);
            master.kv.transact(Durability::Buffered, forget).await?;
            Ok(Outcome::Fewer)
        }
        Mend::GiveUp(node) => give_up_one(master, seen, node, around).await,
        Mend::Copy | Mend::Spread => add_one(master, seen, mend, &around).await,
    }
}

/// How a chunk stands, and its next step; nothing while the catalog may be older than the nodes, or an operator has
/// paused repair.
async fn look_at(
    master: &Master,
    chunk: ChunkId,
    around: &Around,
) -> Result<Option<(Seen, Mend)>, ViewError<RepairError>> {
    let around = around.clone();
    let closure = move |view: &Snapshot<'_>| -> Result<_, RepairError> {
        if record::get::<Held>(view, &())?.is_some() || repair_is_paused(view)? {
            return Ok(None);
        }
        let seen = look(view, chunk, &around)?;
        Ok(seen.map(|seen| {
            let mend = around.mend(&seen.copies, seen.wanted);
            (seen, mend)
        }))
    };
    master.kv.view(closure).await
}

/// Does not name a copy any more, and has it deleted, once enough others were read and found intact. What its node does not
/// delete now the sweep does later.
async fn give_up_one(
    master: &Master,
    seen: &Seen,
    node: NodeId,
    around: Around,
) -> Result<Outcome, NotMended> {
    let (chunk, holder) = (seen.chunk, around.directory.get(&node).cloned());
    let proven = proof::of_enough(master, seen, node, &around).await?;
    let around = around.renewed(master);
    let unname = move |txn: &mut Txn<'_>| change::unname(txn, chunk, node, &proven, &around);
    if !master.kv.transact(Durability::Synced, unname).await? {
        return Ok(Outcome::Left);
    }
    master.metrics.gave_up();
    if let Some(holder) = holder.filter(|holder| holder.state.serves_chunks()) {
        let deleted = delete_strays(master, &holder, &[chunk]).await;
        if let Err(error) = deleted {
            tracing::debug!(target: "cairn", %chunk, %node, %error, "a copy that was given up stays for now");
        }
    }
    Ok(Outcome::Fewer)
}

/// Has a node delete copies that nobody names, but for those that were written since it was last heard.
pub(crate) async fn delete_strays(
    master: &Master,
    holder: &NodeView,
    chunks: &[ChunkId],
) -> Result<Deleted, Unreached> {
    let address = &holder.record.address;
    if master.config.faults().has(SeededBug::DeleteUnfenced) {
        return master.peers.delete(address, chunks, None).await;
    }
    match holder.report.moment {
        Some(moment) => master.peers.delete(address, chunks, Some(moment)).await,
        None => Ok(Deleted { deleted: 0, kept: chunks.iter().copied().collect() }),
    }
}

/// Makes one more copy, in another zone when that is what it is for.
async fn add_one(
    master: &Master,
    seen: &Seen,
    mend: Mend,
    around: &Around,
) -> Result<Outcome, NotMended> {
    let mut rates = vec![(Lane::All, master.config.repair_rate)];
    if mend == Mend::Spread || around.relieved().is_some() {
        rates.push((Lane::Rebalance, master.config.rebalance_rate));
    }
    let mut failed = Vec::new();
    loop {
        let target = place(master, seen, mend, &failed)?;
        if !is_worth_it(seen, mend, around, target.node) {
            return Ok(Outcome::Left);
        }
        match copy_to(master, seen, &target, &rates).await {
            // Another node may do what this one does not.
            Err(NotMended::Copy(_)) if failed.len() < OTHER_TARGETS => failed.push(target.node),
            ended => return ended,
        }
    }
}

/// A copy that is made for its place alone must find a better one: another zone, or a node that is much less full and in no
/// zone where the chunk has a copy that stays.
fn is_worth_it(seen: &Seen, mend: Mend, around: &Around, target: NodeId) -> bool {
    let Some(target) = around.directory.get(&target) else { return false };
    let from = around.relieved().and_then(|node| seen.copies.iter().find(|c| c.node == node));
    let zone = Some(&target.record.zone);
    let is_held = seen
        .copies
        .iter()
        .any(|copy| copy.is_readable() && !copy.leaves && copy.zone.as_ref() == zone);
    match (mend, from) {
        (Mend::Spread, _) => !is_held,
        (_, Some(from)) => !is_held && target.fill().saturating_add(WORTH_MOVING) < from.fill,
        (_, None) => true,
    }
}

/// Makes one copy at `target`.
async fn copy_to(
    master: &Master,
    seen: &Seen,
    target: &Place,
    rates: &[Rate],
) -> Result<Outcome, NotMended> {
    let (chunk, hash, node) = (seen.chunk, seen.hash, target.node);
    let begin = move |txn: &mut Txn<'_>| change::begin(txn, chunk, hash, node);
    if !master.kv.transact(Durability::Buffered, begin).await? {
        return Ok(Outcome::Left);
    }
    match copy(master, seen, target, rates).await {
        Ok(receipt) => {
            let finish = move |txn: &mut Txn<'_>| change::finish(txn, chunk, hash, receipt);
            let named = master.kv.transact(Durability::Synced, finish).await?;
            Ok(if named { Outcome::Copied(seen.length) } else { Outcome::Left })
        }
        Err(error) => {
            let give_up = move |txn: &mut Txn<'_>| change::give_up(txn, chunk, node);
            master.kv.transact(Durability::Buffered, give_up).await?;
            Err(error.into())
        }
    }
}

/// Chooses where the next copy goes: another node than those that have, or had, one; else one of those that had, which may be the
/// only one of its zone. Not to one that has just `failed`.
fn place(master: &Master, seen: &Seen, mend: Mend, failed: &[NodeId]) -> Result<Place, NotPlaced> {
    let holds = |copy: &SeenCopy| copy.is_readable() || copy.standing == Standing::Awaited;
    let holders = seen.nodes(|copy| holds(copy) && !copy.leaves);
    let leaving = seen.nodes(|copy| holds(copy) && copy.leaves);
    let had = |copy: &SeenCopy| !holds(copy) && copy.standing != Standing::Begun;
    let had = if mend == Mend::Spread { Vec::new() } else { seen.nodes(had) };
    let want = |not: &[&[NodeId]]| ChunkWant {
        index: seen.chunk.index,
        length: seen.length,
        copies: 1,
        holders: holders.clone(),
        failed: not.concat(),
    };
    let blob = seen.chunk.blob;
    let chosen = match master.nodes.place(blob, &[want(&[&leaving, &had, failed])], 1) {
        Err(_) if !had.is_empty() => master.nodes.place(blob, &[want(&[&leaving, failed])], 1)?,
        chosen => chosen?,
    };
    let places = chosen.keep().into_iter().flat_map(|placed| placed.places);
    let (wanted, found, nodes, with_room) = (1, 0, 0, 0);
    places.into_iter().next().ok_or(TooFewNodes { wanted, found, nodes, with_room }.into())
}

/// Has the target fetch the chunk from the good copies, one after another, when it is their turn.
async fn copy(
    master: &Master,
    seen: &Seen,
    target: &Place,
    rates: &[Rate],
) -> Result<CopyReceipt, Unreached> {
    let bound = bound_on(master, seen.length);
    let mut last = None;
    for source in &seen.sources {
        wait_for_turn(master, seen.length, rates, &[source.node, target.node]).await;
        let copied = master.peers.copy(target, source, seen.chunk, (seen.length, seen.hash), bound);
        match copied.await {
            Ok(receipt) => return Ok(receipt),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or(Unreached::NoSource))
}

/// The bound on a call that reads so many bytes.
fn bound_on(master: &Master, bytes: u64) -> Duration {
    master.config.node_call + Duration::from_secs(bytes / SLOWEST)
}

/// Waits until so many bytes may go through these nodes.
async fn wait_for_turn(master: &Master, bytes: u64, rates: &[Rate], nodes: &[NodeId]) {
    let rate = master.config.repair_rate_per_node;
    let nodes = nodes.iter().map(|&node| (Lane::Node(node), rate));
    let rates: Vec<_> = rates.iter().copied().chain(nodes).collect();
    let wait = master.repairer.turns.wait(master.clock.monotonic(), bytes, &rates);
    master.clock.sleep(wait).await;
}
