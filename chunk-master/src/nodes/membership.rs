//! Whether a node belongs to the cluster: what an operator wants of it.
//!
//! ```text
//! Member ── drain ──► Draining ── remove, when nothing is left there ──► Removed
//!    ▲                   │
//!    └───── undrain ─────┘
//! ```
//!
//! A node that is being emptied gets nothing new, and [`crate::repair`] copies what it has to others. What is left there is what the
//! catalog names on it, and what is being uploaded to it: both are looked at in the transaction that removes it.

use std::fmt;

use cairn_core::ids::{BlobId, NodeId};
use cairn_core::lifecycle::BlobState;
use cairn_core::liveness::Membership;
use cairn_kv::{Read, Txn};

use crate::catalog::{Blob, NodePage, NodePageKey, NodeRecord, Page, PageKey, Upload, record};
use crate::error::{
    CatalogError, NoSuchNode, NodeNeeded, NodeRemoved, NotDraining, operation_error,
};

operation_error! {
    /// Why a node is not drained, let back or removed.
    MembershipError {
        Catalog(CatalogError),
        NoSuchNode(NoSuchNode),
        Removed(NodeRemoved),
        NotDraining(NotDraining),
        Needed(NodeNeeded),
    }
}

/// Manifest pages of a node that one look counts. A node with more than that is far from empty.
const PAGES_PER_LOOK: usize = 1000;
/// Open uploads that one look reads.
const UPLOADS_PER_LOOK: usize = 10_000;

/// What is left on a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Copies that are named there, of what is stored and of what may come back.
    pub(crate) copies: u64,
    /// Open uploads that were given the node.
    pub(crate) uploads: u64,
    /// There may be more: not everything was looked at.
    pub(crate) more: bool,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = if self.more { "at least " } else { "" };
        write!(f, "{least}{} copies and {} open uploads", self.copies, self.uploads)
    }
}

impl Left {
    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// What is left on a node.
pub(crate) fn left(read: &impl Read, node: NodeId) -> Result<Left, CatalogError> {
    let (copies, more_copies) = copies_on(read, node)?;
    let (uploads, more_uploads) = uploads_to(read, node)?;
    Ok(Left { copies, uploads, more: more_copies || more_uploads })
}

/// Copies of blobs that are not being erased.
fn copies_on(read: &impl Read, node: NodeId) -> Result<(u64, bool), CatalogError> {
    let keys = pages_of(read, node, None, PAGES_PER_LOOK)?;
    let more = keys.len() == PAGES_PER_LOOK;
    let mut copies = 0;
    let mut blob: Option<(BlobId, bool)> = None;
    for key in keys {
        let kept = match blob {
            Some((known, kept)) if known == key.blob => kept,
            _ => record::get::<Blob>(read, &key.blob)?
                .is_some_and(|blob| blob.state != BlobState::Purging),
        };
        blob = Some((key.blob, kept));
        if kept {
            let page: Page = record::get(read, &key)?.unwrap_or_default();
            let entries = page.chunks.values().flat_map(|entry| &entry.copies);
            copies += entries.filter(|copy| copy.node == node).count() as u64;
        }
    }
    Ok((copies, more))
}

/// Manifest pages that name `node`, after one, at most `limit`.
pub(crate) fn pages_of(
    read: &impl Read,
    node: NodeId,
    after: Option<PageKey>,
    limit: usize,
) -> Result<Vec<PageKey>, CatalogError> {
    let mut range = record::prefixed::<NodePage>(|parts| {
        parts.id(node.as_bytes());
    });
    if let Some(page) = after {
        range = range.after(record::key_of::<NodePage>(&NodePageKey { node, page }));
    }
    let found = record::scan::<NodePage>(read, &range, limit)?;
    Ok(found.into_iter().map(|(key, _)| key.page).collect())
}

/// Open uploads that were given the node.
fn uploads_to(read: &impl Read, node: NodeId) -> Result<(u64, bool), CatalogError> {
    let open = record::scan::<Upload>(read, &record::all::<Upload>(), UPLOADS_PER_LOOK)?;
    let more = open.len() == UPLOADS_PER_LOOK;
    let mut uploads = 0;
    for (_, upload) in open {
        let blob = record::get::<Blob>(read, &upload.blob)?;
        let here = |blob: &Blob| blob.state == BlobState::Open && blob.nodes.contains(&node);
        uploads += u64::from(blob.is_some_and(|blob| here(&blob)));
    }
    Ok((uploads, more))
}

/// The node, when it was not removed.
fn known(read: &impl Read, node: NodeId) -> Result<NodeRecord, MembershipError> {
    let found = record::get::<NodeRecord>(read, &node)?.ok_or(NoSuchNode(node))?;
    if found.membership == Membership::Removed {
        return Err(NodeRemoved(node).into());
    }
    Ok(found)
}

/// Has the node emptied, or lets it back. Done twice it is done once.
pub(crate) fn set(
    txn: &mut Txn<'_>,
    node: NodeId,
    membership: Membership,
) -> Result<(), MembershipError> {
    let record = known(txn, node)?;
    Ok(record::put(txn, &node, &NodeRecord { membership, ..record })?)
}

/// Removes the node for good, when nothing is left there.
pub(crate) fn remove(txn: &mut Txn<'_>, node: NodeId) -> Result<(), MembershipError> {
    let record = known(txn, node)?;
    if record.membership != Membership::Draining {
        return Err(NotDraining(node).into());
    }
    let left = left(txn, node)?;
    if !left.is_nothing() {
        return Err(NodeNeeded { node, left }.into());
    }
    Ok(record::put(txn, &node, &NodeRecord { membership: Membership::Removed, ..record })?)
}
