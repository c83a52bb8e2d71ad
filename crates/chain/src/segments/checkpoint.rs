//! The index file: where each chunk is, so that opening a store need not read all records. Format version 1; numbers are
//! big-endian.
//!
//! ```text
//! head      "CAIRNIDX" │ version u32 │ disk 16 bytes │ known u64 │ next u32 │ segments u32 │ crc u32
//! segments  (number u32 │ notes u32) … │ crc u32                         the complete ones
//! chunks    block …, then a block without entries
//! block     count u32, at most 4096 │ (chunk 20 │ segment u32 │ unit u32 │ length u32) … │ crc u32, seeded with the block's number
//! ```
//!
//! It is written while the store works, a few thousand chunks at a time: it takes all records up to `known` into
//! account, and perhaps later ones. A file that is damaged is as good as none: the records are read then.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::atomic::Ordering;

use cairn_core::digest::plain_crc;
use cairn_core::ids::{ChunkId, DiskIncarnation};

use super::format::MAX_SEQUENCE;
use super::open::absent;
use super::shared::{Place, Shared};
use crate::disk::{Disk, DiskFile, PublishError, durable_publish};

/// The index file.
pub(super) const FILE: &str = "index";
/// While it is written.
const ASIDE: &str = "index.new";

const MAGIC: [u8; 8] = *b"CAIRNIDX";
const FORMAT_VERSION: u32 = 1;
const HEAD_BYTES: usize = 8 + 4 + 16 + 8 + 4 + 4;
const CHUNK_BYTES: usize = 20 + 12;
/// Chunks of a block; the ledger is held for one at a time.
const BLOCK_CHUNKS: usize = 4096;
/// The file is written again when this many times its size was written to segments.
const REWRITE_FACTOR: u64 = 8;

/// What an index file says.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    /// Records up to this sequence are taken into account.
    pub(super) known: u64,
    /// The number that the next segment is to have.
    pub(super) next: u32,
    /// Segments that were complete, and how many notes are in each.
    pub(super) complete: BTreeMap<u32, u32>,
    pub(super) chunks: BTreeMap<ChunkId, Place>,
}

/// When the index file is written again.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Due {
    written_at: u64,
    file_bytes: u64,
}

impl Due {
    /// Writes the index file, if enough was written since. Blocks.
    pub(super) fn written(self, shared: &Shared) -> Self {
        let allocated = shared.table.lock().allocated;
        let since = allocated - self.written_at;
        if since < shared.segment_bytes.max(self.file_bytes * REWRITE_FACTOR) {
            return self;
        }
        match write(shared) {
            Ok(file_bytes) => Self { written_at: allocated, file_bytes },
            Err(error) => {
                tracing::warn!(target: "cairn", disk = %shared.incarnation, %error, "write the index file");
                self
            }
        }
    }
}

/// Writes the index file when the store is closed: nothing has to be read at the next open. Blocks.
pub(super) fn at_close(shared: &Shared) {
    if shared.state().report().failed {
        return;
    }
    shared.roll();
    if let Err(error) = write(shared) {
        tracing::warn!(target: "cairn", disk = %shared.incarnation, %error, "write the index file");
    }
}

/// Writes the index file; gives its bytes.
fn write(shared: &Shared) -> io::Result<u64> {
    let disk = &*shared.disk;
    disk.remove(ASIDE).or_else(|error| absent::<()>(error).map(drop))?;
    let mut out = Output { file: disk.create_new(ASIDE)?, at: 0 };
    // Before anything else is looked at: what is known must be in what follows.
    let known = shared.sequences.durable();
    let table = shared.table.lock();
    let complete = table.known().iter().filter(|(_, segment)| segment.is_complete());
    let complete: Vec<_> = complete.map(|(number, segment)| (*number, segment.notes)).collect();
    let next = table.next();
    drop(table);
    out.write(0, &head(shared.incarnation, known, next, complete.len()))?;
    let mut segments = Vec::with_capacity(complete.len() * 8);
    for (number, notes) in complete {
        segments.extend_from_slice(&number.to_be_bytes());
        segments.extend_from_slice(&notes.to_be_bytes());
    }
    out.write(0, &segments)?;
    let mut after = Bound::Unbounded;
    for number in 0.. {
        let mut block = vec![0; 4];
        let state = shared.state();
        let chunks = state.chunks().range((after, Bound::Unbounded)).take(BLOCK_CHUNKS);
        let mut last = None;
        for (chunk, place) in chunks {
            block.extend_from_slice(&chunk.to_bytes());
            place.to_parts().iter().for_each(|part| block.extend_from_slice(&part.to_be_bytes()));
            last = Some(*chunk);
        }
        drop(state);
        let count = u32::try_from((block.len() - 4) / CHUNK_BYTES).unwrap_or(0);
        block[..4].copy_from_slice(&count.to_be_bytes());
        out.write(number, &block)?;
        let Some(last) = last else { break };
        after = Bound::Excluded(last);
    }
    durable_publish(disk, &*out.file, ASIDE, FILE).map_err(|error| match error {
        PublishError::Sync(source) | PublishError::Rename(source) => source,
    })?;
    shared.indexed.store(known, Ordering::Relaxed);
    Ok(out.at)
}

fn head(disk: DiskIncarnation, known: u64, next: u32, segments: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
    head.extend_from_slice(disk.as_bytes());
    head.extend_from_slice(&known.to_be_bytes());
    head.extend_from_slice(&next.to_be_bytes());
    head.extend_from_slice(&u32::try_from(segments).unwrap_or(0).to_be_bytes());
    head
}

struct Output {
    file: Box<dyn DiskFile>,
    at: u64,
}

impl Output {
    /// Appends a part and its checksum.
    fn write(&mut self, seed: u32, part: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(part.len() + 4);
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(&part_crc(seed, part).to_be_bytes());
        self.file.write_at(self.at, &bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

fn part_crc(seed: u32, part: &[u8]) -> u32 {
    plain_crc(part) ^ plain_crc(&seed.to_be_bytes())
}

/// Reads the index file of `incarnation`; nothing when there is none, or none that can be trusted.
pub(super) fn read(
    disk: &dyn Disk,
    incarnation: DiskIncarnation,
) -> io::Result<Option<Checkpoint>> {
    let Some(file) = disk.open(FILE).map(Some).or_else(absent)? else {
        return Ok(None);
    };
    let mut input = Input { end: file.length()?, file, at: 0 };
    let checkpoint = input.checkpoint(incarnation)?;
    if checkpoint.is_none() {
        tracing::error!(target: "cairn", disk = %incarnation, "the index file is damaged: the records are read instead");
    }
    Ok(checkpoint)
}

struct Input {
    file: Box<dyn DiskFile>,
    end: u64,
    at: u64,
}

impl Input {
    fn checkpoint(&mut self, incarnation: DiskIncarnation) -> io::Result<Option<Checkpoint>> {
        let Some(head) = self.part(0, HEAD_BYTES)? else {
            return Ok(None);
        };
        let is_ours = head[..8] == MAGIC
            && number(&head, 8) == FORMAT_VERSION
            && head[12..28] == *incarnation.as_bytes();
        if !is_ours {
            return Ok(None);
        }
        let known = u64::from(number(&head, 28)) << 32 | u64::from(number(&head, 32));
        if known > MAX_SEQUENCE {
            return Ok(None);
        }
        let mut checkpoint = Checkpoint { known, next: number(&head, 36), ..Checkpoint::default() };
        let Some(segments) = self.part(0, number(&head, 40) as usize * 8)? else {
            return Ok(None);
        };
        for entry in segments.chunks_exact(8) {
            checkpoint.complete.insert(number(entry, 0), number(entry, 4));
        }
        let rest = self.end.saturating_sub(self.at) / CHUNK_BYTES as u64;
        let mut chunks = Vec::with_capacity(usize::try_from(rest).unwrap_or(0));
        for block in 0.. {
            let Some(entries) = self.block(block)? else {
                return Ok(None);
            };
            let entries = &entries[4..];
            if entries.is_empty() {
                break;
            }
            for entry in entries.chunks_exact(CHUNK_BYTES) {
                let Ok(chunk) = ChunkId::from_slice(&entry[..20]) else {
                    return Ok(None);
                };
                let parts = [number(entry, 20), number(entry, 24), number(entry, 28)];
                chunks.push((chunk, Place::from_parts(parts)));
            }
        }
        // In order already: the map is built from them in one go.
        checkpoint.chunks = chunks.into_iter().collect();
        Ok(Some(checkpoint))
    }

    /// A block, without its checksum; nothing when it is damaged.
    fn block(&mut self, block: u32) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.file.read_at(self.at, 4)?;
        if bytes.len() < 4 || number(&bytes, 0) as usize > BLOCK_CHUNKS {
            return Ok(None);
        }
        self.part(block, 4 + number(&bytes, 0) as usize * CHUNK_BYTES)
    }

    /// The next `length` bytes; nothing when their checksum does not match.
    fn part(&mut self, seed: u32, length: usize) -> io::Result<Option<Vec<u8>>> {
        // A damaged length is not asked for.
        if self.end.saturating_sub(self.at) < length as u64 + 4 {
            return Ok(None);
        }
        let mut part = self.file.read_at(self.at, length + 4)?;
        if part.len() < length + 4 {
            return Ok(None);
        }
        self.at += part.len() as u64;
        let crc = number(&part, length);
        part.truncate(length);
        Ok((part_crc(seed, &part) == crc).then_some(part))
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
