//! Chunks in an ordered tree of keys and values: what the stores on redb and fjall have in common.
//!
//! ```text
//! table    key                            value
//! meta     "store"                        facts.rs
//! chunks   chunk id, 20 bytes             place, 8 bytes; its CRC32C, 4; table and footer as at the end of a chunk's file
//! slices   place, 8 bytes; number, 4      whole blocks of the chunk; the last slice is short
//! aside    chunk id, 20 bytes             as in `chunks`: what was no intact chunk
//! ```
//!
//! Numbers are big-endian. A place is a number that one write has to itself, so that writers of one chunk do not meet.
//! Slices are put while they arrive; the chunk is there when its record is, with one durable commit, which finishing
//! writers share. Slices whose place no record names are what a write left behind, and are removed at the next open.

mod commits;
mod engine;
mod keys;
mod open;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};

use crate::disk::Disk;
use crate::file::FileStoreConfig;

pub(crate) use engine::TreeEngine;
pub(crate) use open::{Capacity, Opening, open};

/// What a store on a tree needs of its surroundings.
#[derive(Debug, Clone)]
pub struct TreeSeams {
    /// Where work on the disk runs.
    pub blocking: Blocking,
    /// Where changes run.
    pub spawner: Spawner,
    /// Draws the disk's incarnation when the store is new.
    pub entropy: Entropy,
    /// Dates the disk's incarnation.
    pub clock: Clock,
}

/// Part of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Facts about the store.
    Meta,
    /// Chunks that can be read.
    Chunks,
    /// Their bytes.
    Slices,
    /// Chunks that were put aside.
    Aside,
}

/// A change of one entry.
#[derive(Debug, Clone)]
pub enum Change {
    /// Sets a value.
    Put(Table, Vec<u8>, Bytes),
    /// Removes an entry, if it is there.
    Remove(Table, Vec<u8>),
}

/// An ordered map on a disk, in four tables. Every call blocks.
pub trait Tree: Send + Sync + fmt::Debug + Sized + 'static {
    /// Bytes of a slice: whole blocks, at most a frame.
    const SLICE_BYTES: usize;

    /// Bytes that a value of this many bytes takes up, with its key.
    fn room(value: u64) -> u64;

    /// Part of a value, less where it ends before; `None` when there is no such entry.
    fn get(&self, table: Table, key: &[u8], part: Range<usize>) -> io::Result<Option<Bytes>>;

    /// Shows the keys from `from` on, in order, until `each` says false.
    fn keys(
        &self,
        table: Table,
        from: &[u8],
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<()>;

    /// Makes changes, all or none. Durable ones make those before durable as well. After an error what is durable is
    /// not known.
    fn commit(&self, changes: Vec<Change>, durable: bool) -> io::Result<()>;
}

/// The books count values. What a tree takes up beyond them, as pages that are not full and garbage that waits, is up
/// to one byte in so many of the disk.
const SLACK: u64 = 8;

/// How much a store in a folder may hold, when nobody says: what is free, less what a file system should keep, and
/// less some slack. Blocks.
pub(crate) fn capacity_in(folder: &dyn Disk, capacity: Option<u64>) -> io::Result<Capacity> {
    Ok(match capacity {
        Some(bytes) => Capacity::Bytes(bytes),
        None => {
            let free = folder.space()?.available.saturating_sub(FileStoreConfig::KEEP_FREE);
            Capacity::Free(free - free / SLACK)
        }
    })
}
