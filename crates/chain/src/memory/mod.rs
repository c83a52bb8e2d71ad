//! Chunks in memory: quick, bounded, and gone with the process.
//!
//! Each opening is another life of its disk, so that receipts of an earlier one count for nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cairn_core::ids::{ChunkId, DiskIncarnation};
use cairn_core::range::ByteRange;
use cairn_runtime::{Clock, Entropy, Spawner};
use serde::Deserialize;

use crate::engine::{Description, Engine, EngineError, EngineStore};
use crate::ledger::State;
use crate::settings;
use crate::store::{Damage, FRAME_BYTES};

/// Bytes that the books of a chunk are taken to cost.
const BOOKS_BYTES: u64 = 256;

/// How a [`MemoryStore`] is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MemoryStoreConfig {
    /// Most bytes that it holds, with checksums and books. Buffers of open writes come on top: two frames each.
    #[serde(deserialize_with = "settings::bytes")]
    pub capacity: u64,
}

/// What a [`MemoryStore`] needs of its surroundings.
#[derive(Debug, Clone)]
pub struct MemoryStoreSeams {
    /// Where changes run.
    pub spawner: Spawner,
    /// Draws the disk's incarnation.
    pub entropy: Entropy,
    /// Dates the disk's incarnation.
    pub clock: Clock,
}

/// Chunks in memory. Readers get the stored bytes themselves, not copies.
pub type MemoryStore = EngineStore<MemoryEngine>;

impl MemoryStore {
    /// An empty store.
    pub fn open(config: &MemoryStoreConfig, seams: &MemoryStoreSeams) -> Self {
        let disk = DiskIncarnation::from_uuid(seams.entropy.uuid_v7(&seams.clock));
        let state = State::new(disk, config.capacity, BTreeMap::new());
        Self::over(MemoryEngine::default(), disk, state, seams.spawner.clone())
    }
}

/// Chunks in a map.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    chunks: Mutex<BTreeMap<ChunkId, Arc<Held>>>,
}

/// A chunk's bytes and what proves them.
#[derive(Debug)]
pub struct Held {
    description: Description,
    /// Frames, the last one short.
    slices: Vec<Bytes>,
}

impl MemoryEngine {
    fn chunks(&self) -> MutexGuard<'_, BTreeMap<ChunkId, Arc<Held>>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn damage(&self, chunk: ChunkId, at: usize) {
        let mut chunks = self.chunks();
        let held = chunks.get(&chunk).expect("a chunk that is held");
        let mut slices = held.slices.clone();
        let mut bytes = slices[at / FRAME_BYTES].to_vec();
        bytes[at % FRAME_BYTES] ^= 1;
        slices[at / FRAME_BYTES] = bytes.into();
        let description = held.description.clone();
        chunks.insert(chunk, Arc::new(Held { description, slices }));
    }
}

impl Engine for MemoryEngine {
    type Place = Vec<Bytes>;
    type Held = Arc<Held>;

    const SLICE_BYTES: usize = FRAME_BYTES;

    fn room(length: u64) -> u64 {
        crate::file::format::file_bytes(length) + BOOKS_BYTES
    }

    fn place(&self, _chunk: ChunkId) -> Vec<Bytes> {
        Vec::new()
    }

    async fn write(&self, place: &mut Vec<Bytes>, slice: Bytes) -> Result<(), EngineError> {
        place.push(slice);
        Ok(())
    }

    async fn publish(
        &self,
        place: &mut Vec<Bytes>,
        description: &Description,
        _replaces: bool,
    ) -> Result<(), EngineError> {
        let held = Held { description: description.clone(), slices: std::mem::take(place) };
        self.chunks().insert(description.footer.chunk, Arc::new(held));
        Ok(())
    }

    async fn discard(&self, _place: Vec<Bytes>) -> Result<(), EngineError> {
        Ok(())
    }

    async fn describe(
        &self,
        chunk: ChunkId,
        _length: u64,
    ) -> Result<Option<(Description, Arc<Held>)>, EngineError> {
        let held = self.chunks().get(&chunk).cloned();
        Ok(held.map(|held| (held.description.clone(), held)))
    }

    async fn read(
        &self,
        held: &mut Arc<Held>,
        blocks: ByteRange,
        _ahead: u64,
    ) -> Result<Bytes, EngineError> {
        let begin = usize::try_from(blocks.offset).unwrap_or(usize::MAX);
        let slice = held.slices.get(begin / FRAME_BYTES).ok_or(Damage::Length)?;
        let begin = begin % FRAME_BYTES;
        let end = begin + usize::try_from(blocks.length).unwrap_or(usize::MAX);
        if end > slice.len() {
            return Err(Damage::Length.into());
        }
        Ok(slice.slice(begin..end))
    }

    async fn remove(&self, chunks: Vec<ChunkId>) -> Result<(), EngineError> {
        let mut held = self.chunks();
        for chunk in chunks {
            held.remove(&chunk);
        }
        Ok(())
    }

    /// Nothing is kept for a look: the room is worth more.
    async fn put_aside(&self, chunk: ChunkId, _length: u64) -> Result<Option<u64>, EngineError> {
        self.chunks().remove(&chunk);
        Ok(None)
    }

    async fn close(&self) {}
}

#[cfg(test)]
mod tests;
