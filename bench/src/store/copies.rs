//! How many bytes the segment store copies for each that it is given and that it gives.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cairn_chain::ChunkStore;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use futures_util::StreamExt;

use super::bars::{Bar, Bars};
use super::counted::Counts;
use super::load::{Kind, Load, chunk, content, fill, open};
use super::{Failure, LARGE, LARGE_WRITERS, SMALL, SMALL_WRITERS};

/// A batch is put together by one copy: the chunk, its description, and what fills it up.
const SMALL_WRITTEN: Bar = Bar::AtMost(1.1);
/// Descriptions alone: the data goes to the disk from where the network has put it.
const LARGE_WRITTEN: Bar = Bar::AtMost(0.001);
/// What the disk has filled is handed out.
const READ: Bar = Bar::AtMost(0.0);

/// Writes and reads chunks of both sizes, and looks where their bytes lie.
pub(crate) async fn measure(dir: &Path, bars: &mut Bars) -> Result<(), Failure> {
    let small = Load { count: 1024, bytes: SMALL, writers: SMALL_WRITERS };
    let (written, read) = copied(dir, small).await?;
    bars.judge("4 KiB, bytes copied for each written", vec![written], SMALL_WRITTEN);
    bars.judge("4 KiB, bytes copied for each read", vec![read], READ);
    let large = Load { count: 8, bytes: LARGE, writers: LARGE_WRITERS };
    let (written, read) = copied(dir, large).await?;
    bars.judge("8 MiB, bytes copied for each written", vec![written], LARGE_WRITTEN);
    bars.judge("8 MiB, bytes copied for each read", vec![read], READ);
    Ok(())
}

/// Bytes that are copied for each that is written, and for each that is read.
async fn copied(dir: &Path, load: Load) -> Result<(f64, f64), Failure> {
    let folder = tempfile::tempdir_in(dir)?;
    let counts = Counts::default();
    let store = open(folder.path(), Kind::Segments, counts.clone()).await?;
    let content = content(load.bytes);
    counts.watch(&content);
    fill(&store, &content, load).await?;
    let written = counts.written_from_copies();
    let mut read = 0;
    for index in 0..load.count {
        read += copied_by_reading(&store, &counts, chunk(index), &content).await?;
    }
    store.close().await;
    let bytes = f64::from(load.count) * load.bytes as f64;
    Ok((written as f64 / bytes, read as f64 / bytes))
}

/// Bytes of a chunk that do not lie where the disk has put them.
async fn copied_by_reading(
    store: &Arc<dyn ChunkStore>,
    counts: &Counts,
    chunk: ChunkId,
    content: &Bytes,
) -> Result<u64, Failure> {
    let mut copied = 0;
    let mut at = 0;
    counts.forget_reads();
    let mut reader = store.read(chunk, ByteRange::whole(content.len() as u64)).await?;
    while let Some(frame) = reader.frames.next().await {
        let bytes = frame?.bytes;
        if content.get(at..at + bytes.len()) != Some(&*bytes) {
            return Err(format!("chunk {chunk} has other bytes").into());
        }
        at += bytes.len();
        if !counts.is_as_read(&bytes) {
            copied += bytes.len() as u64;
        }
    }
    if at != content.len() {
        return Err(format!("chunk {chunk} ends after {at} bytes").into());
    }
    Ok(copied)
}
