//! Opening a store: whose folder it is, what its index file says, what was written since, and what of it is not whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use cairn_core::ids::{ChunkId, DiskIncarnation};

use super::checkpoint::{self, Checkpoint};
use super::files::{SEGMENTS, segment_file, segment_number};
use super::format::{BadSegment, HEADER_BYTES, Record, SegmentHeader, What};
use super::reader::OpenRecord;
use super::replay::{Replay, Replayed};
use super::scan::scan;
use super::sequence::Sequences;
use super::shared::{Parts, Place, Shared, Undone, locked};
use super::store::{SegmentStoreConfig, SegmentStoreSeams};
use super::table::{Segment, Table};
use crate::checks::next_frame;
use crate::disk::{Disk, DiskFile};
use crate::identity::Kind;
use crate::ledger::{Entry, Ledger, State};
use crate::open::{OpenError, failed, identify, lock};
use crate::store::ReadError;
use cairn_core::range::ByteRange;

/// Segments have a 64th of the capacity, within these bounds.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = (4 << 20)..=(1 << 30);
/// The least that can be asked for.
const LEAST_SEGMENT_BYTES: u64 = 1 << 20;
/// At most this part of the file system is left free.
const KEEP_FREE_PART: u64 = 20;

/// Opens the folder. Blocks.
pub(super) fn open(
    config: &SegmentStoreConfig,
    seams: SegmentStoreSeams,
) -> Result<Shared, OpenError> {
    let SegmentStoreSeams { disk, blocking, spawner, entropy, clock } = seams;
    let lock = lock(&*disk)?;
    let incarnation = identify(&*disk, Kind::Segments, &[SEGMENTS], || {
        DiskIncarnation::from_uuid(entropy.uuid_v7(&clock))
    })?;
    // A process that died may have left files whose content or names are not durable yet. What is served from here on
    // must be: a chunk that is listed may be counted on.
    disk.sync_all().map_err(failed("sync the disk"))?;
    let found = Found::in_folder(&*disk, incarnation)?;
    let Recovered { table, replayed, next, known } = found.replay(&*disk)?;
    let capacity = capacity(config, &*disk, &table)?;
    let state = State::new(incarnation, capacity, replayed.chunks);
    let undone = replayed.undone;
    let shared = Shared::new(Parts {
        disk,
        incarnation,
        ledger: Ledger::new(state, blocking),
        table: Table::new(table, next),
        sequences: Sequences::after(replayed.last),
        indexed: known,
        segment_bytes: segment_bytes(config, capacity),
        spawner,
        clock,
        entropy,
        lock,
    });
    *locked(&shared.undone) = undone;
    let torn = shared.prove(&replayed.unproven)?;
    if let Err(error) = shared.settle_undone() {
        tracing::warn!(target: "cairn", disk = %incarnation, ?error, "what was not answered is not cleared away yet");
    }
    let usage = shared.state().usage();
    tracing::info!(
        target: "cairn",
        disk = %incarnation, chunks = usage.chunks, used = usage.used, capacity, torn,
        damaged = usage.damaged,
        "segment store opened"
    );
    Ok(shared)
}

fn capacity(
    config: &SegmentStoreConfig,
    disk: &dyn Disk,
    table: &BTreeMap<u32, Segment>,
) -> Result<u64, OpenError> {
    if let Some(capacity) = config.capacity {
        return Ok(capacity);
    }
    let space = disk.space().map_err(failed("ask for the disk's space"))?;
    let keep_free = config.keep_free.min(space.total / KEEP_FREE_PART);
    let held: u64 = table.values().map(Segment::body).sum();
    Ok(space.available.saturating_sub(keep_free) + held)
}

fn segment_bytes(config: &SegmentStoreConfig, capacity: u64) -> u64 {
    let (least, most) = (*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
    let asked = config.segment_bytes.map(|bytes| bytes.max(LEAST_SEGMENT_BYTES));
    asked.unwrap_or((capacity / 64).clamp(least, most))
}

/// The segments in a folder.
struct Found {
    incarnation: DiskIncarnation,
    headers: BTreeMap<u32, SegmentHeader>,
    /// No segment has or had this number, or a higher one.
    next: u32,
}

/// What a folder comes to.
struct Recovered {
    table: BTreeMap<u32, Segment>,
    replayed: Replayed,
    next: u32,
    /// What the index file knows.
    known: u64,
}

impl Found {
    fn in_folder(disk: &dyn Disk, incarnation: DiskIncarnation) -> Result<Self, OpenError> {
        let mut found = Self { incarnation, headers: BTreeMap::new(), next: 0 };
        let doing = "read the folder of segments";
        for entry in disk.list_folder(SEGMENTS).map_err(failed(doing))? {
            let Some(number) = segment_number(&entry.name).filter(|_| !entry.folder) else {
                tracing::warn!(target: "cairn", name = entry.name, "not ours: left alone");
                continue;
            };
            found.next = found.next.max(number.saturating_add(1));
            found.segment(disk, number)?;
        }
        Ok(found)
    }

    fn segment(&mut self, disk: &dyn Disk, number: u32) -> Result<(), OpenError> {
        let path = segment_file(number);
        let doing = "read a segment's header";
        let file = disk.open(&path).map_err(failed(doing))?;
        let bytes = file.read_at(0, HEADER_BYTES as usize).map_err(failed(doing))?;
        match SegmentHeader::decode(&bytes, number, self.incarnation) {
            Ok(header) => drop(self.headers.insert(number, header)),
            // It was being made: nothing in it was ever answered.
            Err(BadSegment::Damaged) if bytes.iter().all(|byte| *byte == 0) => {
                disk.remove(&path).map_err(failed("remove a segment that was not made"))?;
            }
            Err(BadSegment::UnknownFormat(format)) => {
                return Err(OpenError::UnknownFormat { format: format.to_string() });
            }
            Err(bad) => {
                tracing::error!(target: "cairn", segment = path, %bad, "a segment cannot be read: its chunks count as missing");
            }
        }
        Ok(())
    }

    fn replay(mut self, disk: &dyn Disk) -> Result<Recovered, OpenError> {
        let checkpoint =
            checkpoint::read(disk, self.incarnation).map_err(failed("read the index file"))?;
        let Checkpoint { known, next, complete, chunks } = checkpoint.unwrap_or_default();
        self.next = self.next.max(next);
        let mut replay = Replay::of(chunks, known);
        let copies = self.copies(disk, &complete)?;
        let replaced: BTreeSet<u32> =
            self.headers.values().flat_map(|header| header.sources.iter().copied()).collect();
        for (number, header) in &self.headers {
            replay.segment(*number, header.sources.clone());
        }
        replaced.iter().for_each(|number| replay.replaced(*number));
        for (number, records) in copies {
            if replaced.contains(&number) {
                continue;
            }
            records.iter().for_each(|(at, record)| replay.record(number, *at, record));
        }
        for (&number, header) in &self.headers {
            let is_known = complete.contains_key(&number) || replaced.contains(&number);
            if !is_known && header.sources.is_empty() {
                scan_file(disk, header, |at, record| replay.record(number, at, &record))?;
            }
        }
        let replayed = replay.end();
        self.recovered(disk, replayed, known, &complete, &replaced)
    }

    /// The records of copies that the index file does not know. One that is not sealed is removed: its sources are still
    /// there.
    fn copies(
        &mut self,
        disk: &dyn Disk,
        complete: &BTreeMap<u32, u32>,
    ) -> Result<Vec<(u32, Vec<(u64, Record)>)>, OpenError> {
        let mut copies = Vec::new();
        let mut unsealed = Vec::new();
        for (&number, header) in &self.headers {
            if header.sources.is_empty() || complete.contains_key(&number) {
                continue;
            }
            let mut records = Vec::new();
            scan_file(disk, header, |at, record| records.push((at, record)))?;
            match records.last() {
                Some((_, Record { what: What::Seal, .. })) => copies.push((number, records)),
                _ => unsealed.push(number),
            }
        }
        for number in unsealed {
            self.headers.remove(&number);
            disk.remove(&segment_file(number)).map_err(failed("remove an unfinished copy"))?;
        }
        Ok(copies)
    }

    fn recovered(
        self,
        disk: &dyn Disk,
        replayed: Replayed,
        known: u64,
        complete: &BTreeMap<u32, u32>,
        replaced: &BTreeSet<u32>,
    ) -> Result<Recovered, OpenError> {
        let mut table = BTreeMap::new();
        for (&number, header) in &self.headers {
            let file = disk.open(&segment_file(number)).map_err(failed("open a segment"))?;
            let end = file.length().map_err(failed("ask for a segment's length"))?;
            let notes = complete.get(&number).or_else(|| replayed.notes.get(&number));
            let notes = notes.copied().filter(|_| !replaced.contains(&number)).unwrap_or(0);
            let segment = Segment { end, notes, rolled: true, ..Segment::new(header.salt()) };
            table.insert(number, segment);
        }
        for place in replayed.chunks.values().filter(|place| !place.is_quarantined()) {
            if let Some(segment) = table.get_mut(&place.segment) {
                segment.live += place.room();
            }
        }
        if replayed.missing > 0 {
            let missing = replayed.missing;
            tracing::error!(target: "cairn", disk = %self.incarnation, missing, "segments are gone: their chunks count as missing");
        }
        Ok(Recovered { table, replayed, next: self.next, known })
    }
}

fn scan_file(
    disk: &dyn Disk,
    header: &SegmentHeader,
    each: impl FnMut(u64, Record),
) -> Result<(), OpenError> {
    let doing = "read a segment";
    let file: Box<dyn DiskFile> = disk.open(&segment_file(header.number)).map_err(failed(doing))?;
    scan(&*file, &header.salt(), each).map_err(failed(doing))
}

impl Shared {
    /// Proves chunks that may be torn; those that are do not count. Tells how many. Blocks.
    fn prove(&self, unproven: &[ChunkId]) -> Result<u64, OpenError> {
        let mut torn = 0;
        for &chunk in unproven {
            let Some(place) = self.state().get(chunk).copied() else {
                continue;
            };
            match self.prove_at(chunk, place) {
                Ok(()) => {}
                Err(ReadError::Disk { doing, source }) => {
                    return Err(OpenError::Disk { doing, source });
                }
                Err(_) => {
                    self.state().remove(chunk);
                    self.table.lock().deaden(place.segment, place.room());
                    locked(&self.undone).push(Undone { chunk, segment: place.segment });
                    torn += 1;
                }
            }
        }
        Ok(torn)
    }

    fn prove_at(&self, chunk: ChunkId, place: Place) -> Result<(), ReadError> {
        let opened = Arc::new(OpenRecord::open(self, chunk, place)?);
        let mut rest = ByteRange::whole(place.length());
        while let Some((now, later)) = next_frame(rest) {
            opened.frame(now)?;
            rest = later;
        }
        Ok(())
    }
}

/// What is not there is no error here.
pub(super) fn absent<T>(error: io::Error) -> io::Result<Option<T>> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(None),
        _ => Err(error),
    }
}
