//! Writing a chunk: aside while it arrives, published when it is whole.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cairn_core::digest::plain_crc;
use cairn_core::ids::{ChunkId, DiskIncarnation};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::format::{Footer, disk_bytes, encode_table};
use super::paths::{CHUNKS, chunk_file, fan_out, inner_folder, outer_folder, write_aside};
use super::reader::read_footer;
use super::shared::{Aside, Length, Shared};
use crate::checks::StreamChecks;
use crate::disk::{Disk, DiskFile, PublishError, durable_publish};
use crate::ledger::Claim;
use crate::store::{ChunkEnd, ChunkWriter, ReadError, WriteError};

/// Pieces are collected up to this many bytes, so that small ones do not cost a job on the disk each.
const BATCH_BYTES: usize = 512 << 10;

/// Opens a writer; see [`crate::ChunkStore::begin`].
pub(super) async fn begin(
    shared: &Arc<Shared>,
    chunk: ChunkId,
    reserve: u64,
) -> Result<Box<dyn ChunkWriter>, WriteError> {
    let reservation = shared.ledger.reserve(chunk, disk_bytes(reserve))?;
    let job = Arc::clone(shared);
    let create = move || {
        let shared = &job;
        // Closing waits for this job, unless it was first: then the folder may be another's.
        shared.state().takes_writes()?;
        let file = shared
            .disk
            .create_new(&write_aside(reservation.write()))
            .map_err(|error| refused(shared, reserve, "make a file", error))?;
        Ok::<_, WriteError>((Arc::from(file), Aside::new(shared, reservation)))
    };
    let (file, aside) = shared.ledger.change(create).await??;
    Ok(Box::new(FileWriter {
        shared: Arc::clone(shared),
        chunk,
        reserve,
        file,
        aside,
        checks: StreamChecks::new(chunk, reserve),
        batch: Batch::default(),
        broken: false,
    }))
}

/// Bytes on their way to a file.
#[derive(Debug, Default)]
struct Batch {
    offset: u64,
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push(piece);
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes as u64
    }

    /// What has to be written now; later pieces follow it.
    fn take(&mut self) -> Self {
        let next = Self { offset: self.end(), ..Self::default() };
        std::mem::replace(self, next)
    }

    fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        let mut at = self.offset;
        for piece in &self.pieces {
            file.write_at(at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FileWriter {
    shared: Arc<Shared>,
    chunk: ChunkId,
    reserve: u64,
    file: Arc<dyn DiskFile>,
    aside: Aside,
    checks: StreamChecks,
    batch: Batch,
    /// A call failed or was dropped on its way: what is in the file is not known.
    broken: bool,
}

impl FileWriter {
    async fn take(&mut self, bytes: Bytes, block_crcs: &[u32]) -> Result<(), WriteError> {
        self.may_continue()?;
        self.broken = true;
        self.checks.update(&bytes, block_crcs)?;
        self.batch.push(bytes);
        if self.batch.bytes >= BATCH_BYTES {
            let (file, batch) = (Arc::clone(&self.file), self.batch.take());
            let written = self.shared.ledger.run(move || batch.write(&*file)).await?;
            written.map_err(|error| refused(&self.shared, self.reserve, "write", error))?;
        }
        self.broken = false;
        Ok(())
    }

    fn may_continue(&self) -> Result<(), WriteError> {
        self.shared.state().may_continue(self.aside.write())?;
        if self.broken {
            return Err(WriteError::Broken);
        }
        Ok(())
    }

    async fn publish(self, end: ChunkEnd) -> Result<DiskIncarnation, WriteError> {
        self.may_continue()?;
        let table = self.checks.finish(&end)?;
        let table_bytes = encode_table(&table);
        let footer = Footer {
            chunk: self.chunk,
            length: end.length,
            hash: end.hash,
            table_crc: plain_crc(&table_bytes),
        };
        let mut batch = self.batch;
        batch.push(table_bytes.into());
        batch.push(Bytes::copy_from_slice(&footer.encode()));
        let last = Publication {
            footer,
            reserve: self.reserve,
            file: self.file,
            batch,
            claim: self.shared.ledger.claim(vec![self.chunk]).await,
            aside: self.aside,
        };
        let shared = Arc::clone(&self.shared);
        let incarnation = shared.incarnation;
        self.shared.ledger.change(move || last.run(&shared)).await??;
        Ok(incarnation)
    }
}

impl ChunkWriter for FileWriter {
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        async move { self.take(bytes, &block_crcs).await }.boxed()
    }

    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        self.publish(end).boxed()
    }
}

/// The last step of a write: one job, under the chunk's claim.
struct Publication {
    footer: Footer,
    reserve: u64,
    file: Arc<dyn DiskFile>,
    /// What of the file is not written yet: the last bytes, the table, the footer.
    batch: Batch,
    claim: Claim<Length>,
    aside: Aside,
}

impl Publication {
    fn run(self, shared: &Arc<Shared>) -> Result<(), WriteError> {
        let Self { footer, reserve, file, batch, claim, aside } = self;
        let chunk = footer.chunk;
        // Under the claim: an erasure that comes from here on waits for it, and then finds the chunk.
        shared.state().may_continue(aside.write())?;
        refuse_other_content(shared, &footer)?;
        batch.write(&*file).map_err(|error| refused(shared, reserve, "write", error))?;
        ensure_folder(shared, fan_out(chunk.blob))?;
        let (from, to) = (write_aside(aside.write()), chunk_file(chunk));
        durable_publish(&*shared.disk, &*file, &from, &to).map_err(|error| match error {
            PublishError::Sync(source) => poisoned(shared, "make a chunk durable", source),
            PublishError::Rename(source) => refused(shared, reserve, "name a chunk", source),
        })?;
        aside.settle(chunk, footer.length);
        drop(claim);
        Ok(())
    }
}

/// Refuses to replace a chunk by another. The same content does replace it: the copy that was just proven is the
/// better one, and a damaged copy is healed by a repeat.
fn refuse_other_content(shared: &Shared, new: &Footer) -> Result<(), WriteError> {
    let chunk = new.chunk;
    if shared.state().get(chunk).is_none() {
        return Ok(());
    }
    match read_footer(&*shared.disk, chunk) {
        Ok((_, held)) if (held.length, held.hash) == (new.length, new.hash) => Ok(()),
        Ok(_) => Err(WriteError::Conflict { chunk }),
        Err(ReadError::Corrupt { damage, .. }) => {
            tracing::warn!(target: "cairn", %chunk, %damage, "a corrupt copy is replaced");
            Ok(())
        }
        Err(ReadError::NotFound { .. }) => Ok(()),
        Err(ReadError::Disk { doing, source }) => Err(WriteError::Disk { doing, source }),
        Err(ReadError::Interrupted(error)) => Err(error.into()),
    }
}

/// Makes the folders of a chunk, durably, once per open store.
fn ensure_folder(shared: &Shared, folder: [u8; 2]) -> Result<(), WriteError> {
    if shared.has_folder(folder) {
        return Ok(());
    }
    let disk: &dyn Disk = &*shared.disk;
    let (outer, inner) = (outer_folder(folder), inner_folder(folder));
    for (path, parent) in [(&outer, CHUNKS), (&inner, &outer)] {
        disk.create_folder(path).map_err(|error| refused(shared, 0, "make a folder", error))?;
        disk.sync_folder(parent)
            .map_err(|error| poisoned(shared, "make a folder durable", error))?;
    }
    shared.add_folder(folder);
    Ok(())
}

/// The disk refused a step that leaves what is durable as it was.
fn refused(shared: &Shared, reserve: u64, doing: &'static str, source: io::Error) -> WriteError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WriteError::NoRoom {
            wanted: disk_bytes(reserve),
            free: shared.disk.space().map_or(0, |space| space.available),
        },
        _ => WriteError::Disk { doing, source },
    }
}

/// A sync failed.
fn poisoned(shared: &Shared, doing: &'static str, source: io::Error) -> WriteError {
    shared.disk_failed(&source);
    WriteError::Disk { doing, source }
}
