//! Commit: the upload becomes the name's current version, in one bounded transaction.

use cairn_core::chunking::MAX_FILE_BYTES;
use cairn_core::copies::{ChunkReceipt, CopyReceipt};
use cairn_core::digest::{FileRoot, Sha256};
use cairn_core::ids::{BlobId, UploadId};
use cairn_core::lengths::ChunkLengths;
use cairn_core::lifecycle::BlobState;
use cairn_core::names::Principal;
use cairn_core::object::{Durability, ObjectInfo, VersionId};
use cairn_core::quota::Amount;
use cairn_kv::Txn;

use super::confirm::{ConfirmError, Nodes, take_receipts};
use super::{Found, blob_of, find, take_nodes};
use crate::accounts::Accounts;
use crate::bucket::{self, NoBucket};
use crate::catalog::{
    Blob, Committed, Copy, Extent, Finished, Outcome, Page, Pending, PendingKey, Upload, Version,
    VersionKey, VersionState, record,
};
use crate::config::{Faults, SeededBug};
use crate::error::{
    CatalogError, ConditionRefused, FileTooLarge, Incomplete, UploadAborted, UploadNotFound,
    operation_error,
};
use crate::object::condemn::{self, Moment};
use crate::object::head;

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
        Bucket(NoBucket),
        Condition(ConditionRefused),
    }
}

/// What is asked for, with the version and the time that the closure must not draw itself.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) upload: UploadId,
    pub(crate) principal: Principal,
    /// The blob that the begin answered.
    pub(crate) blob: BlobId,
    pub(crate) receipts: Vec<ChunkReceipt>,
    pub(crate) length: u64,
    pub(crate) sha256: Option<Sha256>,
    pub(crate) root: FileRoot,
    pub(crate) version: VersionId,
    /// Copies of the metadata that the answer waits for.
    pub(crate) meta_copies: u32,
    /// For people.
    pub(crate) committed_ms: u64,
    /// When a version that is replaced is condemned.
    pub(crate) moment: Moment,
    /// From when on the answer is kept for repeats.
    pub(crate) finished_ms: u64,
    pub(crate) faults: Faults,
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
    upload.must_write(request.blob, id)?;
    let name = bucket::key_of(&upload.principal, &upload.bucket);
    let bucket = bucket::live(txn, &name)?;
    let blob = blob_of(txn, &upload)?;
    take_receipts(txn, &mut upload, &blob, &request.receipts)?;
    check_complete(&upload, &blob, request.length)?;
    let durability = check_copies(txn, &upload, &blob, request.meta_copies)?;

    let current = head::current(txn, &name, &upload.key)?;
    if !request.faults.has(SeededBug::ConditionOutside) {
        head::check(&upload.condition, current.as_ref())?;
    }
    let committed = Committed {
        object: object_info(request, &upload, &blob),
        replaced: current.is_some(),
        durability,
    };
    settle(txn, &upload, request)?;
    if let Some((key, head)) = current {
        condemn::condemn(txn, &key, &head, request.moment.wait(&bucket.policy))?;
    }
    head::point(txn, &name, bucket, &committed.object)?;
    take_nodes(txn, id, &blob)?;
    put_version(txn, &upload, blob, &committed.object)?;
    record::delete::<Pending>(txn, &PendingKey::of(id, &upload))?;
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

/// Checks that every chunk has the copies that it must have, and says what that is worth. What is short of the copies
/// wanted is repaired. The counters answer for files of
/// any size, as long as every disk that gave receipts is still there; else the pages are read.
fn check_copies(
    txn: &Txn<'_>,
    upload: &Upload,
    blob: &Blob,
    meta: u32,
) -> Result<Durability, CommitError> {
    let progress = &upload.progress;
    let least = upload.least_copies.max(1);
    let nodes = Nodes::load(txn, progress.holders.iter().map(|holder| holder.node))?;
    let hosts = progress.holders.iter().filter(|h| nodes.vouches_for(**h));
    let hosts = hosts.count();
    let (mut copies, mut zones) = (progress.least_copies(), progress.least_zones());
    if progress.chunks > 0 {
        if hosts < progress.holders.len() {
            (copies, zones) = recount(txn, upload, &nodes)?;
        }
        if copies < least {
            return Err(Incomplete::CopiesMissing { copies, wanted: least }.into());
        }
        // Fewer copies are in fewer zones.
        let wanted = upload.zones.min(copies);
        if zones < wanted {
            return Err(Incomplete::ZonesMissing { zones, wanted }.into());
        }
    }
    let wanted = if progress.chunks > 0 { blob.copies.max(copies) } else { copies };
    let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
    Ok(Durability { copies, hosts, zones, meta, wanted })
}

/// Least number of copies of any chunk on disks that are still there, and of zones that they are in.
fn recount(txn: &Txn<'_>, upload: &Upload, nodes: &Nodes) -> Result<(u32, u32), CommitError> {
    let blob = upload.blob;
    let range = record::prefixed::<Page>(|parts| {
        parts.id(blob.as_bytes());
    });
    let pages = record::scan::<Page>(txn, &range, MAX_PAGES_RECOUNTED + 1)?;
    if pages.len() > MAX_PAGES_RECOUNTED {
        return Err(Incomplete::DiskReplaced.into());
    }
    let there = |copy: &&Copy| {
        let (node, disk) = (copy.node, copy.disk);
        nodes.vouches_for(CopyReceipt { node, disk })
    };
    let chunks = pages.iter().flat_map(|(_, page)| page.chunks.values());
    let (mut copies, mut zones) = (u32::MAX, u32::MAX);
    for entry in chunks {
        let good: Vec<Copy> = entry.copies.iter().filter(there).copied().collect();
        copies = copies.min(u32::try_from(good.len()).unwrap_or(u32::MAX));
        zones = zones.min(nodes.zones(&good));
    }
    Ok((copies, zones))
}

/// Opaque, and the same for the same bytes cut the same way: the first half of the file root.
fn etag(root: &FileRoot) -> String {
    let mut text = root.to_string();
    text.truncate(32);
    text
}

fn object_info(request: &Commit, upload: &Upload, blob: &Blob) -> ObjectInfo {
    ObjectInfo {
        bucket: upload.bucket.clone(),
        key: upload.key.clone(),
        version: request.version,
        length: request.length,
        committed_ms: request.committed_ms,
        etag: etag(&request.root),
        sha256: request.sha256,
        root: request.root,
        chunks: Some(ChunkLengths::of_blob(&blob.sizes, request.length)),
        meta: upload.meta.clone(),
    }
}

fn settle(txn: &mut Txn<'_>, upload: &Upload, request: &Commit) -> Result<(), CatalogError> {
    let mut accounts = Accounts::load(txn, &upload.principal, &upload.bucket)?;
    let exact = Amount::object(request.length);
    accounts.settle(Amount::object(upload.reserved), exact)?;
    if request.faults.has(SeededBug::SettleTwice) {
        accounts.settle(Amount::ZERO, exact)?;
    }
    accounts.store(txn)
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
