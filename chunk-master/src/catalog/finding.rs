//! Finding: a copy that a reader found missing or wrong.
//!
//! Key: blob, chunk, node. Lifetime: from the report until the copy is replaced or the blob erased.

use std::ops::Bound;

use cairn_core::copies::CopyFinding;
use cairn_core::ids::{BlobId, ChunkId, ChunkIndex, NodeId};
use cairn_kv::KeyRange;
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{self, Malformed, Record, Table};

/// Which copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FindingKey {
    pub(crate) chunk: ChunkId,
    pub(crate) node: NodeId,
}

/// What was found of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finding(pub(crate) CopyFinding);

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    Unknown = 0,
    Missing = 1,
    Corrupt = 2,
}

#[derive(Message)]
struct Payload {
    #[prost(enumeration = "Kind", tag = "1")]
    kind: i32,
}

impl Record for Finding {
    type Key = FindingKey;
    const TABLE: Table = Table::Finding;

    fn write_key(key: &FindingKey, parts: &mut KeyWriter) {
        parts.id(key.chunk.blob.as_bytes()).u32(key.chunk.index).id(key.node.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<FindingKey, Malformed> {
        Ok(FindingKey {
            chunk: ChunkId::new(BlobId::from_slice(&parts.id()?)?, parts.u32()?),
            node: NodeId::from_slice(&parts.id()?)?,
        })
    }

    fn to_payload(&self) -> Vec<u8> {
        let kind = match self.0 {
            CopyFinding::Missing => Kind::Missing,
            CopyFinding::Corrupt => Kind::Corrupt,
        };
        Payload { kind: kind.into() }.encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        match Payload::decode(payload)?.kind() {
            Kind::Missing => Ok(Self(CopyFinding::Missing)),
            Kind::Corrupt => Ok(Self(CopyFinding::Corrupt)),
            Kind::Unknown => Err(Malformed::new("the finding is not known")),
        }
    }
}

/// The findings on chunks `first..end` of a blob.
pub(crate) fn on_chunks(blob: BlobId, first: ChunkIndex, end: ChunkIndex) -> KeyRange {
    let at = |index: ChunkIndex| {
        record::raw_key::<Finding>(|parts| {
            parts.id(blob.as_bytes()).u32(index);
        })
    };
    KeyRange::new(Bound::Included(at(first)), Bound::Excluded(at(end)))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn findings_round_trip() {
        let key = FindingKey {
            chunk: ChunkId::new(BlobId::from_uuid(Uuid::from_u128(1)), 300),
            node: NodeId::from_uuid(Uuid::from_u128(2)),
        };
        for found in [CopyFinding::Missing, CopyFinding::Corrupt] {
            round_trips(&key, &Finding(found));
        }
    }
}
