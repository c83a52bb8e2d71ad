//! Writers and readers with faults.

use std::sync::Arc;

use bytes::Bytes;
use cairn_core::digest::BLOCK_BYTES;
use cairn_core::ids::{ChunkId, DiskIncarnation};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};

use super::Faults;
use crate::store::{ChunkEnd, ChunkReader, ChunkWriter, Frame, ReadError, WriteError};

pub(super) const DOING: &str = "do what was asked";

/// A writer of the inner store.
#[derive(Debug)]
pub(super) struct FaultyWriter {
    pub(super) inner: Box<dyn ChunkWriter>,
    pub(super) chunk: ChunkId,
    pub(super) faults: Arc<Faults>,
    /// A fault struck: the writer takes nothing more.
    pub(super) broken: bool,
}

impl FaultyWriter {
    async fn take(&mut self, bytes: Bytes, crcs: Vec<u32>) -> Result<(), WriteError> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(WriteError::Broken);
        }
        before_write(&self.faults).await?;
        let config = self.faults.config();
        if self.faults.strikes("partial", config.partial_rate) {
            let half = bytes.slice(..bytes.len() / 2);
            let sealed = half.len() / BLOCK_BYTES;
            // Whether the inner store takes the half does not matter: the caller is told of a failure.
            let crcs = crcs.get(..sealed.min(crcs.len())).unwrap_or_default().to_vec();
            let _ = self.inner.append(half, crcs).await;
            let source = std::io::Error::from(std::io::ErrorKind::WriteZero);
            return Err(WriteError::Disk { doing: "write all of a piece", source });
        }
        if config.full {
            return Err(full(&self.faults, bytes.len() as u64));
        }
        self.inner.append(bytes, crcs).await?;
        self.broken = false;
        Ok(())
    }
}

/// What comes before a call that writes.
pub(super) async fn before_write(faults: &Faults) -> Result<(), WriteError> {
    let before = faults.before().await;
    before.map_err(|source| WriteError::Disk { doing: DOING, source })
}

pub(super) fn full(faults: &Faults, wanted: u64) -> WriteError {
    faults.strike("full");
    WriteError::NoRoom { wanted, free: 0 }
}

impl ChunkWriter for FaultyWriter {
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        self.take(bytes, block_crcs).boxed()
    }

    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        async move {
            if self.broken {
                return Err(WriteError::Broken);
            }
            before_write(&self.faults).await?;
            if self.faults.config().full {
                return Err(full(&self.faults, end.length));
            }
            let disk = self.inner.finish(end).await?;
            self.faults.heal(self.chunk);
            Ok(disk)
        }
        .boxed()
    }
}

/// The reader of the inner store, with faults between frames.
pub(super) fn faulty_reader(reader: ChunkReader, faults: Arc<Faults>) -> ChunkReader {
    let ChunkReader { header, frames } = reader;
    let frames = frames.then(move |frame| {
        let faults = Arc::clone(&faults);
        async move {
            let mut frame = frame?;
            let before = faults.before().await;
            before.map_err(|source| ReadError::Disk { doing: DOING, source })?;
            if faults.strikes("corrupt", faults.config().corrupt_rate) {
                flip(&mut frame, &faults);
            }
            Ok(frame)
        }
    });
    // An error ends the stream, also one that was made here.
    let frames = frames.scan(false, |ended, frame| {
        let over = std::mem::replace(ended, *ended || frame.is_err());
        std::future::ready((!over).then_some(frame))
    });
    ChunkReader { header, frames: frames.boxed() }
}

/// Flips a bit of a frame; its checksums stay.
fn flip(frame: &mut Frame, faults: &Faults) {
    let mut bytes = frame.bytes.to_vec();
    let bit = faults.seams.entropy.below(bytes.len() as u64 * 8);
    let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << (bit % 8);
    }
    frame.bytes = bytes.into();
}
