//! Upload: an open session that becomes one version.
//!
//! Key: upload. Lifetime: from `BeginUpload` until it is committed or aborted; then a
//! [`super::Finished`] record takes its place. That it is here means that it is open.

use std::collections::BTreeSet;

use cairn_core::copies::CopyReceipt;
use cairn_core::ids::{BlobId, ChunkIndex, DiskIncarnation, NodeId, UploadId};
use cairn_core::names::{BucketName, ObjectKey, Principal, TenantId, UserId};
use cairn_core::object::{ObjectMeta, WriteCondition};
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};
use super::version::MetaPayload;

/// An open upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) principal: Principal,
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
    pub(crate) blob: BlobId,
    /// Bytes of the whole body, when it was announced.
    pub(crate) known_length: Option<u64>,
    /// Bytes reserved in all three accounts, beside one object.
    pub(crate) reserved: u64,
    /// Least zones that the copies of each chunk must be in, where they are as many.
    pub(crate) zones: u32,
    /// Copies of each chunk with which it may be committed.
    pub(crate) least_copies: u32,
    pub(crate) condition: WriteCondition,
    pub(crate) meta: ObjectMeta,
    /// Wall time at which it may be given up, unless it makes progress.
    pub(crate) lease_until_ms: u64,
    pub(crate) progress: Progress,
}

/// What is confirmed, counted as receipts come in, so that a commit need not read the pages: it is one
/// bounded transaction whatever the size of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Confirmed chunks.
    pub(crate) chunks: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// The highest confirmed index.
    pub(crate) highest: Option<ChunkIndex>,
    /// The one chunk that is not full: it must turn out to be the last.
    pub(crate) short: Option<ChunkIndex>,
    /// Number of chunks with 0, 1, 2 … copies.
    pub(crate) by_copies: Vec<u64>,
    /// Number of chunks with copies in 0, 1, 2 … zones.
    pub(crate) by_zones: Vec<u64>,
    /// Who holds copies.
    pub(crate) holders: BTreeSet<CopyReceipt>,
}

#[derive(Message)]
struct HolderPayload {
    #[prost(bytes = "vec", tag = "1")]
    node: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    disk: Vec<u8>,
}

#[derive(Message)]
struct ProgressPayload {
    #[prost(uint64, tag = "1")]
    chunks: u64,
    #[prost(uint64, tag = "2")]
    bytes: u64,
    #[prost(uint32, optional, tag = "3")]
    highest: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    short: Option<u32>,
    #[prost(uint64, repeated, tag = "5")]
    by_copies: Vec<u64>,
    #[prost(uint64, repeated, tag = "6")]
    by_zones: Vec<u64>,
    #[prost(message, repeated, tag = "7")]
    holders: Vec<HolderPayload>,
}

#[derive(Message)]
struct ConditionPayload {
    #[prost(bool, tag = "1")]
    must_not_exist: bool,
    #[prost(bool, tag = "2")]
    must_exist: bool,
    #[prost(string, repeated, tag = "3")]
    if_match: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    if_none_match: Vec<String>,
    #[prost(uint64, optional, tag = "5")]
    if_unmodified_since_ms: Option<u64>,
}

#[derive(Message)]
struct Payload {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    user: String,
    #[prost(string, tag = "3")]
    bucket: String,
    #[prost(string, tag = "4")]
    key: String,
    #[prost(bytes = "vec", tag = "5")]
    blob: Vec<u8>,
    #[prost(uint64, optional, tag = "6")]
    known_length: Option<u64>,
    #[prost(uint64, tag = "7")]
    reserved: u64,
    #[prost(message, required, tag = "8")]
    condition: ConditionPayload,
    #[prost(message, required, tag = "9")]
    meta: MetaPayload,
    #[prost(uint64, tag = "10")]
    lease_until_ms: u64,
    #[prost(message, required, tag = "11")]
    progress: ProgressPayload,
    #[prost(uint32, tag = "12")]
    zones: u32,
    #[prost(uint32, tag = "13")]
    least_copies: u32,
}

impl From<&Progress> for ProgressPayload {
    fn from(progress: &Progress) -> Self {
        let holder = |holder: &CopyReceipt| HolderPayload {
            node: holder.node.as_bytes().to_vec(),
            disk: holder.disk.as_bytes().to_vec(),
        };
        Self {
            chunks: progress.chunks,
            bytes: progress.bytes,
            highest: progress.highest,
            short: progress.short,
            by_copies: progress.by_copies.clone(),
            by_zones: progress.by_zones.clone(),
            holders: progress.holders.iter().map(holder).collect(),
        }
    }
}

impl TryFrom<ProgressPayload> for Progress {
    type Error = Malformed;

    fn try_from(read: ProgressPayload) -> Result<Self, Malformed> {
        let holder = |holder: &HolderPayload| -> Result<_, Malformed> {
            Ok(CopyReceipt {
                node: NodeId::from_slice(&holder.node)?,
                disk: DiskIncarnation::from_slice(&holder.disk)?,
            })
        };
        Ok(Self {
            chunks: read.chunks,
            bytes: read.bytes,
            highest: read.highest,
            short: read.short,
            holders: read.holders.iter().map(holder).collect::<Result<_, _>>()?,
            by_copies: read.by_copies,
            by_zones: read.by_zones,
        })
    }
}

impl From<&WriteCondition> for ConditionPayload {
    fn from(condition: &WriteCondition) -> Self {
        let WriteCondition {
            must_not_exist,
            must_exist,
            if_match,
            if_none_match,
            if_unmodified_since_ms,
        } = condition.clone();
        Self { must_not_exist, must_exist, if_match, if_none_match, if_unmodified_since_ms }
    }
}

impl From<ConditionPayload> for WriteCondition {
    fn from(read: ConditionPayload) -> Self {
        Self {
            must_not_exist: read.must_not_exist,
            must_exist: read.must_exist,
            if_match: read.if_match,
            if_none_match: read.if_none_match,
            if_unmodified_since_ms: read.if_unmodified_since_ms,
        }
    }
}

impl Record for Upload {
    type Key = UploadId;
    const TABLE: Table = Table::Upload;

    fn write_key(key: &UploadId, parts: &mut KeyWriter) {
        parts.id(key.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<UploadId, Malformed> {
        Ok(UploadId::from_slice(&parts.id()?)?)
    }

    fn to_payload(&self) -> Vec<u8> {
        Payload {
            tenant: self.principal.tenant.to_string(),
            user: self.principal.user.to_string(),
            bucket: self.bucket.to_string(),
            key: self.key.to_string(),
            blob: self.blob.as_bytes().to_vec(),
            known_length: self.known_length,
            reserved: self.reserved,
            zones: self.zones,
            least_copies: self.least_copies,
            condition: (&self.condition).into(),
            meta: (&self.meta).into(),
            lease_until_ms: self.lease_until_ms,
            progress: (&self.progress).into(),
        }
        .encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let read = Payload::decode(payload)?;
        Ok(Self {
            principal: Principal {
                tenant: TenantId::new(read.tenant)?,
                user: UserId::new(read.user)?,
            },
            bucket: BucketName::new(read.bucket)?,
            key: ObjectKey::new(read.key)?,
            blob: BlobId::from_slice(&read.blob)?,
            known_length: read.known_length,
            reserved: read.reserved,
            zones: read.zones,
            least_copies: read.least_copies,
            condition: read.condition.into(),
            meta: read.meta.try_into()?,
            lease_until_ms: read.lease_until_ms,
            progress: read.progress.try_into()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn an_upload_round_trips() {
        let holder = |n| CopyReceipt {
            node: NodeId::from_uuid(Uuid::from_u128(n)),
            disk: DiskIncarnation::from_uuid(Uuid::from_u128(n + 1)),
        };
        let upload = Upload {
            principal: Principal::standard(),
            bucket: BucketName::standard(),
            key: ObjectKey::new("k").expect("a key"),
            blob: BlobId::from_uuid(Uuid::from_u128(2)),
            known_length: Some(0),
            reserved: 11,
            zones: 2,
            least_copies: 1,
            condition: WriteCondition {
                must_not_exist: true,
                must_exist: true,
                if_match: vec!["a".into()],
                if_none_match: vec!["b".into()],
                if_unmodified_since_ms: Some(0),
            },
            meta: ObjectMeta::default(),
            lease_until_ms: 12,
            progress: Progress {
                chunks: 1,
                bytes: 2,
                highest: Some(0),
                short: Some(0),
                by_copies: vec![0, 0, 1],
                by_zones: vec![0, 1],
                holders: BTreeSet::from([holder(1), holder(5)]),
            },
        };
        round_trips(&UploadId::from_uuid(Uuid::from_u128(1)), &upload);
    }
}
