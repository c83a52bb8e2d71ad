//! A replica in memory: for examples and for callers that want nothing durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use cairn_core::copies::CopyReceipt;
use cairn_core::digest::{BLOCK_BYTES, ChunkHash, block_crc};
use cairn_core::ids::{ChunkId, DiskIncarnation, NodeId};
use cairn_core::range::ByteRange;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use crate::buffer::{BufferReader, Source};
use crate::replica::{CopyError, CopyRead, Frame, Replica};

/// Blocks of one frame.
const FRAME_BLOCKS: usize = 16;

#[derive(Debug, Clone)]
struct Held {
    bytes: Bytes,
    hash: ChunkHash,
}

/// Copies in memory, gone with the last clone. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MemoryReplica {
    node: NodeId,
    held: Arc<Mutex<BTreeMap<ChunkId, Held>>>,
}

impl MemoryReplica {
    /// Holds nothing.
    pub fn new(node: NodeId) -> Self {
        Self { node, held: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChunkId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has the chunk.
    pub fn has(&self, chunk: ChunkId) -> bool {
        self.lock().contains_key(&chunk)
    }

    /// Deletes a chunk.
    ///
    /// # Errors
    /// [`CopyError::Missing`] when it is not there.
    pub fn delete(&self, chunk: ChunkId) -> Result<(), CopyError> {
        self.lock().remove(&chunk).map(drop).ok_or(CopyError::Missing)
    }
}

impl Replica for MemoryReplica {
    fn write(
        &self,
        chunk: ChunkId,
        _reserve: u64,
        mut source: BufferReader,
    ) -> BoxFuture<'static, Result<CopyReceipt, CopyError>> {
        let replica = self.clone();
        Box::pin(async move {
            let mut bytes = BytesMut::new();
            let hash = loop {
                match source.next().await {
                    Source::Piece(piece) => bytes.extend_from_slice(&piece.data),
                    Source::End(end) => break end.hash,
                    Source::Broken => return Err(CopyError::SourceBroken),
                }
            };
            replica.lock().insert(chunk, Held { bytes: bytes.freeze(), hash });
            let disk = DiskIncarnation::from_slice(replica.node.as_bytes());
            let disk = disk.map_err(|error| CopyError::Protocol(error.to_string()))?;
            Ok(CopyReceipt { node: replica.node, disk })
        })
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'static, Result<CopyRead, CopyError>> {
        let held = self.lock().get(&chunk).cloned();
        Box::pin(async move {
            let Held { bytes, hash } = held.ok_or(CopyError::Missing)?;
            let length = bytes.len() as u64;
            let range = range.aligned_to(BLOCK_BYTES as u64, length);
            let blocks = range.offset / BLOCK_BYTES as u64..length.div_ceil(BLOCK_BYTES as u64);
            let end = usize::try_from(range.end()).unwrap_or(bytes.len());
            let frames: Vec<Frame> = blocks
                .step_by(FRAME_BLOCKS)
                .map_while(|first| frame(chunk, &bytes.slice(..end), first))
                .collect();
            let frames = stream::iter(frames.into_iter().map(Ok)).boxed();
            Ok(CopyRead { length, hash, offset: range.offset, frames })
        })
    }
}

/// The frame that begins with block `first`; nothing behind the end.
fn frame(chunk: ChunkId, bytes: &Bytes, first: u64) -> Option<Frame> {
    let begin = usize::try_from(first).ok()?.checked_mul(BLOCK_BYTES)?;
    let end = (begin + FRAME_BLOCKS * BLOCK_BYTES).min(bytes.len());
    let data = (begin < end).then(|| bytes.slice(begin..end))?;
    let first = u32::try_from(first).ok()?;
    let crc = |(block, bytes): (u32, &[u8])| block_crc(chunk, block, bytes);
    let block_crcs = (first..).zip(data.chunks(BLOCK_BYTES)).map(crc).collect();
    Some(Frame { data, block_crcs })
}
