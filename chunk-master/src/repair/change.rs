//! The transactions of a repair: a copy is named before it is made, so that no sweep takes it for a stray.
//!
//! ```text
//! (not named) ── begin ──► Copying ── finish ──► Live
//!                             └────── give up ──► (not named)
//! ```
//!
//! A finish is synced: a chunk that counts as repaired must be so after a crash as well, else the next loss takes its last copy
//! that is named. A begin need not be: what was copied without a name is a stray of a chunk that is still short.
//!
//! A copy that is named already, but was found bad or lies on a disk that its node has no more, is made anew under its name.

use std::collections::BTreeSet;

use cairn_core::copies::CopyReceipt;
use cairn_core::digest::ChunkHash;
use cairn_core::ids::{ChunkId, DiskIncarnation, NodeId};
use cairn_core::lifecycle::{BlobState, CopyState};
use cairn_kv::Txn;
use uuid::Uuid;

use crate::catalog::{
    Blob, Copy, Finding, FindingKey, NodePage, NodePageKey, NodeRecord, Page, PageKey, record,
};
use crate::error::{CatalogError, operation_error};
use crate::nodes::Directory;

operation_error! {
    /// Why a step of a repair fails.
    RepairError {
        Catalog(CatalogError),
    }
}

/// A disk that nobody has: that of a copy which is not made yet, or not to be.
pub(crate) fn no_disk() -> DiskIncarnation {
    DiskIncarnation::from_uuid(Uuid::nil())
}

/// A page, written back by its owner.
struct OpenPage {
    key: PageKey,
    page: Page,
}

impl OpenPage {
    fn of(txn: &Txn<'_>, chunk: ChunkId) -> Result<Self, CatalogError> {
        let key = PageKey::of(chunk.blob, chunk.index);
        Ok(Self { key, page: record::get(txn, &key)?.unwrap_or_default() })
    }

    /// Writes the page; of `left` nodes, those that it does not name any more are taken out of the index.
    fn write(self, txn: &mut Txn<'_>, left: &BTreeSet<NodeId>) -> Result<(), CatalogError> {
        let copies = self.page.chunks.values().flat_map(|entry| &entry.copies);
        let named: BTreeSet<_> = copies.map(|copy| copy.node).collect();
        for &node in left.difference(&named) {
            record::delete::<NodePage>(txn, &NodePageKey { node, page: self.key })?;
        }
        Ok(record::put(txn, &self.key, &self.page)?)
    }
}

/// Names the copy that `node` is to get. False when there is nothing to be made any more, or not there.
pub(super) fn begin(
    txn: &mut Txn<'_>,
    chunk: ChunkId,
    hash: ChunkHash,
    node: NodeId,
) -> Result<bool, RepairError> {
    let blob = record::get::<Blob>(txn, &chunk.blob)?;
    let Some(mut blob) = blob.filter(|blob| blob.state == BlobState::Live) else {
        return Ok(false);
    };
    let mut open = OpenPage::of(txn, chunk)?;
    let entry = open.page.chunks.get_mut(&chunk.index).filter(|entry| entry.hash == hash);
    let Some(entry) = entry else { return Ok(false) };
    let at_node = entry.copies.iter().find(|copy| copy.node == node);
    if at_node.is_some_and(|copy| copy.state == CopyState::Dropping) {
        return Ok(false);
    }
    if at_node.is_none() {
        entry.copies.push(Copy { node, disk: no_disk(), state: CopyState::Copying });
    }
    let stale = |copy: &Copy| copy.state == CopyState::Copying && copy.node != node;
    let left = entry.copies.iter().filter(|copy| stale(copy)).map(|copy| copy.node).collect();
    entry.copies.retain(|copy| !stale(copy));
    let key = open.key;
    open.write(txn, &left)?;
    record::put(txn, &NodePageKey { node, page: key }, &NodePage)?;
    if blob.nodes.insert(node) {
        record::put(txn, &chunk.blob, &blob)?;
    }
    Ok(true)
}

/// The copy is durable. False when it is not named any more: then it is a stray, and the sweep's.
pub(super) fn finish(
    txn: &mut Txn<'_>,
    chunk: ChunkId,
    hash: ChunkHash,
    receipt: CopyReceipt,
) -> Result<bool, RepairError> {
    let CopyReceipt { node, disk } = receipt;
    let vouched = record::get::<NodeRecord>(txn, &node)?;
    let blob = record::get::<Blob>(txn, &chunk.blob)?;
    let mut open = OpenPage::of(txn, chunk)?;
    let entry = open.page.chunks.get_mut(&chunk.index).filter(|entry| entry.hash == hash);
    let (Some(blob), Some(entry)) = (blob, entry) else { return Ok(false) };
    let there = vouched.is_some_and(|record| record.disks.contains(&disk));
    let named = entry.copies.iter_mut().find(|copy| copy.node == node);
    let Some(copy) = named.filter(|copy| there && copy.state != CopyState::Dropping) else {
        return Ok(false);
    };
    *copy = Copy { node, disk, state: CopyState::Live };
    record::delete::<Finding>(txn, &FindingKey { chunk, node })?;
    let mut left = BTreeSet::new();
    let mut kept = Vec::with_capacity(entry.copies.len());
    let live = entry.copies.iter().filter(|copy| copy.state == CopyState::Live).count();
    let mut spare = live.saturating_sub(blob.copies as usize);
    for copy in entry.copies.drain(..) {
        if spare > 0 && is_lost(txn, chunk, &copy)? {
            record::delete::<Finding>(txn, &FindingKey { chunk, node: copy.node })?;
            left.insert(copy.node);
            spare -= 1;
        } else {
            kept.push(copy);
        }
    }
    entry.zones = zones(txn, &kept)?;
    entry.copies = kept;
    open.write(txn, &left)?;
    Ok(true)
}

/// Whether a copy is gone for good: it was found bad, or its node has its disk no more. One on a node that is away may come back.
fn is_lost(txn: &Txn<'_>, chunk: ChunkId, copy: &Copy) -> Result<bool, CatalogError> {
    if copy.state != CopyState::Live {
        return Ok(false);
    }
    let key = FindingKey { chunk, node: copy.node };
    if record::get::<Finding>(txn, &key)?.is_some() {
        return Ok(true);
    }
    let node = record::get::<NodeRecord>(txn, &copy.node)?;
    Ok(node.is_none_or(|node| !node.disks.contains(&copy.disk)))
}

/// Copies that count now: Live, not found bad, on a disk that its node has, on a node that serves.
fn good(
    txn: &Txn<'_>,
    chunk: ChunkId,
    copies: &[Copy],
    directory: &Directory,
) -> Result<usize, CatalogError> {
    let mut good = 0;
    for copy in copies.iter().filter(|copy| copy.state == CopyState::Live) {
        let serves = directory.get(&copy.node).is_some_and(|view| view.state.serves_chunks());
        if serves && !is_lost(txn, chunk, copy)? {
            good += 1;
        }
    }
    Ok(good)
}

fn zones(txn: &Txn<'_>, copies: &[Copy]) -> Result<u32, CatalogError> {
    let mut zones = BTreeSet::new();
    for copy in copies.iter().filter(|copy| copy.state == CopyState::Live) {
        zones.extend(record::get::<NodeRecord>(txn, &copy.node)?.map(|node| node.zone));
    }
    Ok(u32::try_from(zones.len()).unwrap_or(u32::MAX))
}

/// The copy was not made: it is not named any more.
pub(super) fn give_up(txn: &mut Txn<'_>, chunk: ChunkId, node: NodeId) -> Result<(), RepairError> {
    let mut open = OpenPage::of(txn, chunk)?;
    let Some(entry) = open.page.chunks.get_mut(&chunk.index) else { return Ok(()) };
    let before = entry.copies.len();
    entry.copies.retain(|copy| copy.node != node || copy.state != CopyState::Copying);
    if entry.copies.len() < before {
        open.write(txn, &BTreeSet::from([node]))?;
    }
    Ok(())
}

/// No copy of the chunk is being made, whatever an earlier life of a master began: those that are named so are not any more.
pub(super) fn forget_begun(txn: &mut Txn<'_>, chunk: ChunkId) -> Result<(), RepairError> {
    let mut open = OpenPage::of(txn, chunk)?;
    let Some(entry) = open.page.chunks.get_mut(&chunk.index) else { return Ok(()) };
    let begun = |copy: &Copy| copy.state == CopyState::Copying;
    let left: BTreeSet<_> =
        entry.copies.iter().filter(|copy| begun(copy)).map(|copy| copy.node).collect();
    if !left.is_empty() {
        entry.copies.retain(|copy| !begun(copy));
        open.write(txn, &left)?;
    }
    Ok(())
}

/// Names copies that are to be deleted on `node`, for as long as the blob lives: a deletion that was once ordered may be
/// carried out at any time later, so the node is never given the chunk again. Gives those that may be deleted: strays that
/// nobody has named since, of chunks that have all their copies. A stray of one that is short may be the last intact copy: it
/// stays, and a repair that chooses its node proves it and names it.
pub(crate) fn mark_strays(
    txn: &mut Txn<'_>,
    node: NodeId,
    strays: &[ChunkId],
    directory: &Directory,
) -> Result<Vec<ChunkId>, CatalogError> {
    let mut marked = Vec::with_capacity(strays.len());
    for &chunk in strays {
        let blob = record::get::<Blob>(txn, &chunk.blob)?;
        let Some(mut blob) = blob.filter(|blob| blob.state == BlobState::Live) else { continue };
        let mut open = OpenPage::of(txn, chunk)?;
        let Some(entry) = open.page.chunks.get_mut(&chunk.index) else { continue };
        if good(txn, chunk, &entry.copies, directory)? < blob.copies as usize {
            continue;
        }
        match entry.copies.iter().find(|copy| copy.node == node).map(|copy| copy.state) {
            Some(CopyState::Live | CopyState::Copying) => continue,
            Some(CopyState::Dropping) => {}
            None => {
                entry.copies.push(Copy { node, disk: no_disk(), state: CopyState::Dropping });
                let key = open.key;
                open.write(txn, &BTreeSet::new())?;
                record::put(txn, &NodePageKey { node, page: key }, &NodePage)?;
                if blob.nodes.insert(node) {
                    record::put(txn, &chunk.blob, &blob)?;
                }
            }
        }
        marked.push(chunk);
    }
    Ok(marked)
}
