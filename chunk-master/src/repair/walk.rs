//! Walks over what single nodes have, by the index of their manifest pages, so that what is to be done there is found at once. The
//! census goes over the whole catalog, and would find it in its time, but for what only evens out.
//!
//! ```text
//! the node is drained              its copies are to leave
//! it is away for too long          they are made anew; so are those of one in lasting doubt
//! a disk of it is gone             those that were there are
//! it is the fullest, by far        copies are moved from it, when there is nothing else to do
//! ```
//!
//! A walk goes round. After a round that changed nothing it rests, until other nodes take chunks too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::ids::{ChunkId, DiskIncarnation, NodeId};
use cairn_core::liveness::Membership;
use cairn_core::mend::Urgency;
use cairn_kv::{Read, Snapshot, ViewError};

use super::change::RepairError;
use super::look::{Around, Sight, is_kept};
use crate::catalog::{Blob, Held, JobKey, Page, PageKey, record};
use crate::error::CatalogError;
use crate::jobs::ask::is_paused;
use crate::master::Master;
use crate::nodes::{NodeView, pages_of};

/// Manifest pages of one step of a walk.
const PAGES_PER_STEP: usize = 512;
/// Chunks that are judged, after which a step ends with the page that it is at.
const CHUNKS_PER_STEP: usize = 1024;
/// Pause between two steps of which the first found nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause behind one that found something.
const SHORT_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two rounds, while others are at work: every change of theirs counts as one of this walk.
const BESIDE_OTHERS: Duration = Duration::from_secs(5);
/// Chunks that may wait when the next step is taken: so many that nobody is idle meanwhile.
const FEW: usize = 256;
/// How much fuller than the emptiest node the fullest one must be for its copies to be moved, as a part of `u32::MAX`: 10 %.
const UNEVEN: u32 = u32::MAX / 10;

/// Why a node is walked over. The first that holds counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Drained,
    Away,
    DiskGone,
    Full,
}

impl Reason {
    /// How long a walk rests after a round that changed nothing.
    const fn rest(self) -> Duration {
        match self {
            // Somebody waits for the end of it.
            Self::Drained => Duration::from_secs(10),
            Self::Away | Self::DiskGone => Duration::from_secs(60),
            Self::Full => Duration::from_secs(600),
        }
    }
}

/// How far the walk over a node is.
#[derive(Debug)]
struct Walk {
    reason: Reason,
    /// The nodes that take chunks: with others there may be more to do.
    open: Arc<BTreeSet<NodeId>>,
    after: Option<PageKey>,
    /// The round is over, and what it found is being carried out.
    ended: bool,
    /// Something was mended since the round began.
    changed: bool,
    /// Something was found to be done since the round began.
    found: bool,
    /// The last round found nothing to be done.
    done: bool,
    rests_until: Duration,
}

impl Walk {
    fn new(reason: Reason, open: Arc<BTreeSet<NodeId>>) -> Self {
        let (ended, changed, found, done) = (false, false, false, false);
        Self { reason, open, after: None, ended, changed, found, done, rests_until: Duration::ZERO }
    }

    /// These nodes take chunks now. What could not be placed before may be.
    fn may_place_on(&mut self, open: &Arc<BTreeSet<NodeId>>) {
        if !open.is_subset(&self.open) {
            (self.changed, self.done, self.rests_until) = (true, false, Duration::ZERO);
        }
        self.open = Arc::clone(open);
    }

    /// Whether the next step is to be taken.
    fn goes_on(&mut self, now: Duration, busy: Busy) -> bool {
        let too_much = match self.reason {
            // What could not be mended, and is short, does not wait for the end of a drain.
            Reason::Away | Reason::DiskGone if self.ended => busy.short > 0,
            _ if self.ended => !busy.idle,
            Reason::Away | Reason::DiskGone => busy.short > FEW,
            Reason::Drained => busy.waiting > FEW,
            Reason::Full => !busy.idle,
        };
        if too_much {
            return false;
        }
        if std::mem::take(&mut self.ended) {
            let changed = std::mem::take(&mut self.changed);
            self.done = !std::mem::take(&mut self.found) && !changed;
            let rest = match busy.idle {
                _ if !changed => self.reason.rest(),
                true => Duration::ZERO,
                false => BESIDE_OTHERS,
            };
            self.rests_until = now.saturating_add(rest);
        }
        now >= self.rests_until
    }
}

/// How much repair has to do. What is more urgent than what a walk finds does not wait for it.
#[derive(Debug, Clone, Copy)]
struct Busy {
    /// Chunks that are short of copies, and wait or are worked on.
    short: usize,
    /// Chunks that wait.
    waiting: usize,
    /// Nothing waits or is worked on.
    idle: bool,
}

impl Busy {
    fn now(master: &Master) -> Self {
        let queue = master.repairer.queue();
        let (waiting, at_work) = queue.len();
        Self { short: queue.short(), waiting, idle: waiting + at_work == 0 }
    }
}

/// How far all walks are; a restart begins anew.
#[derive(Debug, Default)]
pub(super) struct Walks(Mutex<Under>);

#[derive(Debug, Default)]
struct Under {
    walks: BTreeMap<NodeId, Walk>,
    /// The disks of each node, as they were at the last step.
    disks: BTreeMap<NodeId, BTreeSet<DiskIncarnation>>,
}

impl Walks {
    fn lock(&self) -> MutexGuard<'_, Under> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A chunk was mended; its copy was perhaps moved from a node that is too full.
    pub(super) fn changed(&self, relieved: Option<NodeId>) {
        for (node, walk) in &mut self.lock().walks {
            walk.changed |= walk.reason != Reason::Full || relieved == Some(*node);
        }
    }

    /// Notes how far a walk is, and whether it found anything; no page: at the end of a round.
    fn reached(&self, node: NodeId, page: Option<PageKey>, found: bool) {
        if let Some(walk) = self.lock().walks.get_mut(&node) {
            (walk.after, walk.ended) = (page, page.is_none());
            walk.found |= found;
        }
    }

    /// The walks whose next step is to be taken, and where they are.
    fn due(
        &self,
        around: &Around,
        evens_out: bool,
        now: Duration,
        busy: Busy,
    ) -> Vec<(NodeId, Reason, Option<PageKey>)> {
        let mut under = self.lock();
        let reasons = under.reasons(around, evens_out);
        under.walks.retain(|node, walk| reasons.get(node) == Some(&walk.reason));
        let open = around.directory.values().filter(|view| view.state.takes_chunks());
        let open: Arc<BTreeSet<_>> = Arc::new(open.map(|view| view.node).collect());
        let mut due = Vec::new();
        for (node, reason) in reasons {
            let begin = || Walk::new(reason, Arc::clone(&open));
            let walk = under.walks.entry(node).or_insert_with(begin);
            walk.may_place_on(&open);
            if walk.goes_on(now, busy) {
                due.push((node, reason, walk.after));
            }
        }
        due.sort_by_key(|(_, reason, _)| *reason);
        due
    }
}

impl Under {
    fn reasons(&mut self, around: &Around, evens_out: bool) -> BTreeMap<NodeId, Reason> {
        let full = fullest(around).filter(|_| evens_out);
        let mut reasons = BTreeMap::new();
        for (&node, view) in around.directory.iter() {
            let disk_gone = self.has_lost_a_disk(view);
            let reason = if view.record.membership == Membership::Draining {
                Reason::Drained
            } else if around.is_missed(view) {
                Reason::Away
            } else if disk_gone {
                Reason::DiskGone
            } else if full == Some(node) {
                Reason::Full
            } else {
                continue;
            };
            reasons.insert(node, reason);
        }
        self.disks.retain(|node, _| around.directory.contains_key(node));
        reasons
    }

    /// Whether the node has lost a disk since the last step, or the walk for it is not at its end.
    fn has_lost_a_disk(&mut self, view: &NodeView) -> bool {
        let disks = self.disks.insert(view.node, view.record.disks.clone());
        let lost = disks.is_some_and(|before| !before.is_subset(&view.record.disks));
        let walk = self.walks.get(&view.node).filter(|walk| walk.reason == Reason::DiskGone);
        lost || walk.is_some_and(|walk| !walk.done)
    }
}

/// A chunk with a copy on the node that is walked over.
type Found = (ChunkId, Urgency);

/// Walks on when there is little else to do, until what is found is enough for a while.
pub(super) async fn on(master: &Master) {
    let mut pause = PAUSE;
    loop {
        master.clock.sleep(pause).await;
        if !master.duties.are_mine(master.clock.monotonic()) {
            continue;
        }
        pause = match step(master).await {
            Ok(true) => SHORT_PAUSE,
            Ok(false) => PAUSE,
            Err(error) => {
                tracing::warn!(target: "cairn", %error, "what is to be moved is not known");
                PAUSE
            }
        };
    }
}

/// Takes the next step of each walk; whether anything is to be done.
pub(super) async fn step(master: &Master) -> Result<bool, ViewError<RepairError>> {
    let (around, now) = (Around::now(master), master.clock.monotonic());
    let (busy, evens_out) = (Busy::now(master), master.config.rebalance_rate > 0);
    let mut any = false;
    for (node, reason, after) in master.repairer.walks.due(&around, evens_out, now, busy) {
        let relieved = (reason == Reason::Full).then_some(node);
        if relieved.is_some() && any {
            continue;
        }
        let around = around.clone().relieving(relieved);
        let Some((found, reached)) = walk(master, node, after, around).await? else { continue };
        master.repairer.walks.reached(node, reached, !found.is_empty());
        any |= !found.is_empty();
        for (chunk, urgency) in found {
            let urgency = relieved.map_or(urgency, |_| Urgency::Uneven);
            master.repairer.offer_all(chunk, urgency, relieved);
        }
    }
    Ok(any)
}

/// The fullest node that takes chunks, when another one is much emptier.
pub(super) fn fullest(around: &Around) -> Option<NodeId> {
    let open = || around.directory.values().filter(|view| view.state.takes_chunks());
    let most = open().max_by_key(|view| (view.fill(), view.node))?;
    let least = open().map(NodeView::fill).min()?;
    (most.fill().saturating_sub(least) > UNEVEN).then_some(most.node)
}

/// Chunks of the next pages that name `node`, for which something is to be done, and the last of these pages unless it is the last of all;
/// nothing while repair, or what only evens out, is paused, and while the catalog may be older than the nodes.
async fn walk(
    master: &Master,
    node: NodeId,
    after: Option<PageKey>,
    around: Around,
) -> Result<Option<(Vec<Found>, Option<PageKey>)>, ViewError<RepairError>> {
    let view = move |view: &Snapshot<'_>| -> Result<_, RepairError> {
        if record::get::<Held>(view, &())?.is_some() || is_paused(view, &JobKey::Repair)? {
            return Ok(None);
        }
        let asked = around.relieved();
        let around = around.clone().heeding(view)?;
        if around.relieved() != asked {
            return Ok(None);
        }
        let pages = pages_of(view, node, after, PAGES_PER_STEP)?;
        let sight = around.with_drains(view)?;
        let (mut found, mut judged) = (Vec::new(), 0);
        for (nth, &page) in (1..).zip(&pages) {
            judged += on_page(view, node, page, &sight, &mut found)?;
            if judged >= CHUNKS_PER_STEP || nth == PAGES_PER_STEP {
                return Ok(Some((found, Some(page))));
            }
        }
        Ok(Some((found, None)))
    };
    master.kv.view(view).await
}

/// Adds the chunks of a page with a copy on `node`, for which something is to be done; how many it has judged.
fn on_page(
    read: &impl Read,
    node: NodeId,
    key: PageKey,
    sight: &Sight<'_>,
    found: &mut Vec<Found>,
) -> Result<usize, CatalogError> {
    let Some(blob) = record::get::<Blob>(read, &key.blob)?.filter(is_kept) else { return Ok(0) };
    let mut judged = 0;
    let page: Page = record::get(read, &key)?.unwrap_or_default();
    for (&index, entry) in &page.chunks {
        if entry.copies.iter().any(|copy| copy.node == node) {
            judged += 1;
            let chunk = ChunkId::new(key.blob, index);
            let seen = sight.seen(read, chunk, &blob, entry)?;
            let urgency = sight.mend(&seen.copies, seen.wanted).urgency(&seen.copies, seen.wanted);
            found.extend(urgency.map(|urgency| (chunk, urgency)));
        }
    }
    Ok(judged)
}

#[cfg(test)]
mod tests {
    use cairn_core::ids::BlobId;
    use uuid::Uuid;

    use super::*;

    fn walk(reason: Reason) -> Walk {
        Walk::new(reason, Arc::default())
    }

    const IDLE: Busy = Busy { short: 0, waiting: 0, idle: true };

    #[test]
    fn after_a_round_that_changed_nothing_a_walk_rests_until_other_nodes_take_chunks() {
        let mut now = Duration::ZERO;
        let mut full = walk(Reason::Full);
        assert!(full.goes_on(now, IDLE));
        (full.ended, full.changed) = (true, true);
        let busy = Busy { idle: false, ..IDLE };
        assert!(!full.goes_on(now, busy), "what was found is being carried out");
        assert!(full.goes_on(now, IDLE), "something was mended");
        full.ended = true;
        assert!(!full.goes_on(now, IDLE), "nothing was");
        now += Reason::Full.rest() - PAUSE;
        assert!(!full.goes_on(now, IDLE));
        now += PAUSE;
        assert!(full.goes_on(now, IDLE));
        full.ended = true;
        assert!(!full.goes_on(now, IDLE));
        full.after = Some(PageKey { blob: BlobId::from_uuid(Uuid::from_u128(1)), page: 0 });
        let open =
            |n: u128| Arc::new((1..=n).map(|n| NodeId::from_uuid(Uuid::from_u128(n))).collect());
        full.may_place_on(&open(2));
        assert!(full.goes_on(now, IDLE) && full.after.is_some(), "it goes on where it is");
        full.ended = true;
        full.changed = false;
        full.may_place_on(&open(1));
        assert!(!full.goes_on(now, IDLE), "there is one node less");
    }

    #[test]
    fn what_is_missing_is_looked_for_while_what_is_less_urgent_waits() {
        let now = Duration::ZERO;
        let moving = Busy { short: 0, waiting: 1000, idle: false };
        assert!(
            walk(Reason::Away).goes_on(now, moving) && walk(Reason::DiskGone).goes_on(now, moving)
        );
        assert!(!walk(Reason::Drained).goes_on(now, moving));
        let short = Busy { short: FEW + 1, waiting: FEW + 1, idle: false };
        assert!(!walk(Reason::Away).goes_on(now, short));
    }

    #[test]
    fn a_walk_that_found_what_could_not_be_mended_is_not_at_its_end() {
        let now = Duration::ZERO;
        let mut gone = Walk { ended: true, found: true, ..walk(Reason::DiskGone) };
        assert!(!gone.goes_on(now, IDLE) && !gone.done, "it rests");
        let node = Arc::new([NodeId::from_uuid(Uuid::from_u128(9))].into());
        gone.may_place_on(&node);
        assert!(gone.goes_on(now, IDLE), "there is a place");
        gone.ended = true;
        assert!(gone.goes_on(now, IDLE) && !gone.done, "once more: something may have changed");
        gone.ended = true;
        assert!(!gone.goes_on(now, IDLE) && gone.done);
    }

    #[test]
    fn what_is_missing_and_could_not_be_mended_does_not_wait_for_the_end_of_a_drain() {
        let mut away = Walk { ended: true, changed: true, ..walk(Reason::Away) };
        let draining = Busy { short: 1, waiting: FEW, idle: false };
        assert!(!away.goes_on(Duration::ZERO, draining), "it is being mended");
        let draining = Busy { short: 0, ..draining };
        assert!(!away.goes_on(Duration::ZERO, draining));
        assert!(!away.goes_on(BESIDE_OTHERS / 2, draining), "not round after round");
        assert!(away.goes_on(BESIDE_OTHERS, draining));
        let mut drained = Walk { ended: true, ..walk(Reason::Drained) };
        assert!(!drained.goes_on(Duration::ZERO, draining));
    }
}
