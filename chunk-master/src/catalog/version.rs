//! Version: one content that a name has or had.
//!
//! Key: tenant, version. Lifetime: from commit until it is purged; while condemned it can be read by its
//! id and can come back.

use cairn_core::digest::{FileRoot, Sha256};
use cairn_core::ids::BlobId;
use cairn_core::lengths::{ChunkLengths, ChunkRun};
use cairn_core::names::{BucketName, ObjectKey, Principal, TenantId, UserId};
use cairn_core::object::{ObjectInfo, ObjectMeta, VersionId};
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Names a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionKey {
    pub(crate) tenant: TenantId,
    pub(crate) version: VersionId,
}

/// A part of a blob: versions are lists of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) blob: BlobId,
    /// First byte of the blob.
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Whether the name points at the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionState {
    Current,
    /// Replaced or deleted; waits.
    Condemned {
        since_ms: u64,
        until_ms: u64,
    },
}

/// A version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) info: ObjectInfo,
    /// Who wrote it, and is charged for it.
    pub(crate) principal: Principal,
    pub(crate) extents: Vec<Extent>,
    pub(crate) state: VersionState,
}

#[derive(Message)]
struct ExtentPayload {
    #[prost(bytes = "vec", tag = "1")]
    blob: Vec<u8>,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint64, tag = "3")]
    length: u64,
}

#[derive(Message)]
struct WaitPayload {
    #[prost(uint64, tag = "1")]
    since_ms: u64,
    #[prost(uint64, tag = "2")]
    until_ms: u64,
}

#[derive(Message)]
struct Payload {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    user: String,
    #[prost(message, repeated, tag = "3")]
    extents: Vec<ExtentPayload>,
    #[prost(message, optional, tag = "4")]
    condemned: Option<WaitPayload>,
    #[prost(message, required, tag = "5")]
    info: InfoPayload,
}

/// Everything that clients see of a version; a finished upload keeps it as well.
#[derive(Message)]
pub(super) struct InfoPayload {
    #[prost(string, tag = "1")]
    bucket: String,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(bytes = "vec", tag = "3")]
    version: Vec<u8>,
    #[prost(uint64, tag = "4")]
    length: u64,
    #[prost(uint64, tag = "5")]
    committed_ms: u64,
    #[prost(string, tag = "6")]
    etag: String,
    #[prost(bytes = "vec", optional, tag = "7")]
    sha256: Option<Vec<u8>>,
    #[prost(bytes = "vec", tag = "8")]
    root: Vec<u8>,
    #[prost(message, required, tag = "9")]
    meta: MetaPayload,
    /// Absent while there is content: not known.
    #[prost(message, repeated, tag = "10")]
    chunks: Vec<RunPayload>,
}

/// Some chunks of one length; lists keep them as well.
#[derive(Message)]
pub(super) struct RunPayload {
    #[prost(uint64, tag = "1")]
    length: u64,
    #[prost(uint32, tag = "2")]
    count: u32,
}

/// Writes the lengths of a version's chunks.
pub(super) fn write_chunks(chunks: Option<&ChunkLengths>) -> Vec<RunPayload> {
    let run = |run: &ChunkRun| RunPayload { length: run.length, count: run.count };
    chunks.map_or(&[][..], ChunkLengths::runs).iter().map(run).collect()
}

/// Reads the lengths of the chunks of a version of `length` bytes.
pub(super) fn read_chunks(
    runs: &[RunPayload],
    length: u64,
) -> Result<Option<ChunkLengths>, Malformed> {
    let run = |run: &RunPayload| ChunkRun { length: run.length, count: run.count };
    Ok(ChunkLengths::told(runs.iter().map(run).collect(), length)?)
}

/// What the owner said; an open upload keeps it as well.
#[derive(Message)]
pub(super) struct MetaPayload {
    #[prost(string, optional, tag = "1")]
    content_type: Option<String>,
    #[prost(btree_map = "string, string", tag = "2")]
    user: std::collections::BTreeMap<String, String>,
}

impl From<&ObjectMeta> for MetaPayload {
    fn from(meta: &ObjectMeta) -> Self {
        Self { content_type: meta.content_type().map(str::to_owned), user: meta.user().clone() }
    }
}

impl TryFrom<MetaPayload> for ObjectMeta {
    type Error = Malformed;

    fn try_from(read: MetaPayload) -> Result<Self, Malformed> {
        Ok(Self::new(read.content_type, read.user)?)
    }
}

impl From<&ObjectInfo> for InfoPayload {
    fn from(info: &ObjectInfo) -> Self {
        Self {
            bucket: info.bucket.to_string(),
            key: info.key.to_string(),
            version: info.version.as_bytes().to_vec(),
            length: info.length,
            committed_ms: info.committed_ms,
            etag: info.etag.clone(),
            sha256: info.sha256.map(|sha| sha.0.to_vec()),
            root: info.root.0.to_vec(),
            chunks: write_chunks(info.chunks.as_ref()),
            meta: (&info.meta).into(),
        }
    }
}

impl TryFrom<InfoPayload> for ObjectInfo {
    type Error = Malformed;

    fn try_from(read: InfoPayload) -> Result<Self, Malformed> {
        let sha256 = read.sha256.as_deref().map(Sha256::try_from).transpose()?;
        Ok(Self {
            bucket: BucketName::new(read.bucket)?,
            key: ObjectKey::new(read.key)?,
            version: VersionId::from_slice(&read.version)?,
            length: read.length,
            committed_ms: read.committed_ms,
            etag: read.etag,
            sha256,
            root: FileRoot::try_from(read.root.as_slice())?,
            chunks: read_chunks(&read.chunks, read.length)?,
            meta: read.meta.try_into()?,
        })
    }
}

impl Record for Version {
    type Key = VersionKey;
    const TABLE: Table = Table::Version;

    fn write_key(key: &VersionKey, parts: &mut KeyWriter) {
        parts.text(key.tenant.as_str()).id(key.version.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<VersionKey, Malformed> {
        Ok(VersionKey {
            tenant: TenantId::new(parts.text()?)?,
            version: VersionId::from_slice(&parts.id()?)?,
        })
    }

    fn to_payload(&self) -> Vec<u8> {
        let extent = |extent: &Extent| ExtentPayload {
            blob: extent.blob.as_bytes().to_vec(),
            offset: extent.offset,
            length: extent.length,
        };
        let condemned = match self.state {
            VersionState::Current => None,
            VersionState::Condemned { since_ms, until_ms } => {
                Some(WaitPayload { since_ms, until_ms })
            }
        };
        Payload {
            tenant: self.principal.tenant.to_string(),
            user: self.principal.user.to_string(),
            extents: self.extents.iter().map(extent).collect(),
            condemned,
            info: (&self.info).into(),
        }
        .encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let read = Payload::decode(payload)?;
        let extent = |read: &ExtentPayload| -> Result<Extent, Malformed> {
            Ok(Extent {
                blob: BlobId::from_slice(&read.blob)?,
                offset: read.offset,
                length: read.length,
            })
        };
        let state = match read.condemned {
            None => VersionState::Current,
            Some(WaitPayload { since_ms, until_ms }) => {
                VersionState::Condemned { since_ms, until_ms }
            }
        };
        Ok(Self {
            info: read.info.try_into()?,
            principal: Principal {
                tenant: TenantId::new(read.tenant)?,
                user: UserId::new(read.user)?,
            },
            extents: read.extents.iter().map(extent).collect::<Result<_, _>>()?,
            state,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    pub(in crate::catalog) fn info() -> ObjectInfo {
        let user = [("colour".to_owned(), "grün".to_owned())];
        ObjectInfo {
            bucket: BucketName::standard(),
            key: ObjectKey::new("a/b").expect("a key"),
            version: VersionId::from_uuid(Uuid::from_u128(5)),
            length: 7,
            committed_ms: 8,
            etag: "e".into(),
            sha256: Some(Sha256([1; 32])),
            root: FileRoot([2; 32]),
            chunks: "7".parse().ok(),
            meta: ObjectMeta::new(Some("text/plain".into()), user).expect("fits"),
        }
    }

    #[test]
    fn a_version_round_trips() {
        let key = VersionKey { tenant: TenantId::standard(), version: info().version };
        let version = Version {
            info: info(),
            principal: Principal::standard(),
            extents: vec![Extent {
                blob: BlobId::from_uuid(Uuid::from_u128(1)),
                offset: 0,
                length: 7,
            }],
            state: VersionState::Condemned { since_ms: 0, until_ms: 9 },
        };
        round_trips(&key, &version);
        let state = VersionState::Current;
        round_trips(&key, &Version { state, ..version });
    }
}
