//! Which chunks are tracked, in the order of their last use, and what room is left: no I/O, no time.
//!
//! ```text
//! capacity = remaining + tracked (in the list or leaving) + reserved by open writes
//!
//! front ── used last ── … ── used longest ago ── tail ─► leaving ─► gone: only now its room is free
//! ```

use std::collections::BTreeMap;

use cairn_core::ids::{BlobId, ChunkId};

/// A tracked chunk.
#[derive(Debug)]
struct Entry {
    size: u64,
    /// Its place in the order.
    used: u64,
    /// Chosen for eviction; its room is not free yet.
    leaving: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    capacity: u64,
    cushion: u64,
    remaining: i128,
    /// Bytes of chunks that are leaving.
    leaving: u64,
    entries: BTreeMap<ChunkId, Entry>,
    /// Chunks in the list, the one used longest ago first.
    order: BTreeMap<u64, ChunkId>,
    next_use: u64,
    /// Chunks with open writes: they are not chosen.
    writing: BTreeMap<ChunkId, usize>,
}

impl Index {
    /// Nothing is tracked.
    pub(super) fn new(capacity: u64, cushion: u64) -> Self {
        Self {
            capacity,
            cushion,
            remaining: i128::from(capacity),
            leaving: 0,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next_use: 0,
            writing: BTreeMap::new(),
        }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn cushion(&self) -> u64 {
        self.cushion
    }

    /// Bytes that are neither held nor reserved; below 0 while room is still being made.
    pub(super) fn remaining(&self) -> i128 {
        self.remaining
    }

    /// What remains once all that is leaving is gone.
    pub(super) fn planned(&self) -> i128 {
        self.remaining + i128::from(self.leaving)
    }

    /// Chunks tracked, those that are leaving included.
    pub(super) fn chunks(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_tracked(&self, chunk: ChunkId) -> bool {
        self.entries.contains_key(&chunk)
    }

    pub(super) fn is_leaving(&self, chunk: ChunkId) -> bool {
        self.entries.get(&chunk).is_some_and(|entry| entry.leaving)
    }

    /// Reserves what `bytes` are more than the chunk has already, and moves it to the front. Gives what was reserved.
    pub(super) fn reserve(&mut self, chunk: ChunkId, bytes: u64) -> u64 {
        self.touch(chunk);
        let held = self.entries.get(&chunk).map_or(0, |entry| entry.size);
        let reserved = bytes.saturating_sub(held);
        self.remaining -= i128::from(reserved);
        *self.writing.entry(chunk).or_default() += 1;
        reserved
    }

    /// Gives a reservation back.
    pub(super) fn release(&mut self, chunk: ChunkId, reserved: u64) {
        self.remaining += i128::from(reserved);
        if let Some(writers) = self.writing.get_mut(&chunk) {
            *writers -= 1;
            if *writers == 0 {
                self.writing.remove(&chunk);
            }
        }
    }

    /// Tracks a chunk of `size` bytes, at the front; one that is tracked already has this size from now on.
    pub(super) fn track(&mut self, chunk: ChunkId, size: u64) {
        self.forget(chunk);
        let used = self.next_use();
        self.remaining -= i128::from(size);
        self.entries.insert(chunk, Entry { size, used, leaving: false });
        self.order.insert(used, chunk);
    }

    /// Moves a chunk to the front; nothing when it is untracked or leaving.
    pub(super) fn touch(&mut self, chunk: ChunkId) {
        let now = self.next_use();
        if let Some(entry) = self.entries.get_mut(&chunk).filter(|entry| !entry.leaving) {
            self.order.remove(&entry.used);
            entry.used = now;
            self.order.insert(now, chunk);
        }
    }

    /// The chunk is gone: its room is free. Gives its size.
    pub(super) fn forget(&mut self, chunk: ChunkId) -> Option<u64> {
        let entry = self.entries.remove(&chunk)?;
        self.order.remove(&entry.used);
        self.remaining += i128::from(entry.size);
        if entry.leaving {
            self.leaving -= entry.size;
        }
        Some(entry.size)
    }

    /// When nothing remains, chooses from the tail until the cushion does; chunks that are `kept` or written are passed over.
    /// Gives what it chose.
    pub(super) fn choose(&mut self, kept: impl Fn(ChunkId) -> bool) -> Vec<ChunkId> {
        if self.planned() > 0 {
            return Vec::new();
        }
        let mut wanted = i128::from(self.cushion) - self.planned();
        let mut chosen = Vec::new();
        for chunk in self.order.values() {
            if wanted <= 0 {
                break;
            }
            if self.writing.contains_key(chunk) || kept(*chunk) {
                continue;
            }
            wanted -= self.entries.get(chunk).map_or(0, |entry| i128::from(entry.size));
            chosen.push(*chunk);
        }
        for chunk in &chosen {
            if let Some(entry) = self.entries.get_mut(chunk) {
                entry.leaving = true;
                self.leaving += entry.size;
                self.order.remove(&entry.used);
            }
        }
        chosen
    }

    /// Chunks that are leaving, in the order of their ids.
    pub(super) fn leaving(&self) -> Vec<ChunkId> {
        if self.leaving == 0 && self.order.len() == self.entries.len() {
            return Vec::new();
        }
        let leaving = self.entries.iter().filter(|(_, entry)| entry.leaving);
        leaving.map(|(chunk, _)| *chunk).collect()
    }

    /// An eviction failed: the chunk has its old place again.
    pub(super) fn stays(&mut self, chunk: ChunkId) {
        if let Some(entry) = self.entries.get_mut(&chunk).filter(|entry| entry.leaving) {
            entry.leaving = false;
            self.leaving -= entry.size;
            self.order.insert(entry.used, chunk);
        }
    }

    /// Tracked chunks of a blob.
    pub(super) fn of_blob(&self, blob: BlobId) -> Vec<ChunkId> {
        let range = ChunkId::new(blob, 0)..=ChunkId::new(blob, u32::MAX);
        self.entries.range(range).map(|(chunk, _)| *chunk).collect()
    }

    fn next_use(&mut self) -> u64 {
        self.next_use += 1;
        self.next_use
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};

    use super::*;

    fn chunk(index: u32) -> ChunkId {
        ChunkId::new(BlobId::from_slice(&[1; 16]).expect("16 bytes"), index)
    }

    fn put(index: &mut Index, n: u32, size: u64) -> Vec<ChunkId> {
        let reserved = index.reserve(chunk(n), size);
        let chosen = index.choose(|_| false);
        index.release(chunk(n), reserved);
        index.track(chunk(n), size);
        chosen
    }

    /// Row B30, with its capacity of 20 bytes and its cushion of a tenth.
    #[test]
    fn of_20_bytes_the_tail_leaves_when_nothing_remains_until_the_cushion_does() {
        let mut index = Index::new(20, 2);
        for (n, size, remains) in [(0, 3, 17), (1, 4, 13), (2, 5, 8), (3, 7, 1)] {
            assert_eq!(put(&mut index, n, size), [], "there is room for chunk {n}");
            assert_eq!(index.remaining(), remains);
        }
        index.touch(chunk(0));
        // One byte more and nothing remains: chunk 1 is the tail now, and its 4 bytes are more than the cushion.
        assert_eq!(put(&mut index, 4, 1), [chunk(1)]);
        assert_eq!((index.remaining(), index.planned()), (0, 4), "free only when gone");
        assert_eq!(index.forget(chunk(1)), Some(4));
        assert_eq!((index.remaining(), index.chunks()), (4, 4));
        // Ten bytes do not fit beside the rest: chunks 2 and 3 leave, and with them more than the cushion is free.
        assert_eq!(put(&mut index, 5, 10), [chunk(2), chunk(3)]);
        index.forget(chunk(2));
        index.forget(chunk(3));
        assert_eq!((index.remaining(), index.chunks()), (6, 3));
        assert!(index.is_tracked(chunk(0)), "what was used again is still there");
    }

    #[test]
    fn exactly_nothing_remaining_makes_room_and_one_byte_remaining_does_not() {
        let mut index = Index::new(20, 2);
        put(&mut index, 0, 1);
        assert_eq!(put(&mut index, 1, 18), []);
        assert_eq!(index.remaining(), 1);
        assert_eq!(put(&mut index, 2, 1), [chunk(0), chunk(1)], "the first frees 1, not 2");
    }

    #[test]
    fn an_overwrite_counts_the_difference_and_moves_to_the_front() {
        let mut index = Index::new(20, 2);
        put(&mut index, 0, 8);
        put(&mut index, 1, 8);
        assert_eq!(index.reserve(chunk(0), 10), 2);
        index.release(chunk(0), 2);
        index.track(chunk(0), 10);
        assert_eq!((index.remaining(), index.chunks()), (2, 2));
        assert_eq!(put(&mut index, 2, 2), [chunk(1)]);
    }

    #[test]
    fn what_is_pinned_or_being_written_stays() {
        let mut index = Index::new(20, 2);
        for n in 0..4 {
            put(&mut index, n, 4);
        }
        let reserved = index.reserve(chunk(1), 8);
        index.touch(chunk(0));
        index.touch(chunk(2));
        index.touch(chunk(3));
        assert_eq!(index.choose(|chunk| chunk.index == 0), [chunk(2)]);
        index.stays(chunk(2));
        index.release(chunk(1), reserved);
        assert_eq!(index.planned(), 4);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Reserve(u32, u64),
        Commit(usize),
        Undo(usize),
        Read(u32, u64),
        Delete(u32),
        Gone(usize),
        Fails(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (n, size, at) = (0..8_u32, 0..40_u64, any::<usize>());
        prop_oneof![
            (n.clone(), size.clone()).prop_map(|(n, size)| Step::Reserve(n, size)),
            at.prop_map(Step::Commit),
            at.prop_map(Step::Undo),
            (n.clone(), size).prop_map(|(n, size)| Step::Read(n, size)),
            n.prop_map(Step::Delete),
            at.prop_map(Step::Gone),
            at.prop_map(Step::Fails),
        ]
    }

    fn pick<T>(list: &mut Vec<T>, at: usize) -> Option<T> {
        (!list.is_empty()).then(|| list.remove(at % list.len()))
    }

    proptest! {
        /// Row B31.
        #[test]
        fn sizes_and_what_remains_make_the_capacity_at_every_step(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut index = Index::new(100, 10);
            let (mut open, mut leaving) = (Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Reserve(n, size) if !index.is_leaving(chunk(n)) => {
                        open.push((n, size, index.reserve(chunk(n), size)));
                    }
                    Step::Commit(at) => if let Some((n, size, reserved)) = pick(&mut open, at) {
                        index.release(chunk(n), reserved);
                        index.track(chunk(n), size);
                    },
                    Step::Undo(at) => if let Some((n, _, reserved)) = pick(&mut open, at) {
                        index.release(chunk(n), reserved);
                    },
                    Step::Read(n, _) if index.is_tracked(chunk(n)) => index.touch(chunk(n)),
                    Step::Read(n, size) => index.track(chunk(n), size),
                    Step::Delete(n) => drop(index.forget(chunk(n))),
                    Step::Gone(at) => drop(pick(&mut leaving, at).map(|c| index.forget(c))),
                    Step::Fails(at) => drop(pick(&mut leaving, at).map(|c| index.stays(c))),
                    Step::Reserve(..) => {}
                }
                leaving.extend(index.choose(|chunk| chunk.index == 7));
                leaving.retain(|chunk| index.is_leaving(*chunk));
                let sizes: u64 = index.entries.values().map(|entry| entry.size).sum();
                let reserved: u64 = open.iter().map(|(_, _, reserved)| reserved).sum();
                let sum = i128::from(sizes + reserved) + index.remaining();
                assert_eq!(sum, 100);
                let going = index.entries.values().filter(|entry| entry.leaving);
                assert_eq!(index.leaving, going.map(|entry| entry.size).sum::<u64>());
                let listed = index.entries.values().filter(|entry| !entry.leaving).count();
                assert_eq!(index.order.len(), listed);
                for (n, ..) in &open {
                    let new = leaving.iter().filter(|chunk| chunk.index == *n);
                    assert_eq!(new.count(), 0, "what is written does not leave");
                }
            }
        }
    }
}
