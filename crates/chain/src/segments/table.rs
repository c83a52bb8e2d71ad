//! What a store knows of its segments: how long they are, what of them is live, who still writes to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::format::{HEADER_BYTES, PAGE_BYTES, Salt};
use crate::disk::DiskFile;

/// A segment that is written to.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) number: u32,
    pub(super) salt: Salt,
    pub(super) file: Arc<dyn DiskFile>,
}

/// What is known of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) salt: Salt,
    /// Bytes of its file, or where the next batch or extent begins.
    pub(super) end: u64,
    /// Bytes of records that count.
    pub(super) live: u64,
    /// Tombstones and quarantines in it, needed or not.
    pub(super) notes: u32,
    /// Extents that are being written.
    pub(super) extents: u32,
    /// Bytes of these.
    pub(super) extent_bytes: u64,
    /// Nothing new begins in it.
    pub(super) rolled: bool,
    /// A compaction has it in hand.
    pub(super) compacting: bool,
}

impl Segment {
    /// An empty one, to be written to.
    pub(super) const fn new(salt: Salt) -> Self {
        Self { salt, ..Self::EMPTY }
    }

    const EMPTY: Self = Self {
        salt: Salt::NONE,
        end: HEADER_BYTES,
        live: 0,
        notes: 0,
        extents: 0,
        extent_bytes: 0,
        rolled: false,
        compacting: false,
    };

    fn allocate(&mut self, bytes: u64, target: u64) -> Option<u64> {
        if self.rolled {
            return None;
        }
        let at = self.end.next_multiple_of(PAGE_BYTES);
        if self.end > HEADER_BYTES && at + bytes > target {
            self.rolled = true;
            return None;
        }
        self.end = at + bytes;
        Some(at)
    }

    /// Nothing will be written to it any more.
    pub(super) const fn is_complete(&self) -> bool {
        self.rolled && self.extents == 0
    }

    /// Bytes of records and of what lies between them.
    pub(super) const fn body(&self) -> u64 {
        self.end.saturating_sub(HEADER_BYTES)
    }

    fn held(&self) -> u64 {
        self.body().saturating_sub(self.extent_bytes)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Segments>);

/// The segments, by number.
#[derive(Debug, Default)]
pub(super) struct Segments {
    known: BTreeMap<u32, Segment>,
    next: u32,
    /// Bytes that are held in all, without what is being written to extents.
    pub(super) held: u64,
    /// Bytes that were ever allocated.
    pub(super) allocated: u64,
}

impl Table {
    pub(super) fn new(known: BTreeMap<u32, Segment>, next: u32) -> Self {
        let held = known.values().map(Segment::held).sum();
        Self(Mutex::new(Segments { known, next, held, allocated: 0 }))
    }

    /// The segments, for one short look or change.
    pub(super) fn lock(&self) -> MutexGuard<'_, Segments> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Segments {
    /// The number that is drawn next.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// A number that no segment has or had.
    pub(super) fn draw(&mut self) -> u32 {
        let number = self.next;
        // Not reached by writing. Where a damaged file says so, the next segment finds its name taken.
        self.next = self.next.saturating_add(1);
        number
    }

    pub(super) fn known(&self) -> &BTreeMap<u32, Segment> {
        &self.known
    }

    pub(super) fn insert(&mut self, number: u32, segment: Segment) {
        self.held += segment.held();
        self.remove(number);
        self.known.insert(number, segment);
    }

    pub(super) fn remove(&mut self, number: u32) {
        if let Some(segment) = self.known.remove(&number) {
            self.held -= segment.held();
        }
    }

    /// Changes a segment; gives what `change` gives.
    pub(super) fn update<T>(
        &mut self,
        number: u32,
        change: impl FnOnce(&mut Segment) -> T,
    ) -> Option<T> {
        let segment = self.known.get_mut(&number)?;
        let before = segment.held();
        let result = change(segment);
        self.held = self.held - before + segment.held();
        Some(result)
    }

    /// Room for `bytes` at the end of a segment that is to have `target` bytes, from a page on; an empty one takes
    /// anything. A segment without room is rolled.
    pub(super) fn allocate(&mut self, number: u32, bytes: u64, target: u64) -> Option<u64> {
        self.allocated += bytes;
        self.update(number, |segment| segment.allocate(bytes, target)).flatten()
    }

    /// The same for an extent, which is written over time.
    pub(super) fn allocate_extent(&mut self, number: u32, bytes: u64, target: u64) -> Option<u64> {
        let extent = |segment: &mut Segment| {
            let at = segment.allocate(bytes, target)?;
            segment.extents += 1;
            segment.extent_bytes += bytes;
            Some(at)
        };
        self.allocated += bytes;
        self.update(number, extent).flatten()
    }

    /// An extent is not written to any more.
    pub(super) fn end_extent(&mut self, number: u32, bytes: u64) {
        self.update(number, |segment| {
            segment.extents -= 1;
            segment.extent_bytes -= bytes;
        });
    }

    /// Gives back the room from `at + kept` on, if `at + bytes` is the end; tells whether it is.
    pub(super) fn give_back(&mut self, number: u32, at: u64, bytes: u64, kept: u64) -> bool {
        let shorten = |segment: &mut Segment| {
            let last = segment.end == at + bytes;
            if last {
                segment.end = at + kept;
            }
            last
        };
        self.update(number, shorten).unwrap_or(false)
    }

    /// No record begins in it any more.
    pub(super) fn roll(&mut self, number: u32) {
        self.update(number, |segment| segment.rolled = true);
    }

    /// A record of `bytes` counts from now on.
    pub(super) fn enliven(&mut self, number: u32, bytes: u64) {
        self.update(number, |segment| segment.live += bytes);
    }

    /// A record of `bytes` does not count any more.
    pub(super) fn deaden(&mut self, number: u32, bytes: u64) {
        self.update(number, |segment| segment.live = segment.live.saturating_sub(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_gives_back_what_it_did_not_need_where_nothing_follows() {
        let mut segments = Segments::default();
        let number = segments.draw();
        segments.insert(number, Segment::new(Salt::NONE));
        let one = segments.allocate_extent(number, 8192, 1 << 20).expect("room");
        let two = segments.allocate_extent(number, 8192, 1 << 20).expect("room");
        assert_eq!((one, two), (4096, 12_288));
        assert_eq!(segments.held, 0);
        assert!(!segments.give_back(number, one, 8192, 4096), "something follows");
        assert!(segments.give_back(number, two, 8192, 4096));
        segments.update(number, |segment| segment.extent_bytes -= 4096);
        segments.end_extent(number, 8192);
        segments.end_extent(number, 4096);
        assert_eq!(segments.held, 8192 + 4096);
    }

    #[test]
    fn a_segment_that_is_full_is_rolled_and_an_empty_one_takes_anything() {
        let mut segments = Segments::default();
        let number = segments.draw();
        segments.insert(number, Segment::new(Salt::NONE));
        assert_eq!(segments.allocate(number, 100_000, 65_536), Some(4096));
        assert_eq!(segments.allocate(number, 1, 65_536), None);
        assert!(segments.known[&number].is_complete());
        assert_eq!(segments.allocate(number, 1, 1 << 30), None, "it stays so");
    }
}
