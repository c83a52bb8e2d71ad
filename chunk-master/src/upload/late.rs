//! Late: copies beyond a quorum that became durable after the commit are named in the manifest, where they are wanted.
//!
//! A node has such a copy before the manifest names it. As long as its chunk is short, no sweep takes it for a stray; where a
//! repair was faster, it is one and stays one: an order to delete it may be under way.

use std::collections::BTreeMap;

use cairn_core::copies::ChunkReceipt;
use cairn_core::lifecycle::{BlobState, CopyState};
use cairn_kv::Txn;

use super::confirm::{Confirm, Nodes, Refused};
use super::{Found, find};
use crate::catalog::{
    Blob, ChunkEntry, Copy, NodePage, NodePageKey, Outcome, Page, PageKey, Version, VersionKey,
    record,
};
use crate::error::{CatalogError, UploadAborted, UploadNotFound, operation_error};

operation_error! {
    /// Why late copies are not taken.
    LateError {
        Catalog(CatalogError),
        NotFound(UploadNotFound),
        Aborted(UploadAborted),
    }
}

/// Takes receipts for the blob of a committed upload; those that are not wanted any more are refused.
pub(crate) fn confirm_late(
    txn: &mut Txn<'_>,
    request: &Confirm,
) -> Result<Vec<Refused>, LateError> {
    let id = request.upload;
    let all = || request.receipts.iter().flat_map(refused_of).collect();
    let committed = match find(txn, id, &request.principal)? {
        None | Some(Found::Open(_)) => return Err(UploadNotFound(id).into()),
        Some(Found::Finished(finished)) => match finished.outcome {
            Outcome::Committed(committed) => committed,
            Outcome::Aborted => return Err(UploadAborted(id).into()),
        },
    };
    let tenant = request.principal.tenant.clone();
    let key = VersionKey { tenant, version: committed.object.version };
    let version = record::get::<Version>(txn, &key)?;
    let own = |version: Version| version.extents.iter().any(|one| one.blob == request.blob);
    if !version.is_some_and(own) {
        return Ok(all());
    }
    match record::get::<Blob>(txn, &request.blob)? {
        Some(blob) if blob.state == BlobState::Live => Ok(take(txn, request, &blob)?),
        Some(_) | None => Ok(all()),
    }
}

fn refused_of(receipt: &ChunkReceipt) -> impl Iterator<Item = Refused> + '_ {
    receipt.copies.iter().map(|copy| Refused { index: receipt.index, node: copy.node })
}

fn take(txn: &mut Txn<'_>, request: &Confirm, blob: &Blob) -> Result<Vec<Refused>, CatalogError> {
    let senders = request.receipts.iter().flat_map(|receipt| &receipt.copies);
    let nodes = Nodes::load(txn, senders.map(|copy| copy.node).collect::<Vec<_>>())?;
    let mut pages: BTreeMap<u32, Page> = BTreeMap::new();
    let mut refused = Vec::new();
    for receipt in &request.receipts {
        let key = PageKey::of(request.blob, receipt.index);
        if let std::collections::btree_map::Entry::Vacant(slot) = pages.entry(key.page) {
            slot.insert(record::get(txn, &key)?.unwrap_or_default());
        }
        let page = pages.get_mut(&key.page);
        let Some(entry) = page.and_then(|page| page.chunks.get_mut(&receipt.index)) else {
            refused.extend(refused_of(receipt));
            continue;
        };
        let same = (entry.length, entry.hash) == (receipt.length, receipt.hash);
        for copy in &receipt.copies {
            let good = same && blob.nodes.contains(&copy.node) && nodes.vouches_for(*copy);
            if good && is_wanted(entry, blob, copy.node) {
                let (node, disk) = (copy.node, copy.disk);
                entry.copies.push(Copy { node, disk, state: CopyState::Live });
                record::put(txn, &NodePageKey { node, page: key }, &NodePage)?;
            } else if !entry.names(*copy) {
                refused.push(Refused { index: receipt.index, node: copy.node });
            }
        }
    }
    for (number, page) in &pages {
        record::put(txn, &PageKey { blob: request.blob, page: *number }, page)?;
    }
    Ok(refused)
}

/// Whether the chunk is short and was not mended, and its manifest says nothing of the node.
fn is_wanted(entry: &ChunkEntry, blob: &Blob, node: cairn_core::ids::NodeId) -> bool {
    let missing = entry.copies.len() < blob.copies as usize;
    missing && !entry.mended && entry.copies.iter().all(|copy| copy.node != node)
}

impl ChunkEntry {
    /// Whether this very copy counts: a repeated call finds it so.
    fn names(&self, receipt: cairn_core::copies::CopyReceipt) -> bool {
        let (node, disk) = (receipt.node, receipt.disk);
        self.copies.contains(&Copy { node, disk, state: CopyState::Live })
    }
}
