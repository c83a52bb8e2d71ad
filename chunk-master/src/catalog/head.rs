//! Head: the name's current version, with what lists show of it.
//!
//! Key: tenant, bucket, key, complement of the sequence number, so that the newest comes first once
//! several versions of a name are kept. Lifetime: from commit until the version is replaced or deleted.

use cairn_core::digest::{FileRoot, Sha256};
use cairn_core::lengths::ChunkLengths;
use cairn_core::names::{BucketName, ObjectKey, TenantId};
use cairn_core::object::{ObjectInfo, ObjectMeta, VersionId};
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};
use super::version::{RunPayload, read_chunks, write_chunks};

/// Names a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadKey {
    pub(crate) tenant: TenantId,
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
    /// Position in the bucket's commits.
    pub(crate) sequence: u64,
}

/// A version as lists show it: all but its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: VersionId,
    pub(crate) length: u64,
    pub(crate) committed_ms: u64,
    pub(crate) etag: String,
    pub(crate) sha256: Option<Sha256>,
    pub(crate) root: FileRoot,
    pub(crate) chunks: Option<ChunkLengths>,
}

impl Head {
    /// The summary of a version.
    pub(crate) fn of(info: &ObjectInfo) -> Self {
        Self {
            version: info.version,
            length: info.length,
            committed_ms: info.committed_ms,
            etag: info.etag.clone(),
            sha256: info.sha256,
            root: info.root,
            chunks: info.chunks.clone(),
        }
    }

    /// The object, without its metadata.
    pub(crate) fn into_info(self, bucket: BucketName, key: ObjectKey) -> ObjectInfo {
        ObjectInfo {
            bucket,
            key,
            version: self.version,
            length: self.length,
            committed_ms: self.committed_ms,
            etag: self.etag,
            sha256: self.sha256,
            root: self.root,
            chunks: self.chunks,
            meta: ObjectMeta::default(),
        }
    }
}

#[derive(Message)]
struct Payload {
    #[prost(bytes = "vec", tag = "1")]
    version: Vec<u8>,
    #[prost(uint64, tag = "2")]
    length: u64,
    #[prost(uint64, tag = "3")]
    committed_ms: u64,
    #[prost(string, tag = "4")]
    etag: String,
    #[prost(bytes = "vec", optional, tag = "5")]
    sha256: Option<Vec<u8>>,
    #[prost(bytes = "vec", tag = "6")]
    root: Vec<u8>,
    /// Absent while there is content: not known.
    #[prost(message, repeated, tag = "7")]
    chunks: Vec<RunPayload>,
}

impl Record for Head {
    type Key = HeadKey;
    const TABLE: Table = Table::Head;

    fn write_key(key: &HeadKey, parts: &mut KeyWriter) {
        parts
            .text(key.tenant.as_str())
            .text(key.bucket.as_str())
            .text(key.key.as_str())
            .u64(!key.sequence);
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<HeadKey, Malformed> {
        Ok(HeadKey {
            tenant: TenantId::new(parts.text()?)?,
            bucket: BucketName::new(parts.text()?)?,
            key: ObjectKey::new(parts.text()?)?,
            sequence: !parts.u64()?,
        })
    }

    fn to_payload(&self) -> Vec<u8> {
        Payload {
            version: self.version.as_bytes().to_vec(),
            length: self.length,
            committed_ms: self.committed_ms,
            etag: self.etag.clone(),
            sha256: self.sha256.map(|sha| sha.0.to_vec()),
            root: self.root.0.to_vec(),
            chunks: write_chunks(self.chunks.as_ref()),
        }
        .encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let read = Payload::decode(payload)?;
        let sha256 = read.sha256.as_deref().map(Sha256::try_from).transpose()?;
        Ok(Self {
            version: VersionId::from_slice(&read.version)?,
            length: read.length,
            committed_ms: read.committed_ms,
            etag: read.etag,
            sha256,
            root: FileRoot::try_from(read.root.as_slice())?,
            chunks: read_chunks(&read.chunks, read.length)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::{key_of, tests::round_trips};

    fn key(name: &str, sequence: u64) -> HeadKey {
        HeadKey {
            tenant: TenantId::standard(),
            bucket: BucketName::standard(),
            key: ObjectKey::new(name).expect("a key"),
            sequence,
        }
    }

    #[test]
    fn a_head_round_trips() {
        let head = Head {
            version: VersionId::from_uuid(Uuid::from_u128(1)),
            length: 7,
            committed_ms: 8,
            etag: "e".into(),
            sha256: Some(Sha256([1; 32])),
            root: FileRoot([2; 32]),
            chunks: "4, 3".parse().ok(),
        };
        round_trips(&key("a/b", 3), &head);
        let (sha256, chunks) = (None, None);
        round_trips(&key("ü", u64::MAX), &Head { sha256, chunks, ..head });
    }

    #[test]
    fn names_sort_by_their_bytes_and_the_newest_version_first() {
        let order = [("a", 2), ("a", 1), ("a\u{1}", 9), ("a/b", 1), ("ab", 1)];
        let keys: Vec<_> = order.map(|(n, s)| key_of::<Head>(&key(n, s))).to_vec();
        assert!(keys.is_sorted());
    }
}
