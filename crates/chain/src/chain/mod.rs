//! Chunk stores one after another, as one store.
//!
//! ```text
//! write   begin ─► writers of all synchronous tiers ─ append ─ … ─ finish, tier by tier ─► journal ─► answer
//!                                                                                            │ workers
//!                                                             tiers that are written behind ◄┘
//! read    tier by tier: not found ─► next    corrupt ─► next, put aside    failed ─► next, reported
//!         found further down ─► put into the tiers before, in the background
//! delete  all tiers, whatever fails; what is on its way in the background is broken off first
//! ```
//!
//! **Durable** tiers keep over a loss of power what they have answered; the others are caches, whose failures never fail a write.
//! A receipt names the disk of the last durable tier that took the chunk before the answer. Lists, lengths and disks are those
//! of all durable tiers together. Usage is that of one of them, the *anchor*: the last durable synchronous tier that keeps what
//! it takes; where all of them evict, the first durable tier written behind, with what is still to be copied.
//!
//! Publishing, deleting, copying and promoting a chunk take turns: nothing brings a deleted chunk back.
//! A chain is a store, so chains nest.

mod behind;
mod config;
mod copy;
mod journal;
mod look;
mod open;
mod promote;
mod read;
mod remove;
mod shared;
mod tier;
mod write;

use std::sync::Arc;

use cairn_core::ids::{BlobId, ChunkId};
use cairn_core::range::ByteRange;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::DropGuard;

pub use behind::BehindStats;
pub use config::{
    BehindConfig, ChainConfig, OnError, OnFailure, PromoteConfig, TierConfig, WriteMode,
};
pub use journal::{Journal, JournalError, JournalSeams};
pub use open::{ChainError, ChainSeams};
pub use promote::PromoteStats;
pub use tier::{Opening, Tier, TierNotOpened, open_tiers};

use crate::store::{
    ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, DeleteError, DiskReport, Erased,
    ListChunks, ReadError, TierReport, Usage, WriteError,
};
use shared::Shared;

/// See [the module](self).
#[derive(Debug)]
pub struct Chain {
    shared: Arc<Shared>,
    /// Ends the work in the background when the chain is dropped without being closed.
    _stop: DropGuard,
}

/// What a chain has done, and what is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainStats {
    /// Of each tier, in order; see [`ChunkStore::tiers`].
    pub tiers: Vec<TierReport>,
    /// What is written behind.
    pub behind: BehindStats,
    /// What is put into the tiers before.
    pub promote: PromoteStats,
}

impl Chain {
    /// What it has done, and what is on its way.
    pub fn stats(&self) -> ChainStats {
        ChainStats {
            tiers: look::tiers(&self.shared),
            behind: self.shared.behind_stats(),
            promote: self.shared.promoter.stats(),
        }
    }

    /// Waits until no promotion is on its way. For tests and samples: with readers about there may always be another.
    pub async fn settle(&self) {
        self.shared.promoter.settle().await;
    }
}

impl ChunkStore for Chain {
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        write::begin(&self.shared, chunk, reserve).boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        read::read(&self.shared, chunk, range).boxed()
    }

    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>> {
        look::stat(&self.shared, chunk).boxed()
    }

    fn list(&self, list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>> {
        look::list(&self.shared, list).boxed()
    }

    /// Answers how many were in the tier that had most of them.
    fn delete(&self, chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>> {
        remove::delete(&self.shared, chunks).boxed()
    }

    /// Up to `limit` chunks of each tier; the number answered is that of the tier that had most.
    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        remove::erase_blob(&self.shared, blob, limit).boxed()
    }

    /// Damaged copies are put aside in every tier. True when no durable tier has an intact one; else it is put back from there.
    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        remove::quarantine(&self.shared, chunk).boxed()
    }

    fn usage(&self) -> Usage {
        look::usage(&self.shared)
    }

    fn disks(&self) -> Vec<DiskReport> {
        look::disks(&self.shared)
    }

    fn tiers(&self) -> Vec<TierReport> {
        look::tiers(&self.shared)
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        self.shared.flush().boxed()
    }

    /// Copies what is still to be written behind, within the bound, and closes all tiers, whatever fails.
    fn close(&self) -> BoxFuture<'_, ()> {
        self.shared.close().boxed()
    }
}
