//! The store itself: each call of the contract, in a few lines.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use cairn_core::ids::{BlobId, ChunkId};
use cairn_core::range::ByteRange;
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};

use super::open;
use super::paths::{QUARANTINE, chunk_file, fan_out, inner_folder, quarantined};
use super::reader::OpenChunk;
use super::shared::{Length, Shared};
use super::{reader, writer};
use crate::disk::Disk;
use crate::ledger::Claim;
use crate::open::OpenError;
use crate::store::{
    ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, DeleteError, DiskReport, Erased,
    ListChunks, MAX_CHUNK_BYTES, ReadError, Usage, WriteError,
};

/// How a [`FileStore`] is set.
#[derive(Debug, Clone)]
pub struct FileStoreConfig {
    /// Bytes that the store may use. `None`: what the file system has free when the store is opened, less
    /// [`Self::keep_free`], beside what the store holds already. A number larger than the disk is no error: writes are
    /// refused when the disk is full.
    pub capacity: Option<u64>,
    /// Bytes of the file system to leave free, where [`Self::capacity`] is not given. File systems get slow, and logs
    /// have nowhere to go, on a disk that is full to the last byte.
    pub keep_free: u64,
}

impl FileStoreConfig {
    /// 256 MiB.
    pub const KEEP_FREE: u64 = 256 << 20;
}

impl Default for FileStoreConfig {
    fn default() -> Self {
        Self { capacity: None, keep_free: Self::KEEP_FREE }
    }
}

/// What a [`FileStore`] needs of its surroundings.
#[derive(Debug, Clone)]
pub struct FileStoreSeams {
    /// The store's folder, its own.
    pub disk: Arc<dyn Disk>,
    /// Where work on the disk runs: threads for this disk, or inline in a simulation.
    pub blocking: Blocking,
    /// Where files of broken writes are removed.
    pub spawner: Spawner,
    /// Draws the disk's incarnation when the folder is new.
    pub entropy: Entropy,
    /// Dates the disk's incarnation.
    pub clock: Clock,
}

/// A file per chunk, on one disk; see [the module](crate::file). Dropped without [`ChunkStore::close`] it lets go of
/// the disk when its last writer, reader and job is gone.
#[derive(Debug)]
pub struct FileStore {
    shared: Arc<Shared>,
}

impl FileStore {
    /// Opens the store in a folder, which is made one when it is empty. Takes time in proportion to the chunks held.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed then but leftovers.
    pub async fn open(config: FileStoreConfig, seams: FileStoreSeams) -> Result<Self, OpenError> {
        let blocking = seams.blocking.clone();
        let opened = blocking.run(move || open::open(&config, seams)).await?;
        opened.map(|shared| Self { shared: Arc::new(shared) })
    }

    async fn delete_claimed(&self, claim: Claim<Length>) -> Result<u64, DeleteError> {
        if claim.chunks().is_empty() {
            return Ok(0);
        }
        let shared = Arc::clone(&self.shared);
        self.shared.ledger.change(move || remove_files(&shared, &claim)).await?
    }
}

impl ChunkStore for FileStore {
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        if reserve > MAX_CHUNK_BYTES {
            return future::err(WriteError::TooLarge { reserve }).boxed();
        }
        writer::begin(&self.shared, chunk, reserve).boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        reader::read(&self.shared, chunk, range).boxed()
    }

    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>> {
        reader::stat(&self.shared, chunk).boxed()
    }

    fn list(&self, list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>> {
        future::ok(self.shared.state().list(&list)).boxed()
    }

    fn delete(&self, chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>> {
        async move {
            self.shared.state().takes_deletes()?;
            let claim = self.shared.ledger.claim(chunks).await;
            self.delete_claimed(claim).await
        }
        .boxed()
    }

    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        async move {
            let (claim, more) = self.shared.ledger.claim_erased(blob, limit).await?;
            let deleted = self.delete_claimed(claim).await?;
            tracing::info!(target: "cairn", %blob, deleted, more, "blob erased");
            Ok(Erased { deleted, more })
        }
        .boxed()
    }

    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        async move {
            self.shared.state().takes_deletes()?;
            let claim = self.shared.ledger.claim(vec![chunk]).await;
            let shared = Arc::clone(&self.shared);
            self.shared.ledger.change(move || put_aside(&shared, chunk, &claim)).await?
        }
        .boxed()
    }

    fn usage(&self) -> Usage {
        self.shared.state().usage()
    }

    fn disks(&self) -> Vec<DiskReport> {
        vec![self.shared.state().report()]
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.shared.close().boxed()
    }
}

/// Removes the files of claimed chunks, then makes that durable, folder by folder.
fn remove_files(shared: &Shared, claim: &Claim<Length>) -> Result<u64, DeleteError> {
    shared.state().takes_deletes()?;
    let mut deleted = 0;
    let mut folders = BTreeSet::new();
    for &chunk in claim.chunks() {
        if shared.state().get(chunk).is_none() {
            continue;
        }
        match shared.disk.remove(&chunk_file(chunk)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                let doing = "remove a chunk";
                return Err(DeleteError::Disk { doing, source });
            }
            _ => {}
        }
        shared.state().remove(chunk);
        deleted += 1;
        folders.insert(fan_out(chunk.blob));
    }
    for folder in folders {
        shared.disk.sync_folder(&inner_folder(folder)).map_err(|source| {
            shared.disk_failed(&source);
            let doing = "make a deletion durable";
            DeleteError::Disk { doing, source }
        })?;
    }
    Ok(deleted)
}

/// Moves a chunk's file to the quarantine, if it is damaged.
fn put_aside(shared: &Shared, chunk: ChunkId, _claim: &Claim<Length>) -> Result<bool, DeleteError> {
    shared.state().takes_deletes()?;
    if shared.state().get(chunk).is_none() {
        return Ok(false);
    }
    let proven = OpenChunk::open(&*shared.disk, chunk).and_then(|chunk| chunk.prove());
    let damage = match proven {
        Ok(()) => return Ok(false),
        Err(ReadError::Corrupt { damage, .. }) => Some(damage),
        Err(ReadError::NotFound { .. }) => None,
        Err(ReadError::Disk { doing, source }) => return Err(DeleteError::Disk { doing, source }),
        Err(ReadError::Interrupted(error)) => return Err(error.into()),
    };
    if let Some(damage) = damage {
        let to = quarantined(shared.next_quarantine(), Some(chunk));
        let from = chunk_file(chunk);
        let doing = "put a damaged chunk aside";
        let failed = |source| DeleteError::Disk { doing, source };
        shared.disk.rename(&from, &to).map_err(failed)?;
        for folder in [QUARANTINE, &inner_folder(fan_out(chunk.blob))] {
            shared.disk.sync_folder(folder).map_err(|source| {
                shared.disk_failed(&source);
                DeleteError::Disk { doing, source }
            })?;
        }
        tracing::error!(target: "cairn", from, to, %damage, "not an intact chunk: put aside");
    }
    shared.state().remove(chunk);
    Ok(true)
}
