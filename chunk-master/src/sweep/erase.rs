//! Erase: blobs that are Purging leave their nodes, then the catalog.
//!
//! A node that cannot be reached stays in the blob's list, and the blob in the queue. Everything here is
//! idempotent: a node told twice has nothing left, and a record removed twice is gone.

use std::collections::BTreeSet;

use cairn_core::ids::{BlobId, NodeId};
use cairn_core::lifecycle::BlobState;
use cairn_core::liveness::{Membership, NodeState};
use cairn_kv::{Durability, Read, Txn};
use cairn_replicas::{CopyError, DeleteStrategy, Deletion, delete};
use futures_util::future::join_all;

use super::{Effort, PassError, SweepError, SweepReport};
use crate::catalog::{
    Blob, Finding, NodePage, NodePageKey, NodeRecord, Page, PurgeQueued, finding, record,
};
use crate::error::CatalogError;
use crate::master::Master;
use crate::nodes::{Directory, NodeView};

/// Blobs that are erased side by side.
const BLOBS_AT_A_TIME: usize = 8;
/// Groups of blobs of a bounded pass.
const GROUPS: usize = 64;
/// Calls to one node for one blob in a pass, 1000 chunks each: more than the largest blob has.
const CALLS_PER_NODE: usize = 1100;
/// Manifest pages of one transaction.
const PAGES_PER_STEP: usize = 16;
/// Findings of one transaction.
const FINDINGS_PER_STEP: usize = 1000;

/// A blob to erase.
#[derive(Debug)]
struct Doomed {
    id: BlobId,
    /// The blob is Purging, or gone: else its place in the queue contradicts it.
    purging: bool,
    /// Bytes of content; 0 when it never became a version.
    length: u64,
    nodes: BTreeSet<NodeId>,
    /// Those of the nodes that the catalog does not have any more, or that were removed: gone for good.
    gone: BTreeSet<NodeId>,
}

pub(super) async fn run(
    master: &Master,
    effort: Effort,
    report: &mut SweepReport,
) -> Result<(), PassError> {
    let mut after = match effort {
        Effort::Bounded | Effort::CatchUp => master.sweeper.erase_after(),
        Effort::Complete => None,
    };
    let (mut groups, erased_before) = (0, report.blobs_erased);
    while !effort.is_enough(groups, GROUPS) {
        let group = master.kv.view(move |view| queued(view, after)).await?;
        after = group.last().map(|last| last.id);
        if after.is_none() {
            break;
        }
        let directory = master.nodes.directory();
        let erased = group.iter().map(|blob| erase(master, &directory, blob));
        for (blob, gone) in group.iter().zip(join_all(erased).await) {
            if gone? {
                report.blobs_erased += 1;
                master.sweeper.erased(master.clock.monotonic(), blob.length);
            } else {
                report.blobs_waiting += 1;
            }
        }
        groups += 1;
    }
    // Blobs that wait for a node must not keep those behind them waiting.
    master.sweeper.set_erase_after(after);
    report.behind |= effort.is_enough(groups, GROUPS) && report.blobs_erased > erased_before;
    Ok(())
}

/// The next blobs of the queue. That a blob is queued is not enough: only one that is Purging loses its chunks.
fn queued(read: &impl Read, after: Option<BlobId>) -> Result<Vec<Doomed>, SweepError> {
    let mut range = record::all::<PurgeQueued>();
    if let Some(after) = after {
        range = range.after(record::key_of::<PurgeQueued>(&after));
    }
    let mut group = Vec::new();
    for (id, _) in record::scan::<PurgeQueued>(read, &range, BLOBS_AT_A_TIME)? {
        let blob = record::get::<Blob>(read, &id)?;
        let purging = blob.as_ref().is_none_or(|blob| blob.state == BlobState::Purging);
        let length = blob.as_ref().map_or(0, |blob| blob.length);
        let nodes = blob.map(|blob| blob.nodes).unwrap_or_default();
        let mut gone = BTreeSet::new();
        for node in &nodes {
            let known = record::get::<NodeRecord>(read, node)?;
            if known.is_none_or(|known| known.membership == Membership::Removed) {
                gone.insert(*node);
            }
        }
        group.push(Doomed { id, purging, length, nodes, gone });
    }
    Ok(group)
}

/// Erases one blob as far as its nodes answer; true when it is gone.
async fn erase(master: &Master, directory: &Directory, blob: &Doomed) -> Result<bool, PassError> {
    if !blob.purging {
        tracing::error!(target: "cairn", blob = %blob.id, "queued to be erased, and not to be: run cairn admin fsck");
        return Ok(false);
    }
    let holders: Vec<NodeId> = blob.nodes.difference(&blob.gone).copied().collect();
    let deletion = delete(&holders, &DeleteStrategy::Parallel, |node| {
        erase_on(master, directory, node, blob.id)
    });
    let Deletion { gone, failures, .. } = deletion.await;
    for (node, error) in failures {
        tracing::debug!(target: "cairn", %node, blob = %blob.id, %error, "blob not erased yet");
    }
    let clean: BTreeSet<NodeId> = blob.gone.iter().copied().chain(gone).collect();
    if clean.is_empty() && !blob.nodes.is_empty() {
        return Ok(false);
    }
    let id = blob.id;
    loop {
        let clean = clean.clone();
        let closure = move |txn: &mut Txn<'_>| forget(txn, id, &clean);
        match master.kv.transact(Durability::Buffered, closure).await? {
            Forgotten::Waits => return Ok(false),
            Forgotten::Part => {}
            Forgotten::All => {
                tracing::debug!(target: "cairn", blob = %id, "blob erased");
                return Ok(true);
            }
        }
    }
}

/// What is left of a blob's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forgotten {
    /// All: nodes hold something of the blob yet.
    Waits,
    /// Some.
    Part,
    /// Nothing.
    All,
}

/// Has the node erase all that it holds of the blob.
async fn erase_on(
    master: &Master,
    directory: &Directory,
    node: NodeId,
    blob: BlobId,
) -> Result<(), CopyError> {
    let unreachable = |why: String| Err(CopyError::Unreachable(why));
    let dead = |view: &NodeView| view.state == NodeState::Down;
    let drained = |view: &NodeView| view.record.membership == Membership::Draining;
    let view = match directory.get(&node) {
        // It will be removed; if it comes back instead, what it has is an orphan.
        Some(view) if dead(view) && drained(view) => return Ok(()),
        Some(view) if view.state.serves_chunks() => view,
        _ => return unreachable("it is away".to_owned()),
    };
    for _ in 0..CALLS_PER_NODE {
        match master.peers.erase(&view.record.address, blob).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return unreachable(error.to_string()),
        }
    }
    unreachable(format!("it has more after {CALLS_PER_NODE} calls"))
}

/// Takes the nodes that are clean from the blob and, when it has no others, removes a bounded part of its records. One
/// transaction for both: buffered ones can be lost when the store reopens, and then nothing may be forgotten that
/// builds on them.
fn forget(
    txn: &mut Txn<'_>,
    id: BlobId,
    clean: &BTreeSet<NodeId>,
) -> Result<Forgotten, SweepError> {
    let Some(mut blob) = record::get::<Blob>(txn, &id)? else {
        record::delete::<PurgeQueued>(txn, &id)?;
        return Ok(Forgotten::All);
    };
    if blob.state != BlobState::Purging {
        return Ok(Forgotten::Waits);
    }
    blob.nodes.retain(|node| !clean.contains(node));
    let waits = !blob.nodes.is_empty();
    if waits || !(forget_pages(txn, id)? && forget_findings(txn, id)?) {
        record::put(txn, &id, &blob)?;
        return Ok(if waits { Forgotten::Waits } else { Forgotten::Part });
    }
    record::delete::<PurgeQueued>(txn, &id)?;
    record::delete::<Blob>(txn, &id)?;
    Ok(Forgotten::All)
}

fn forget_pages(txn: &mut Txn<'_>, id: BlobId) -> Result<bool, CatalogError> {
    let range = record::prefixed::<Page>(|parts| {
        parts.id(id.as_bytes());
    });
    let pages = record::scan::<Page>(txn, &range, PAGES_PER_STEP)?;
    for (key, page) in &pages {
        let copies = page.chunks.values().flat_map(|entry| &entry.copies);
        let nodes: BTreeSet<_> = copies.map(|copy| copy.node).collect();
        for node in nodes {
            record::delete::<NodePage>(txn, &NodePageKey { node, page: *key })?;
        }
        record::delete::<Page>(txn, key)?;
    }
    Ok(pages.len() < PAGES_PER_STEP)
}

fn forget_findings(txn: &mut Txn<'_>, id: BlobId) -> Result<bool, CatalogError> {
    let range = finding::on_chunks(id, 0, u32::MAX);
    let findings = record::scan::<Finding>(txn, &range, FINDINGS_PER_STEP)?;
    for (key, _) in &findings {
        record::delete::<Finding>(txn, key)?;
    }
    Ok(findings.len() < FINDINGS_PER_STEP)
}
