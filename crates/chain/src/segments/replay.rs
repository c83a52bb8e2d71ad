//! Which records count.
//!
//! A chunk is where its record with the highest sequence is, unless a later tombstone of the chunk names that record's
//! segment, or a source of it: what was copied by a compaction is dead with what it was copied from. The rule does not
//! depend on the order in which records are found.
//!
//! An index file gives a beginning: the chunks as they were when it was written, with all records up to `known` taken
//! into account, and perhaps some later ones. Records that it knows are passed over, but for those of a compaction that
//! it does not know: a chunk whose segment is gone is at its copy. One without a copy was deleted since, and then its
//! tombstone is there, since tombstones that the index file does not know are kept; or its segment was lost.
//!
//! What no later record says was durable may be torn: it is proven before it counts. Records that do not count and that
//! no tombstone says so of are `undone`: they get their tombstone before anything else is written.

use std::collections::{BTreeMap, BTreeSet};

use cairn_core::ids::ChunkId;

use super::format::{Record, What};
use super::shared::{Place, Undone};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// What the index file says of chunks of which no later record was read.
    indexed: BTreeMap<ChunkId, Place>,
    /// What the records that were read say of the others.
    read: BTreeMap<ChunkId, Candidate>,
    losers: Vec<(ChunkId, Candidate)>,
    tombstones: BTreeMap<(ChunkId, u32), u64>,
    quarantines: BTreeMap<(ChunkId, u32), u64>,
    /// Segments whose live records were copied to another, by that one.
    sources: BTreeMap<u32, Vec<u32>>,
    notes: BTreeMap<u32, u32>,
    /// Segments that are there, and hold what counts.
    present: BTreeSet<u32>,
    /// Records up to this sequence are in what the replay began with.
    known: u64,
    last: u64,
    durable: u64,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    place: Place,
    sequence: u64,
}

/// What a replay comes to.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) chunks: BTreeMap<ChunkId, Place>,
    /// Chunks that count if they are intact.
    pub(super) unproven: Vec<ChunkId>,
    pub(super) undone: Vec<Undone>,
    /// Chunks of the index file whose segment was lost.
    pub(super) missing: u64,
    /// How many tombstones and quarantines the segments that were read have.
    pub(super) notes: BTreeMap<u32, u32>,
    pub(super) last: u64,
}

impl Replay {
    /// Begins with what an index file says.
    pub(super) fn of(chunks: BTreeMap<ChunkId, Place>, known: u64) -> Self {
        Self { indexed: chunks, known, last: known, durable: known, ..Self::default() }
    }

    /// A segment is there. It holds copies of what was live in `sources`; without any it is no copy.
    pub(super) fn segment(&mut self, segment: u32, sources: Vec<u32>) {
        self.present.insert(segment);
        if !sources.is_empty() {
            self.sources.insert(segment, sources);
        }
    }

    /// A segment is there, and all that counts of it was copied to another.
    pub(super) fn replaced(&mut self, segment: u32) {
        self.present.remove(&segment);
    }

    /// Takes a record at offset `at` of a segment into account.
    pub(super) fn record(&mut self, segment: u32, at: u64, record: &Record) {
        let &Record { chunk, sequence, durable, what, .. } = record;
        self.last = self.last.max(sequence);
        self.durable = self.durable.max(durable);
        match what {
            What::Chunk(description) => {
                let place = Place::new(segment, at, description.length);
                self.chunk(chunk, Candidate { place, sequence });
            }
            What::Tombstone(target) => {
                *self.notes.entry(segment).or_default() += 1;
                latest(&mut self.tombstones, (chunk, target), sequence);
            }
            What::Quarantine(target) => {
                *self.notes.entry(segment).or_default() += 1;
                latest(&mut self.quarantines, (chunk, target), sequence);
            }
            What::Seal => {}
        }
    }

    fn chunk(&mut self, chunk: ChunkId, new: Candidate) {
        let segment = new.place.segment;
        let is_copy = self.sources.contains_key(&segment);
        if new.sequence <= self.known {
            match self.held(chunk) {
                // The index file knows the record where it was copied from.
                Some(held) if is_copy && !self.present.contains(&held.place.segment) => {
                    self.indexed.insert(chunk, new.place);
                }
                Some(held) if held.place == new.place => {}
                _ if is_copy => self.losers.push((chunk, new)),
                // It is in the index file, or was dead by then.
                _ => {}
            }
            return;
        }
        let loser = match self.held(chunk) {
            Some(held) if held.place == new.place => return,
            Some(held) if held.sequence >= new.sequence => Some(new),
            held => {
                self.indexed.remove(&chunk);
                self.read.insert(chunk, new);
                held
            }
        };
        self.losers.extend(loser.map(|loser| (chunk, loser)));
    }

    fn held(&self, chunk: ChunkId) -> Option<Candidate> {
        let indexed = |place: &Place| Candidate { place: *place, sequence: self.known };
        self.read.get(&chunk).copied().or_else(|| self.indexed.get(&chunk).map(indexed))
    }

    fn quarantine(&mut self, chunk: ChunkId) {
        let read = self.read.get_mut(&chunk).map(|held| &mut held.place);
        if let Some(place) = read.or_else(|| self.indexed.get_mut(&chunk)) {
            *place = place.quarantined();
        }
    }

    fn forget(&mut self, chunk: ChunkId) {
        self.read.remove(&chunk);
        self.indexed.remove(&chunk);
    }

    /// Whether a later note of `notes` is about this record.
    fn is_noted(
        &self,
        notes: &BTreeMap<(ChunkId, u32), u64>,
        chunk: ChunkId,
        candidate: &Candidate,
    ) -> bool {
        let own = candidate.place.segment;
        let sources = self.sources.get(&own).into_iter().flatten();
        let mut named = sources.chain([&own]);
        named.any(|&named| notes.get(&(chunk, named)).is_some_and(|at| *at > candidate.sequence))
    }

    /// The end of it: all records were seen.
    pub(super) fn end(mut self) -> Replayed {
        let missing = self.drop_missing();
        // Where a note does not name a chunk, nothing is to be looked up.
        let noted: BTreeSet<ChunkId> = self
            .tombstones
            .keys()
            .chain(self.quarantines.keys())
            .map(|(chunk, _)| *chunk)
            .collect();
        for chunk in noted {
            let Some(candidate) = self.held(chunk) else {
                continue;
            };
            if self.is_noted(&self.tombstones, chunk, &candidate) {
                self.forget(chunk);
            } else if self.is_noted(&self.quarantines, chunk, &candidate) {
                self.quarantine(chunk);
            }
        }
        let undone = self.undone();
        // All that the index file knows was durable.
        let unproven = self.read.iter().filter(|(_, held)| held.sequence > self.durable);
        let unproven = unproven.map(|(chunk, _)| *chunk).collect();
        let mut read = self.read.into_iter().map(|(chunk, held)| (chunk, held.place)).collect();
        // What an index file says is many times what was written since: it is not built anew.
        let mut chunks = self.indexed;
        chunks.append(&mut read);
        Replayed { chunks, unproven, undone, notes: self.notes, last: self.last, missing }
    }

    /// Chunks whose segment is not there and that were not copied do not count. Tells of how many nothing says that they
    /// were deleted.
    fn drop_missing(&mut self) -> u64 {
        let absent = |place: &Place| !self.present.contains(&place.segment);
        // What was read is there.
        let gone = self.indexed.iter().filter(|(_, place)| absent(place));
        let gone: Vec<_> = gone.map(|(chunk, _)| *chunk).collect();
        let mut missing = 0;
        for chunk in gone {
            let tombstones = self.tombstones.range((chunk, 0)..=(chunk, u32::MAX));
            let deleted = tombstones.into_iter().any(|(_, at)| *at > self.known);
            missing += u64::from(!deleted);
            self.indexed.remove(&chunk);
        }
        missing
    }

    /// Records that do not count, without a tombstone that says so. One in the segment of the record that counts needs
    /// none: what ends that one will end both.
    fn undone(&self) -> Vec<Undone> {
        let needs_one = |(chunk, loser): &&(ChunkId, Candidate)| {
            let winner = self.held(*chunk).map(|winner| winner.place.segment);
            winner != Some(loser.place.segment) && !self.is_noted(&self.tombstones, *chunk, loser)
        };
        let losers = self.losers.iter().filter(needs_one);
        losers
            .map(|(chunk, loser)| Undone { chunk: *chunk, segment: loser.place.segment })
            .collect()
    }
}

fn latest(notes: &mut BTreeMap<(ChunkId, u32), u64>, about: (ChunkId, u32), sequence: u64) {
    let known = notes.entry(about).or_default();
    *known = sequence.max(*known);
}

#[cfg(test)]
mod tests {
    use cairn_core::digest::ChunkHash;
    use cairn_core::ids::BlobId;

    use super::super::format::{Description, data_at, record_bytes};
    use super::*;

    fn chunk(n: u32) -> ChunkId {
        ChunkId::new(BlobId::from_slice(&[7; 16]).expect("16 bytes"), n)
    }

    fn put(n: u32, sequence: u64) -> Record {
        let (length, hash) = (10, ChunkHash([0; 32]));
        let description = Description { length, data_at: data_at(10), table_crc: 0, hash };
        record(n, sequence, What::Chunk(description))
    }

    fn record(n: u32, sequence: u64, what: What) -> Record {
        Record { chunk: chunk(n), extent: record_bytes(10), sequence, durable: 1000, what }
    }

    fn replay(begin: Replay, records: &[(u32, u64, Record)]) -> Replayed {
        let forward = run(begin, records.iter());
        forward.end()
    }

    fn run<'a>(
        mut replay: Replay,
        records: impl Iterator<Item = &'a (u32, u64, Record)>,
    ) -> Replay {
        for (segment, at, record) in records {
            replay.record(*segment, *at, record);
        }
        replay
    }

    #[test]
    fn the_order_in_which_records_are_found_does_not_matter() {
        let records = [
            (1, 4096, put(1, 1)),
            (1, 8192, put(2, 2)),
            (2, 4096, record(1, 3, What::Tombstone(1))),
            (2, 8192, put(1, 4)),
            (2, 12_288, record(2, 5, What::Quarantine(1))),
            (3, 4096, record(1, 6, What::Tombstone(1))),
        ];
        let begin = || {
            let mut begin = Replay::default();
            (1..=3).for_each(|segment| begin.segment(segment, vec![]));
            begin
        };
        let one = run(begin(), records.iter()).end();
        let other = run(begin(), records.iter().rev()).end();
        assert_eq!(one.chunks, other.chunks);
        assert_eq!(one.chunks[&chunk(1)], Place::new(2, 8192, 10));
        assert!(one.chunks[&chunk(2)].is_quarantined());
        assert!(one.undone.is_empty() && other.undone.is_empty(), "{one:?} {other:?}");
    }

    #[test]
    fn a_chunk_that_was_deleted_while_it_was_copied_stays_deleted() {
        let mut begin = Replay::default();
        begin.segment(2, vec![1]);
        begin.segment(3, vec![]);
        let records = [(2, 4096, put(1, 1)), (3, 4096, record(1, 9, What::Tombstone(1)))];
        let replayed = replay(begin, &records);
        assert!(replayed.chunks.is_empty(), "{replayed:?}");
    }

    #[test]
    fn copies_that_the_index_file_does_not_know_take_the_place_of_their_sources() {
        let held = BTreeMap::from([
            (chunk(1), Place::new(1, 4096, 10)),
            (chunk(2), Place::new(5, 4096, 10)),
        ]);
        let mut begin = Replay::of(held, 50);
        begin.segment(2, vec![7]);
        begin.segment(5, vec![]);
        let records = [(2, 4096, put(1, 1)), (2, 8192, put(2, 2)), (2, 12_288, put(3, 3))];
        let replayed = replay(begin, &records);
        assert_eq!(replayed.chunks[&chunk(1)], Place::new(2, 4096, 10), "it moved");
        assert_eq!(replayed.chunks[&chunk(2)], Place::new(5, 4096, 10), "it was written again");
        assert!(!replayed.chunks.contains_key(&chunk(3)), "it was deleted");
        let undone = [2, 3].map(|n| Undone { chunk: chunk(n), segment: 2 });
        assert_eq!(replayed.undone, undone, "and their copies will not come back");
    }

    #[test]
    fn a_chunk_of_a_segment_that_is_gone_was_deleted_or_is_missing() {
        let held = BTreeMap::from([
            (chunk(1), Place::new(1, 4096, 10)),
            (chunk(2), Place::new(1, 8192, 10)),
        ]);
        let mut begin = Replay::of(held, 50);
        begin.segment(3, vec![]);
        let replayed = replay(begin, &[(3, 4096, record(1, 51, What::Tombstone(2)))]);
        assert!(replayed.chunks.is_empty(), "{replayed:?}");
        assert_eq!(replayed.missing, 1, "one of them has a tombstone");
    }

    #[test]
    fn what_no_later_record_says_was_durable_has_to_be_proven() {
        let with = |sequence, durable| Record { durable, ..put(sequence as u32, sequence) };
        let records = [(1, 4096, with(1, 0)), (1, 8192, with(2, 1)), (1, 12_288, with(3, 1))];
        let mut begin = Replay::default();
        begin.segment(1, vec![]);
        let replayed = replay(begin, &records);
        assert_eq!(replayed.unproven, [chunk(2), chunk(3)]);
    }
}
