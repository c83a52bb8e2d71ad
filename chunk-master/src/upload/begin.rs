//! Begin: an upload comes to be, with its reservation, its blob and its lease, or not at all.

use std::collections::BTreeSet;

use cairn_core::chunking::ChunkSizes;
use cairn_core::ids::{BlobId, NodeId, UploadId};
use cairn_core::lifecycle::BlobState;
use cairn_core::names::{BucketName, ObjectKey, Principal};
use cairn_core::object::{ObjectMeta, WriteCondition};
use cairn_core::placement;
use cairn_core::quota::Amount;
use cairn_kv::Txn;

use super::{Found, find};
use crate::accounts::Accounts;
use crate::catalog::{
    Alarm, AlarmKey, Blob, Bucket, BucketKey, Finished, Outcome, Progress, Subject, Upload, record,
};
use crate::error::{
    BucketNotFound, CatalogError, ConditionRefused, QuotaExceeded, TooFewNodes, UploadAborted,
    UploadCommitted, UploadIdTaken, operation_error,
};
use crate::object::head;

operation_error! {
    /// Why an upload does not begin.
    BeginError {
        Catalog(CatalogError),
        Bucket(BucketNotFound),
        Condition(ConditionRefused),
        Quota(QuotaExceeded),
        Nodes(TooFewNodes),
        IdTaken(UploadIdTaken),
        Aborted(UploadAborted),
        Committed(UploadCommitted),
    }
}

/// What is asked for, checked, with the ids and times that the closure must not draw itself.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    pub(crate) upload: UploadId,
    /// The blob, unless the call is a repeat.
    pub(crate) blob: BlobId,
    pub(crate) principal: Principal,
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
    pub(crate) length: Option<u64>,
    /// Bytes in hand, when the length is not known.
    pub(crate) received: u64,
    /// Bytes to reserve when the length is not known and much is free.
    pub(crate) wish: u64,
    pub(crate) condition: WriteCondition,
    pub(crate) meta: ObjectMeta,
    pub(crate) sizes: ChunkSizes,
    pub(crate) copies: u32,
    pub(crate) lease_until_ms: u64,
}

/// An upload that is open now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) blob: BlobId,
    pub(crate) sizes: ChunkSizes,
    pub(crate) reserved: u64,
    pub(crate) copies: u32,
    /// The call was a repeat: nothing was reserved by it.
    pub(crate) repeated: bool,
}

/// Opens the upload, or finds the one that an earlier call opened. `placed` are the nodes chosen for the
/// first chunks; that there are too few is told last, after what waiting cannot heal.
pub(crate) fn begin(
    txn: &mut Txn<'_>,
    request: &Begin,
    placed: &Result<BTreeSet<NodeId>, placement::TooFewNodes>,
) -> Result<Begun, BeginError> {
    if let Some(upload) = earlier(txn, request)? {
        return repeat(txn, request, upload, placed);
    }
    let bucket =
        BucketKey { tenant: request.principal.tenant.clone(), bucket: request.bucket.clone() };
    if record::get::<Bucket>(txn, &bucket)?.is_none() {
        return Err(BucketNotFound(request.bucket.clone()).into());
    }
    let current = head::current(txn, &bucket, &request.key)?;
    head::check(&request.condition, current.as_ref())?;

    let mut accounts = Accounts::load(txn, &request.principal, &request.bucket)?;
    let reserved = request.length.unwrap_or_else(|| accounts.ahead(request.received, request.wish));
    accounts.reserve(Amount::object(reserved), Amount::ZERO)?;
    accounts.store(txn)?;

    let nodes = placed.clone().map_err(TooFewNodes)?;
    open(txn, request, reserved, nodes)?;
    Ok(Begun {
        blob: request.blob,
        sizes: request.sizes,
        reserved,
        copies: request.copies,
        repeated: false,
    })
}

/// The upload that an earlier call with this id opened.
fn earlier(txn: &Txn<'_>, request: &Begin) -> Result<Option<Upload>, BeginError> {
    let id = request.upload;
    match find(txn, id, &request.principal)? {
        Some(Found::Open(upload)) => {
            let same = upload.bucket == request.bucket
                && upload.key == request.key
                && upload.known_length == request.length;
            if same { Ok(Some(*upload)) } else { Err(UploadIdTaken(id).into()) }
        }
        Some(Found::Finished(finished)) => Err(match finished.outcome {
            Outcome::Aborted => UploadAborted(id).into(),
            Outcome::Committed(_) => UploadCommitted(id).into(),
        }),
        None if taken(txn, id)? => Err(UploadIdTaken(id).into()),
        None => Ok(None),
    }
}

/// Another principal has drawn the same id.
fn taken(txn: &Txn<'_>, id: UploadId) -> Result<bool, CatalogError> {
    Ok(record::get::<Upload>(txn, &id)?.is_some() || record::get::<Finished>(txn, &id)?.is_some())
}

fn repeat(
    txn: &mut Txn<'_>,
    request: &Begin,
    mut upload: Upload,
    placed: &Result<BTreeSet<NodeId>, placement::TooFewNodes>,
) -> Result<Begun, BeginError> {
    let nodes = placed.clone().map_err(TooFewNodes)?;
    let mut blob: Blob = record::must_get(txn, &upload.blob)?;
    blob.nodes.extend(nodes);
    record::put(txn, &upload.blob, &blob)?;
    upload.renew_lease(request.lease_until_ms);
    record::put(txn, &request.upload, &upload)?;
    Ok(Begun {
        blob: upload.blob,
        sizes: blob.sizes,
        reserved: upload.reserved,
        copies: blob.copies,
        repeated: true,
    })
}

fn open(
    txn: &mut Txn<'_>,
    request: &Begin,
    reserved: u64,
    nodes: BTreeSet<NodeId>,
) -> Result<(), CatalogError> {
    let blob = Blob {
        tenant: request.principal.tenant.clone(),
        state: BlobState::Open,
        current_refs: 0,
        condemned_refs: 0,
        length: 0,
        sizes: request.sizes,
        copies: request.copies,
        nodes,
    };
    record::put(txn, &request.blob, &blob)?;
    let upload = Upload {
        principal: request.principal.clone(),
        bucket: request.bucket.clone(),
        key: request.key.clone(),
        blob: request.blob,
        known_length: request.length,
        reserved,
        condition: request.condition.clone(),
        meta: request.meta.clone(),
        lease_until_ms: request.lease_until_ms,
        progress: Progress::default(),
    };
    record::put(txn, &request.upload, &upload)?;
    let alarm =
        AlarmKey { due_ms: request.lease_until_ms, subject: Subject::Upload(request.upload) };
    record::put(txn, &alarm, &Alarm)?;
    Ok(())
}
