//! Commit: the upload becomes the name's current version, in one bounded transaction.

use cairn_core::chunking::MAX_FILE_BYTES;
use cairn_core::copies::{ChunkReceipt, CopyReceipt};
use cairn_core::digest::{FileRoot, Sha256};
use cairn_core::ids::UploadId;
use cairn_core::lifecycle::BlobState;
use cairn_core::names::Principal;
use cairn_core::object::{Durability, ObjectInfo, VersionId};
use cairn_core::quota::Amount;
use cairn_kv::Txn;

use super::confirm::{ConfirmError, Nodes, take_receipts};
use super::{Found, blob_of, find};
use crate::accounts::Accounts;
use crate::catalog::{
    Blob, Bucket, BucketKey, Committed, Extent, Finished, Head, HeadKey, Outcome, Page, Upload,
    Version, VersionKey, VersionState, record,
};
use crate::error::{
    BucketNotFound, CatalogError, ConditionRefused, FileTooLarge, Incomplete, UploadAborted,
    UploadNotFound, operation_error,
};
use crate::object::{condemn, head};

/// Pages that a commit counts again when a disk was replaced while the upload ran.
const MAX_PAGES_RECOUNTED: usize = 64;

operation_error! {
    /// Why an upload is not committed. It stays as it was.
    CommitError {
        Catalog(CatalogError),
        NotFound(UploadNotFound),
        Aborted(UploadAborted),
        Receipts(ConfirmError),
        Incomplete(Incomplete),
        TooLarge(FileTooLarge),
        Bucket(BucketNotFound),
        Condition(ConditionRefused),
    }
}

/// What is asked for, with the version and the time that the closure must not draw itself.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) upload: UploadId,
    pub(crate) principal: Principal,
    pub(crate) receipts: Vec<ChunkReceipt>,
    pub(crate) length: u64,
    pub(crate) sha256: Option<Sha256>,
    pub(crate) root: FileRoot,
    pub(crate) version: VersionId,
    /// For people.
    pub(crate) committed_ms: u64,
    /// Since when a version that is replaced waits.
    pub(crate) condemned_ms: u64,
    /// From when on the answer is kept for repeats.
    pub(crate) finished_ms: u64,
}

/// Commits, or gives the answer of the commit that was.
pub(crate) fn commit(txn: &mut Txn<'_>, request: &Commit) -> Result<Committed, CommitError> {
    let id = request.upload;
    let mut upload = match find(txn, id, &request.principal)? {
        None => return Err(UploadNotFound(id).into()),
        Some(Found::Finished(finished)) => match finished.outcome {
            Outcome::Committed(committed) => return Ok(*committed),
            Outcome::Aborted => return Err(UploadAborted(id).into()),
        },
        Some(Found::Open(upload)) => *upload,
    };
    let blob = blob_of(txn, &upload)?;
    take_receipts(txn, &mut upload, &blob, &request.receipts)?;
    check_complete(&upload, &blob, request.length)?;
    let durability = check_copies(txn, &upload, &blob)?;

    let bucket =
        BucketKey { tenant: upload.principal.tenant.clone(), bucket: upload.bucket.clone() };
    let current = head::current(txn, &bucket, &upload.key)?;
    head::check(&upload.condition, current.as_ref())?;
    let committed = Committed {
        object: object_info(request, &upload),
        replaced: current.is_some(),
        durability,
    };
    settle(txn, &upload, request.length)?;
    if let Some((key, head)) = current {
        condemn::condemn(txn, &key, &head, request.condemned_ms)?;
    }
    point_head(txn, &bucket, &committed.object)?;
    put_version(txn, &upload, blob, &committed.object)?;
    let finished = Finished {
        principal: upload.principal,
        finished_ms: request.finished_ms,
        outcome: Outcome::Committed(Box::new(committed.clone())),
    };
    record::delete::<Upload>(txn, &id)?;
    record::put(txn, &id, &finished)?;
    Ok(committed)
}

fn check_complete(upload: &Upload, blob: &Blob, length: u64) -> Result<(), CommitError> {
    if length > MAX_FILE_BYTES {
        let (bytes, most) = (length, MAX_FILE_BYTES);
        return Err(FileTooLarge { bytes, most }.into());
    }
    let announced = upload.known_length.unwrap_or(upload.reserved);
    let differs = upload.known_length.is_some_and(|known| known != length);
    if differs || length > announced {
        return Err(Incomplete::LengthNotAnnounced { length, announced }.into());
    }
    Ok(upload.progress.tiles(length, &blob.sizes)?)
}

/// Checks that every chunk has its copies, and says what that is worth. The counters answer for files of
/// any size, as long as every disk that gave receipts is still there; else the pages are read.
fn check_copies(txn: &Txn<'_>, upload: &Upload, blob: &Blob) -> Result<Durability, CommitError> {
    let progress = &upload.progress;
    let wanted = blob.copies.max(1);
    let nodes = Nodes::load(txn, progress.holders.iter().map(|holder| holder.node))?;
    let hosts = progress.holders.iter().filter(|h| nodes.vouches_for(**h));
    let hosts = hosts.count();
    let mut copies = progress.least_copies();
    if progress.chunks > 0 {
        if hosts < progress.holders.len() {
            copies = recount(txn, upload, &nodes)?;
        }
        if copies < wanted {
            return Err(Incomplete::CopiesMissing { copies, wanted }.into());
        }
    }
    Ok(Durability {
        copies,
        hosts: u32::try_from(hosts).unwrap_or(u32::MAX),
        zones: progress.least_zones(),
        meta: 1,
    })
}

/// Least number of copies of any chunk on disks that are still there.
fn recount(txn: &Txn<'_>, upload: &Upload, nodes: &Nodes) -> Result<u32, CommitError> {
    let blob = upload.blob;
    let range = record::prefixed::<Page>(|parts| {
        parts.id(blob.as_bytes());
    });
    let pages = record::scan::<Page>(txn, &range, MAX_PAGES_RECOUNTED + 1)?;
    if pages.len() > MAX_PAGES_RECOUNTED {
        return Err(Incomplete::DiskReplaced.into());
    }
    let there = |copy: &&crate::catalog::Copy| {
        let (node, disk) = (copy.node, copy.disk);
        nodes.vouches_for(CopyReceipt { node, disk })
    };
    let chunks = pages.iter().flat_map(|(_, page)| page.chunks.values());
    let least = chunks.map(|entry| entry.copies.iter().filter(there).count());
    Ok(u32::try_from(least.min().unwrap_or(0)).unwrap_or(u32::MAX))
}

/// Opaque, and the same for the same bytes cut the same way: the first half of the file root.
fn etag(root: &FileRoot) -> String {
    let mut text = root.to_string();
    text.truncate(32);
    text
}

fn object_info(request: &Commit, upload: &Upload) -> ObjectInfo {
    ObjectInfo {
        bucket: upload.bucket.clone(),
        key: upload.key.clone(),
        version: request.version,
        length: request.length,
        committed_ms: request.committed_ms,
        etag: etag(&request.root),
        sha256: request.sha256,
        root: request.root,
        meta: upload.meta.clone(),
    }
}

fn settle(txn: &mut Txn<'_>, upload: &Upload, length: u64) -> Result<(), CatalogError> {
    let mut accounts = Accounts::load(txn, &upload.principal, &upload.bucket)?;
    accounts.settle(Amount::object(upload.reserved), Amount::object(length))?;
    accounts.store(txn)
}

/// Makes the version the newest of its name, in commit order.
fn point_head(txn: &mut Txn<'_>, key: &BucketKey, object: &ObjectInfo) -> Result<(), CommitError> {
    let mut bucket: Bucket =
        record::get(txn, key)?.ok_or_else(|| BucketNotFound(key.bucket.clone()))?;
    let head = HeadKey {
        tenant: key.tenant.clone(),
        bucket: key.bucket.clone(),
        key: object.key.clone(),
        sequence: bucket.next_sequence,
    };
    bucket.next_sequence += 1;
    record::put(txn, key, &bucket)?;
    record::put(txn, &head, &Head::of(object))?;
    Ok(())
}

fn put_version(
    txn: &mut Txn<'_>,
    upload: &Upload,
    mut blob: Blob,
    object: &ObjectInfo,
) -> Result<(), CatalogError> {
    blob.state = blob.state.step(BlobState::Live)?;
    blob.current_refs = 1;
    blob.length = object.length;
    record::put(txn, &upload.blob, &blob)?;
    let key = VersionKey { tenant: upload.principal.tenant.clone(), version: object.version };
    let extent = Extent { blob: upload.blob, offset: 0, length: object.length };
    let version = Version {
        info: object.clone(),
        principal: upload.principal.clone(),
        extents: vec![extent],
        state: VersionState::Current,
    };
    record::put(txn, &key, &version)?;
    Ok(())
}
