//! Whether a node belongs to the cluster: what an operator wants of it.
//!
//! ```text
//! Member ── drain ──► Draining ── remove, when nothing is left there ──► Removed
//!    ▲                   │
//!    └───── undrain ─────┘
//! ```
//!
//! A node that is being emptied gets nothing new, and [`crate::repair`] copies what it has to others. What is left there is what the
//! catalog names on it, and what is being uploaded to it. Both have an index by node, so the transaction that removes it looks itself.

use std::fmt;

use cairn_core::ids::{BlobId, NodeId};
use cairn_core::lifecycle::BlobState;
use cairn_core::liveness::Membership;
use cairn_kv::{Read, Txn};

use crate::catalog::{Blob, NodePage, NodePageKey, NodeRecord, NodeUpload, Page, PageKey, record};
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

/// Manifest pages of a node that one look counts. A node with more than that is far from empty, or has much that is being erased.
const PAGES_PER_LOOK: usize = 1000;
/// Open uploads that one look counts.
const UPLOADS_PER_LOOK: usize = 1000;
/// Manifest pages that are read in the transaction that refuses to remove a node, for its answer.
const PAGES_TOLD: usize = 16;

/// What is left on a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Copies that are named there, of what is stored and of what may come back.
    pub(crate) copies: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Open uploads that were given the node.
    pub(crate) uploads: u64,
    /// There may be more: not everything was looked at.
    pub(crate) more: bool,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = if self.more { "at least " } else { "" };
        let copies = if self.copies == 1 { "copy" } else { "copies" };
        let uploads = if self.uploads == 1 { "upload" } else { "uploads" };
        write!(f, "{least}{} {copies} and {} open {uploads}", self.copies, self.uploads)
    }
}

impl Left {
    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// What is left on a node, counted as far as one look goes. It reads manifest pages: for views.
pub(crate) fn left(read: &impl Read, node: NodeId) -> Result<Left, CatalogError> {
    look(read, node, PAGES_PER_LOOK)
}

/// Whether nothing is left on a node. It reads keys and the states of blobs: for transactions.
pub(crate) fn is_empty(read: &impl Read, node: NodeId) -> Result<bool, CatalogError> {
    let (pages, more) = kept_pages(read, node)?;
    Ok(pages.is_empty() && !more && uploads_to(read, node, 1)? == 0)
}

/// Counts the copies on up to `most` pages.
fn look(read: &impl Read, node: NodeId, most: usize) -> Result<Left, CatalogError> {
    let (pages, more_pages) = kept_pages(read, node)?;
    let (mut copies, mut bytes) = (0, 0);
    for key in pages.iter().take(most) {
        let page: Page = record::get(read, key)?.unwrap_or_default();
        for entry in page.chunks.values() {
            let here = entry.copies.iter().filter(|copy| copy.node == node).count() as u64;
            copies += here;
            bytes += here * entry.length;
        }
    }
    let uploads = uploads_to(read, node, UPLOADS_PER_LOOK)?;
    let more = more_pages || pages.len() > most || uploads == UPLOADS_PER_LOOK;
    Ok(Left { copies, bytes, uploads: uploads as u64, more })
}

/// Pages that name `node`, of blobs that are not being erased; and whether there may be more.
fn kept_pages(read: &impl Read, node: NodeId) -> Result<(Vec<PageKey>, bool), CatalogError> {
    let keys = pages_of(read, node, None, PAGES_PER_LOOK)?;
    let more = keys.len() == PAGES_PER_LOOK;
    let mut kept = Vec::new();
    let mut blob: Option<(BlobId, bool)> = None;
    for key in keys {
        let is_kept = match blob {
            Some((known, kept)) if known == key.blob => kept,
            _ => record::get::<Blob>(read, &key.blob)?
                .is_some_and(|blob| blob.state != BlobState::Purging),
        };
        blob = Some((key.blob, is_kept));
        if is_kept {
            kept.push(key);
        }
    }
    Ok((kept, more))
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

/// How many open uploads were given the node, up to `most`.
fn uploads_to(read: &impl Read, node: NodeId, most: usize) -> Result<usize, CatalogError> {
    let given = record::prefixed::<NodeUpload>(|parts| {
        parts.id(node.as_bytes());
    });
    Ok(record::scan::<NodeUpload>(read, &given, most)?.len())
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
    if !is_empty(txn, node)? {
        let left = look(txn, node, PAGES_TOLD)?;
        return Err(NodeNeeded { node, left }.into());
    }
    Ok(record::put(txn, &node, &NodeRecord { membership: Membership::Removed, ..record })?)
}
