//! Chunks that are short of copies, the most endangered first.

use std::collections::{BTreeMap, BTreeSet};

use cairn_core::ids::ChunkId;

/// Chunks that may wait. When more are short, the most endangered are kept; the others come with the next round of the
/// census.
const MOST_WAITING: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By good copies, then by age.
    order: BTreeSet<(usize, ChunkId)>,
    waiting: BTreeMap<ChunkId, usize>,
    /// Those that are worked on.
    at_work: BTreeSet<ChunkId>,
}

impl Queue {
    /// A chunk has only so many good copies. True when it waits now and did not before.
    pub(super) fn offer(&mut self, chunk: ChunkId, good: usize) -> bool {
        if self.at_work.contains(&chunk) {
            return false;
        }
        let before = self.waiting.insert(chunk, good);
        if let Some(before) = before {
            self.order.remove(&(before, chunk));
        }
        self.order.insert((good, chunk));
        let mut stays = true;
        if self.order.len() > MOST_WAITING
            && let Some((_, least)) = self.order.pop_last()
        {
            self.waiting.remove(&least);
            stays = least != chunk;
        }
        before.is_none() && stays
    }

    /// The most endangered one, to be worked on until [`Self::done`].
    pub(super) fn next(&mut self) -> Option<ChunkId> {
        let (_, chunk) = self.order.pop_first()?;
        self.waiting.remove(&chunk);
        self.at_work.insert(chunk);
        Some(chunk)
    }

    /// It is not worked on any more.
    pub(super) fn done(&mut self, chunk: ChunkId) {
        self.at_work.remove(&chunk);
    }

    /// Chunks that wait, and those that are worked on.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.order.len(), self.at_work.len())
    }

    /// Forgets those that wait.
    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use cairn_core::ids::BlobId;
    use uuid::Uuid;

    use super::*;

    fn chunk(index: u32) -> ChunkId {
        ChunkId::new(BlobId::from_uuid(Uuid::from_u128(1)), index)
    }

    #[test]
    fn the_most_endangered_comes_first_and_each_once() {
        let mut queue = Queue::default();
        assert!(queue.offer(chunk(1), 2) && queue.offer(chunk(2), 1) && queue.offer(chunk(3), 2));
        assert!(!queue.offer(chunk(3), 1), "it waited already");
        assert_eq!(queue.next(), Some(chunk(2)));
        assert!(!queue.offer(chunk(2), 1), "it is worked on");
        assert_eq!((queue.next(), queue.next()), (Some(chunk(3)), Some(chunk(1))));
        assert_eq!((queue.next(), queue.len()), (None, (0, 3)));
        queue.done(chunk(2));
        assert!(queue.offer(chunk(2), 1));
    }

    #[test]
    fn when_too_many_wait_the_least_endangered_give_way() {
        let mut queue = Queue::default();
        for index in 0..MOST_WAITING as u32 {
            assert!(queue.offer(chunk(index), 2));
        }
        assert!(!queue.offer(chunk(1_000_000), 2), "no more endangered than the others");
        assert!(queue.offer(chunk(1_000_001), 1));
        assert_eq!(queue.len().0, MOST_WAITING);
        assert_eq!(queue.next(), Some(chunk(1_000_001)));
    }
}
