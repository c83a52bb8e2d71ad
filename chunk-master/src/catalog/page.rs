//! Manifest page: what is known of up to 128 consecutive chunks of a blob.
//!
//! Key: blob, page number (chunk index / 128). Lifetime: from the first receipt until the blob is
//! erased. Holders are listed once a page, and copies name them by position, so that a full page with
//! two copies a chunk has about 7 KB.

use std::collections::BTreeMap;

use cairn_core::digest::ChunkHash;
use cairn_core::ids::{BlobId, ChunkIndex, DiskIncarnation, NodeId};
use cairn_core::lifecycle::CopyState;
use prost::Message;
use uuid::Uuid;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Chunks of one page.
pub(crate) const PAGE_CHUNKS: ChunkIndex = 128;

/// Names a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageKey {
    pub(crate) blob: BlobId,
    pub(crate) page: u32,
}

impl PageKey {
    /// The page of a chunk.
    pub(crate) fn of(blob: BlobId, index: ChunkIndex) -> Self {
        let page = index / PAGE_CHUNKS;
        Self { blob, page }
    }
}

/// A durable copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) node: NodeId,
    pub(crate) disk: DiskIncarnation,
    pub(crate) state: CopyState,
}

/// One attempt of a repair to make a copy, told from all others, also from those of another master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt(pub(crate) Uuid);

/// A confirmed chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkEntry {
    pub(crate) length: u64,
    pub(crate) hash: ChunkHash,
    /// On different nodes, in the order confirmed.
    pub(crate) copies: Vec<Copy>,
    /// Zones that the copies were in when the last one was confirmed.
    pub(crate) zones: u32,
    /// A repair has changed its copies: those that came late are not taken any more.
    pub(crate) mended: bool,
    /// The last attempt to make a copy of it, as long as it is not known how it ended. Others change nothing any more.
    pub(crate) attempt: Option<Attempt>,
}

/// A page: the confirmed ones of its chunks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) chunks: BTreeMap<ChunkIndex, ChunkEntry>,
}

/// How a chunk's bytes lie in its copies. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Layout {
    Unknown = 0,
    /// Each copy holds all bytes, as they are.
    WholeCopies = 1,
}

#[derive(Message)]
struct HolderPayload {
    #[prost(bytes = "vec", tag = "1")]
    node: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    disk: Vec<u8>,
}

#[derive(Message)]
struct CopyPayload {
    #[prost(uint32, tag = "1")]
    holder: u32,
    #[prost(bool, tag = "3")]
    copying: bool,
}

#[derive(Message)]
struct ChunkPayload {
    #[prost(uint32, tag = "1")]
    index: u32,
    #[prost(uint64, tag = "2")]
    length: u64,
    #[prost(bytes = "vec", tag = "3")]
    hash: Vec<u8>,
    #[prost(enumeration = "Layout", tag = "4")]
    layout: i32,
    #[prost(message, repeated, tag = "5")]
    copies: Vec<CopyPayload>,
    #[prost(uint32, tag = "6")]
    zones: u32,
    #[prost(bool, tag = "7")]
    mended: bool,
    #[prost(bytes = "vec", optional, tag = "8")]
    attempt: Option<Vec<u8>>,
}

#[derive(Message)]
struct Payload {
    #[prost(message, repeated, tag = "1")]
    holders: Vec<HolderPayload>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<ChunkPayload>,
}

fn chunk_payload(
    index: ChunkIndex,
    entry: &ChunkEntry,
    holders: &mut BTreeMap<(NodeId, DiskIncarnation), u32>,
) -> ChunkPayload {
    let copies = entry.copies.iter().map(|copy| {
        let next = u32::try_from(holders.len()).unwrap_or(u32::MAX);
        CopyPayload {
            holder: *holders.entry((copy.node, copy.disk)).or_insert(next),
            copying: copy.state == CopyState::Copying,
        }
    });
    let copies = copies.collect();
    ChunkPayload {
        index,
        length: entry.length,
        hash: entry.hash.0.to_vec(),
        layout: Layout::WholeCopies.into(),
        copies,
        zones: entry.zones,
        mended: entry.mended,
        attempt: entry.attempt.map(|Attempt(id)| id.as_bytes().to_vec()),
    }
}

fn chunk_entry(
    read: &ChunkPayload,
    holders: &[(NodeId, DiskIncarnation)],
) -> Result<ChunkEntry, Malformed> {
    if read.layout() != Layout::WholeCopies {
        return Err(Malformed::new("the layout is not known"));
    }
    let copy = |copy: &CopyPayload| {
        let (node, disk) = *holders
            .get(copy.holder as usize)
            .ok_or_else(|| Malformed::new("a copy names no holder"))?;
        let state = if copy.copying { CopyState::Copying } else { CopyState::Live };
        Ok(Copy { node, disk, state })
    };
    let attempt = read.attempt.as_deref().map(Uuid::from_slice).transpose()?;
    Ok(ChunkEntry {
        length: read.length,
        hash: ChunkHash::try_from(read.hash.as_slice())?,
        copies: read.copies.iter().map(copy).collect::<Result<_, Malformed>>()?,
        zones: read.zones,
        mended: read.mended,
        attempt: attempt.map(Attempt),
    })
}

impl Record for Page {
    type Key = PageKey;
    const TABLE: Table = Table::Page;
    /// 2 named copies that were to be erased, too; 3 did not tell attempts apart.
    const FORMAT: u8 = 4;

    fn write_key(key: &PageKey, parts: &mut KeyWriter) {
        parts.id(key.blob.as_bytes()).u32(key.page);
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<PageKey, Malformed> {
        Ok(PageKey { blob: BlobId::from_slice(&parts.id()?)?, page: parts.u32()? })
    }

    fn to_payload(&self) -> Vec<u8> {
        let mut numbers = BTreeMap::new();
        let entries = self.chunks.iter();
        let chunks = entries.map(|(&index, entry)| chunk_payload(index, entry, &mut numbers));
        let chunks = chunks.collect();
        let mut holders: Vec<_> = numbers.into_iter().collect();
        holders.sort_by_key(|&(_, number)| number);
        let holder = |((node, disk), _): ((NodeId, DiskIncarnation), u32)| HolderPayload {
            node: node.as_bytes().to_vec(),
            disk: disk.as_bytes().to_vec(),
        };
        Payload { holders: holders.into_iter().map(holder).collect(), chunks }.encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let read = Payload::decode(payload)?;
        let holder = |holder: &HolderPayload| -> Result<_, Malformed> {
            Ok((NodeId::from_slice(&holder.node)?, DiskIncarnation::from_slice(&holder.disk)?))
        };
        let holders: Vec<_> = read.holders.iter().map(holder).collect::<Result<_, _>>()?;
        let chunk = |chunk: &ChunkPayload| Ok((chunk.index, chunk_entry(chunk, &holders)?));
        Ok(Self { chunks: read.chunks.iter().map(chunk).collect::<Result<_, Malformed>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_page_round_trips_and_a_full_one_stays_small() {
        let copy = |n: u128| Copy {
            node: NodeId::from_uuid(Uuid::from_u128(n)),
            disk: DiskIncarnation::from_uuid(Uuid::from_u128(n + 100)),
            state: if n == 2 { CopyState::Copying } else { CopyState::Live },
        };
        let entry = |index: u32| ChunkEntry {
            length: 8 << 20,
            hash: ChunkHash([7; 32]),
            copies: vec![copy(u128::from(index % 3)), copy(3 + u128::from(index % 2))],
            zones: 2,
            mended: index.is_multiple_of(2),
            attempt: index.is_multiple_of(64).then(|| Attempt(Uuid::from_u128(index.into()))),
        };
        let page = |count| Page { chunks: (0..count).map(|index| (index, entry(index))).collect() };
        let key = PageKey::of(BlobId::from_uuid(Uuid::from_u128(1)), 300);
        assert_eq!(key.page, 2);
        round_trips(&key, &page(5));
        assert!(page(PAGE_CHUNKS).to_payload().len() < 8192);
    }
}
