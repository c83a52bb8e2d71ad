//! What can go wrong: a struct per meaning, which knows its reason on the wire, and in each operation's
//! file one enum of those that the operation can meet.

use cairn_core::bucket::InvalidSetting;
use cairn_core::ids::{CatalogId, NodeId, UploadId};
use cairn_core::lifecycle::{BlobState, NoSuchStep};
use cairn_core::names::{BucketName, ObjectKey, TenantId};
use cairn_core::object::{ConditionFailed, VersionId};
use cairn_core::placement;
use cairn_core::quota::{AccountMismatch, Exceeded, Measure};
use cairn_kv::AccessError;
use cairn_proto::{Reason, WireError};

use crate::catalog::Scope;
use crate::nodes::{Left, Spread};

/// Declares an operation's error: an enum of structs, each with its own reason.
macro_rules! operation_error {
    ($(#[$doc:meta])* $name:ident { $($variant:ident($type:ty),)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, thiserror::Error)]
        pub(crate) enum $name {
            $(#[error(transparent)] $variant(#[from] $type),)+
        }

        impl cairn_proto::WireError for $name {
            fn reason(&self) -> cairn_proto::Reason {
                match self { $(Self::$variant(error) => error.reason(),)+ }
            }

            fn client_message(&self) -> String {
                match self { $(Self::$variant(error) => error.client_message(),)+ }
            }

            fn is_retryable(&self) -> bool {
                match self { $(Self::$variant(error) => error.is_retryable(),)+ }
            }
        }

        impl From<cairn_kv::AccessError> for $name {
            fn from(error: cairn_kv::AccessError) -> Self {
                Self::from($crate::error::CatalogError::from(error))
            }
        }
    };
}
pub(crate) use operation_error;

/// A record that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {key} of table {table} is damaged: {why}")]
pub(crate) struct DamagedRecord {
    pub(crate) table: String,
    pub(crate) key: String,
    pub(crate) why: String,
}

/// The catalog could not be read or written, or its records contradict each other.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CatalogError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Damaged(#[from] DamagedRecord),
    #[error(transparent)]
    Books(#[from] AccountMismatch),
    #[error("blob: {0}")]
    Step(#[from] NoSuchStep<BlobState>),
}

impl WireError for CatalogError {
    fn reason(&self) -> Reason {
        match self {
            Self::Access(_) => Reason::StorageFailed,
            Self::Damaged(_) | Self::Books(_) | Self::Step(_) => Reason::Unspecified,
        }
    }

    fn client_message(&self) -> String {
        "the catalog could not be read: tell the operator, with the request id".to_owned()
    }
}

/// There is no such bucket for what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BucketNotFound {
    #[error("there is no bucket {0}: use another, or create it")]
    Absent(BucketName),
    /// Nothing can be done in it any more.
    #[error("bucket {0} is being deleted: use another")]
    Deleting(BucketName),
}

impl WireError for BucketNotFound {
    fn reason(&self) -> Reason {
        Reason::BucketNotFound
    }
}

/// A bucket of this name exists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bucket {0} exists: choose another name, or use it as it is")]
pub(crate) struct BucketExists(pub(crate) BucketName);

impl WireError for BucketExists {
    fn reason(&self) -> Reason {
        Reason::BucketExists
    }
}

/// The bucket is being deleted: it cannot change, and its name is not free yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "bucket {0} is being deleted with its contents: wait until it is gone, or use another name"
)]
pub(crate) struct BucketDeleting(pub(crate) BucketName);

impl WireError for BucketDeleting {
    fn reason(&self) -> Reason {
        Reason::BucketDeleting
    }
}

/// Something is in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "bucket {bucket} holds {files} files, {uploads} open uploads and {condemned} deleted or replaced files that can \
     come back: delete it with its contents to give them up"
)]
pub(crate) struct BucketNotEmpty {
    pub(crate) bucket: BucketName,
    pub(crate) files: u64,
    pub(crate) uploads: u64,
    pub(crate) condemned: u64,
}

impl WireError for BucketNotEmpty {
    fn reason(&self) -> Reason {
        Reason::BucketNotEmpty
    }
}

/// A setting of a bucket breaks its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub(crate) struct SettingRefused(#[from] pub(crate) InvalidSetting);

impl WireError for SettingRefused {
    fn reason(&self) -> Reason {
        Reason::InvalidField
    }
}

/// There is no such tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no tenant {0}: create it first")]
pub(crate) struct TenantNotFound(pub(crate) TenantId);

impl WireError for TenantNotFound {
    fn reason(&self) -> Reason {
        Reason::TenantNotFound
    }
}

/// A tenant of this name exists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant {0} exists: choose another name, or use it as it is")]
pub(crate) struct TenantExists(pub(crate) TenantId);

impl WireError for TenantExists {
    fn reason(&self) -> Reason {
        Reason::TenantExists
    }
}

/// The tenant has buckets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant {0} has buckets, among them {1}: delete them first")]
pub(crate) struct TenantNotEmpty(pub(crate) TenantId, pub(crate) BucketName);

impl WireError for TenantNotEmpty {
    fn reason(&self) -> Reason {
        Reason::TenantNotEmpty
    }
}

/// There is no such job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no job {0}")]
pub(crate) struct JobNotFound(pub(crate) String);

impl WireError for JobNotFound {
    fn reason(&self) -> Reason {
        Reason::JobNotFound
    }
}

/// That cannot be done with the job, as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("job {job} {why}")]
pub(crate) struct JobRefuses {
    pub(crate) job: String,
    pub(crate) why: &'static str,
}

impl WireError for JobRefuses {
    fn reason(&self) -> Reason {
        Reason::JobRefuses
    }
}

/// The tenant of open mode stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tenant: the tenant `default` cannot be deleted: everyone belongs to it in open mode")]
pub(crate) struct TenantStays;

impl WireError for TenantStays {
    fn reason(&self) -> Reason {
        Reason::InvalidField
    }
}

/// The nodes were chosen for another policy than counts now: they are chosen again, a bounded number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the policy of the bucket changes too often: try again later")]
pub(crate) struct PlacedOtherwise(pub(crate) Spread);

impl WireError for PlacedOtherwise {
    fn reason(&self) -> Reason {
        Reason::Busy
    }
}

/// There is no such object, or not this version of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no file {key:?} in bucket {bucket}")]
pub(crate) struct ObjectNotFound {
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
}

impl WireError for ObjectNotFound {
    fn reason(&self) -> Reason {
        Reason::ObjectNotFound
    }
}

/// There is no such version, or it is not condemned, or its purge has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("version {0} is not among the deleted ones: it is current, or purged, or never was")]
pub(crate) struct VersionNotCondemned(pub(crate) VersionId);

impl WireError for VersionNotCondemned {
    fn reason(&self) -> Reason {
        Reason::ObjectNotFound
    }
}

/// The name has a current version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "file {key:?} in bucket {bucket} exists: delete it first, then bring the other version back"
)]
pub(crate) struct NameTaken {
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
}

impl WireError for NameTaken {
    fn reason(&self) -> Reason {
        Reason::ObjectExists
    }
}

/// A condition on the name does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub(crate) struct ConditionRefused(#[from] pub(crate) ConditionFailed);

impl WireError for ConditionRefused {
    fn reason(&self) -> Reason {
        match self.0 {
            ConditionFailed::Exists => Reason::ObjectExists,
            ConditionFailed::Absent | ConditionFailed::Changed => Reason::PreconditionFailed,
        }
    }
}

/// The file is larger than a file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are too many: a file may have {most}, so split it")]
pub(crate) struct FileTooLarge {
    pub(crate) bytes: u64,
    pub(crate) most: u64,
}

impl WireError for FileTooLarge {
    fn reason(&self) -> Reason {
        Reason::FileTooLarge
    }
}

/// A quota would be exceeded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("quota of {scope}: {exceeded}")]
pub(crate) struct QuotaExceeded {
    pub(crate) scope: Scope,
    pub(crate) exceeded: Exceeded,
    /// What the asking upload itself holds of the measure: waiting cannot give that back.
    pub(crate) own: u64,
}

impl QuotaExceeded {
    /// True when other uploads hold what is missing, and may give it back.
    pub(crate) fn worth_waiting(&self) -> bool {
        let Exceeded { limit, used, wanted, .. } = self.exceeded;
        let without_others = Exceeded { used: used.saturating_add(self.own), ..self.exceeded };
        wanted <= limit && without_others.blocked_by_reservations()
    }
}

impl WireError for QuotaExceeded {
    fn reason(&self) -> Reason {
        Reason::QuotaExceeded
    }

    fn client_message(&self) -> String {
        let Exceeded { measure, limit, used, reserved, wanted } = self.exceeded;
        let measure = match measure {
            Measure::Bytes => "bytes",
            Measure::Objects => "files",
        };
        let next = if self.worth_waiting() {
            "try again when open uploads have ended"
        } else {
            "delete files, send less, or ask the operator for a larger quota"
        };
        format!(
            "the quota of {} is {limit} {measure}: {used} are used, {reserved} reserved by open \
             uploads, and {wanted} more are wanted; {next}",
            self.scope
        )
    }
}

/// A caller would do with fewer copies than the bucket must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "write: a quorum of {quorum}: at least {least} copies must be durable: ask for so many, or change least_copies"
)]
pub(crate) struct BelowLeast {
    pub(crate) quorum: u32,
    pub(crate) least: u32,
}

impl WireError for BelowLeast {
    fn reason(&self) -> Reason {
        Reason::InvalidField
    }
}

/// The nodes that take chunks now do not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotPlaced {
    #[error("{0}: try again later")]
    Nodes(#[from] placement::TooFewNodes),
    #[error(
        "copies can be placed in {found} zones, the bucket wants {wanted}: try again later, or change the bucket"
    )]
    Zones { wanted: u32, found: u32 },
    #[error("the master has just begun and has not heard from all nodes yet: try again")]
    NotHeardYet,
}

impl WireError for NotPlaced {
    fn reason(&self) -> Reason {
        match self {
            Self::Nodes(_) | Self::Zones { .. } => Reason::TooFewNodes,
            // Another master may know more.
            Self::NotHeardYet => Reason::Busy,
        }
    }
}

/// There is no such upload, or it is over for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no upload {0}: begin a new one")]
pub(crate) struct UploadNotFound(pub(crate) UploadId);

impl WireError for UploadNotFound {
    fn reason(&self) -> Reason {
        Reason::UploadNotFound
    }
}

/// The upload was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("upload {0} was aborted, or made no progress for too long: begin a new one")]
pub(crate) struct UploadAborted(pub(crate) UploadId);

impl WireError for UploadAborted {
    fn reason(&self) -> Reason {
        Reason::UploadAborted
    }
}

/// The upload is a version already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("upload {0} is committed and cannot change any more: delete the file instead")]
pub(crate) struct UploadCommitted(pub(crate) UploadId);

impl WireError for UploadCommitted {
    fn reason(&self) -> Reason {
        Reason::UploadCommitted
    }
}

/// A node that belongs to another catalog wants to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the node belongs to catalog {theirs}, this master has {ours}: start the master on its own catalog, or give the \
     node an empty folder"
)]
pub(crate) struct ForeignCatalog {
    pub(crate) ours: CatalogId,
    pub(crate) theirs: CatalogId,
}

impl WireError for ForeignCatalog {
    fn reason(&self) -> Reason {
        Reason::ForeignCatalog
    }
}

/// The upload id names another upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("upload_id: {0} names another upload: draw a new id")]
pub(crate) struct UploadIdTaken(pub(crate) UploadId);

impl WireError for UploadIdTaken {
    fn reason(&self) -> Reason {
        Reason::InvalidField
    }
}

/// The upload cannot be committed, or a receipt does not fit into it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Incomplete {
    #[error("chunk {index} has {length} bytes, {expected} are expected")]
    ChunkLength { index: u32, length: u64, expected: u64 },
    #[error("chunks {0} and {1} are both shorter than full: only the last chunk of a file may be")]
    TwoShortChunks(u32, u32),
    #[error("{confirmed} of {expected} chunks are confirmed")]
    ChunksMissing { confirmed: u64, expected: u64 },
    #[error("the confirmed chunks have {confirmed} bytes, the file is said to have {length}")]
    LengthDiffers { confirmed: u64, length: u64 },
    #[error("{length} bytes are to be committed, {announced} were announced or reserved")]
    LengthNotAnnounced { length: u64, announced: u64 },
    #[error("a chunk has {copies} durable copies, {wanted} are wanted")]
    CopiesMissing { copies: u32, wanted: u32 },
    #[error("the copies of a chunk are in {zones} zones, {wanted} are wanted")]
    ZonesMissing { zones: u32, wanted: u32 },
    #[error("a disk was replaced while the upload ran, and the upload is too large to count again")]
    DiskReplaced,
}

impl WireError for Incomplete {
    fn reason(&self) -> Reason {
        Reason::UploadIncomplete
    }
}

/// The chunk was confirmed with another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("chunk {0} is confirmed with another content: begin a new upload")]
pub(crate) struct ChunkConflict(pub(crate) u32);

impl WireError for ChunkConflict {
    fn reason(&self) -> Reason {
        Reason::ChunkConflict
    }
}

/// More was received than was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{received} bytes were received, {announced} were announced")]
pub(crate) struct LongerThanAnnounced {
    pub(crate) received: u64,
    pub(crate) announced: u64,
}

impl WireError for LongerThanAnnounced {
    fn reason(&self) -> Reason {
        Reason::BodyMismatch
    }
}

/// The node is not known, or not with these disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("node {0} is not known with these disks: register again")]
pub(crate) struct NodeUnknown(pub(crate) NodeId);

impl WireError for NodeUnknown {
    fn reason(&self) -> Reason {
        Reason::NodeUnknown
    }
}

/// The node was removed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("node {0} was removed from the cluster: with empty folders it can join as a new one")]
pub(crate) struct NodeRemoved(pub(crate) NodeId);

impl WireError for NodeRemoved {
    fn reason(&self) -> Reason {
        Reason::NodeRemoved
    }
}

/// There is no such node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no node {0}: list the nodes")]
pub(crate) struct NoSuchNode(pub(crate) NodeId);

impl WireError for NoSuchNode {
    fn reason(&self) -> Reason {
        Reason::NodeUnknown
    }
}

/// The node is not being emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("node {0} is not being drained: drain it first")]
pub(crate) struct NotDraining(pub(crate) NodeId);

impl WireError for NotDraining {
    fn reason(&self) -> Reason {
        Reason::NodeNeeded
    }
}

/// Something is left on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("node {node} is still needed, for {left}: wait until it is drained")]
pub(crate) struct NodeNeeded {
    pub(crate) node: NodeId,
    pub(crate) left: Left,
}

impl WireError for NodeNeeded {
    fn reason(&self) -> Reason {
        Reason::NodeNeeded
    }
}

/// The node keeps the journal of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("node {0} keeps the journal of the metadata, and no other node can: add one, or wait")]
pub(crate) struct NodeKeepsJournal(pub(crate) NodeId);

impl WireError for NodeKeepsJournal {
    fn reason(&self) -> Reason {
        Reason::NodeNeeded
    }
}

/// The idempotency key names a call of another kind or caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("caller.idempotency_key: was used for another call: draw a new one")]
pub(crate) struct IdempotencyKeyTaken;

impl WireError for IdempotencyKeyTaken {
    fn reason(&self) -> Reason {
        Reason::InvalidField
    }
}
