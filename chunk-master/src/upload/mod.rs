//! Uploads: what each step does to the catalog, as bounded closures over one transaction.
//!
//! ```text
//! begin ─► extend ─► confirm ─► … ─► commit ─► version ─► late
//!   │         │         │
//!   └─────────┴─────────┴─► abort (by its gateway, or when its lease ends)
//! ```
//!
//! A closure is pure: ids and times come in as values. What is not here: waiting for quota, placement
//! and everything else that is not a fact of the catalog.

pub(crate) mod abort;
pub(crate) mod begin;
pub(crate) mod commit;
pub(crate) mod confirm;
pub(crate) mod extend;
pub(crate) mod late;
mod progress;

use std::collections::BTreeSet;

use cairn_core::ids::{BlobId, NodeId, UploadId};
use cairn_core::names::Principal;
use cairn_kv::{Read, Txn};

use crate::catalog::{Blob, Finished, NodeUpload, NodeUploadKey, Outcome, Upload, record};
use crate::error::{CatalogError, UploadAborted, UploadCommitted, UploadNotFound, operation_error};

/// An upload that a caller names: open, or over.
#[derive(Debug)]
pub(crate) enum Found {
    Open(Box<Upload>),
    Finished(Finished),
}

operation_error! {
    /// The caller's upload is not open.
    NotOpen {
        Catalog(CatalogError),
        NotFound(UploadNotFound),
        Aborted(UploadAborted),
        Committed(UploadCommitted),
    }
}

/// Looks an upload up. Another principal's is not found.
pub(crate) fn find(
    read: &impl Read,
    id: UploadId,
    principal: &Principal,
) -> Result<Option<Found>, CatalogError> {
    if let Some(upload) = record::get::<Upload>(read, &id)? {
        let own = upload.principal == *principal;
        return Ok(own.then(|| Found::Open(Box::new(upload))));
    }
    let finished = record::get::<Finished>(read, &id)?;
    Ok(finished.filter(|finished| finished.principal == *principal).map(Found::Finished))
}

/// Looks an upload up that must be open.
pub(crate) fn find_open(
    read: &impl Read,
    id: UploadId,
    principal: &Principal,
) -> Result<Upload, NotOpen> {
    match find(read, id, principal)? {
        Some(Found::Open(upload)) => Ok(*upload),
        Some(Found::Finished(finished)) => Err(match finished.outcome {
            Outcome::Aborted => UploadAborted(id).into(),
            Outcome::Committed(_) => UploadCommitted(id).into(),
        }),
        None => Err(UploadNotFound(id).into()),
    }
}

/// The blob of an open upload.
fn blob_of(read: &impl Read, upload: &Upload) -> Result<Blob, CatalogError> {
    record::must_get(read, &upload.blob)
}

/// Notes that an upload is given nodes. The blob's record is the caller's to write.
fn give_nodes(
    txn: &mut Txn<'_>,
    id: UploadId,
    blob: &mut Blob,
    nodes: BTreeSet<NodeId>,
) -> Result<(), CatalogError> {
    for node in nodes {
        if blob.nodes.insert(node) {
            record::put(txn, &NodeUploadKey { node, upload: id }, &NodeUpload)?;
        }
    }
    Ok(())
}

/// An upload that ends needs the nodes no more that it was given: the blob's pages tell what they have of it.
fn take_nodes(txn: &mut Txn<'_>, id: UploadId, blob: &Blob) -> Result<(), CatalogError> {
    for &node in &blob.nodes {
        record::delete::<NodeUpload>(txn, &NodeUploadKey { node, upload: id })?;
    }
    Ok(())
}

/// Extends the lease of an upload that makes progress, but does nothing else.
pub(crate) fn renew(
    txn: &mut Txn<'_>,
    id: UploadId,
    principal: &Principal,
    lease_until_ms: u64,
) -> Result<(), NotOpen> {
    let mut upload = find_open(txn, id, principal)?;
    upload.renew_lease(lease_until_ms);
    record::put(txn, &id, &upload)?;
    Ok(())
}

impl Upload {
    /// Checks that the caller's chunks are this upload's. A begin is not durable by itself: when it is lost and repeated,
    /// its upload writes another blob, and receipts for chunks of the lost one must not count for it.
    fn must_write(&self, blob: BlobId, id: UploadId) -> Result<(), UploadNotFound> {
        if self.blob == blob { Ok(()) } else { Err(UploadNotFound(id)) }
    }

    /// A lease only grows: an earlier call that comes late does not cut it.
    fn renew_lease(&mut self, until_ms: u64) {
        self.lease_until_ms = self.lease_until_ms.max(until_ms);
    }
}
