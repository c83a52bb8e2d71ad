//! Reading a chunk: the description first, then block by block against its table.

use std::sync::Arc;

use bytes::Bytes;
use cairn_core::digest::BLOCK_BYTES;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use futures_util::stream::{self, StreamExt};

use super::shared::Shared;
use super::{Description, Engine};
use crate::checks::prove_blocks;
use crate::store::{ChunkReader, ChunkStat, Frame, ReadError, ReadHeader};

/// Opens a chunk; see [`crate::ChunkStore::read`].
pub(super) async fn read<E: Engine>(
    shared: &Arc<Shared<E>>,
    chunk: ChunkId,
    range: ByteRange,
) -> Result<ChunkReader, ReadError> {
    let mut opened = OpenChunk::open(shared, chunk).await?;
    let footer = &opened.description.footer;
    let length = footer.length;
    let blocks = ByteRange::within(range.offset, range.length, length)
        .aligned_to(BLOCK_BYTES as u64, length);
    let header = ReadHeader { length, hash: footer.hash, offset: blocks.offset };
    opened.rest = blocks;
    let frames = stream::unfold(opened, |mut opened| async move {
        let frame = opened.next().await?;
        if frame.is_err() {
            opened.rest = ByteRange { offset: 0, length: 0 };
        }
        Some((frame, opened))
    });
    Ok(ChunkReader { header, frames: frames.boxed() })
}

/// What a chunk's description says; see [`crate::ChunkStore::stat`].
pub(super) async fn stat<E: Engine>(
    shared: &Arc<Shared<E>>,
    chunk: ChunkId,
) -> Result<ChunkStat, ReadError> {
    let footer = OpenChunk::open(shared, chunk).await?.description.footer;
    Ok(ChunkStat { length: footer.length, hash: footer.hash, disk: shared.disk })
}

/// Reads and proves all of a chunk.
pub(super) async fn prove<E: Engine>(
    shared: &Arc<Shared<E>>,
    chunk: ChunkId,
) -> Result<(), ReadError> {
    let mut opened = OpenChunk::open(shared, chunk).await?;
    while let Some(frame) = opened.next().await {
        frame?;
    }
    Ok(())
}

/// A chunk with what is needed to prove its blocks, and which of them are still to be read.
pub(super) struct OpenChunk<E: Engine> {
    shared: Arc<Shared<E>>,
    pub(super) description: Description,
    held: E::Held,
    rest: ByteRange,
}

impl<E: Engine> OpenChunk<E> {
    pub(super) async fn open(shared: &Arc<Shared<E>>, chunk: ChunkId) -> Result<Self, ReadError> {
        let length = shared.held(chunk)?.length;
        let described = shared.engine.describe(chunk, length).await;
        let described = described.map_err(|error| error.of_read(chunk))?;
        let (description, held) = described.ok_or(ReadError::NotFound { chunk })?;
        let rest = ByteRange::whole(description.footer.length);
        Ok(Self { shared: Arc::clone(shared), description, held, rest })
    }

    /// Reads and proves the next blocks; `None` at the end.
    async fn next(&mut self) -> Option<Result<Frame, ReadError>> {
        if self.rest.is_empty() {
            return None;
        }
        let now = first_slice::<E>(self.rest);
        let later = ByteRange { offset: now.end(), length: self.rest.length - now.length };
        let read = self.shared.engine.read(&mut self.held, now, later.length).await;
        self.rest = later;
        let chunk = self.description.footer.chunk;
        Some(read.map_err(|error| error.of_read(chunk)).and_then(|bytes| self.check(now, bytes)))
    }

    fn check(&self, blocks: ByteRange, bytes: Bytes) -> Result<Frame, ReadError> {
        let chunk = self.description.footer.chunk;
        let length = usize::try_from(blocks.length).unwrap_or(usize::MAX);
        let proven = prove_blocks(chunk, &self.description.table, blocks.offset, length, &bytes);
        let block_crcs = proven.map_err(|damage| ReadError::Corrupt { chunk, damage })?;
        Ok(Frame { bytes, block_crcs })
    }
}

/// What of `blocks` lies in the slice that they begin in.
fn first_slice<E: Engine>(blocks: ByteRange) -> ByteRange {
    let slice = E::SLICE_BYTES as u64;
    let left = slice - blocks.offset % slice;
    ByteRange { offset: blocks.offset, length: blocks.length.min(left) }
}
