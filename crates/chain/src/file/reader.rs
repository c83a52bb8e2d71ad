//! Reading a chunk: the footer and the table first, then block by block against the table.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cairn_core::digest::BLOCK_BYTES;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use futures_util::stream::{self, StreamExt};

use super::format::{FOOTER_BYTES, Footer, decode_table, table_bytes};
use super::paths::chunk_file;
use super::shared::Shared;
use crate::checks::{next_frame, prove_blocks};
use crate::disk::{Disk, DiskFile};
use crate::store::{ChunkReader, ChunkStat, Damage, Frame, ReadError, ReadHeader};

/// Opens a chunk; see [`crate::ChunkStore::read`].
pub(super) async fn read(
    shared: &Arc<Shared>,
    chunk: ChunkId,
    range: ByteRange,
) -> Result<ChunkReader, ReadError> {
    let disk = held(shared, chunk)?;
    let opened = shared.ledger.run(move || OpenChunk::open(&*disk, chunk)).await??;
    let length = opened.footer.length;
    let blocks = ByteRange::within(range.offset, range.length, length)
        .aligned_to(BLOCK_BYTES as u64, length);
    let header = ReadHeader { length, hash: opened.footer.hash, offset: blocks.offset };
    let (opened, shared) = (Arc::new(opened), Arc::clone(shared));
    let frames = stream::unfold(blocks, move |rest| {
        let (opened, shared) = (Arc::clone(&opened), Arc::clone(&shared));
        async move {
            let (now, later) = next_frame(rest)?;
            let frame = shared.ledger.run(move || opened.frame(now)).await;
            Some(match frame.map_err(ReadError::from).flatten() {
                Ok(frame) => (Ok(frame), later),
                Err(error) => (Err(error), END),
            })
        }
    });
    Ok(ChunkReader { header, frames: frames.boxed() })
}

/// What a chunk's footer says; see [`crate::ChunkStore::stat`].
pub(super) async fn stat(shared: &Arc<Shared>, chunk: ChunkId) -> Result<ChunkStat, ReadError> {
    let disk = held(shared, chunk)?;
    let (_, footer) = shared.ledger.run(move || read_footer(&*disk, chunk)).await??;
    Ok(ChunkStat { length: footer.length, hash: footer.hash, disk: shared.incarnation })
}

/// Reads the footer of a chunk's file.
pub(super) fn read_footer(
    disk: &dyn Disk,
    chunk: ChunkId,
) -> Result<(Box<dyn DiskFile>, Footer), ReadError> {
    let file = disk.open(&chunk_file(chunk)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::NotFound { chunk },
        _ => failed("open a chunk", error),
    })?;
    let footer = judge(&*file, chunk)
        .map_err(|error| failed("read a footer", error))?
        .map_err(|damage| ReadError::Corrupt { chunk, damage })?;
    Ok((file, footer))
}

/// Reads and judges the footer of the file that has `chunk`'s name.
pub(super) fn judge(file: &dyn DiskFile, chunk: ChunkId) -> io::Result<Result<Footer, Damage>> {
    let length = file.length()?;
    let Some(at) = length.checked_sub(FOOTER_BYTES as u64) else {
        return Ok(Err(Damage::Length));
    };
    let bytes = file.read_at(at, FOOTER_BYTES)?;
    Ok(Footer::decode(&bytes, chunk, length))
}

const END: ByteRange = ByteRange { offset: 0, length: 0 };

fn held(shared: &Shared, chunk: ChunkId) -> Result<Arc<dyn Disk>, ReadError> {
    match shared.state().get(chunk) {
        Some(_) => Ok(Arc::clone(&shared.disk)),
        None => Err(ReadError::NotFound { chunk }),
    }
}

fn failed(doing: &'static str, source: io::Error) -> ReadError {
    ReadError::Disk { doing, source }
}

/// A chunk's file with what is needed to prove its blocks.
#[derive(Debug)]
pub(super) struct OpenChunk {
    file: Box<dyn DiskFile>,
    footer: Footer,
    table: Vec<u32>,
}

impl OpenChunk {
    pub(super) fn open(disk: &dyn Disk, chunk: ChunkId) -> Result<Self, ReadError> {
        let (file, footer) = read_footer(disk, chunk)?;
        let length = usize::try_from(table_bytes(footer.length)).unwrap_or(usize::MAX);
        let table =
            file.read_at(footer.length, length).map_err(|error| failed("read a table", error))?;
        let table =
            decode_table(&table, &footer).map_err(|damage| ReadError::Corrupt { chunk, damage })?;
        Ok(Self { file, footer, table })
    }

    /// Reads and proves all of the chunk.
    pub(super) fn prove(&self) -> Result<(), ReadError> {
        let mut rest = ByteRange::whole(self.footer.length);
        while let Some((now, later)) = next_frame(rest) {
            self.frame(now)?;
            rest = later;
        }
        Ok(())
    }

    /// Reads and proves a run of whole blocks.
    fn frame(&self, blocks: ByteRange) -> Result<Frame, ReadError> {
        let length = usize::try_from(blocks.length).unwrap_or(usize::MAX);
        let bytes = self
            .file
            .read_at(blocks.offset, length)
            .map_err(|error| failed("read blocks", error))?;
        let chunk = self.footer.chunk;
        let block_crcs = prove_blocks(chunk, &self.table, blocks.offset, length, &bytes)
            .map_err(|damage| ReadError::Corrupt { chunk, damage })?;
        Ok(Frame { bytes: Bytes::from(bytes), block_crcs })
    }
}
