//! Walks over what single nodes have, by the index of their manifest pages: nodes that are drained, and the fullest node while
//! another one is much emptier. The census would find the first as well, in its time; what only evens out it does not look for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::liveness::Membership;
use cairn_core::mend::Urgency;
use cairn_kv::{Read, Snapshot, ViewError};

use super::change::RepairError;
use super::look::{Around, is_kept, seen};
use crate::catalog::{Blob, Page, PageKey, record};
use crate::error::CatalogError;
use crate::master::Master;
use crate::nodes::{NodeView, pages_of};

/// Manifest pages of one step of a walk.
const PAGES_PER_STEP: usize = 512;
/// Chunks that are judged, after which a step ends with the page that it is at.
const CHUNKS_PER_STEP: usize = 1024;
/// Pause between two steps, in which nothing waits.
const PAUSE: Duration = Duration::from_secs(1);
/// How much fuller than the emptiest node the fullest one must be for its copies to be moved, as a part of `u32::MAX`: 10 %.
const UNEVEN: u32 = u32::MAX / 10;

/// How far each walk is; a restart begins anew.
#[derive(Debug, Default)]
pub(super) struct Walks(Mutex<BTreeMap<NodeId, PageKey>>);

impl Walks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, PageKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self, node: NodeId, page: Option<PageKey>) {
        let mut walks = self.lock();
        match page {
            Some(page) => walks.insert(node, page),
            None => walks.remove(&node),
        };
    }
}

/// A chunk with a copy on the node that is walked over.
type Found = (ChunkId, Urgency);

/// Walks on when there is nothing else to do, until what is found is enough for a while.
pub(super) async fn on(master: &Master) {
    loop {
        master.clock.sleep(PAUSE).await;
        if master.repairer.waiting().0 > 0 || !master.duties.are_mine(master.clock.monotonic()) {
            continue;
        }
        if let Err(error) = step(master).await {
            tracing::warn!(target: "cairn", %error, "what is to be moved is not known");
        }
    }
}

/// Takes the next step of each walk.
pub(super) async fn step(master: &Master) -> Result<(), ViewError<RepairError>> {
    let around = Around::now(master);
    let draining = |view: &&NodeView| view.record.membership == Membership::Draining;
    let drained: Vec<_> = around.directory.values().filter(draining).map(|v| v.node).collect();
    for node in drained {
        let found = walk(master, node, around.clone()).await?;
        found.into_iter().for_each(|(chunk, urgency)| master.repairer.offer(chunk, urgency));
    }
    let full = fullest(&around).filter(|_| master.config.rebalance_rate > 0);
    if let Some(node) = full.filter(|_| master.repairer.waiting().0 == 0) {
        for (chunk, _) in walk(master, node, around.relieving(Some(node))).await? {
            master.repairer.offer_all(chunk, Urgency::Uneven, Some(node));
        }
    }
    Ok(())
}

/// The fullest node that takes chunks, when another one is much emptier.
fn fullest(around: &Around) -> Option<NodeId> {
    let open = || around.directory.values().filter(|view| view.state.takes_chunks());
    let most = open().max_by_key(|view| (view.fill(), view.node))?;
    let least = open().map(NodeView::fill).min()?;
    (most.fill().saturating_sub(least) > UNEVEN).then_some(most.node)
}

/// Chunks of the next pages that name `node`, for which something is to be done. Behind the last page it begins anew.
async fn walk(
    master: &Master,
    node: NodeId,
    around: Around,
) -> Result<Vec<Found>, ViewError<RepairError>> {
    let after = master.repairer.walks.lock().get(&node).copied();
    let view = move |view: &Snapshot<'_>| -> Result<_, RepairError> {
        let pages = pages_of(view, node, after, PAGES_PER_STEP)?;
        let (mut found, mut judged) = (Vec::new(), 0);
        for (nth, &page) in (1..).zip(&pages) {
            judged += on_page(view, node, page, &around, &mut found)?;
            if judged >= CHUNKS_PER_STEP || nth == PAGES_PER_STEP {
                return Ok((found, Some(page)));
            }
        }
        Ok((found, None))
    };
    let (found, reached) = master.kv.view(view).await?;
    master.repairer.walks.reached(node, reached);
    Ok(found)
}

/// Adds the chunks of a page with a copy on `node`, for which something is to be done; how many it has judged.
fn on_page(
    read: &impl Read,
    node: NodeId,
    key: PageKey,
    around: &Around,
    found: &mut Vec<Found>,
) -> Result<usize, CatalogError> {
    let Some(blob) = record::get::<Blob>(read, &key.blob)?.filter(is_kept) else { return Ok(0) };
    let mut judged = 0;
    let page: Page = record::get(read, &key)?.unwrap_or_default();
    for (&index, entry) in &page.chunks {
        if entry.copies.iter().any(|copy| copy.node == node) {
            judged += 1;
            let chunk = ChunkId::new(key.blob, index);
            let seen = seen(read, chunk, &blob, entry, around)?;
            let urgency = around.mend(&seen.copies, seen.wanted).urgency(&seen.copies, seen.wanted);
            found.extend(urgency.map(|urgency| (chunk, urgency)));
        }
    }
    Ok(judged)
}
