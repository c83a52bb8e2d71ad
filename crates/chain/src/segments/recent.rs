//! What clients read lately: large chunks, and the regions of segments that small ones lie in. Of the rest nothing stays in the
//! system's memory: a download of many gigabytes, or a scrub, would push out what is read again and again.
//!
//! A large chunk has pages of its own, and stays when a client reads it a second time. A small one stays after the first time;
//! the scrub, which comes by all chunks about as they lie, lets go of a region when it leaves it, unless a client read there
//! lately.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_core::ids::ChunkId;

/// How many large chunks are remembered; the one that was read first is forgotten first.
const CHUNKS: usize = 1024;
/// How many regions are remembered: 16 GiB of them.
const REGIONS: usize = 8192;
/// What stays or goes together of small chunks: 2 MiB, the most that Linux keeps as one group of pages, which it gives up as a
/// whole or not at all.
pub(super) const REGION_BYTES: u64 = 2 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Recent {
    chunks: Mutex<Last<ChunkId>>,
    regions: Mutex<Last<Region>>,
    /// What the scrub has read last.
    scrubbed: Mutex<Option<Part>>,
}

/// Part of a segment, by its regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    segment: u32,
    regions: Range<u64>,
}

/// A region of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Region {
    pub(super) segment: u32,
    number: u64,
}

impl Part {
    pub(super) fn new(segment: u32, at: u64, length: u64) -> Self {
        Self { segment, regions: at / REGION_BYTES..(at + length).div_ceil(REGION_BYTES) }
    }

    fn regions(&self) -> impl Iterator<Item = Region> {
        let segment = self.segment;
        self.regions.clone().map(move |number| Region { segment, number })
    }
}

impl Region {
    /// Its first byte in the segment.
    pub(super) fn begin(self) -> u64 {
        self.number * REGION_BYTES
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            chunks: Mutex::new(Last::new(CHUNKS)),
            regions: Mutex::new(Last::new(REGIONS)),
            scrubbed: Mutex::default(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recent {
    /// Whether a client read a large chunk lately.
    pub(super) fn has_chunk(&self, chunk: ChunkId) -> bool {
        locked(&self.chunks).known.contains(&chunk)
    }

    /// A client reads a large chunk now.
    pub(super) fn note_chunk(&self, chunk: ChunkId) {
        locked(&self.chunks).note(chunk);
    }

    /// A client reads a small chunk in this part now.
    pub(super) fn note_part(&self, part: &Part) {
        let mut regions = locked(&self.regions);
        part.regions().for_each(|region| regions.note(region));
    }

    /// The scrub reads a small chunk in this part now. Tells which regions it has left, in which no client read lately.
    pub(super) fn scrubbed(&self, part: Part) -> Vec<Region> {
        let now = part.regions().next();
        let Some(before) = locked(&self.scrubbed).replace(part) else { return Vec::new() };
        let left = before.regions().filter(|region| Some(*region) != now);
        let regions = locked(&self.regions);
        left.filter(|region| !regions.known.contains(region)).collect()
    }
}

/// The last of many.
#[derive(Debug)]
struct Last<T> {
    most: usize,
    known: BTreeSet<T>,
    by_age: VecDeque<T>,
}

impl<T: Ord + Copy> Last<T> {
    fn new(most: usize) -> Self {
        Self { most, known: BTreeSet::new(), by_age: VecDeque::new() }
    }

    fn note(&mut self, one: T) {
        if !self.known.insert(one) {
            return;
        }
        self.by_age.push_back(one);
        if self.by_age.len() > self.most
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_core::ids::BlobId;

    use super::*;

    #[test]
    fn the_chunks_that_are_remembered_are_the_last_ones() {
        let blob = BlobId::from_slice(&[7; 16]).expect("16 bytes");
        let recent = Recent::default();
        for index in 0..=CHUNKS as u32 {
            recent.note_chunk(ChunkId::new(blob, index));
            recent.note_chunk(ChunkId::new(blob, index));
        }
        assert!(!recent.has_chunk(ChunkId::new(blob, 0)));
        assert!(recent.has_chunk(ChunkId::new(blob, 1)));
        assert!(recent.has_chunk(ChunkId::new(blob, CHUNKS as u32)));
    }

    #[test]
    fn the_scrub_lets_go_of_a_region_when_it_leaves_it_unless_a_client_read_there_lately() {
        let recent = Recent::default();
        let part = |segment, at| Part::new(segment, at, 100);
        let region = |segment, number| Region { segment, number };
        assert_eq!(recent.scrubbed(part(1, 0)), []);
        assert_eq!(recent.scrubbed(part(1, 100)), [], "it is still there");
        assert_eq!(recent.scrubbed(part(1, REGION_BYTES - 50)), []);
        assert_eq!(recent.scrubbed(part(1, REGION_BYTES + 50)), [region(1, 0)]);
        recent.note_part(&part(1, REGION_BYTES + 10));
        assert_eq!(recent.scrubbed(part(2, 0)), [], "a client read there");
        assert_eq!(recent.scrubbed(part(1, 0)), [region(2, 0)]);
    }
}
