//! The fence against late orders: what was written after an order was decided is not deleted by it.
//!
//! ```text
//! heartbeat ─► the moment: which start of the node, how many writes it has begun
//! master    ─► decides at that moment that a copy is to go: Delete(chunk, moment)
//! node      ─► deletes what nobody began to write since; all else stays, and the answer says so
//! ```
//!
//! An order may be carried out at any time after it was given, and may meet a copy that was made anew. So each write is noted
//! when it begins, also one that finds the chunk there. A chunk is not deleted while it is written, nor written while it is
//! deleted. Notes are in memory: an order from before a restart deletes nothing, and one from before the oldest note neither.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::copies::NodeMoment;
use cairn_core::ids::ChunkId;
use uuid::Uuid;

/// Writes that are remembered, about 100 bytes each.
const REMEMBERED: usize = 65_536;

/// The chunk is being deleted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunk is being deleted here; try again, or elsewhere")]
pub(crate) struct BeingDeleted;

/// See the module. Cheap to clone; clones are the same fence.
#[derive(Debug, Clone)]
pub(crate) struct Fence {
    start: Uuid,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Writes begun.
    writes: u64,
    /// Writes that are not remembered any more: all up to this one.
    forgotten: u64,
    /// The last write of each chunk.
    last: BTreeMap<ChunkId, u64>,
    by_age: BTreeMap<u64, ChunkId>,
    /// Chunks being written, by how many.
    writing: BTreeMap<ChunkId, u32>,
    deleting: BTreeSet<ChunkId>,
}

impl Notes {
    fn note(&mut self, chunk: ChunkId) {
        self.writes += 1;
        if let Some(before) = self.last.insert(chunk, self.writes) {
            self.by_age.remove(&before);
        }
        self.by_age.insert(self.writes, chunk);
        if self.by_age.len() > REMEMBERED
            && let Some((oldest, chunk)) = self.by_age.pop_first()
        {
            self.last.remove(&chunk);
            self.forgotten = oldest;
        }
    }

    fn may_go(&self, chunk: ChunkId, writes: u64) -> bool {
        let since = self.last.get(&chunk).is_some_and(|&last| last > writes);
        !since && !self.writing.contains_key(&chunk) && !self.deleting.contains(&chunk)
    }
}

impl Fence {
    /// The fence of a node that starts. `start` is drawn anew for each.
    pub(crate) fn new(start: Uuid) -> Self {
        Self { start, notes: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, as the node counts it.
    pub(crate) fn moment(&self) -> NodeMoment {
        NodeMoment { start: self.start, writes: self.lock().writes }
    }

    /// Notes that a chunk is written, until what is given is dropped.
    ///
    /// # Errors
    /// [`BeingDeleted`]; nothing is noted then.
    pub(crate) fn write(&self, chunk: ChunkId) -> Result<Writing, BeingDeleted> {
        let mut notes = self.lock();
        if notes.deleting.contains(&chunk) {
            return Err(BeingDeleted);
        }
        notes.note(chunk);
        *notes.writing.entry(chunk).or_default() += 1;
        Ok(Writing { fence: self.clone(), chunk })
    }

    /// Of `chunks`, those that an order of this moment may delete: they are not written until what is given is dropped.
    pub(crate) fn delete(&self, chunks: &[ChunkId], moment: NodeMoment) -> Deleting {
        let mut notes = self.lock();
        let known = moment.start == self.start && moment.writes >= notes.forgotten;
        let may_go = |chunk: &&ChunkId| known && notes.may_go(**chunk, moment.writes);
        let doomed: BTreeSet<_> = chunks.iter().filter(may_go).copied().collect();
        notes.deleting.extend(doomed.iter().copied());
        Deleting { fence: self.clone(), doomed }
    }
}

/// A chunk is being written.
#[derive(Debug)]
pub(crate) struct Writing {
    fence: Fence,
    chunk: ChunkId,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut notes = self.fence.lock();
        if let Some(writers) = notes.writing.get_mut(&self.chunk) {
            *writers -= 1;
            if *writers == 0 {
                notes.writing.remove(&self.chunk);
            }
        }
    }
}

/// Chunks that are being deleted.
#[derive(Debug)]
pub(crate) struct Deleting {
    fence: Fence,
    doomed: BTreeSet<ChunkId>,
}

impl Deleting {
    /// Those that may go, in order.
    pub(crate) fn doomed(&self) -> &BTreeSet<ChunkId> {
        &self.doomed
    }
}

impl Drop for Deleting {
    fn drop(&mut self) {
        let mut notes = self.fence.lock();
        for chunk in &self.doomed {
            notes.deleting.remove(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_core::ids::BlobId;

    use super::*;

    fn chunk(index: u32) -> ChunkId {
        ChunkId::new(BlobId::from_uuid(Uuid::from_u128(1)), index)
    }

    fn fence() -> Fence {
        Fence::new(Uuid::from_u128(7))
    }

    fn may_go(fence: &Fence, index: u32, moment: NodeMoment) -> bool {
        !fence.delete(&[chunk(index)], moment).doomed().is_empty()
    }

    #[test]
    fn what_was_written_after_the_order_was_decided_stays() {
        let fence = fence();
        drop(fence.write(chunk(1)).expect("nobody deletes it"));
        let moment = fence.moment();
        assert!(may_go(&fence, 1, moment) && may_go(&fence, 2, moment));
        drop(fence.write(chunk(1)).expect("nobody deletes it"));
        assert!(!may_go(&fence, 1, moment), "written again since");
        assert!(may_go(&fence, 2, moment));
        assert!(may_go(&fence, 1, fence.moment()));
    }

    #[test]
    fn a_chunk_is_not_deleted_while_it_is_written_nor_written_while_it_is_deleted() {
        let fence = fence();
        let (one, two) = (fence.write(chunk(1)).expect("free"), fence.write(chunk(1)));
        drop(one);
        assert!(!may_go(&fence, 1, fence.moment()), "one still writes");
        drop(two);
        let deleting = fence.delete(&[chunk(1)], fence.moment());
        assert_eq!(deleting.doomed(), &BTreeSet::from([chunk(1)]));
        assert_eq!(fence.write(chunk(1)).err(), Some(BeingDeleted));
        assert!(!may_go(&fence, 1, fence.moment()), "once is enough");
        drop(deleting);
        assert!(fence.write(chunk(1)).is_ok());
    }

    #[test]
    fn an_order_from_before_a_restart_or_from_before_the_oldest_note_deletes_nothing() {
        let fence = fence();
        let before = NodeMoment { start: Uuid::from_u128(8), writes: 100 };
        assert!(!may_go(&fence, 1, before));
        let early = fence.moment();
        for index in 0..=REMEMBERED as u32 {
            drop(fence.write(chunk(index)).expect("free"));
        }
        assert!(!may_go(&fence, 1_000_000, early), "whether it was written since is not known");
        assert!(may_go(&fence, 0, fence.moment()));
        assert_eq!(fence.lock().last.len(), REMEMBERED);
    }
}
