//! Confirm: receipts become manifest entries, each counted once however often it comes.

use std::collections::{BTreeMap, BTreeSet};

use cairn_core::chunking::MAX_CHUNKS;
use cairn_core::copies::{ChunkReceipt, CopyReceipt};
use cairn_core::ids::{BlobId, ChunkIndex, NodeId, UploadId};
use cairn_core::lifecycle::CopyState;
use cairn_core::names::Principal;
use cairn_kv::Txn;

use super::{NotOpen, blob_of, find_open};
use crate::catalog::{
    Blob, ChunkEntry, Copy, NodePage, NodePageKey, NodeRecord, Page, PageKey, Upload, record,
};
use crate::error::{CatalogError, ChunkConflict, Incomplete, operation_error};

operation_error! {
    /// Why receipts are not taken.
    ConfirmError {
        Catalog(CatalogError),
        NotOpen(NotOpen),
        Conflict(ChunkConflict),
        Incomplete(Incomplete),
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Confirm {
    pub(crate) upload: UploadId,
    pub(crate) principal: Principal,
    /// The blob that the begin answered.
    pub(crate) blob: BlobId,
    pub(crate) receipts: Vec<ChunkReceipt>,
    pub(crate) lease_until_ms: u64,
}

/// A copy that does not count: its node was not handed out, or its disk is none of those registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) index: ChunkIndex,
    pub(crate) node: NodeId,
}

/// Takes receipts and renews the lease.
pub(crate) fn confirm(txn: &mut Txn<'_>, request: &Confirm) -> Result<Vec<Refused>, ConfirmError> {
    let mut upload = find_open(txn, request.upload, &request.principal)?;
    upload.must_write(request.blob, request.upload).map_err(NotOpen::from)?;
    let blob = blob_of(txn, &upload)?;
    let refused = take_receipts(txn, &mut upload, &blob, &request.receipts)?;
    upload.renew_lease(request.lease_until_ms);
    record::put(txn, &request.upload, &upload)?;
    Ok(refused)
}

/// The nodes that receipts come from, as registered now.
pub(super) struct Nodes(BTreeMap<NodeId, Option<NodeRecord>>);

impl Nodes {
    pub(super) fn load(
        txn: &Txn<'_>,
        ids: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, CatalogError> {
        let ids: BTreeSet<_> = ids.into_iter().collect();
        let load = |id: NodeId| Ok((id, record::get(txn, &id)?));
        let nodes: Result<_, CatalogError> = ids.into_iter().map(load).collect();
        nodes.map(Self)
    }

    /// True while the node belongs to the cluster and has the disk that gave the receipt.
    pub(super) fn vouches_for(&self, copy: CopyReceipt) -> bool {
        let node = self.0.get(&copy.node).and_then(Option::as_ref);
        node.is_some_and(|node| node.vouches_for(copy.disk))
    }

    /// Zones that the copies are in.
    pub(super) fn zones(&self, copies: &[Copy]) -> u32 {
        let node = |copy: &Copy| -> Option<&NodeRecord> {
            self.0.get(&copy.node).and_then(Option::as_ref)
        };
        let zones: BTreeSet<_> = copies.iter().filter_map(node).map(|n| &n.zone).collect();
        u32::try_from(zones.len()).unwrap_or(u32::MAX)
    }
}

/// Merges receipts into the manifest pages and the upload's counters. The upload record is the caller's to
/// write.
pub(super) fn take_receipts(
    txn: &mut Txn<'_>,
    upload: &mut Upload,
    blob: &Blob,
    receipts: &[ChunkReceipt],
) -> Result<Vec<Refused>, ConfirmError> {
    let holders = upload.progress.holders.iter().map(|holder| holder.node);
    let senders = receipts.iter().flat_map(|r| &r.copies).map(|copy| copy.node);
    let nodes = Nodes::load(txn, holders.chain(senders).collect::<Vec<_>>())?;
    let mut refused = Vec::new();
    let mut pages: BTreeMap<u32, Page> = BTreeMap::new();
    for receipt in receipts {
        check_length(upload, blob, receipt)?;
        let counts =
            |copy: &&CopyReceipt| blob.nodes.contains(&copy.node) && nodes.vouches_for(**copy);
        let (good, bad): (Vec<&CopyReceipt>, Vec<&CopyReceipt>) =
            receipt.copies.iter().partition(counts);
        refused
            .extend(bad.into_iter().map(|copy| Refused { index: receipt.index, node: copy.node }));
        if good.is_empty() {
            continue;
        }
        let key = PageKey::of(upload.blob, receipt.index);
        let page = match pages.entry(key.page) {
            std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(record::get(txn, &key)?.unwrap_or_default())
            }
        };
        merge(upload, blob, page, receipt, &good, &nodes)?;
        for copy in good {
            let node = copy.node;
            record::put(txn, &NodePageKey { node, page: key }, &NodePage)?;
        }
    }
    for (number, page) in &pages {
        let key = PageKey { blob: upload.blob, page: *number };
        record::put(txn, &key, page)?;
    }
    Ok(refused)
}

fn check_length(upload: &Upload, blob: &Blob, receipt: &ChunkReceipt) -> Result<(), Incomplete> {
    let ChunkReceipt { index, length, .. } = *receipt;
    let most = if index < MAX_CHUNKS { blob.sizes.capacity(index) } else { 0 };
    let (fits, expected) = match upload.known_length {
        Some(bytes) => {
            let expected = blob.sizes.length(index, bytes);
            (length == expected, expected)
        }
        None => (length <= most, most),
    };
    if fits && length > 0 {
        Ok(())
    } else {
        Err(Incomplete::ChunkLength { index, length, expected })
    }
}

/// Merges one receipt's good copies into its page.
fn merge(
    upload: &mut Upload,
    blob: &Blob,
    page: &mut Page,
    receipt: &ChunkReceipt,
    good: &[&CopyReceipt],
    nodes: &Nodes,
) -> Result<(), ConfirmError> {
    let before = page.chunks.get(&receipt.index);
    if before.is_some_and(|e| e.length != receipt.length || e.hash != receipt.hash) {
        return Err(ChunkConflict(receipt.index).into());
    }
    let mut copies = before.map(|entry| entry.copies.clone()).unwrap_or_default();
    for receipt in good {
        copies.retain(|copy| copy.node != receipt.node);
        copies.push(Copy { node: receipt.node, disk: receipt.disk, state: CopyState::Live });
        upload.progress.holders.insert(**receipt);
    }
    let now = ChunkEntry {
        length: receipt.length,
        hash: receipt.hash,
        zones: nodes.zones(&copies),
        mended: false,
        attempt: None,
        copies,
    };
    let progress = &mut upload.progress;
    progress.count(receipt.index, &blob.sizes, before, &now)?;
    page.chunks.insert(receipt.index, now);
    Ok(())
}
