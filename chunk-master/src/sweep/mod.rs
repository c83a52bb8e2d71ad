//! The sweep: what is over is given back and erased.
//!
//! ```text
//! expire    alarms that ring ─────► uploads aborted, kept answers removed
//! purge     condemned long enough ─► version gone, its blobs Purging
//! early     room is short ────────► as purge, before the wait is over
//! erase     purge queue ──────────► Chunks.Delete on every node of the blob ─► blob gone
//! orphans   a node's inventory ───► chunks whose blob is absent or Purging, deleted
//! ```
//!
//! Each phase plans in a view or transaction over the catalog and then carries out what is irreversible
//! already, so a pass can stop or repeat anywhere. Batches are bounded, and nothing is locked while a node
//! is asked. One pass runs at a time.
//!
//! Only how long a version waits depends on the wall clock. When that has jumped against steady time, nothing is purged
//! until it is set right or the master restarts; the other phases count steady time, or carry out what is final.

mod early;
mod erase;
mod expire;
pub(crate) mod orphans;
mod purge;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cairn_core::ids::{BlobId, ChunkId, NodeId};
use cairn_kv::{Snapshot, TransactError, ViewError};

use tokio::sync::Semaphore;
use tonic::Status;

use crate::answer;
use crate::catalog::{Held, record};
use crate::census;
use crate::error::{CatalogError, operation_error};
use crate::master::Master;

operation_error! {
    /// Why a step of the sweep fails.
    SweepError {
        Catalog(CatalogError),
    }
}

/// How much one pass does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// A bounded part; the next pass goes on.
    Bounded,
    /// A bounded part of what only the catalog has to say is over: inventories of nodes are left to passes with a pause
    /// between them.
    CatchUp,
    /// All that is due now.
    Complete,
}

impl Effort {
    /// True when `done` steps are enough for one pass of at most `bound`.
    fn is_enough(self, done: usize, bound: usize) -> bool {
        self != Self::Complete && done >= bound
    }
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Uploads whose lease had ended.
    pub uploads_expired: u64,
    /// Condemned versions whose wait was over.
    pub versions_purged: u64,
    /// Condemned versions purged before their wait was over, because room was short.
    pub versions_purged_early: u64,
    /// Blobs erased from all their nodes.
    pub blobs_erased: u64,
    /// Blobs that wait for a node that cannot be reached.
    pub blobs_waiting: u64,
    /// Chunks on nodes that no blob names, deleted.
    pub orphans_deleted: u64,
    /// A phase that got on reached its bound: more is due.
    pub behind: bool,
}

/// What the sweep remembers between passes; a restart begins anew.
#[derive(Debug)]
pub(crate) struct Sweeper {
    turn: Semaphore,
    /// How far each node's inventory was walked.
    cursors: Mutex<BTreeMap<NodeId, ChunkId>>,
    /// What was erased that nodes may not have reported yet.
    erased: Mutex<early::Erased>,
    /// How far the purge queue was walked.
    erase_after: Mutex<Option<BlobId>>,
    /// The wall clock has jumped, and it was said.
    stopped: AtomicBool,
}

impl Sweeper {
    pub(crate) fn new() -> Self {
        Self {
            turn: Semaphore::new(1),
            cursors: Mutex::default(),
            erased: Mutex::default(),
            erase_after: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    fn cursor(&self, node: NodeId) -> Option<ChunkId> {
        let cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        cursors.get(&node).copied()
    }

    /// A blob of `bytes` is off its nodes.
    fn erased(&self, now: Duration, bytes: u64) {
        self.erased.lock().unwrap_or_else(PoisonError::into_inner).note(now, bytes);
    }

    /// Bytes erased since then.
    fn erased_since(&self, since: Duration) -> u64 {
        self.erased.lock().unwrap_or_else(PoisonError::into_inner).since(since)
    }

    fn erase_after(&self) -> Option<BlobId> {
        *self.erase_after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_erase_after(&self, blob: Option<BlobId>) {
        *self.erase_after.lock().unwrap_or_else(PoisonError::into_inner) = blob;
    }

    fn set_cursor(&self, node: NodeId, cursor: Option<ChunkId>) {
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        match cursor {
            Some(cursor) => cursors.insert(node, cursor),
            None => cursors.remove(&node),
        };
    }
}

/// Why a pass broke off. What was done stays done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    #[error("change the catalog: {0}")]
    Transact(#[from] TransactError<SweepError>),
    #[error("read the catalog: {0}")]
    View(#[from] ViewError<SweepError>),
    #[error("the master is stopping")]
    Stopping,
}

impl PassError {
    pub(crate) fn into_status(self) -> Status {
        match self {
            Self::Transact(error) => answer::not_transacted(error),
            Self::View(error) => answer::not_viewed(error),
            Self::Stopping => answer::stopping(),
        }
    }
}

/// Runs one pass, after the one that runs already.
pub(crate) async fn pass(master: &Master, effort: Effort) -> Result<SweepReport, PassError> {
    let turn = master.sweeper.turn.acquire().await;
    let _turn = turn.map_err(|_| PassError::Stopping)?;
    let mut report = SweepReport::default();
    if is_held(master).await? {
        master.metrics.swept(&report, master.time.wall_ms());
        return Ok(report);
    }
    expire::run(master, effort, &mut report).await?;
    if may_purge(master) {
        purge::run(master, effort, &mut report).await?;
        early::run(master, effort, &mut report).await?;
    }
    erase::run(master, effort, &mut report).await?;
    if effort != Effort::CatchUp {
        orphans::run(master, effort, &mut report).await?;
    }
    master.metrics.swept(&report, master.time.wall_ms());
    Ok(report)
}

/// False while the wall clock is too far from steady time; said when it begins and when it ends.
fn may_purge(master: &Master) -> bool {
    let jump = master.time.jump();
    let stops = jump > master.config.clock_tolerance;
    master.metrics.clock_jumped(jump, stops);
    match (master.sweeper.stopped.swap(stops, Ordering::Relaxed), stops) {
        (false, true) => {
            tracing::warn!(target: "cairn", ?jump, "the wall clock jumped: nothing is purged until it is set right, or the master restarts");
        }
        (true, false) => {
            tracing::info!(target: "cairn", "the wall clock is right again: purges go on")
        }
        _ => {}
    }
    !stops
}

/// Whether the catalog was restored and may be older than what nodes hold: then it does not know what is over.
async fn is_held(master: &Master) -> Result<bool, PassError> {
    let held = |view: &Snapshot<'_>| Ok::<_, SweepError>(record::get::<Held>(view, &())?.is_some());
    let held = master.kv.view(held).await?;
    master.metrics.sweep_held.set(held.into());
    Ok(held)
}

/// Passes, until the master stops; while another master does the duties, none. A pass that left something due is followed
/// without a pause; nodes are asked for their inventories, and the catalog is counted, as seldom as ever.
pub(crate) async fn run(master: &Master) {
    let mut walk_at = Duration::ZERO;
    while !master.stop.is_cancelled() {
        let now = master.clock.monotonic();
        if master.duties.are_mine(now) {
            let effort = if now < walk_at { Effort::CatchUp } else { Effort::Bounded };
            if effort == Effort::Bounded {
                walk_at = now + master.config.sweep_every;
            }
            // Boxed: what a pass holds while it waits would be in every task that sweeps.
            let pass = Box::pin(pass_and_count(master, effort));
            match master.stop.run_until_cancelled(pass).await {
                None => return,
                Some(Next::AtOnce) => continue,
                Some(Next::Later) => {}
            }
        }
        let pause = master.clock.sleep(master.config.sweep_every);
        if master.stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

/// When the next pass begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    AtOnce,
    Later,
}

async fn pass_and_count(master: &Master, effort: Effort) -> Next {
    let next = match pass(master, effort).await {
        Ok(report) if report.behind => Next::AtOnce,
        Ok(_) => Next::Later,
        Err(error) => {
            tracing::warn!(target: "cairn", %error, "a pass of the sweep broke off");
            master.metrics.sweep_failed();
            Next::Later
        }
    };
    if effort == Effort::Bounded
        && let Err(error) = census::step(master).await
    {
        tracing::warn!(target: "cairn", %error, "the catalog was not counted");
    }
    next
}
