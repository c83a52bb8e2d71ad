//! One node's copies, as seen by whoever writes and reads them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cairn_core::copies::{CopyFinding, CopyReceipt, Place};
use cairn_core::digest::ChunkHash;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::buffer::BufferReader;

/// What went wrong with one copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The node answered that it has no such chunk.
    #[error("the node has no such chunk")]
    Missing,
    /// The bytes do not match their checksums.
    #[error("the copy is corrupt: {0}")]
    Corrupt(String),
    /// The node holds the chunk with another content.
    #[error("the node holds another content under this id")]
    Conflict,
    /// The chunk's blob is being erased.
    #[error("the blob is being erased")]
    Erased,
    /// The node has no room.
    #[error("the node has no room")]
    Full,
    /// The node did not answer, or broke off. It may or may not have the chunk.
    #[error("the node cannot be reached: {0}")]
    Unreachable(String),
    /// The node answers that it cannot now, e.g. that it is busy. It may or may not have the chunk.
    #[error("the node cannot now: {0}")]
    Refused(String),
    /// The node answers something that no node should.
    #[error("the node answers wrongly: {0}")]
    Protocol(String),
    /// Whoever writes the chunk went away.
    #[error("the chunk was broken off by its writer")]
    SourceBroken,
}

impl CopyError {
    /// What repair should know of the copy; nothing when the node was merely away.
    pub fn finding(&self) -> Option<CopyFinding> {
        match self {
            Self::Missing => Some(CopyFinding::Missing),
            Self::Corrupt(_) => Some(CopyFinding::Corrupt),
            Self::Conflict
            | Self::Erased
            | Self::Full
            | Self::Unreachable(_)
            | Self::Refused(_)
            | Self::Protocol(_)
            | Self::SourceBroken => None,
        }
    }
}

/// Bytes of a copy: whole blocks, and the checksum of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The bytes.
    pub data: Bytes,
    /// One per block, the last block of a chunk may be short.
    pub block_crcs: Vec<u32>,
}

/// An open read of a copy.
pub struct CopyRead {
    /// Bytes of the whole chunk.
    pub length: u64,
    /// Hash of the whole chunk.
    pub hash: ChunkHash,
    /// Where the frames begin: the start of a block.
    pub offset: u64,
    /// The frames, in order.
    pub frames: BoxStream<'static, Result<Frame, CopyError>>,
}

impl fmt::Debug for CopyRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyRead")
            .field("length", &self.length)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// One node's copies of chunks.
pub trait Replica: Send + Sync {
    /// Writes a copy from `source`, which may still grow, and waits until it is durable. `reserve` is the most that the
    /// chunk can have.
    fn write(
        &self,
        chunk: ChunkId,
        reserve: u64,
        source: BufferReader,
    ) -> BoxFuture<'static, Result<CopyReceipt, CopyError>>;

    /// Opens a read of the blocks that cover `range`.
    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'static, Result<CopyRead, CopyError>>;
}

/// Finds the node of a place.
pub trait Replicas: Send + Sync {
    /// The node's copies; the place's grant goes along with each call.
    ///
    /// # Errors
    /// [`CopyError::Unreachable`] when the place's address is none.
    fn at(&self, place: &Place) -> Result<Arc<dyn Replica>, CopyError>;
}
