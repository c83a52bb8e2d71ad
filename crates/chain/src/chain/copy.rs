//! Copying a chunk from one place to a tier, in the background.

use cairn_core::ids::ChunkId;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::tier::OpenTier;
use crate::store::{ChunkEnd, ChunkReader, ChunkWriter, ReadError, WriteError};

/// A copy was not made.
#[derive(Debug)]
pub(super) enum NotCopied {
    /// The foreground wants the chunk.
    Wanted,
    /// The source failed.
    Read(ReadError),
    /// The tier failed.
    Write(WriteError),
}

/// Copies what `reader` gives to `tier`. Gives way to `wanted` until the chunk is sent; from then on it is not broken off, since
/// nobody could say what became of it.
pub(super) async fn copy(
    chunk: ChunkId,
    reader: ChunkReader,
    tier: &OpenTier,
    wanted: &CancellationToken,
) -> Result<u64, NotCopied> {
    let header = reader.header;
    let sent = tokio::select! {
        biased;
        () = wanted.cancelled() => return Err(NotCopied::Wanted),
        sent = send(chunk, reader, tier) => sent?,
    };
    let end = ChunkEnd { length: header.length, hash: header.hash, last_block_crc: None };
    sent.finish(end).await.map_err(NotCopied::Write)?;
    tier.works();
    Ok(header.length)
}

async fn send(
    chunk: ChunkId,
    mut reader: ChunkReader,
    tier: &OpenTier,
) -> Result<Box<dyn ChunkWriter>, NotCopied> {
    let begun = tier.store.begin(chunk, reader.header.length).await;
    let mut writer = begun.map_err(NotCopied::Write)?;
    while let Some(frame) = reader.frames.next().await {
        let frame = frame.map_err(NotCopied::Read)?;
        writer.append(frame.bytes, frame.block_crcs).await.map_err(NotCopied::Write)?;
    }
    Ok(writer)
}
