//! Repair: chunks get the copies that they should have, where they should be, the most endangered first. A drain and a rebalance
//! are the same steps, for chunks that lose nothing by waiting.
//!
//! ```text
//! census, walks ─► queue ─► look ─► mend? ─ nothing to do
//!                                    ├─ copy, spread ─► place ─► a workflow (copy.rs): name ─► copy ─► book, or un-name ─► another place
//!                                    ├─ give up one ─► prove the others ─► unname ─► Chunks.Delete there; what it does not delete the sweep finds
//!                                    └─ forget ─► what an earlier life of a master began is not named any more
//! ```
//!
//! What is to be done is one pure rule, [`cairn_core::mend`], a step at a time. A copy that a reader, a scrub or fsck found bad, and
//! one on a disk that its node has no more, is made anew at once; those of a node that is away only after
//! [`crate::Config::repair_after`], so that a restart moves nothing. Nothing is taken away before its replacement is durable. What
//! the queue forgets comes back with the next round of the census.
//!
//! Two jobs stand for it: `repair`, without which nothing here is done, and `rebalance`, for what is made for its place alone: moves
//! from a node that is too full, and copies in another zone. What is over then is given up as anything else that is over.

mod change;
mod copy;
mod look;
pub(crate) mod progress;
mod proof;
mod queue;
mod turns;
mod walk;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::copies::{ChunkWant, Place};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::mend::{Mend, SeenCopy, Standing, Urgency};
use cairn_core::placement::TooFewNodes;
use cairn_kv::{Durability, Snapshot, TransactError, Txn, ViewError};
use cairn_runtime::Clock;
use cairn_workflow::StepError;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;

use self::change::RepairError;
use self::copy::{Copier, Copying};
use self::look::look;
pub(crate) use self::look::{Around, Seen, Sight, is_kept};
use self::progress::{Paces, Purpose};
pub(crate) use self::proof::{not_short, of_strays};
use self::queue::Queue;
use self::turns::{Lane, Rate, Turns};
use self::walk::Walks;
use crate::catalog::{Attempt, Held, JobKey, record};
use crate::config::SeededBug;
use crate::error::NotPlaced;
use crate::jobs::ask::is_paused;
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
#[derive(Debug)]
pub(crate) struct Repairer {
    queue: Mutex<Queue>,
    turns: Turns,
    walks: Walks,
    copier: Copier,
    paces: Paces,
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
    Copy(#[from] StepError),
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It needs nothing now.
    Enough,
    /// It has a copy more.
    Copied,
    /// A copy is not named any more.
    Fewer,
    /// Meanwhile somebody else changed it, or there is no better place.
    Left,
}

impl Repairer {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            queue: Mutex::default(),
            turns: Turns::default(),
            walks: Walks::default(),
            copier: Copier::new(clock),
            paces: Paces::default(),
            offered: Notify::new(),
        }
    }

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
pub(crate) async fn run(master: &Arc<Master>) {
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
pub(crate) async fn until_idle(master: &Arc<Master>) -> Result<(), ViewError<RepairError>> {
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
async fn mend_all(master: &Arc<Master>) -> bool {
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
fn take(master: &Arc<Master>, at_work: usize) -> Vec<impl Future<Output = bool>> {
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
async fn one(master: &Arc<Master>, chunk: ChunkId, relieves: Option<NodeId>) -> bool {
    let mended = AssertUnwindSafe(step(master, chunk, relieves)).catch_unwind().await;
    master.repairer.queue().done(chunk);
    let Ok(mended) = mended else {
        master.metrics.repair_failed();
        tracing::error!(target: "cairn", %chunk, "the repair of a chunk panicked");
        return false;
    };
    match mended {
        Ok(Outcome::Enough | Outcome::Left) => false,
        Ok(outcome @ (Outcome::Copied | Outcome::Fewer)) => {
            master.repairer.walks.changed(relieves);
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
    let Ok(Some((seen, mend, _))) = look_at(master, chunk, around).await else { return };
    if let Some(urgency) = mend.urgency(&seen.copies, seen.wanted) {
        master.repairer.offer(chunk, urgency);
    }
}

/// Takes the next step for a chunk.
async fn step(
    master: &Arc<Master>,
    chunk: ChunkId,
    relieves: Option<NodeId>,
) -> Result<Outcome, NotMended> {
    let around = Around::now(master);
    let looked = match look_at(master, chunk, around.clone().relieving(relieves)).await? {
        // It was to be moved, and is short by now: that is more than a matter of its place.
        Some((seen, ..)) if seen.is_short() => look_at(master, chunk, around).await?,
        looked => looked,
    };
    let Some((seen, mend, around)) = looked else { return Ok(Outcome::Enough) };
    let seen = Arc::new(seen);
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
    master: &Arc<Master>,
    seen: &Arc<Seen>,
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

/// How a chunk stands, its next step, and what that heeds of the nodes; nothing while the catalog may be older than the nodes, or an
/// operator has paused repair.
async fn look_at(
    master: &Master,
    chunk: ChunkId,
    around: Around,
) -> Result<Option<(Seen, Mend, Around)>, ViewError<RepairError>> {
    let closure = move |view: &Snapshot<'_>| -> Result<_, RepairError> {
        if record::get::<Held>(view, &())?.is_some() || is_paused(view, &JobKey::Repair)? {
            return Ok(None);
        }
        let around = around.clone().heeding(view)?;
        Ok(look(view, chunk, &around)?.map(|seen| {
            let mend = around.mend(&seen.copies, seen.wanted);
            (seen, mend, around)
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
    master: &Arc<Master>,
    seen: &Arc<Seen>,
    mend: Mend,
    around: &Around,
) -> Result<Outcome, NotMended> {
    let urgency = mend.urgency(&seen.copies, seen.wanted).and_then(Purpose::of);
    let purpose = match around.relieved() {
        Some(_) => Purpose::Rebalance,
        None => urgency.unwrap_or(Purpose::Repair),
    };
    let mut failed = Vec::new();
    loop {
        let Some(target) = place(master, seen, mend, around, &failed)? else {
            return Ok(Outcome::Left);
        };
        let node = target.node;
        match copy_to(master, seen, target, purpose).await {
            // Another node may do what this one does not.
            Err(error) if error.cause::<Unreached>().is_some() && failed.len() < OTHER_TARGETS => {
                failed.push(node);
            }
            Err(error) => return Err(error.into()),
            Ok(false) => return Ok(Outcome::Left),
            Ok(true) => {
                master.metrics.repaired(purpose, seen.length);
                // What is moved from a node that is too full the census does not count.
                if around.relieved().is_none() {
                    master.census.copied(purpose, seen.length);
                }
                return Ok(Outcome::Copied);
            }
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

/// Makes one copy at `target`; whether it counts now.
async fn copy_to(
    master: &Arc<Master>,
    seen: &Arc<Seen>,
    target: Place,
    purpose: Purpose,
) -> Result<bool, StepError> {
    let mut rates = vec![(Lane::All, master.config.repair_rate)];
    if purpose == Purpose::Rebalance {
        rates.push((Lane::Rebalance, master.config.rebalance_rate));
    }
    let repairer = &master.repairer;
    repairer.paces.begun(purpose, master.clock.monotonic());
    let attempt = Attempt(master.entropy.uuid_v7(&master.clock));
    let copying = Copying { seen: Arc::clone(seen), target, attempt, rates };
    let made = repairer.copier.run(master, copying).await;
    let bytes = if matches!(made, Ok(true)) { seen.length } else { 0 };
    repairer.paces.ended(purpose, master.clock.monotonic(), bytes);
    made
}

/// Chooses where the next copy goes: another node than those that have, or had, one; else one of those that had, which may be the
/// only one of its zone. Not to one that has just `failed`.
/// Nothing when there is no place that is worth it.
fn place(
    master: &Master,
    seen: &Seen,
    mend: Mend,
    around: &Around,
    failed: &[NodeId],
) -> Result<Option<Place>, NotPlaced> {
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
    let (wanted, found, nodes, with_room) = (1, 0, 0, 0);
    let place = chosen.places().next().cloned();
    let place = place.ok_or(TooFewNodes { wanted, found, nodes, with_room })?;
    if !is_worth_it(seen, mend, around, place.node) {
        // What was placed is given back.
        return Ok(None);
    }
    chosen.keep();
    Ok(Some(place))
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
