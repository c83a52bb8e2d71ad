//! Chunk stores of a storage node: one contract, [`ChunkStore`], and what keeps it.
//!
//! ```text
//! storage node ─► ChunkStore ─► FileStore ─► Disk ─► RealDisk        pread, pwrite, fsync
//!                 (contract)    (a file       (seam)  MemoryDisk     crashes and fails on request
//!                               per chunk)
//! ```
//!
//! A store is told the block checksums of what it takes and gives them back with what it hands out, checked both
//! times: bytes that do not match are refused, never repaired silently. What `finish` has answered is durable; before
//! that nothing of a chunk is visible.

mod checks;
pub mod disk;
pub mod file;
mod identity;
mod ledger;
mod open;
pub mod segments;
pub mod store;

#[cfg(feature = "testing")]
pub mod conformance;

pub use disk::{Disk, RealDisk};
pub use file::{FileStore, FileStoreConfig, FileStoreSeams};
pub use open::OpenError;
pub use segments::{SegmentStore, SegmentStoreConfig, SegmentStoreSeams};
pub use store::{
    ChunkEnd, ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, Damage, DeleteError,
    DiskReport, Erased, FRAME_BYTES, Frame, ListChunks, MAX_CHUNK_BYTES, ReadError, ReadHeader,
    StoredChunk, Usage, WriteError,
};
