//! Chunks that must stay where they are for now: a tier that makes room passes them over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cairn_core::ids::ChunkId;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Pins of chunks, shared by whoever needs a chunk to stay (the write-behind of a chain) and whoever makes room (an LRU). Cheap
/// to clone; clones share the pins.
#[derive(Debug, Clone, Default)]
pub struct Pins(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pinned: Mutex<BTreeMap<ChunkId, usize>>,
    /// Holds of all chunks.
    all: AtomicUsize,
    released: Notify,
}

impl Pins {
    /// Keeps a chunk from being evicted until the pin, and every other one of the chunk, is dropped.
    pub fn pin(&self, chunk: ChunkId) -> Pin {
        *self.pinned().entry(chunk).or_default() += 1;
        Pin { pins: self.clone(), chunk }
    }

    /// Keeps every chunk from being evicted until the hold is dropped.
    pub fn hold_all(&self) -> HoldAll {
        self.0.all.fetch_add(1, Ordering::SeqCst);
        HoldAll(self.clone())
    }

    /// Whether a chunk has to stay.
    pub fn holds(&self, chunk: ChunkId) -> bool {
        self.0.all.load(Ordering::SeqCst) > 0 || self.pinned().contains_key(&chunk)
    }

    /// Ready when a chunk need not stay any more, from the moment of this call on.
    pub(crate) fn released(&self) -> Notified<'_> {
        self.0.released.notified()
    }

    fn pinned(&self) -> std::sync::MutexGuard<'_, BTreeMap<ChunkId, usize>> {
        self.0.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps every chunk where it is until dropped.
#[derive(Debug)]
pub struct HoldAll(Pins);

impl Drop for HoldAll {
    fn drop(&mut self) {
        self.0.0.all.fetch_sub(1, Ordering::SeqCst);
        self.0.0.released.notify_waiters();
    }
}

/// Keeps a chunk where it is until dropped.
#[derive(Debug)]
pub struct Pin {
    pins: Pins,
    chunk: ChunkId,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.pins.pinned();
        if let Some(count) = pinned.get_mut(&self.chunk) {
            *count -= 1;
            if *count == 0 {
                pinned.remove(&self.chunk);
            }
        }
        drop(pinned);
        self.pins.0.released.notify_waiters();
    }
}
