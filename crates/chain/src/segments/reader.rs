//! Reading a chunk: its record and table first, then block by block against the table. A small chunk is one read. A large
//! one that was not read lately is not kept in the system's memory.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cairn_core::digest::BLOCK_BYTES;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use futures_util::stream::{self, StreamExt};

use super::format::{
    Description, PAGE_BYTES, RECORD_BYTES, Record, SMALL_BYTES, What, table_length,
};
use super::recent::{Part, REGION_BYTES};
use super::shared::{Place, Shared};
use crate::checks::{next_frame, prove_blocks};
use crate::disk::DiskFile;
use crate::ledger::Entry;
use crate::store::{ChunkReader, ChunkStat, Damage, Frame, ReadError, ReadHeader};

/// The data of chunks up to this many bytes is read along with the record.
const ALONG_BYTES: u64 = BLOCK_BYTES as u64;
/// How often a chunk is looked up again when it moved while it was opened.
const LOOKUPS: usize = 4;

/// Who wants a chunk's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadFor {
    /// Whoever stores chunks here; it may read this one again.
    Client,
    /// Nobody: all chunks are proven, one after the other.
    Scrub,
    /// Nobody: this one is proven, or moved.
    Upkeep,
}

/// Opens a chunk; see [`crate::ChunkStore::read`] and [`crate::ChunkStore::scrub`].
pub(super) async fn read(
    shared: &Arc<Shared>,
    chunk: ChunkId,
    range: ByteRange,
    purpose: ReadFor,
) -> Result<ChunkReader, ReadError> {
    let opened = Arc::new(open(shared, chunk, purpose).await?);
    let Description { length, hash, .. } = opened.description;
    let blocks = ByteRange::within(range.offset, range.length, length)
        .aligned_to(BLOCK_BYTES as u64, length);
    let header = ReadHeader { length, hash, offset: blocks.offset };
    let shared = Arc::clone(shared);
    let frames = stream::unfold(blocks, move |rest| {
        let (opened, shared) = (Arc::clone(&opened), Arc::clone(&shared));
        async move {
            let (now, later) = next_frame(rest)?;
            Some(match frame(&shared, opened, now).await {
                Ok(frame) => (Ok(frame), later),
                Err(error) => (Err(error), END),
            })
        }
    });
    Ok(ChunkReader { header, frames: frames.boxed() })
}

const END: ByteRange = ByteRange { offset: 0, length: 0 };

/// What a chunk's record says; see [`crate::ChunkStore::stat`].
pub(super) async fn stat(shared: &Arc<Shared>, chunk: ChunkId) -> Result<ChunkStat, ReadError> {
    let opened = open(shared, chunk, ReadFor::Upkeep).await?;
    let Description { length, hash, .. } = opened.description;
    Ok(ChunkStat { length, hash, disk: shared.incarnation })
}

/// Reads and proves all of a chunk.
pub(super) async fn prove(shared: &Arc<Shared>, chunk: ChunkId) -> Result<Description, ReadError> {
    let opened = Arc::new(open(shared, chunk, ReadFor::Upkeep).await?);
    let mut rest = ByteRange::whole(opened.description.length);
    while let Some((now, later)) = next_frame(rest) {
        frame(shared, Arc::clone(&opened), now).await?;
        rest = later;
    }
    Ok(opened.description)
}

async fn open(
    shared: &Arc<Shared>,
    chunk: ChunkId,
    purpose: ReadFor,
) -> Result<OpenRecord, ReadError> {
    // Told without waiting for the disk: of several disks, those that lack a chunk are asked as well.
    if shared.served(chunk).is_none() {
        return Err(ReadError::NotFound { chunk });
    }
    let job = {
        let shared = Arc::clone(shared);
        move || shared.open_chunk(chunk, purpose)
    };
    shared.ledger.run(job).await?
}

async fn frame(
    shared: &Arc<Shared>,
    opened: Arc<OpenRecord>,
    blocks: ByteRange,
) -> Result<Frame, ReadError> {
    if let Some(frame) = opened.along(blocks) {
        return frame;
    }
    let (chunk, place) = (opened.chunk, opened.place);
    let read = shared.ledger.run(move || opened.frame(blocks)).await?;
    // The file is read as it was opened; a copy that was deleted or given up is not one that rots.
    match read {
        Err(ReadError::Corrupt { .. }) if shared.served(chunk) != Some(place) => {
            Err(ReadError::NotFound { chunk })
        }
        read => read,
    }
}

impl Shared {
    /// Where a chunk is, unless it is in quarantine.
    fn served(&self, chunk: ChunkId) -> Option<Place> {
        self.state().get(chunk).copied().filter(|place| !place.is_quarantined())
    }

    /// Opens a chunk where it is now. Blocks.
    fn open_chunk(&self, chunk: ChunkId, purpose: ReadFor) -> Result<OpenRecord, ReadError> {
        let mut last = None;
        for _ in 0..LOOKUPS {
            let Some(place) = self.served(chunk) else {
                return Err(ReadError::NotFound { chunk });
            };
            match OpenRecord::open(self, chunk, place) {
                Ok(mut opened) => {
                    opened.once = self.note(chunk, place, purpose);
                    return Ok(opened);
                }
                Err(error) if self.served(chunk) == Some(place) => return Err(error),
                // It was moved, deleted or given up meanwhile.
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(ReadError::NotFound { chunk }))
    }

    /// Notes that a chunk is read, and lets go of what the scrub is through with. Tells whether nothing of this one is to
    /// stay in the system's memory. May block.
    fn note(&self, chunk: ChunkId, place: Place, purpose: ReadFor) -> bool {
        let is_large = place.length() > SMALL_BYTES;
        let once = is_large && !self.recent.has_chunk(chunk);
        let part = Part::new(place.segment, place.at(), place.room());
        match purpose {
            ReadFor::Client if is_large => self.recent.note_chunk(chunk),
            ReadFor::Client => self.recent.note_part(&part),
            ReadFor::Scrub if !is_large => {
                for region in self.recent.scrubbed(part) {
                    // One that is gone is in nobody's memory.
                    if let Ok(file) = self.files.get(region.segment) {
                        file.uncache(region.begin(), REGION_BYTES);
                    }
                }
            }
            ReadFor::Scrub | ReadFor::Upkeep => {}
        }
        once
    }
}

fn failed(doing: &'static str, source: io::Error) -> ReadError {
    ReadError::Disk { doing, source }
}

/// A chunk's record with what is needed to prove its blocks.
#[derive(Debug)]
pub(super) struct OpenRecord {
    file: Arc<dyn DiskFile>,
    chunk: ChunkId,
    place: Place,
    pub(super) description: Description,
    pub(super) table: Vec<u32>,
    /// The data, when it was read along.
    along: Option<Bytes>,
    /// It is large, and was not read lately: nothing of it is to stay in the system's memory.
    once: bool,
}

impl OpenRecord {
    /// Reads the record at `place`. Blocks.
    pub(super) fn open(shared: &Shared, chunk: ChunkId, place: Place) -> Result<Self, ReadError> {
        let corrupt = |damage| ReadError::Corrupt { chunk, damage };
        let salt = shared.table.lock().known().get(&place.segment).map(|segment| segment.salt);
        let salt = salt.ok_or(corrupt(Damage::Misplaced))?;
        let file =
            shared.files.get(place.segment).map_err(|error| failed("open a segment", error))?;
        let length = place.length();
        let table_end = RECORD_BYTES + table_length(length);
        let along = if length <= ALONG_BYTES { usize::try_from(length).unwrap_or(0) } else { 0 };
        let read = file.read_at(place.at(), table_end + along);
        let bytes = Bytes::from(read.map_err(|error| failed("read a record", error))?);
        let record =
            Record::decode(&bytes, &salt, place.at()).ok_or(corrupt(Damage::Description))?;
        if record.chunk != chunk {
            return Err(corrupt(Damage::OtherChunk(record.chunk)));
        }
        let What::Chunk(description) = record.what else {
            return Err(corrupt(Damage::Description));
        };
        if description.length != length {
            return Err(corrupt(Damage::Length));
        }
        let table = description.table(&bytes[RECORD_BYTES.min(bytes.len())..]).map_err(corrupt)?;
        let is_along = description.data_at == table_end as u64 && length <= ALONG_BYTES;
        let along = is_along.then(|| bytes.slice(table_end.min(bytes.len())..));
        Ok(Self { file, chunk, place, description, table, along, once: false })
    }

    /// A run of whole blocks that was read along.
    fn along(&self, blocks: ByteRange) -> Option<Result<Frame, ReadError>> {
        let along = self.along.as_ref()?;
        let begin = usize::try_from(blocks.offset).ok()?.min(along.len());
        let length = usize::try_from(blocks.length).ok()?;
        let end = (begin + length).min(along.len());
        Some(self.proven(blocks.offset, length, along.slice(begin..end)))
    }

    /// Reads and proves a run of whole blocks. Blocks.
    pub(super) fn frame(&self, blocks: ByteRange) -> Result<Frame, ReadError> {
        let at = self.place.at() + self.description.data_at + blocks.offset;
        let length = usize::try_from(blocks.length).unwrap_or(usize::MAX);
        let bytes = self.file.read_at(at, length).map_err(|error| failed("read blocks", error))?;
        if self.once {
            // From the record on: the system keeps pages in groups, of which some began with what was read before.
            let read = self.description.data_at + blocks.end();
            self.file.uncache(self.place.at(), read.next_multiple_of(PAGE_BYTES));
        }
        self.proven(blocks.offset, length, Bytes::from(bytes))
    }

    fn proven(&self, offset: u64, length: usize, bytes: Bytes) -> Result<Frame, ReadError> {
        let chunk = self.chunk;
        let block_crcs = prove_blocks(chunk, &self.table, offset, length, &bytes)
            .map_err(|damage| ReadError::Corrupt { chunk, damage })?;
        Ok(Frame { bytes, block_crcs })
    }
}
