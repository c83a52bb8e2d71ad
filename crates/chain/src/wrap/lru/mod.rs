//! A store with a capacity in which what was used longest ago makes room for what comes.
//!
//! ```text
//! begin   reserve ─► nothing remains? the tail is chosen until the cushion remains ─► wait until there is room
//! finish  the chunk is tracked, at the front; not finished: the reservation is given back
//! read    to the front; what was there untracked is tracked from now on
//! evictor chosen chunks are deleted in the background, batch by batch; only then their room is free
//! ```
//!
//! The capacity counts the bytes of chunks, not what the store inside rounds up. It is never exceeded by what is held and promised together.
//! What is pinned ([`Pins`]) stays. The order of use is kept in memory: after opening it is the order of ids, which
//! is roughly that of age.
//!
//! It belongs around a cache: what is evicted is gone from the store inside, wherever that keeps it.

mod index;
mod room;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use cairn_core::ids::{BlobId, ChunkId};
use cairn_core::range::ByteRange;
use cairn_runtime::{Clock, Spawner};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::pins::Pins;
use crate::report::TierErrors;
use crate::settings;
use crate::store::{
    ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, DeleteError, DiskReport, Erased,
    ListChunks, ReadError, TierReport, Usage, WriteError,
};
use room::Room;

/// How an [`Lru`] is set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LruConfig {
    /// Bytes of chunks that are held, at least [`Self::LEAST_CAPACITY`]. Larger chunks are refused.
    #[serde(with = "settings::bytes")]
    pub capacity: u64,
    /// How much of the capacity is freed at once when nothing remains, in percent. More means that room is made less often,
    /// and that less is held.
    #[serde(default = "LruConfig::default_cushion")]
    pub cushion_percent: u8,
    /// How long a write waits for room that is being made, before it is refused.
    #[serde(default = "LruConfig::default_wait", with = "settings::time")]
    pub wait: Duration,
}

impl LruConfig {
    /// 10 bytes: with less the cushion is nothing.
    pub const LEAST_CAPACITY: u64 = 10;
    const CUSHION_PERCENT: u8 = 10;
    const WAIT: Duration = Duration::from_secs(5);

    /// A capacity, and the rest as is usual.
    pub fn of(capacity: u64) -> Self {
        Self { capacity, cushion_percent: Self::CUSHION_PERCENT, wait: Self::WAIT }
    }

    fn default_cushion() -> u8 {
        Self::CUSHION_PERCENT
    }

    fn default_wait() -> Duration {
        Self::WAIT
    }

    /// Bytes of the cushion.
    pub fn cushion(&self) -> u64 {
        let part = u128::from(self.capacity) * u128::from(self.cushion_percent) / 100;
        u64::try_from(part).unwrap_or(self.capacity)
    }

    /// Whether the settings make sense.
    ///
    /// # Errors
    /// [`LruError`] with the reason.
    pub fn check(&self) -> Result<(), LruError> {
        if self.capacity < Self::LEAST_CAPACITY {
            return Err(LruError::TooSmall { capacity: self.capacity });
        }
        if self.cushion_percent > 100 {
            return Err(LruError::CushionTooLarge { percent: self.cushion_percent });
        }
        Ok(())
    }
}

/// What an [`Lru`] needs of its surroundings.
#[derive(Debug, Clone)]
pub struct LruSeams {
    /// The tier's name, for errors that are reported.
    pub tier: Arc<str>,
    /// Where evictions run.
    pub spawner: Spawner,
    /// Bounds waits, and spaces failing evictions out.
    pub clock: Clock,
    /// What must stay.
    pub pins: Pins,
    /// Where evictions that fail are reported.
    pub errors: TierErrors,
}

/// An LRU cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LruError {
    /// The capacity is below the least.
    #[error("an LRU of {capacity} bytes: at least {} are needed", LruConfig::LEAST_CAPACITY)]
    TooSmall {
        /// The capacity that was given, in bytes.
        capacity: u64,
    },
    /// The cushion is more than all.
    #[error("a cushion of {percent} percent: 100 are the most")]
    CushionTooLarge {
        /// The percentage that was given.
        percent: u8,
    },
    /// What is held already cannot be listed.
    #[error("list what is held: {0}")]
    List(#[from] ReadError),
}

/// What an [`Lru`] holds and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LruStats {
    /// Bytes of chunks that may be held.
    pub capacity: u64,
    /// Bytes that are freed at once.
    pub cushion: u64,
    /// Bytes neither held nor promised; below 0 while a write waits for room.
    pub remaining: i64,
    /// Chunks held.
    pub chunks: u64,
    /// Chunks evicted since opening.
    pub evicted: u64,
    /// Their bytes.
    pub evicted_bytes: u64,
    /// Evictions that failed; each is tried again.
    pub failed_evictions: u64,
    /// Writes that were refused for want of room.
    pub refused: u64,
}

/// A store around a store; see [the module](self).
#[derive(Debug)]
pub struct Lru {
    store: Arc<dyn ChunkStore>,
    room: Arc<Room>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Ends the evictor when the LRU is dropped without being closed.
    _stop: DropGuard,
}

/// Chunks of a page when the index is made.
const LIST_PAGE: usize = 1000;

impl Lru {
    /// Tracks what `store` holds, and evicts what is too much.
    ///
    /// # Errors
    /// [`LruError`].
    pub async fn open(
        store: Arc<dyn ChunkStore>,
        config: &LruConfig,
        seams: LruSeams,
    ) -> Result<Self, LruError> {
        config.check()?;
        let (spawner, stop) = (seams.spawner.clone(), CancellationToken::new());
        let room = Arc::new(Room::new(Arc::clone(&store), config, seams));
        let mut after = None;
        loop {
            let page = store.list(ListChunks { after, blob: None, limit: LIST_PAGE }).await?;
            for held in &page.chunks {
                room.index().track(held.chunk, held.length);
            }
            after = page.chunks.last().map(|held| held.chunk).or(after);
            if !page.more {
                break;
            }
        }
        room.make_room();
        let tasks = TaskTracker::new();
        let evictor = Arc::clone(&room).evict_until(stop.clone());
        drop(spawner.spawn(tasks.track_future(evictor)));
        Ok(Self { store, room, tasks, _stop: stop.clone().drop_guard(), stop })
    }

    /// What it holds and has done.
    pub fn stats(&self) -> LruStats {
        self.room.stats()
    }

    /// Waits until nothing is leaving: all that was chosen is gone, or evictions fail.
    pub async fn settle(&self) {
        self.room.settle().await;
    }
}

impl ChunkStore for Lru {
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        writer::begin(&self.room, &self.tasks, chunk, reserve).boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        async move {
            let opened = self.store.read(chunk, range).await;
            self.room.was_read(chunk, opened.is_ok()).await;
            opened
        }
        .boxed()
    }

    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>> {
        self.store.stat(chunk)
    }

    fn list(&self, list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>> {
        self.store.list(list)
    }

    fn delete(&self, chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>> {
        async move {
            let _turn = self.room.turns.take(chunks.iter().copied()).await;
            let deleted = self.store.delete(chunks.clone()).await?;
            self.room.gone(&chunks);
            Ok(deleted)
        }
        .boxed()
    }

    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        async move {
            let _turn = self.room.turns.take_blob(blob).await;
            let tracked = self.room.index().of_blob(blob);
            let erased = self.store.erase_blob(blob, limit).await?;
            if erased.more {
                self.room.forget_absent(&tracked).await;
            } else {
                self.room.gone(&tracked);
            }
            Ok(erased)
        }
        .boxed()
    }

    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        async move {
            let _turn = self.room.turns.take([chunk]).await;
            let put_aside = self.store.quarantine(chunk).await?;
            if put_aside {
                self.room.gone(&[chunk]);
            }
            Ok(put_aside)
        }
        .boxed()
    }

    fn usage(&self) -> Usage {
        let usage = self.store.usage();
        Usage { capacity: usage.capacity.min(self.room.index().capacity()), ..usage }
    }

    fn disks(&self) -> Vec<DiskReport> {
        self.store.disks()
    }

    fn tiers(&self) -> Vec<TierReport> {
        self.store.tiers()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        self.store.flush()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.stop.cancel();
            self.room.close();
            self.tasks.close();
            self.tasks.wait().await;
            self.store.close().await;
        }
        .boxed()
    }
}
