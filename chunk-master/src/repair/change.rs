//! The transactions of a repair: a copy is named before it is made, so that no sweep takes it for a stray.
//!
//! ```text
//! (not named) ── begin ──► Copying ── finish ──► Live ── unname ──► (not named): deleted there, now or by a sweep
//!                             └────── give up ──► (not named)
//! ```
//!
//! A finish is synced: a chunk that counts as repaired must be so after a crash as well, else the next loss takes its last copy
//! that is named. So is an unname: nothing is deleted that the catalog may name again. A begin need not be: what was copied
//! without a name is a stray of a chunk that is still short.
//!
//! A copy that is named already, but was found bad or lies on a disk that its node has no more, is made anew under its name.

use std::collections::BTreeSet;

use cairn_core::copies::CopyReceipt;
use cairn_core::digest::ChunkHash;
use cairn_core::ids::{ChunkId, DiskIncarnation, NodeId};
use cairn_core::lifecycle::CopyState;
use cairn_core::mend::Mend;
use cairn_kv::{Read, Txn};
use uuid::Uuid;

use super::look::{Around, is_kept, look};
use crate::catalog::{
    Blob, ChunkEntry, Copy, Finding, FindingKey, NodePage, NodePageKey, NodeRecord, Page, PageKey,
    record,
};
use crate::error::{CatalogError, operation_error};

operation_error! {
    /// Why a step of a repair fails.
    RepairError {
        Catalog(CatalogError),
    }
}

/// A disk that nobody has: that of a copy which is not made yet.
fn no_disk() -> DiskIncarnation {
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

    /// The chunk's entry, when it has this content.
    fn entry(&mut self, chunk: ChunkId, hash: ChunkHash) -> Option<&mut ChunkEntry> {
        self.page.chunks.get_mut(&chunk.index).filter(|entry| entry.hash == hash)
    }

    /// Does not name those copies of the chunk any more that `gone` says; the nodes they were on.
    fn unname(&mut self, chunk: ChunkId, gone: impl Fn(&Copy) -> bool) -> BTreeSet<NodeId> {
        let Some(entry) = self.page.chunks.get_mut(&chunk.index) else { return BTreeSet::new() };
        let left = entry.copies.iter().filter(|copy| gone(copy)).map(|copy| copy.node).collect();
        entry.copies.retain(|copy| !gone(copy));
        left
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
    let Some(mut blob) = record::get::<Blob>(txn, &chunk.blob)?.filter(is_kept) else {
        return Ok(false);
    };
    let member = record::get::<NodeRecord>(txn, &node)?.is_some_and(|node| node.takes_copies());
    let mut open = OpenPage::of(txn, chunk)?;
    let Some(entry) = open.entry(chunk, hash).filter(|_| member) else { return Ok(false) };
    entry.mended = true;
    if !entry.copies.iter().any(|copy| copy.node == node) {
        entry.copies.push(Copy { node, disk: no_disk(), state: CopyState::Copying });
    }
    let stale = |copy: &Copy| copy.state == CopyState::Copying && copy.node != node;
    let left = open.unname(chunk, stale);
    let page = open.key;
    open.write(txn, &left)?;
    record::put(txn, &NodePageKey { node, page }, &NodePage)?;
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
    let vouched = record::get::<NodeRecord>(txn, &node)?.is_some_and(|n| n.vouches_for(disk));
    let kept = record::get::<Blob>(txn, &chunk.blob)?.is_some();
    let mut open = OpenPage::of(txn, chunk)?;
    let entry = open.entry(chunk, hash).filter(|_| vouched && kept);
    let Some(entry) = entry else { return Ok(false) };
    let Some(copy) = entry.copies.iter_mut().find(|copy| copy.node == node) else {
        return Ok(false);
    };
    *copy = Copy { node, disk, state: CopyState::Live };
    entry.zones = zones(txn, &entry.copies)?;
    record::delete::<Finding>(txn, &FindingKey { chunk, node })?;
    open.write(txn, &BTreeSet::new())?;
    Ok(true)
}

fn zones(read: &impl Read, copies: &[Copy]) -> Result<u32, CatalogError> {
    let mut zones = BTreeSet::new();
    for copy in copies.iter().filter(|copy| copy.state == CopyState::Live) {
        zones.extend(record::get::<NodeRecord>(read, &copy.node)?.map(|node| node.zone));
    }
    Ok(u32::try_from(zones.len()).unwrap_or(u32::MAX))
}

/// The copy was not made: it is not named any more.
pub(super) fn give_up(txn: &mut Txn<'_>, chunk: ChunkId, node: NodeId) -> Result<(), RepairError> {
    let mut open = OpenPage::of(txn, chunk)?;
    let left = open.unname(chunk, |copy| copy.node == node && copy.state == CopyState::Copying);
    if !left.is_empty() {
        open.write(txn, &left)?;
    }
    Ok(())
}

/// No copy of the chunk is being made, whatever an earlier life of a master began: those that are named so are not any more.
pub(super) fn forget_begun(txn: &mut Txn<'_>, chunk: ChunkId) -> Result<(), RepairError> {
    let mut open = OpenPage::of(txn, chunk)?;
    let left = open.unname(chunk, |copy| copy.state == CopyState::Copying);
    if !left.is_empty() {
        open.write(txn, &left)?;
    }
    Ok(())
}

/// Does not name the copy on `node` any more, if it is the one that is to be given up now, and enough of those that were
/// `proven` count. What the node has of it may be deleted then, unless it is written again.
pub(super) fn unname(
    txn: &mut Txn<'_>,
    chunk: ChunkId,
    node: NodeId,
    proven: &BTreeSet<NodeId>,
    around: &Around,
) -> Result<bool, RepairError> {
    let Some(seen) = look(txn, chunk, around)? else { return Ok(false) };
    if around.mend(&seen.copies, seen.wanted) != Mend::GiveUp(node) {
        return Ok(false);
    }
    let mut open = OpenPage::of(txn, chunk)?;
    let certain: BTreeSet<_> =
        seen.copies.iter().filter(|copy| copy.is_certain()).map(|copy| copy.node).collect();
    let mut others = 0;
    for copy in open.page.chunks.get(&chunk.index).iter().flat_map(|entry| &entry.copies) {
        // What memory knows of a node may be older than its record.
        let vouched = record::get::<NodeRecord>(txn, &copy.node)?
            .is_some_and(|record| record.takes_copies() && record.vouches_for(copy.disk));
        let counts = certain.contains(&copy.node) && proven.contains(&copy.node);
        others += usize::from(copy.node != node && counts && vouched);
    }
    if others < seen.wanted {
        return Ok(false);
    }
    let left = open.unname(chunk, |copy| copy.node == node);
    if let Some(entry) = open.page.chunks.get_mut(&chunk.index) {
        entry.mended = true;
        entry.zones = zones(txn, &entry.copies)?;
    }
    record::delete::<Finding>(txn, &FindingKey { chunk, node })?;
    open.write(txn, &left)?;
    Ok(true)
}

/// Of copies that no manifest names, those that may be deleted: their chunks have all their copies. One of a chunk that is short
/// may be the last intact one: it stays, and a repair that chooses its node proves it and names it.
pub(crate) fn not_missed(
    read: &impl Read,
    strays: &[ChunkId],
    around: &Around,
) -> Result<Vec<ChunkId>, CatalogError> {
    let mut doomed = Vec::with_capacity(strays.len());
    for &chunk in strays {
        let seen = look(read, chunk, around)?;
        if seen.is_some_and(|seen| seen.certain() >= seen.wanted) {
            doomed.push(chunk);
        }
    }
    Ok(doomed)
}
