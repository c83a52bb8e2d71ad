//! The store itself: each call of the contract, in a few lines.

use std::sync::Arc;

use cairn_core::ids::{BlobId, ChunkId};
use cairn_core::range::ByteRange;
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use serde::Deserialize;

use super::reader::ReadFor;
use super::shared::Shared;
use super::{checkpoint, compact, delete, open, reader, writer};
use crate::disk::Disk;
use crate::open::OpenError;
use crate::settings;
use crate::store::{
    ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, DeleteError, DiskReport, Erased,
    ListChunks, MAX_CHUNK_BYTES, ReadError, Usage, WriteError,
};

/// How a [`SegmentStore`] is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SegmentStoreConfig {
    /// Bytes that the store may use. `None`: what the file system has free when the store is opened, less
    /// [`Self::keep_free`], beside what the store holds already. A number larger than the disk is no error: writes are
    /// refused when the disk is full.
    #[serde(deserialize_with = "settings::some_bytes")]
    pub capacity: Option<u64>,
    /// Bytes of the file system to leave free, where [`Self::capacity`] is not given; at most a twentieth of it. File
    /// systems get slow, and compaction has nowhere to write, on a disk that is full to the last byte.
    #[serde(deserialize_with = "settings::bytes")]
    pub keep_free: u64,
    /// Bytes of a segment, at least 1 MiB. `None`: a 256th of the capacity, 16 MiB to 1 GiB. Larger ones are fewer
    /// files; smaller ones give their space back sooner.
    #[serde(deserialize_with = "settings::some_bytes")]
    pub segment_bytes: Option<u64>,
    /// A segment is compacted when fewer than this many hundredths of it count. Higher saves space and costs writes:
    /// at 50, compaction writes at most one byte for each byte that it gives back.
    pub compact_below: u8,
    /// Bytes that compaction reads in a second. Lower is kinder to clients; too low, and a full store waits for room.
    #[serde(deserialize_with = "settings::bytes")]
    pub compact_rate: u64,
}

impl SegmentStoreConfig {
    /// 256 MiB.
    pub const KEEP_FREE: u64 = 256 << 20;
}

impl Default for SegmentStoreConfig {
    fn default() -> Self {
        Self {
            capacity: None,
            keep_free: Self::KEEP_FREE,
            segment_bytes: None,
            compact_below: 50,
            compact_rate: 64 << 20,
        }
    }
}

/// What a [`SegmentStore`] needs of its surroundings.
#[derive(Debug, Clone)]
pub struct SegmentStoreSeams {
    /// The store's folder, its own.
    pub disk: Arc<dyn Disk>,
    /// Where work on the disk runs: threads for this disk, or inline in a simulation.
    pub blocking: Blocking,
    /// Where commits and upkeep are begun.
    pub spawner: Spawner,
    /// Draws the disk's incarnation when the folder is new, and segments' salts.
    pub entropy: Entropy,
    /// Dates the disk's incarnation, and paces compaction.
    pub clock: Clock,
}

/// Chunks in segments, on one disk; see [the module](crate::segments). Dropped without [`ChunkStore::close`] it lets go
/// of the disk when its last writer, reader and job is gone.
#[derive(Debug)]
pub struct SegmentStore {
    shared: Arc<Shared>,
}

impl SegmentStore {
    /// Opens the store in a folder, which is made one when it is empty. Takes time in proportion to the chunks held
    /// and to what was written since the index file was; without one, to the records.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed then but leftovers.
    pub async fn open(
        config: SegmentStoreConfig,
        seams: SegmentStoreSeams,
    ) -> Result<Self, OpenError> {
        let (blocking, spawner) = (seams.blocking.clone(), seams.spawner.clone());
        let upkeep = compact::Pace::of(&config);
        let shared = Arc::new(blocking.run(move || open::open(&config, seams)).await??);
        drop(spawner.spawn(compact::upkeep(&shared, upkeep)));
        Ok(Self { shared })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for SegmentStore {
    fn drop(&mut self) {
        self.shared.closing.cancel();
        self.shared.upkeep.notify_one();
    }
}

impl ChunkStore for SegmentStore {
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        if reserve > MAX_CHUNK_BYTES {
            return future::err(WriteError::TooLarge { reserve }).boxed();
        }
        future::ready(writer::begin(&self.shared, chunk, reserve)).boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        reader::read(&self.shared, chunk, range, ReadFor::Client).boxed()
    }

    fn scrub(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        reader::read(&self.shared, chunk, ByteRange::whole(u64::MAX), ReadFor::Scrub).boxed()
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
            delete::delete(&self.shared, claim).await
        }
        .boxed()
    }

    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        async move {
            let (claim, more) = self.shared.ledger.claim_erased(blob, limit).await?;
            let deleted = delete::delete(&self.shared, claim).await?;
            tracing::info!(target: "cairn", %blob, deleted, more, "blob erased");
            Ok(Erased { deleted, more })
        }
        .boxed()
    }

    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        delete::quarantine(&self.shared, chunk).boxed()
    }

    fn usage(&self) -> Usage {
        self.shared.state().usage()
    }

    fn disks(&self) -> Vec<DiskReport> {
        vec![self.shared.state().report()]
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.shared.closing.cancel();
            self.shared.ledger.close().await;
            self.shared.upkeep.notify_one();
            if let Some(lock) = self.shared.take_lock() {
                let shared = Arc::clone(&self.shared);
                // Without an index file the next open reads the records.
                let _ = self.shared.ledger.run(move || checkpoint::at_close(&shared)).await;
                drop(lock);
            }
        }
        .boxed()
    }
}
