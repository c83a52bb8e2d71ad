//! Chunk stores of a storage node: one contract, [`ChunkStore`], and what keeps it.
//!
//! ```text
//! storage node ─► ChunkStore ─► Chain ─► wrappers ─┬─► SegmentStore, FileStore ─► Disk ─► RealDisk        pread, pwrite, fsync
//!                 (contract)    (tiers)  (Lru, …)  │   (few large files; a      (seam)  MemoryDisk     crashes and fails on request
//!                                                  │    file per chunk)
//!                                                  ├─► EngineStore ─► MemoryStore · BTreeStore (redb) · LsmStore (fjall) · ObjectTier (S3 …)
//!                                                  ├─► Spread ─► several stores, each on a disk of its own
//!                                                  └─► FaultStore ─► another store, with faults on request
//! ```
//!
//! A store is told the block checksums of what it takes and gives them back with what it hands out, checked both
//! times: bytes that do not match are refused, never repaired silently. What `finish` has answered is durable; before
//! that nothing of a chunk is visible.

pub mod btree;
pub mod chain;
mod checks;
pub mod disk;
pub mod disk_set;
mod engine;
mod facts;
pub mod faulty;
pub mod file;
mod identity;
mod ledger;
pub mod lsm;
pub mod memory;
pub mod object_tier;
mod open;
mod pins;
pub mod plan;
pub mod report;
pub mod segments;
mod settings;
pub mod spread;
pub mod store;
mod tree;
mod turns;
pub mod wrap;

#[cfg(feature = "testing")]
pub mod conformance;

pub use btree::{BTreeStore, BTreeStoreConfig};
pub use disk::{Disk, RealDisk};
pub use engine::{EngineOpenError, EngineStore};
pub use faulty::{FaultConfig, FaultSeams, FaultStore, InvalidRate};
pub use file::{FileStore, FileStoreConfig, FileStoreSeams};
pub use lsm::{LsmStore, LsmStoreConfig};
pub use memory::{MemoryStore, MemoryStoreConfig, MemoryStoreSeams};
pub use object_tier::{ObjectTier, ObjectTierConfig, ObjectTierSeams};
pub use open::OpenError;
pub use pins::{Pin, Pins};
pub use segments::{SegmentStore, SegmentStoreConfig, SegmentStoreSeams};
pub use spread::{NoDisks, Spread, SpreadSeams};
pub use store::{
    ChunkEnd, ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, Damage, DeleteError,
    DiskReport, Erased, FRAME_BYTES, Frame, ListChunks, MAX_CHUNK_BYTES, ReadError, ReadHeader,
    StoredChunk, TierReport, Usage, WriteError,
};
pub use tree::TreeSeams;
