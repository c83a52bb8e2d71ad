//! Wire types become domain types here, and nowhere deeper. Each reader names the field that does not fit.

use cairn_core::chunking::{ChunkSizes, Chunking, Parts};
use cairn_core::copies::{
    ChunkLocation, ChunkPlacement, ChunkReceipt, ChunkWant, CopyFinding, CopyReceipt, CopyReport,
    NodeMoment, Place,
};
use cairn_core::digest::{ChunkHash, FileRoot, Sha256};
use cairn_core::ids::{BlobId, CatalogId, ChunkId, DiskIncarnation, NodeId, UploadId};
use cairn_core::lengths::{ChunkLengths, ChunkRun};
use cairn_core::liveness::NodeState;
use cairn_core::names::{BucketName, ObjectKey, Principal, TenantId, UserId};
use cairn_core::object::{
    AskedDurability, Durability, ObjectInfo, ObjectMeta, VersionId, WriteCondition,
};
use uuid::Uuid;

use crate::v1;

mod buckets;
mod calls;

pub use buckets::{bucket_settings, scope_kind, setting_names, strategy};
pub use calls::{NodeCalls, gateway_id};

/// A field of a message does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidField {
    /// The field's name in the proto.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl InvalidField {
    /// Names the field and what is wrong with it.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

type Read<T> = Result<T, InvalidField>;

fn fit<T, E: ToString>(field: &'static str, read: Result<T, E>) -> Read<T> {
    read.map_err(|problem| InvalidField::new(field, problem.to_string()))
}

/// A message that must be there.
///
/// # Errors
/// [`InvalidField`] when it is absent.
pub fn required<T>(field: &'static str, value: Option<T>) -> Read<T> {
    value.ok_or_else(|| InvalidField::new(field, "missing"))
}

/// A list of at most `most` entries.
///
/// # Errors
/// [`InvalidField`] when there are more.
pub fn at_most<T>(field: &'static str, most: usize, list: Vec<T>) -> Read<Vec<T>> {
    if list.len() <= most {
        Ok(list)
    } else {
        Err(InvalidField::new(field, format!("{} entries: send at most {most}", list.len())))
    }
}

macro_rules! id_reader {
    ($(#[$doc:meta])* $name:ident, $type:ty, $field:literal) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// [`InvalidField`] when there are not exactly 16 bytes.
        pub fn $name(bytes: &[u8]) -> Read<$type> {
            fit($field, <$type>::from_slice(bytes))
        }
    };
}

id_reader!(
    /// Reads a blob id.
    blob_id, BlobId, "blob_id"
);
id_reader!(
    /// Reads an upload id.
    upload_id, UploadId, "upload_id"
);
id_reader!(
    /// Reads a node id.
    node_id, NodeId, "node_id"
);
id_reader!(
    /// Reads a disk incarnation.
    disk, DiskIncarnation, "disk"
);
id_reader!(
    /// Reads a catalog id.
    catalog_id,
    CatalogId,
    "catalog_id"
);
id_reader!(
    /// Reads a version id.
    version_id, VersionId, "version_id"
);

/// Copies an id's bytes into a field.
pub fn bytes(id: &[u8; 16]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(id)
}

/// Reads a bucket name.
///
/// # Errors
/// [`InvalidField`] with the rule.
pub fn bucket(name: &str) -> Read<BucketName> {
    fit("bucket", BucketName::new(name))
}

/// Reads a key.
///
/// # Errors
/// [`InvalidField`] with the rule.
pub fn key(key: String) -> Read<ObjectKey> {
    fit("key", ObjectKey::new(key))
}

/// Reads a chunk's hash.
///
/// # Errors
/// [`InvalidField`] when there are not exactly 32 bytes.
pub fn chunk_hash(bytes: &[u8]) -> Read<ChunkHash> {
    fit("hash", ChunkHash::try_from(bytes))
}

/// Reads a file root.
///
/// # Errors
/// [`InvalidField`] when there are not exactly 32 bytes.
pub fn root(bytes: &[u8]) -> Read<FileRoot> {
    fit("root", FileRoot::try_from(bytes))
}

/// Reads a SHA-256; empty means not computed.
///
/// # Errors
/// [`InvalidField`] when there are neither 0 nor 32 bytes.
pub fn sha256(bytes: &[u8]) -> Read<Option<Sha256>> {
    if bytes.is_empty() { Ok(None) } else { fit("sha256", Sha256::try_from(bytes)).map(Some) }
}

/// Reads on whose behalf; what is absent or empty is the one tenant and user of open mode.
///
/// # Errors
/// [`InvalidField`] when a label breaks its rule.
pub fn principal(principal: Option<v1::Principal>) -> Read<Principal> {
    let v1::Principal { tenant, user } = principal.unwrap_or_default();
    let standard = Principal::standard();
    Ok(Principal {
        tenant: if tenant.is_empty() {
            standard.tenant
        } else {
            fit("principal.tenant", TenantId::new(tenant))?
        },
        user: if user.is_empty() {
            standard.user
        } else {
            fit("principal.user", UserId::new(user))?
        },
    })
}

impl From<&Principal> for v1::Principal {
    fn from(principal: &Principal) -> Self {
        Self { tenant: principal.tenant.to_string(), user: principal.user.to_string() }
    }
}

/// Reads a chunk id.
///
/// # Errors
/// [`InvalidField`] when it is absent or its blob id does not fit.
pub fn chunk_id(chunk: Option<v1::ChunkId>) -> Read<ChunkId> {
    required("chunk", chunk)?.try_into()
}

impl TryFrom<v1::ChunkId> for ChunkId {
    type Error = InvalidField;

    fn try_from(chunk: v1::ChunkId) -> Read<Self> {
        Ok(Self::new(blob_id(&chunk.blob_id)?, chunk.index))
    }
}

impl From<ChunkId> for v1::ChunkId {
    fn from(chunk: ChunkId) -> Self {
        Self { blob_id: bytes(chunk.blob.as_bytes()), index: chunk.index }
    }
}

impl TryFrom<v1::NodeMoment> for NodeMoment {
    type Error = InvalidField;

    fn try_from(moment: v1::NodeMoment) -> Read<Self> {
        let start = fit("start", Uuid::from_slice(&moment.start))?;
        Ok(Self { start, writes: moment.writes })
    }
}

impl From<NodeMoment> for v1::NodeMoment {
    fn from(moment: NodeMoment) -> Self {
        Self { start: bytes(moment.start.as_bytes()), writes: moment.writes }
    }
}

impl TryFrom<v1::ChunkSizes> for ChunkSizes {
    type Error = InvalidField;

    fn try_from(sizes: v1::ChunkSizes) -> Read<Self> {
        fit("chunk_sizes", Self::new(sizes.first, sizes.large, sizes.large_from))
    }
}

impl From<ChunkSizes> for v1::ChunkSizes {
    fn from(sizes: ChunkSizes) -> Self {
        Self { first: sizes.first(), large: sizes.large(), large_from: sizes.large_from() }
    }
}

/// Reads how a file is to be cut; absent is as the cluster does.
///
/// # Errors
/// [`InvalidField`] when it names no rule that is known, or too many parts.
pub fn chunking(chunking: Option<v1::Chunking>) -> Read<Chunking> {
    let Some(asked) = chunking else { return Ok(Chunking::Standard) };
    let v1::chunking::Rule::Equal(parts) = required("chunking.rule", asked.rule)?;
    fit("chunking", Parts::new(parts)).map(Chunking::Equal)
}

/// Writes how a file is to be cut.
pub fn chunking_rule(chunking: Chunking) -> Option<v1::Chunking> {
    let Chunking::Equal(parts) = chunking else { return None };
    Some(v1::Chunking { rule: Some(v1::chunking::Rule::Equal(parts.get())) })
}

impl TryFrom<v1::Place> for Place {
    type Error = InvalidField;

    fn try_from(place: v1::Place) -> Read<Self> {
        let v1::Place { node_id: node, address, grant } = place;
        Ok(Self { node: node_id(&node)?, address, grant })
    }
}

impl From<Place> for v1::Place {
    fn from(place: Place) -> Self {
        let Place { node, address, grant } = place;
        Self { node_id: bytes(node.as_bytes()), address, grant }
    }
}

/// Reads each entry of a list.
///
/// # Errors
/// What the first entry that does not fit says.
pub fn each<W, D: TryFrom<W, Error = InvalidField>>(list: Vec<W>) -> Read<Vec<D>> {
    list.into_iter().map(D::try_from).collect()
}

impl TryFrom<v1::ChunkPlacement> for ChunkPlacement {
    type Error = InvalidField;

    fn try_from(placement: v1::ChunkPlacement) -> Read<Self> {
        Ok(Self { index: placement.index, places: each(placement.places)? })
    }
}

impl From<ChunkPlacement> for v1::ChunkPlacement {
    fn from(placement: ChunkPlacement) -> Self {
        let ChunkPlacement { index, places } = placement;
        Self { index, places: places.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<v1::ChunkWant> for ChunkWant {
    type Error = InvalidField;

    fn try_from(want: v1::ChunkWant) -> Read<Self> {
        let nodes = |list: Vec<bytes::Bytes>| -> Read<Vec<NodeId>> {
            list.iter().map(|id| node_id(id)).collect()
        };
        Ok(Self {
            index: want.index,
            length: want.length,
            copies: want.copies as usize,
            holders: nodes(want.holders)?,
            failed: nodes(want.failed)?,
        })
    }
}

impl From<ChunkWant> for v1::ChunkWant {
    fn from(want: ChunkWant) -> Self {
        let nodes = |list: &[NodeId]| list.iter().map(|id| bytes(id.as_bytes())).collect();
        Self {
            index: want.index,
            length: want.length,
            copies: u32::try_from(want.copies).unwrap_or(u32::MAX),
            holders: nodes(&want.holders),
            failed: nodes(&want.failed),
        }
    }
}

impl TryFrom<v1::CopyReceipt> for CopyReceipt {
    type Error = InvalidField;

    fn try_from(copy: v1::CopyReceipt) -> Read<Self> {
        Ok(Self { node: node_id(&copy.node_id)?, disk: disk(&copy.disk)? })
    }
}

impl From<CopyReceipt> for v1::CopyReceipt {
    fn from(copy: CopyReceipt) -> Self {
        Self { node_id: bytes(copy.node.as_bytes()), disk: bytes(copy.disk.as_bytes()) }
    }
}

impl TryFrom<v1::ChunkReceipt> for ChunkReceipt {
    type Error = InvalidField;

    fn try_from(receipt: v1::ChunkReceipt) -> Read<Self> {
        Ok(Self {
            index: receipt.index,
            length: receipt.length,
            hash: chunk_hash(&receipt.hash)?,
            copies: each(receipt.copies)?,
        })
    }
}

impl From<ChunkReceipt> for v1::ChunkReceipt {
    fn from(receipt: ChunkReceipt) -> Self {
        let ChunkReceipt { index, length, hash, copies } = receipt;
        Self {
            index,
            length,
            hash: bytes::Bytes::copy_from_slice(&hash.0),
            copies: copies.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::ChunkLocation> for ChunkLocation {
    type Error = InvalidField;

    fn try_from(location: v1::ChunkLocation) -> Read<Self> {
        Ok(Self {
            chunk: chunk_id(location.chunk)?,
            offset: location.offset,
            length: location.length,
            hash: chunk_hash(&location.hash)?,
            places: each(location.places)?,
        })
    }
}

impl From<ChunkLocation> for v1::ChunkLocation {
    fn from(location: ChunkLocation) -> Self {
        let ChunkLocation { chunk, offset, length, hash, places } = location;
        Self {
            chunk: Some(chunk.into()),
            offset,
            length,
            hash: bytes::Bytes::copy_from_slice(&hash.0),
            places: places.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::CopyReport> for CopyReport {
    type Error = InvalidField;

    fn try_from(report: v1::CopyReport) -> Read<Self> {
        let finding = match report.finding() {
            v1::CopyFinding::Missing => CopyFinding::Missing,
            v1::CopyFinding::Corrupt => CopyFinding::Corrupt,
            v1::CopyFinding::Unspecified => return Err(InvalidField::new("finding", "missing")),
        };
        Ok(Self { chunk: chunk_id(report.chunk)?, node: node_id(&report.node_id)?, finding })
    }
}

impl From<CopyReport> for v1::CopyReport {
    fn from(report: CopyReport) -> Self {
        let finding = match report.finding {
            CopyFinding::Missing => v1::CopyFinding::Missing,
            CopyFinding::Corrupt => v1::CopyFinding::Corrupt,
        };
        Self {
            chunk: Some(report.chunk.into()),
            node_id: bytes(report.node.as_bytes()),
            finding: finding.into(),
        }
    }
}

/// Reads metadata; absent is none.
///
/// # Errors
/// [`InvalidField`] when it is too large or cannot be sent back as headers.
pub fn meta(meta: Option<v1::ObjectMeta>) -> Read<ObjectMeta> {
    let v1::ObjectMeta { content_type, user } = meta.unwrap_or_default();
    fit("meta", ObjectMeta::new(Some(content_type), user))
}

impl From<&ObjectMeta> for v1::ObjectMeta {
    fn from(meta: &ObjectMeta) -> Self {
        Self {
            content_type: meta.content_type().unwrap_or_default().to_owned(),
            user: meta.user().clone().into_iter().collect(),
        }
    }
}

/// Reads what is known of an object.
///
/// # Errors
/// [`InvalidField`] when it is absent or one of its fields does not fit.
pub fn object(object: Option<v1::ObjectInfo>) -> Read<ObjectInfo> {
    required("object", object)?.try_into()
}

impl TryFrom<v1::ObjectInfo> for ObjectInfo {
    type Error = InvalidField;

    fn try_from(info: v1::ObjectInfo) -> Read<Self> {
        let run = |run: v1::ChunkRun| ChunkRun { length: run.length, count: run.count };
        let runs = info.chunks.into_iter().map(run).collect();
        Ok(Self {
            chunks: fit("chunks", ChunkLengths::told(runs, info.length))?,
            bucket: bucket(&info.bucket)?,
            key: key(info.key)?,
            version: version_id(&info.version_id)?,
            length: info.length,
            committed_ms: info.committed_ms,
            etag: info.etag,
            sha256: sha256(&info.sha256)?,
            root: root(&info.root)?,
            meta: meta(info.meta)?,
        })
    }
}

impl From<&ObjectInfo> for v1::ObjectInfo {
    fn from(info: &ObjectInfo) -> Self {
        let digest = |bytes: &[u8]| bytes::Bytes::copy_from_slice(bytes);
        let run = |run: &ChunkRun| v1::ChunkRun { length: run.length, count: run.count };
        let chunks = info.chunks.as_ref().map_or(&[][..], ChunkLengths::runs);
        Self {
            chunks: chunks.iter().map(run).collect(),
            bucket: info.bucket.to_string(),
            key: info.key.to_string(),
            version_id: bytes(info.version.as_bytes()),
            length: info.length,
            committed_ms: info.committed_ms,
            etag: info.etag.clone(),
            sha256: info.sha256.map(|sha| digest(&sha.0)).unwrap_or_default(),
            root: digest(&info.root.0),
            meta: Some((&info.meta).into()),
        }
    }
}

impl From<v1::WriteCondition> for WriteCondition {
    fn from(condition: v1::WriteCondition) -> Self {
        let v1::WriteCondition {
            must_not_exist,
            must_exist,
            if_match,
            if_none_match,
            if_unmodified_since_ms,
        } = condition;
        Self { must_not_exist, must_exist, if_match, if_none_match, if_unmodified_since_ms }
    }
}

impl From<WriteCondition> for v1::WriteCondition {
    fn from(condition: WriteCondition) -> Self {
        let WriteCondition {
            must_not_exist,
            must_exist,
            if_match,
            if_none_match,
            if_unmodified_since_ms,
        } = condition;
        Self { must_not_exist, must_exist, if_match, if_none_match, if_unmodified_since_ms }
    }
}

impl From<AskedDurability> for v1::AskedDurability {
    fn from(asked: AskedDurability) -> Self {
        let AskedDurability { copies, zones } = asked;
        Self { copies: copies.unwrap_or(0), zones: zones.unwrap_or(0) }
    }
}

/// Reads what an acknowledgement is to mean at least; absent, or 0, is what the bucket asks for.
///
/// # Errors
/// [`InvalidField`] for numbers that nobody can have.
pub fn asked_durability(asked: Option<v1::AskedDurability>) -> Read<AskedDurability> {
    let v1::AskedDurability { copies, zones } = asked.unwrap_or_default();
    let some = |number: u32| Some(number).filter(|number| *number > 0);
    AskedDurability::new(some(copies), some(zones))
        .map_err(|error| InvalidField::new("durability", error.to_string()))
}

impl From<v1::DurabilityReceipt> for Durability {
    fn from(receipt: v1::DurabilityReceipt) -> Self {
        let v1::DurabilityReceipt { copies, hosts, zones, meta, wanted } = receipt;
        Self { copies, hosts, zones, meta, wanted }
    }
}

impl From<Durability> for v1::DurabilityReceipt {
    fn from(durability: Durability) -> Self {
        let Durability { copies, hosts, zones, meta, wanted } = durability;
        Self { copies, hosts, zones, meta, wanted }
    }
}

impl From<NodeState> for v1::NodeState {
    fn from(state: NodeState) -> Self {
        match state {
            NodeState::Joining => Self::Joining,
            NodeState::Up => Self::Up,
            NodeState::Suspect => Self::Suspect,
            NodeState::Down => Self::Down,
            NodeState::Draining => Self::Draining,
            NodeState::Removed => Self::Removed,
        }
    }
}

/// Reads a node's state.
///
/// # Errors
/// [`InvalidField`] when it is not said.
pub fn node_state(state: v1::NodeState) -> Read<NodeState> {
    match state {
        v1::NodeState::Joining => Ok(NodeState::Joining),
        v1::NodeState::Up => Ok(NodeState::Up),
        v1::NodeState::Suspect => Ok(NodeState::Suspect),
        v1::NodeState::Down => Ok(NodeState::Down),
        v1::NodeState::Draining => Ok(NodeState::Draining),
        v1::NodeState::Removed => Ok(NodeState::Removed),
        v1::NodeState::Unspecified => Err(InvalidField::new("state", "missing")),
    }
}
