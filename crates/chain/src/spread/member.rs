//! A disk of a spread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::choice;
use crate::store::{ChunkStore, WriteError};

/// See the module.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) store: Arc<dyn ChunkStore>,
    /// Writes that failed one after another, up to now.
    failures: AtomicU32,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Member {
    pub(super) fn new(name: String, store: Arc<dyn ChunkStore>) -> Self {
        Self { name, store, failures: AtomicU32::new(0) }
    }

    /// Its chance of getting a new chunk; nothing once it has failed to make data durable.
    pub(super) fn chance(&self) -> Option<u64> {
        if self.store.disks().iter().any(|disk| disk.failed) {
            return None;
        }
        Some(choice::chance(self.store.usage().free(), self.failures.load(Ordering::Relaxed)))
    }

    /// A write has ended well.
    pub(super) fn works(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// A write was refused. Where that is the disk's fault, it is drawn less often from now on.
    pub(super) fn refused(&self, error: &WriteError) {
        let is_at_fault = matches!(
            error,
            WriteError::Disk { .. } | WriteError::Interrupted(_) | WriteError::TimedOut(_)
        );
        if is_at_fault {
            let before = self.failures.fetch_add(1, Ordering::Relaxed);
            let failures = before.saturating_add(1);
            tracing::warn!(target: "cairn", disk = self.name, failures, %error, "a write to a disk failed");
        }
    }
}
