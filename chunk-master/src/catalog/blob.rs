//! Blob: an immutable run of chunks.
//!
//! Key: blob (nodes name blobs without their tenant). Lifetime: from `BeginUpload` until every node
//! that was ever handed out for it has erased it.

use std::collections::BTreeSet;

use cairn_core::chunking::ChunkSizes;
use cairn_core::ids::{BlobId, NodeId};
use cairn_core::lifecycle::BlobState;
use cairn_core::names::TenantId;
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// A blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) tenant: TenantId,
    pub(crate) state: BlobState,
    /// Current versions that it is part of.
    pub(crate) current_refs: u32,
    /// Condemned versions that it is part of: they can come back.
    pub(crate) condemned_refs: u32,
    /// Bytes in all, once it is Live.
    pub(crate) length: u64,
    pub(crate) sizes: ChunkSizes,
    /// Copies that each chunk should have.
    pub(crate) copies: u32,
    /// Nodes that were ever handed out for it and may hold something of it.
    pub(crate) nodes: BTreeSet<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum State {
    Unknown = 0,
    Open = 1,
    Live = 2,
    Condemned = 3,
    Purging = 4,
}

#[derive(Message)]
struct Payload {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(enumeration = "State", tag = "2")]
    state: i32,
    #[prost(uint32, tag = "3")]
    current_refs: u32,
    #[prost(uint32, tag = "4")]
    condemned_refs: u32,
    #[prost(uint64, tag = "5")]
    length: u64,
    #[prost(uint64, tag = "6")]
    first: u64,
    #[prost(uint64, tag = "7")]
    large: u64,
    #[prost(uint32, tag = "8")]
    large_from: u32,
    #[prost(uint32, tag = "9")]
    copies: u32,
    #[prost(bytes = "vec", repeated, tag = "10")]
    nodes: Vec<Vec<u8>>,
}

impl Record for Blob {
    type Key = BlobId;
    const TABLE: Table = Table::Blob;

    fn write_key(key: &BlobId, parts: &mut KeyWriter) {
        parts.id(key.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<BlobId, Malformed> {
        Ok(BlobId::from_slice(&parts.id()?)?)
    }

    fn to_payload(&self) -> Vec<u8> {
        let state = match self.state {
            BlobState::Open => State::Open,
            BlobState::Live => State::Live,
            BlobState::Condemned => State::Condemned,
            BlobState::Purging => State::Purging,
        };
        Payload {
            tenant: self.tenant.to_string(),
            state: state.into(),
            current_refs: self.current_refs,
            condemned_refs: self.condemned_refs,
            length: self.length,
            first: self.sizes.first(),
            large: self.sizes.large(),
            large_from: self.sizes.large_from(),
            copies: self.copies,
            nodes: self.nodes.iter().map(|id| id.as_bytes().to_vec()).collect(),
        }
        .encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let read = Payload::decode(payload)?;
        let state = match read.state() {
            State::Open => BlobState::Open,
            State::Live => BlobState::Live,
            State::Condemned => BlobState::Condemned,
            State::Purging => BlobState::Purging,
            State::Unknown => return Err(Malformed::new("the state is not known")),
        };
        let nodes = read.nodes.iter().map(|id| NodeId::from_slice(id));
        Ok(Self {
            tenant: TenantId::new(read.tenant)?,
            state,
            current_refs: read.current_refs,
            condemned_refs: read.condemned_refs,
            length: read.length,
            sizes: ChunkSizes::new(read.first, read.large, read.large_from)?,
            copies: read.copies,
            nodes: nodes.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_blob_round_trips_in_every_state() {
        for state in [BlobState::Open, BlobState::Live, BlobState::Condemned, BlobState::Purging] {
            let blob = Blob {
                tenant: TenantId::standard(),
                state,
                current_refs: 1,
                condemned_refs: 2,
                length: 3,
                sizes: ChunkSizes::STANDARD,
                copies: 2,
                nodes: (1..4).map(|n| NodeId::from_uuid(Uuid::from_u128(n))).collect(),
            };
            round_trips(&BlobId::from_uuid(Uuid::from_u128(1)), &blob);
        }
    }
}
