//! Chunks that wait to be mended, the most urgent first.

use std::collections::{BTreeMap, BTreeSet};

use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::mend::Urgency;

/// Chunks that may wait. When there are more, the most urgent are kept; the others come with the next round of the census.
const MOST_WAITING: usize = 4096;
/// Of those worked on, chunks that only even out: the other places are free for what is urgent.
const MOST_UNEVEN: usize = 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By urgency, then by age.
    order: BTreeSet<(Urgency, ChunkId)>,
    waiting: BTreeMap<ChunkId, (Urgency, Option<NodeId>)>,
    /// Those that are worked on.
    at_work: BTreeMap<ChunkId, Urgency>,
}

impl Queue {
    /// A chunk has something to be done that is so urgent; perhaps its copy on a node is to be moved. True when it waits now and
    /// did not before.
    pub(super) fn offer(
        &mut self,
        chunk: ChunkId,
        urgency: Urgency,
        relieves: Option<NodeId>,
    ) -> bool {
        if self.at_work.contains_key(&chunk) {
            return false;
        }
        if self.waiting.get(&chunk).is_some_and(|(waits, _)| *waits <= urgency) {
            return false;
        }
        let before = self.waiting.insert(chunk, (urgency, relieves));
        if let Some((before, _)) = before {
            self.order.remove(&(before, chunk));
        }
        self.order.insert((urgency, chunk));
        let mut stays = true;
        if self.order.len() > MOST_WAITING
            && let Some((_, least)) = self.order.pop_last()
        {
            self.waiting.remove(&least);
            stays = least != chunk;
        }
        before.is_none() && stays
    }

    /// The most urgent one, to be worked on until [`Self::done`], and the node that its copy is to be moved from.
    pub(super) fn next(&mut self) -> Option<(ChunkId, Option<NodeId>)> {
        let &(urgency, chunk) = self.order.first()?;
        let uneven = self.at_work.values().filter(|urgency| **urgency == Urgency::Uneven).count();
        if urgency == Urgency::Uneven && uneven >= MOST_UNEVEN {
            return None;
        }
        self.order.pop_first();
        let (_, relieves) = self.waiting.remove(&chunk)?;
        self.at_work.insert(chunk, urgency);
        Some((chunk, relieves))
    }

    /// It is not worked on any more.
    pub(super) fn done(&mut self, chunk: ChunkId) {
        self.at_work.remove(&chunk);
    }

    /// Chunks that wait, and those that are worked on.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.order.len(), self.at_work.len())
    }

    /// Chunks that are short of copies, and wait or are worked on.
    pub(super) fn short(&self) -> usize {
        let short = |urgency: &Urgency| matches!(urgency, Urgency::Short(_));
        let waiting = self.order.iter().take_while(|(urgency, _)| short(urgency)).count();
        waiting + self.at_work.values().filter(|urgency| short(urgency)).count()
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

    fn offer(queue: &mut Queue, index: u32, urgency: Urgency) -> bool {
        queue.offer(chunk(index), urgency, None)
    }

    fn next(queue: &mut Queue) -> Option<ChunkId> {
        queue.next().map(|(chunk, _)| chunk)
    }

    #[test]
    fn the_most_urgent_comes_first_and_each_once() {
        let mut queue = Queue::default();
        let urgencies = [Urgency::Short(2), Urgency::Short(1), Urgency::Over, Urgency::Leaving];
        for (index, urgency) in (1..).zip(urgencies) {
            assert!(offer(&mut queue, index, urgency));
        }
        assert!(!offer(&mut queue, 3, Urgency::Short(1)), "it waited already");
        assert_eq!(next(&mut queue), Some(chunk(2)));
        assert!(!offer(&mut queue, 2, Urgency::Short(1)), "it is worked on");
        let others = [next(&mut queue), next(&mut queue), next(&mut queue)];
        assert_eq!(others, [Some(chunk(3)), Some(chunk(1)), Some(chunk(4))]);
        assert_eq!((next(&mut queue), queue.len()), (None, (0, 4)));
        queue.done(chunk(2));
        assert!(offer(&mut queue, 2, Urgency::Short(1)));
    }

    #[test]
    fn what_only_evens_out_leaves_places_for_what_is_urgent() {
        let mut queue = Queue::default();
        for index in 0..4 {
            assert!(offer(&mut queue, index, Urgency::Uneven));
        }
        let taken = [next(&mut queue), next(&mut queue), next(&mut queue)];
        assert_eq!(taken, [Some(chunk(0)), Some(chunk(1)), None]);
        assert!(offer(&mut queue, 9, Urgency::Short(1)));
        assert_eq!((queue.short(), next(&mut queue)), (1, Some(chunk(9))));
        queue.done(chunk(0));
        assert_eq!((queue.short(), next(&mut queue)), (1, Some(chunk(2))), "it is worked on");
        queue.done(chunk(9));
        assert_eq!(queue.short(), 0);
    }

    #[test]
    fn when_too_many_wait_the_least_urgent_give_way() {
        let mut queue = Queue::default();
        for index in 0..MOST_WAITING as u32 {
            assert!(offer(&mut queue, index, Urgency::Short(2)));
        }
        assert!(!offer(&mut queue, 1_000_000, Urgency::Short(2)), "no more urgent than the others");
        assert!(offer(&mut queue, 1_000_001, Urgency::Short(1)));
        assert_eq!(queue.len().0, MOST_WAITING);
        assert_eq!(next(&mut queue), Some(chunk(1_000_001)));
    }
}
