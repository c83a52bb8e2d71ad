//! The contract of a chunk store, and its words.
//!
//! ```text
//! begin(chunk, reserve) ─► writer ─ append ─ append ─ … ─ finish ─► durable, visible
//!                             └── dropped: nothing is left, the space is given back
//! read(chunk, range) ─► header, then frames of whole blocks with their checksums
//! ```

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::digest::{BLOCK_BYTES, ChunkHash};
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation};
use cairn_core::range::ByteRange;
use cairn_runtime::BlockingError;
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use futures_util::stream::BoxStream;

use crate::wrap::LruStats;

/// Most bytes of one frame that a store hands out: 1 MiB, whole blocks.
pub const FRAME_BYTES: usize = 1 << 20;
/// Largest chunk that a store takes: 1 GiB, so that its checksums are never more than 64 KiB in memory.
pub const MAX_CHUNK_BYTES: u64 = 1 << 30;

const _: () = assert!(FRAME_BYTES.is_multiple_of(BLOCK_BYTES));

/// Keeps chunks on one disk, or on what stands for one.
///
/// A chunk is written once. The same content again succeeds; other content under the same id is refused. Every
/// call may be dropped: what was begun on the disk then runs to its end and leaves the store whole.
pub trait ChunkStore: Send + Sync + fmt::Debug {
    /// Opens a writer and promises it `reserve` bytes, the most that the chunk can have.
    ///
    /// # Errors
    /// [`WriteError::NoRoom`] when the promise does not fit beside what is held and promised, and what
    /// [`WriteError`] says of erased blobs, failed disks and closed stores.
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>>;

    /// Opens the part of a chunk that lies in `range`; a range may reach past the end.
    ///
    /// # Errors
    /// [`ReadError::NotFound`], or [`ReadError::Corrupt`] when the chunk's description does not match.
    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>>;

    /// Opens all of a chunk to prove it. Nobody wants its bytes: a store that can leaves nothing of them in the system's
    /// memory, and takes nothing out that clients read lately. This one reads as for a client.
    ///
    /// # Errors
    /// As for [`Self::read`].
    fn scrub(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        self.read(chunk, ByteRange::whole(u64::MAX))
    }

    /// Length and hash of a chunk.
    ///
    /// # Errors
    /// As for [`Self::read`].
    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>>;

    /// A page of the chunks held, in chunk order.
    ///
    /// # Errors
    /// [`ReadError::Disk`] where a list has to be read from the disk.
    fn list(&self, list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>>;

    /// Deletes chunks, durably; absent ones are fine. Answers how many were there. After an error some may be gone;
    /// the call can be repeated.
    ///
    /// # Errors
    /// [`DeleteError`] when the disk has failed or the store is closed.
    fn delete(&self, chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>>;

    /// Deletes up to `limit` chunks of a blob, durably, breaks off its open writes and refuses later ones with
    /// [`WriteError::Erased`]. The refusal is a help, not a promise: a store remembers a bounded number of blobs, and
    /// none over a restart.
    ///
    /// # Errors
    /// As for [`Self::delete`].
    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>>;

    /// Takes a chunk that does not match its checksums out of what is read and listed, durably, so that it counts as
    /// missing; what there is of it is kept aside for a look where the store can, until the chunk is deleted or
    /// written again. The chunk is proven once more first: false when it is intact after all, or absent.
    ///
    /// # Errors
    /// As for [`Self::delete`].
    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>>;

    /// How full the store is, all disks together. Cheap.
    fn usage(&self) -> Usage;

    /// The disks that copies lie on, each with its life, which receipts carry. Cheap.
    fn disks(&self) -> Vec<DiskReport>;

    /// The tiers of a chain, in order, those of chains within it after the tier that they are. Cheap. Nothing of a
    /// store that has none.
    fn tiers(&self) -> Vec<TierReport> {
        Vec::new()
    }

    /// Waits until all that was acknowledged before is wherever the store means to keep it: for a chain, also in the
    /// tiers that are written behind. Waits as long as one of those cannot be reached: the caller bounds it.
    ///
    /// # Errors
    /// [`WriteError::Closed`] when the store was closed before.
    fn flush(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        future::ok(()).boxed()
    }

    /// Refuses further calls that change something, waits for what is at work on the disk and lets go of the disk.
    /// Open writers find the store closed. Can be repeated.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Takes the bytes of one chunk. Dropped before [`Self::finish`] succeeds, it leaves nothing.
pub trait ChunkWriter: Send + fmt::Debug {
    /// Takes the next bytes, of any number up to 1 MiB, with the checksums of the blocks that end within them. The
    /// last, short block's checksum may come with the bytes that end the chunk, or with [`Self::finish`].
    ///
    /// # Errors
    /// [`WriteError`]; the writer takes nothing more then.
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Makes the chunk durable and visible, and tells on which disk. Dropping the future may or may not undo the write.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is visible then that was not before.
    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>>;
}

/// What the writer of a chunk says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEnd {
    /// Bytes in all.
    pub length: u64,
    /// BLAKE3 of the bytes. Kept as given: the blocks are proven by their checksums.
    pub hash: ChunkHash,
    /// Checksum of the last, short block, unless it came with the bytes.
    pub last_block_crc: Option<u32>,
}

/// A chunk opened for reading.
pub struct ChunkReader {
    /// What follows.
    pub header: ReadHeader,
    /// The blocks that hold the range, read when polled, each checked before it is handed out. An error ends the
    /// stream.
    pub frames: BoxStream<'static, Result<Frame, ReadError>>,
}

impl fmt::Debug for ChunkReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkReader").field("header", &self.header).finish_non_exhaustive()
    }
}

/// What a [`ChunkReader`] hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadHeader {
    /// Bytes of the whole chunk.
    pub length: u64,
    /// BLAKE3 of the whole chunk.
    pub hash: ChunkHash,
    /// Where the frames begin: the start of the block that holds the first byte of the range.
    pub offset: u64,
}

/// Whole blocks; the chunk's last block may be short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The bytes, at most [`FRAME_BYTES`].
    pub bytes: Bytes,
    /// The checksum of each block.
    pub block_crcs: Vec<u32>,
}

/// What a store knows of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkStat {
    /// Bytes.
    pub length: u64,
    /// BLAKE3 of the bytes.
    pub hash: ChunkHash,
    /// The disk that it lies on.
    pub disk: DiskIncarnation,
}

/// Which chunks to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListChunks {
    /// Only chunks after this one.
    pub after: Option<ChunkId>,
    /// Only chunks of this blob.
    pub blob: Option<BlobId>,
    /// Most entries of the page.
    pub limit: usize,
}

/// A chunk that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its bytes.
    pub length: u64,
    /// The disk that it lies on.
    pub disk: DiskIncarnation,
}

/// Some of the chunks held, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPage {
    /// The chunks.
    pub chunks: Vec<StoredChunk>,
    /// True when more follow.
    pub more: bool,
}

/// What an erasure did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Chunks that were there and are gone.
    pub deleted: u64,
    /// True when the blob has more: call again.
    pub more: bool,
}

/// How full a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes it may hold in all; no more than it holds once the disk has failed.
    pub capacity: u64,
    /// Bytes it holds, with checksums and what the disk rounds up.
    pub used: u64,
    /// Bytes of what was deleted or given up, which are not given back yet.
    pub reclaimable: u64,
    /// Bytes promised to open writes.
    pub reserved: u64,
    /// Chunks it holds intact, as far as is known.
    pub chunks: u64,
    /// Chunks in quarantine.
    pub damaged: u64,
    /// Writers that are open.
    pub open_writes: u32,
}

impl Usage {
    /// Bytes that may still be promised.
    pub fn free(&self) -> u64 {
        let held = self.used.saturating_add(self.reclaimable);
        self.capacity.saturating_sub(held.saturating_add(self.reserved))
    }
}

/// A disk of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskReport {
    /// Its life: drawn anew when a disk is replaced or emptied.
    pub disk: DiskIncarnation,
    /// How full it is.
    pub usage: Usage,
    /// It failed to make data durable: it is read, and takes nothing more.
    pub failed: bool,
}

/// A tier of a chain: how full it is, and what it has done since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierReport {
    /// Its name.
    pub tier: Arc<str>,
    /// How full it is.
    pub usage: Usage,
    /// Its last answer was a failure.
    pub degraded: bool,
    /// Failures.
    pub errors: u64,
    /// What the last of them was, for an operator.
    pub last_error: Option<Arc<str>>,
    /// Writes that passed it by, because it is too small or full.
    pub bypassed: u64,
    /// Chunks that were read from it.
    pub hits: u64,
    /// Chunks that are still to be copied to it.
    pub waiting: u64,
    /// The LRU around it.
    pub lru: Option<LruStats>,
}

/// A write was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The reservation does not fit, or the disk is full.
    #[error("no room for {wanted} bytes: {free} are free")]
    NoRoom {
        /// Bytes that were to be reserved, with checksums.
        wanted: u64,
        /// Bytes that are neither held nor promised.
        free: u64,
    },
    /// The reservation is larger than a chunk may be.
    #[error("a chunk may have {MAX_CHUNK_BYTES} bytes, not {reserve}")]
    TooLarge {
        /// Bytes that were to be reserved.
        reserve: u64,
    },
    /// More came than was reserved.
    #[error("more bytes came than the {reserve} that were reserved")]
    PastReserve {
        /// Bytes that were reserved.
        reserve: u64,
    },
    /// The number of block checksums does not fit the bytes.
    #[error("checksums must be sent for each 64 KiB block that ends, and once for the last: {0}")]
    Checksums(&'static str),
    /// A block does not match its checksum.
    #[error("block {block} of chunk {chunk} does not match its checksum")]
    BlockMismatch {
        /// The chunk.
        chunk: ChunkId,
        /// The block, from 0.
        block: u32,
    },
    /// The chunk has another length than its end says.
    #[error("{received} bytes came, {announced} were announced")]
    LengthMismatch {
        /// Bytes that the end says.
        announced: u64,
        /// Bytes that came.
        received: u64,
    },
    /// The chunk exists with other content.
    #[error("chunk {chunk} exists with other content")]
    Conflict {
        /// The chunk.
        chunk: ChunkId,
    },
    /// The chunk's blob was erased.
    #[error("the blob of chunk {chunk} was erased")]
    Erased {
        /// The chunk.
        chunk: ChunkId,
    },
    /// The disk failed to make data durable earlier: it takes nothing more until the store is opened again.
    #[error("the disk has failed and takes no more writes")]
    DiskFailed,
    /// The disk refused; the chunk is not visible, or was before.
    #[error("the disk failed to {doing}: {source}")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// An earlier call of this writer failed or was dropped.
    #[error("an earlier part of this write failed")]
    Broken,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The work on the disk gave no result.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
    /// The work was not done in time; it may have happened, or happen later.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The tiers that are written behind are too late to take more.
    #[error("{waiting} chunks wait to be copied to the tiers behind: no more are taken for now")]
    Backlog {
        /// Chunks that wait.
        waiting: usize,
    },
}

impl WriteError {
    /// True when the same write may succeed later, here.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Backlog { .. } | Self::Interrupted(_))
    }

    /// True when the write itself is at fault, so that every store would refuse it.
    pub(crate) fn blames_the_write(&self) -> bool {
        match self {
            Self::TooLarge { .. }
            | Self::PastReserve { .. }
            | Self::Checksums(_)
            | Self::BlockMismatch { .. }
            | Self::LengthMismatch { .. }
            | Self::Conflict { .. }
            | Self::Erased { .. } => true,
            Self::NoRoom { .. }
            | Self::DiskFailed
            | Self::Disk { .. }
            | Self::Broken
            | Self::Closed
            | Self::Interrupted(_)
            | Self::TimedOut(_)
            | Self::Backlog { .. } => false,
        }
    }
}

/// What of a stored chunk does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The bytes of a block.
    #[error("block {0} does not match its checksum")]
    Block(u32),
    /// The table of block checksums.
    #[error("the table of block checksums does not match its checksum")]
    Table,
    /// The description of the chunk.
    #[error("its description is damaged")]
    Description,
    /// It was written in a format that this version does not know.
    #[error("its format version {0} is not known here: it needs a newer Cairn")]
    UnknownFormat(u32),
    /// It describes another chunk: a file or a write went astray.
    #[error("it describes chunk {0}")]
    OtherChunk(ChunkId),
    /// It is not as long as its description says.
    #[error("it has the wrong length")]
    Length,
    /// It is not a chunk's file, or not in a chunk's place.
    #[error("it is no chunk, or in no chunk's place")]
    Misplaced,
}

/// A read was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such chunk.
    #[error("chunk {chunk} is not here")]
    NotFound {
        /// The chunk.
        chunk: ChunkId,
    },
    /// The chunk does not match its checksums.
    #[error("chunk {chunk} is corrupt: {damage}")]
    Corrupt {
        /// The chunk.
        chunk: ChunkId,
        /// What does not match.
        damage: Damage,
    },
    /// The disk refused.
    #[error("the disk failed to {doing}: {source}")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// The work on the disk gave no result.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
    /// The work was not done in time; it may have happened, or happen later.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// A deletion failed; some of it may have happened.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The disk failed to make data durable earlier: nothing changes until the store is opened again.
    #[error("the disk has failed and takes no more changes")]
    DiskFailed,
    /// The disk refused.
    #[error("the disk failed to {doing}: {source}")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The work on the disk gave no result.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
    /// The work was not done in time; it may have happened, or happen later.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// Several tiers of a chain failed; the others have deleted.
    #[error("{} tiers failed, the first of them: {}", .0.len(), first_of(.0))]
    Tiers(Vec<(String, DeleteError)>),
    /// Several disks of a spread failed; the others have deleted.
    #[error("{} disks failed, the first of them: {}", .0.len(), first_of(.0))]
    Disks(Vec<(String, DeleteError)>),
}

fn first_of(failed: &[(String, DeleteError)]) -> String {
    failed.first().map_or_else(String::new, |(part, error)| format!("{part}: {error}"))
}
