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
//!
//! Each attempt has a nonce, which the chunk's entry keeps from its begin to its end: a finish or a give up that comes late, of a
//! former master or of an attempt that another one has replaced, finds another nonce and changes nothing. There is one attempt for a
//! chunk at a time.

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
    Attempt, Blob, ChunkEntry, Copy, Finding, FindingKey, NodePage, NodePageKey, NodeRecord, Page,
    PageKey, record,
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

    /// The chunk's entry, when this attempt is the one for it.
    fn entry_of(&mut self, chunk: ChunkId, attempt: Attempt) -> Option<&mut ChunkEntry> {
        self.page.chunks.get_mut(&chunk.index).filter(|entry| entry.attempt == Some(attempt))
    }

    /// Does not name those copies of the chunk any more that `gone` says; the nodes they were on.
    fn unname(&mut self, chunk: ChunkId, gone: impl Fn(&Copy) -> bool) -> BTreeSet<NodeId> {
        let Some(entry) = self.page.chunks.get_mut(&chunk.index) else { return BTreeSet::new() };
        let left = entry.copies.iter().filter(|copy| gone(copy)).map(|copy| copy.node).collect();
        entry.copies.retain(|copy| !gone(copy));
        left
    }

    /// Ends the attempt for a chunk, without what it was to make.
    fn forget(mut self, txn: &mut Txn<'_>, chunk: ChunkId) -> Result<(), CatalogError> {
        let Some(entry) = self.page.chunks.get_mut(&chunk.index) else { return Ok(()) };
        entry.attempt = None;
        let left = self.unname(chunk, |copy| copy.state == CopyState::Copying);
        self.write(txn, &left)
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
    attempt: Attempt,
) -> Result<bool, RepairError> {
    let Some(mut blob) = record::get::<Blob>(txn, &chunk.blob)?.filter(is_kept) else {
        return Ok(false);
    };
    let member = record::get::<NodeRecord>(txn, &node)?.is_some_and(|node| node.takes_copies());
    let mut open = OpenPage::of(txn, chunk)?;
    let Some(entry) = open.entry(chunk, hash).filter(|_| member) else { return Ok(false) };
    (entry.mended, entry.attempt) = (true, Some(attempt));
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

/// The copy is durable. False when another attempt was begun since, or the copy is not named any more: then it is a stray, and the
/// sweep's.
pub(super) fn finish(
    txn: &mut Txn<'_>,
    chunk: ChunkId,
    attempt: Attempt,
    receipt: CopyReceipt,
) -> Result<bool, RepairError> {
    let CopyReceipt { node, disk } = receipt;
    let vouched = record::get::<NodeRecord>(txn, &node)?.is_some_and(|n| n.vouches_for(disk));
    let kept = record::get::<Blob>(txn, &chunk.blob)?.is_some();
    let mut open = OpenPage::of(txn, chunk)?;
    let entry = open.entry_of(chunk, attempt).filter(|_| vouched && kept);
    let Some(entry) = entry else { return Ok(false) };
    let Some(copy) = entry.copies.iter_mut().find(|copy| copy.node == node) else {
        return Ok(false);
    };
    *copy = Copy { node, disk, state: CopyState::Live };
    entry.attempt = None;
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
pub(super) fn give_up(
    txn: &mut Txn<'_>,
    chunk: ChunkId,
    attempt: Attempt,
) -> Result<(), RepairError> {
    let mut open = OpenPage::of(txn, chunk)?;
    if open.entry_of(chunk, attempt).is_some() { Ok(open.forget(txn, chunk)?) } else { Ok(()) }
}

/// No copy of the chunk is being made, whatever an earlier life of a master began: those that are named so are not any more.
pub(super) fn forget_begun(txn: &mut Txn<'_>, chunk: ChunkId) -> Result<(), RepairError> {
    Ok(OpenPage::of(txn, chunk)?.forget(txn, chunk)?)
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

#[cfg(test)]
mod tests {
    use cairn_core::chunking::ChunkSizes;
    use cairn_core::ids::BlobId;
    use cairn_core::lifecycle::BlobState;
    use cairn_core::liveness::Membership;
    use cairn_core::names::{TenantId, Zone};
    use cairn_kv::{Durability, Kv};

    use super::*;

    const HASH: ChunkHash = ChunkHash([7; 32]);

    fn node(n: u128) -> NodeId {
        NodeId::from_uuid(Uuid::from_u128(n))
    }

    fn disk(n: u128) -> DiskIncarnation {
        DiskIncarnation::from_uuid(Uuid::from_u128(n))
    }

    fn chunk() -> ChunkId {
        ChunkId::new(BlobId::from_uuid(Uuid::from_u128(1)), 0)
    }

    fn attempt(n: u128) -> Attempt {
        Attempt(Uuid::from_u128(n))
    }

    fn live(node: NodeId, disk: DiskIncarnation) -> Copy {
        Copy { node, disk, state: CopyState::Live }
    }

    /// A chunk with a copy on node 1, and nodes 1 and 2 with the disks 11 and 12.
    fn found(txn: &mut Txn<'_>) -> Result<(), CatalogError> {
        for n in [1, 2] {
            let record = NodeRecord {
                disks: [disk(n + 10)].into(),
                address: "http://node:1".into(),
                zone: Zone::new("a").expect("a label"),
                membership: Membership::Member,
            };
            record::put(txn, &node(n), &record)?;
        }
        let blob = Blob {
            tenant: TenantId::standard(),
            state: BlobState::Live,
            current_refs: 1,
            condemned_refs: 0,
            length: 5,
            sizes: ChunkSizes::STANDARD,
            copies: 2,
            nodes: [node(1)].into(),
        };
        record::put(txn, &chunk().blob, &blob)?;
        let copies = vec![live(node(1), disk(11))];
        let (length, hash, attempt) = (5, HASH, None);
        let entry = ChunkEntry { length, hash, copies, zones: 1, mended: false, attempt };
        let page = Page { chunks: [(0, entry)].into() };
        Ok(record::put(txn, &PageKey::of(chunk().blob, 0), &page)?)
    }

    /// What is named of the chunk in the end.
    async fn after(
        mut steps: impl FnMut(&mut Txn<'_>) -> Result<(), RepairError> + Send + 'static,
    ) -> Vec<Copy> {
        let closure = move |txn: &mut Txn<'_>| -> Result<_, RepairError> {
            found(txn)?;
            steps(txn)?;
            let mut page = OpenPage::of(txn, chunk())?;
            Ok(page.entry(chunk(), HASH).map(|entry| entry.copies.clone()))
        };
        let named = Kv::memory().transact(Durability::Buffered, closure).await;
        named.expect("a transaction").expect("an entry")
    }

    fn receipt(n: u128) -> CopyReceipt {
        CopyReceipt { node: node(n), disk: disk(n + 10) }
    }

    #[tokio::test]
    async fn an_attempt_ends_itself_and_no_later_one_of_the_same_node() {
        let copies = after(|txn| {
            assert!(begin(txn, chunk(), HASH, node(2), attempt(1))?);
            assert!(begin(txn, chunk(), HASH, node(2), attempt(2))?);
            assert!(!finish(txn, chunk(), attempt(1), receipt(2))?, "it is late");
            give_up(txn, chunk(), attempt(1))
        });
        let begun = Copy { node: node(2), disk: no_disk(), state: CopyState::Copying };
        assert_eq!(copies.await, [live(node(1), disk(11)), begun]);
        let copies = after(|txn| {
            assert!(begin(txn, chunk(), HASH, node(2), attempt(1))?);
            assert!(begin(txn, chunk(), HASH, node(2), attempt(2))?);
            assert!(finish(txn, chunk(), attempt(2), receipt(2))?);
            assert!(!finish(txn, chunk(), attempt(2), receipt(2))?, "it ends once");
            give_up(txn, chunk(), attempt(2))
        });
        assert_eq!(copies.await, [live(node(1), disk(11)), live(node(2), disk(12))]);
    }

    #[tokio::test]
    async fn what_was_found_bad_since_a_copy_was_made_anew_stays_found_when_an_earlier_attempt_ends()
     {
        use cairn_core::copies::CopyFinding;
        let key = FindingKey { chunk: chunk(), node: node(1) };
        let copies = after(move |txn| {
            assert!(begin(txn, chunk(), HASH, node(1), attempt(1))?);
            assert!(begin(txn, chunk(), HASH, node(1), attempt(2))?);
            assert!(finish(txn, chunk(), attempt(2), receipt(1))?);
            record::put(txn, &key, &Finding(CopyFinding::Corrupt)).map_err(CatalogError::from)?;
            assert!(!finish(txn, chunk(), attempt(1), receipt(1))?);
            assert!(record::get::<Finding>(txn, &key)?.is_some());
            Ok(())
        });
        assert_eq!(copies.await, [live(node(1), disk(11))]);
    }

    #[tokio::test]
    async fn an_attempt_that_fails_takes_nothing_with_it_that_was_named_before() {
        let copies = after(|txn| {
            assert!(begin(txn, chunk(), HASH, node(1), attempt(1))?);
            give_up(txn, chunk(), attempt(1))?;
            assert!(!finish(txn, chunk(), attempt(1), receipt(1))?, "it has ended");
            Ok(())
        });
        assert_eq!(copies.await, [live(node(1), disk(11))]);
    }

    #[tokio::test]
    async fn what_is_forgotten_does_not_come_back_with_a_late_finish() {
        let copies = after(|txn| {
            assert!(begin(txn, chunk(), HASH, node(2), attempt(1))?);
            forget_begun(txn, chunk())?;
            assert!(!finish(txn, chunk(), attempt(1), receipt(2))?);
            Ok(())
        });
        assert_eq!(copies.await, [live(node(1), disk(11))]);
    }
}
