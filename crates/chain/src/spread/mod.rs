//! Chunks spread over several disks of a node, as one store.
//!
//! ```text
//! begin   alone with the chunk ─► the disk that writes it already, or has it; else drawn, by free room
//!                                   └── no room, or failed: the next one is drawn
//! read    disk by disk: not found ─► next    failed ─► next, and the failure is answered when none has it
//! delete  all disks, whatever fails; a disk that fails and has nothing of it does not matter
//! list    the pages of all disks, merged
//! ```
//!
//! A chunk lies on one disk. Whoever begins to write it takes a turn at it, and whoever comes while it is written, or when it is
//! there, is sent to the same disk, which tells a repeat from a conflict. A disk that was away may come back with a chunk that
//! has been written to another one meanwhile: then there are two copies until the chunk is deleted, and the disk that comes first answers.
//!
//! A disk is a store that knows in memory what it holds, as a [`SegmentStore`](crate::SegmentStore) does: one that hangs or fails is then
//! not in the way of chunks on the others. Which disks a node has is kept by [`crate::disk_set`].

mod choice;
mod look;
mod member;
mod remove;
mod write;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use cairn_core::ids::{BlobId, ChunkId};
use cairn_core::range::ByteRange;
use cairn_runtime::{Entropy, Spawner};
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};

use crate::disk::DiskLock;
use crate::store::{
    ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, DeleteError, DiskReport, Erased,
    ListChunks, ReadError, Usage, WriteError,
};
use crate::turns::Turns;
use member::Member;
use write::OpenWrites;

/// What a [`Spread`] needs of its surroundings.
#[derive(Debug, Clone)]
pub struct SpreadSeams {
    /// Where the ends of writes run, whoever goes away.
    pub spawner: Spawner,
    /// Draws the disk of each new chunk.
    pub entropy: Entropy,
}

/// There is no disk to spread chunks over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("chunks need a disk to be kept on: none was given")]
pub struct NoDisks;

/// See [the module](self).
#[derive(Debug)]
pub struct Spread {
    members: Vec<Arc<Member>>,
    turns: Arc<Turns>,
    open: Arc<OpenWrites>,
    seams: SpreadSeams,
    /// Keeps other processes from the set of disks.
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl Spread {
    /// Spreads chunks over `disks`, each a store with the name that logs and errors call it by.
    ///
    /// # Errors
    /// [`NoDisks`].
    pub fn new(
        disks: Vec<(String, Arc<dyn ChunkStore>)>,
        seams: SpreadSeams,
    ) -> Result<Self, NoDisks> {
        if disks.is_empty() {
            return Err(NoDisks);
        }
        let member = |(name, store)| Arc::new(Member::new(name, store));
        Ok(Self {
            members: disks.into_iter().map(member).collect(),
            turns: Arc::default(),
            open: Arc::default(),
            seams,
            lock: Mutex::default(),
        })
    }

    /// The disks, each by itself.
    pub fn disks_alone(&self) -> Vec<Arc<dyn ChunkStore>> {
        self.members.iter().map(|member| Arc::clone(&member.store)).collect()
    }

    /// The same, with a lock that is held until the store is closed.
    pub(crate) fn locked(self, lock: Box<dyn DiskLock>) -> Self {
        Self { lock: Mutex::new(Some(lock)), ..self }
    }
}

impl ChunkStore for Spread {
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        write::begin(self, chunk, reserve).boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        look::first_that_has(&self.members, chunk, move |disk| disk.read(chunk, range)).boxed()
    }

    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>> {
        look::first_that_has(&self.members, chunk, move |disk| disk.stat(chunk)).boxed()
    }

    /// Fails when a disk cannot be listed: with a part missing, chunks would seem lost.
    fn list(&self, list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>> {
        look::list(&self.members, list).boxed()
    }

    fn delete(&self, chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>> {
        remove::delete(&self.members, chunks).boxed()
    }

    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        remove::erase_blob(&self.members, blob, limit).boxed()
    }

    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        remove::quarantine(&self.members, chunk).boxed()
    }

    fn usage(&self) -> Usage {
        look::usage(&self.members)
    }

    fn disks(&self) -> Vec<DiskReport> {
        self.members.iter().flat_map(|member| member.store.disks()).collect()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        let flushes = self.members.iter().map(|member| member.store.flush());
        future::join_all(flushes).map(|done| done.into_iter().collect()).boxed()
    }

    /// Closes all disks at once, whatever fails.
    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            future::join_all(self.members.iter().map(|member| close(member))).await;
            let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(lock);
        }
        .boxed()
    }
}

/// Closes a disk. One that panics must not keep the others open.
async fn close(member: &Member) {
    let close = async { member.store.close().await };
    if AssertUnwindSafe(close).catch_unwind().await.is_err() {
        tracing::error!(target: "cairn", disk = member.name, "closing a disk panicked");
    }
}
