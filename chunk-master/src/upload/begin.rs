//! Begin: an upload comes to be, with its reservation, its blob and its lease, or not at all.

use std::collections::BTreeSet;

use cairn_core::bucket::{BucketPolicy, ClusterDefaults, EffectivePolicy};
use cairn_core::chunking::ChunkSizes;
use cairn_core::ids::{BlobId, UploadId};
use cairn_core::lifecycle::BlobState;
use cairn_core::names::{BucketName, ObjectKey, Principal};
use cairn_core::object::{AskedDurability, ObjectMeta, WriteCondition};
use cairn_core::quota::Amount;
use cairn_core::strategy::SaveStrategy;
use cairn_kv::Txn;

use super::{Found, find, give_nodes};
use crate::accounts::Accounts;
use crate::bucket::{self, NoBucket};
use crate::catalog::{
    Alarm, AlarmKey, Blob, Finished, Outcome, Pending, PendingKey, Progress, Subject, Upload,
    record,
};
use crate::error::{
    BelowLeast, CatalogError, ConditionRefused, NotPlaced, PlacedOtherwise, QuotaExceeded,
    UploadAborted, UploadCommitted, UploadIdTaken, operation_error,
};
use crate::nodes::{Placed, Spread};
use crate::object::head;

operation_error! {
    /// Why an upload does not begin.
    BeginError {
        Catalog(CatalogError),
        Bucket(NoBucket),
        Otherwise(PlacedOtherwise),
        Condition(ConditionRefused),
        Quota(QuotaExceeded),
        Nodes(NotPlaced),
        Least(BelowLeast),
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
    /// What the bucket's policy leaves open.
    pub(crate) defaults: ClusterDefaults,
    /// What the acknowledgement is to mean at least.
    pub(crate) asked: AskedDurability,
    /// How the caller asks copies to be written.
    pub(crate) write: Option<SaveStrategy>,
    pub(crate) lease_until_ms: u64,
}

impl Begin {
    /// How copies are to be spread in a bucket with this policy: as it asks, or the caller when that is more. A quorum
    /// says with how many the upload may do, unless it is fewer than the bucket or the cluster was told to keep.
    pub(crate) fn spread(&self, policy: &BucketPolicy) -> Result<Spread, BelowLeast> {
        let effective = policy.effective(&self.defaults);
        let asked = self.asked.copies.max(self.asked.zones).unwrap_or(0);
        let copies = effective.copies.max(asked);
        let zones = effective.zones.max(self.asked.zones.unwrap_or(0));
        let floor = policy.least_copies.or(self.defaults.least_copies);
        let write = self.write.unwrap_or(effective.write);
        let least = match write.quorum() {
            None => effective.least_copies,
            Some(quorum) => match floor {
                Some(least) if quorum < least && self.write.is_some() => {
                    return Err(BelowLeast { quorum, least });
                }
                floor => quorum.max(floor.unwrap_or(1)),
            },
        };
        Ok(Spread { copies, zones, least: least.max(asked).min(copies) })
    }
}

/// An upload that is open now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) blob: BlobId,
    pub(crate) sizes: ChunkSizes,
    pub(crate) reserved: u64,
    pub(crate) copies: u32,
    /// Copies with which it may be committed.
    pub(crate) least_copies: u32,
    /// How the bucket wants copies to be written.
    pub(crate) write: Option<SaveStrategy>,
    /// Whether the SHA-256 of the file is wanted.
    pub(crate) sha256: bool,
    /// The call was a repeat: nothing was reserved by it.
    pub(crate) repeated: bool,
}

/// Opens the upload, or finds the one that an earlier call opened. `placed` are the nodes chosen for the
/// first chunks, as `spread` says; that there are too few is told last, after what waiting cannot heal.
pub(crate) fn begin(
    txn: &mut Txn<'_>,
    request: &Begin,
    spread: Spread,
    placed: &Result<Placed, NotPlaced>,
) -> Result<Begun, BeginError> {
    let earlier = earlier(txn, request)?;
    let name = bucket::key_of(&request.principal, &request.bucket);
    let asked = bucket::live(txn, &name)?.policy;
    let policy = asked.effective(&request.defaults);
    if let Some(upload) = earlier {
        let begun = repeat(txn, request, &policy, upload, spread, placed)?;
        return Ok(Begun { write: asked.write.map(|_| policy.write), ..begun });
    }
    let current = head::current(txn, &name, &request.key)?;
    head::check(&request.condition, current.as_ref())?;

    let mut accounts = Accounts::load(txn, &request.principal, &request.bucket)?;
    let reserved = request.length.unwrap_or_else(|| accounts.ahead(request.received, request.wish));
    accounts.reserve(Amount::object(reserved), Amount::ZERO)?;
    accounts.store(txn)?;

    let counts = request.spread(&asked)?;
    spread.must_be(counts)?;
    let placed = placed.clone()?;
    placed.has_zones(request.asked)?;
    open(txn, request, reserved, counts, placed)?;
    Ok(Begun {
        blob: request.blob,
        sizes: request.sizes,
        reserved,
        copies: counts.copies,
        least_copies: counts.least,
        write: asked.write.map(|_| policy.write),
        sha256: policy.sha256,
        repeated: false,
    })
}

impl Placed {
    /// Where the caller asks for zones by itself, there must be as many.
    fn has_zones(&self, asked: AskedDurability) -> Result<(), NotPlaced> {
        let (wanted, found) = (asked.zones.unwrap_or(0), self.zones);
        if found < wanted { Err(NotPlaced::Zones { wanted, found }) } else { Ok(()) }
    }
}

impl Spread {
    /// Checks that nodes were chosen for what counts.
    pub(super) fn must_be(self, counts: Self) -> Result<(), PlacedOtherwise> {
        if self == counts { Ok(()) } else { Err(PlacedOtherwise(counts)) }
    }
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
    policy: &EffectivePolicy,
    mut upload: Upload,
    spread: Spread,
    placed: &Result<Placed, NotPlaced>,
) -> Result<Begun, BeginError> {
    let mut blob: Blob = record::must_get(txn, &upload.blob)?;
    let least = upload.least_copies;
    spread.must_be(Spread { copies: blob.copies, zones: upload.zones, least })?;
    give_nodes(txn, request.upload, &mut blob, placed.clone()?.nodes)?;
    record::put(txn, &upload.blob, &blob)?;
    upload.renew_lease(request.lease_until_ms);
    record::put(txn, &request.upload, &upload)?;
    Ok(Begun {
        blob: upload.blob,
        sizes: blob.sizes,
        reserved: upload.reserved,
        copies: blob.copies,
        least_copies: upload.least_copies,
        write: None,
        sha256: policy.sha256,
        repeated: true,
    })
}

fn open(
    txn: &mut Txn<'_>,
    request: &Begin,
    reserved: u64,
    spread: Spread,
    placed: Placed,
) -> Result<(), CatalogError> {
    let Placed { nodes, zones } = placed;
    let mut blob = Blob {
        tenant: request.principal.tenant.clone(),
        state: BlobState::Open,
        current_refs: 0,
        condemned_refs: 0,
        length: 0,
        sizes: request.sizes,
        copies: spread.copies,
        nodes: BTreeSet::new(),
    };
    give_nodes(txn, request.upload, &mut blob, nodes)?;
    record::put(txn, &request.blob, &blob)?;
    let upload = Upload {
        principal: request.principal.clone(),
        bucket: request.bucket.clone(),
        key: request.key.clone(),
        blob: request.blob,
        known_length: request.length,
        reserved,
        zones,
        least_copies: spread.least,
        condition: request.condition.clone(),
        meta: request.meta.clone(),
        lease_until_ms: request.lease_until_ms,
        progress: Progress::default(),
    };
    record::put(txn, &request.upload, &upload)?;
    record::put(txn, &PendingKey::of(request.upload, &upload), &Pending)?;
    let alarm =
        AlarmKey { due_ms: request.lease_until_ms, subject: Subject::Upload(request.upload) };
    record::put(txn, &alarm, &Alarm)?;
    Ok(())
}
