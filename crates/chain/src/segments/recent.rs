//! Which large chunks were read lately. Of one that is read once, nothing stays in the system's memory: a download of
//! many gigabytes, or a scrub, would push out what is read again and again. What is read a second time stays.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_core::ids::ChunkId;

/// How many large chunks are remembered; the one that was read first is forgotten first.
const REMEMBERED: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Chunks>);

#[derive(Debug, Default)]
struct Chunks {
    known: BTreeSet<ChunkId>,
    by_age: VecDeque<ChunkId>,
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Chunks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn contains(&self, chunk: ChunkId) -> bool {
        self.lock().known.contains(&chunk)
    }

    /// The chunk is read now.
    pub(super) fn note(&self, chunk: ChunkId) {
        let mut chunks = self.lock();
        if !chunks.known.insert(chunk) {
            return;
        }
        chunks.by_age.push_back(chunk);
        if chunks.by_age.len() > REMEMBERED
            && let Some(oldest) = chunks.by_age.pop_front()
        {
            chunks.known.remove(&oldest);
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
        for index in 0..=REMEMBERED as u32 {
            recent.note(ChunkId::new(blob, index));
            recent.note(ChunkId::new(blob, index));
        }
        assert!(!recent.contains(ChunkId::new(blob, 0)));
        assert!(recent.contains(ChunkId::new(blob, 1)));
        assert!(recent.contains(ChunkId::new(blob, REMEMBERED as u32)));
    }
}
