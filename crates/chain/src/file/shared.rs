//! What the store, its writers and its jobs share.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::ids::{ChunkId, DiskIncarnation};
use cairn_runtime::Spawner;

use super::format::disk_bytes;
use super::paths::write_aside;
use crate::disk::{Disk, DiskLock};
use crate::ledger::{Entry, Ledger, Reservation, State, WriteId};

/// A chunk's length: all that is kept of it in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length(pub(super) u64);

impl Entry for Length {
    fn length(&self) -> u64 {
        self.0
    }

    fn room(&self) -> u64 {
        disk_bytes(self.0)
    }
}

/// See the module.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) incarnation: DiskIncarnation,
    pub(super) ledger: Arc<Ledger<Length>>,
    spawner: Spawner,
    /// Folders of chunks whose names are durable.
    folders: Mutex<BTreeSet<[u8; 2]>>,
    next_quarantine: Mutex<u64>,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("disk", &self.disk)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

/// What [`Shared`] is made of.
pub(super) struct Parts {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) incarnation: DiskIncarnation,
    pub(super) ledger: Arc<Ledger<Length>>,
    pub(super) spawner: Spawner,
    pub(super) folders: BTreeSet<[u8; 2]>,
    pub(super) next_quarantine: u64,
    pub(super) lock: Box<dyn DiskLock>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { disk, incarnation, ledger, spawner, folders, next_quarantine, lock } = parts;
        Self {
            disk,
            incarnation,
            ledger,
            spawner,
            folders: Mutex::new(folders),
            next_quarantine: Mutex::new(next_quarantine),
            lock: Mutex::new(Some(lock)),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<Length>> {
        self.ledger.state()
    }

    pub(super) fn has_folder(&self, folder: [u8; 2]) -> bool {
        locked(&self.folders).contains(&folder)
    }

    pub(super) fn add_folder(&self, folder: [u8; 2]) {
        locked(&self.folders).insert(folder);
    }

    /// A number that no file in quarantine has.
    pub(super) fn next_quarantine(&self) -> u64 {
        let mut next = locked(&self.next_quarantine);
        *next += 1;
        *next - 1
    }

    /// A sync failed: nothing more is written, and what is held is still served.
    pub(super) fn disk_failed(&self, source: &std::io::Error) {
        if self.state().disk_failed() {
            tracing::error!(
                target: "cairn",
                disk = %self.incarnation,
                error = %source,
                "the disk failed to make data durable: the store takes no more writes until it is opened again"
            );
        }
    }

    /// See [`crate::ChunkStore::close`].
    pub(super) async fn close(&self) {
        self.ledger.close().await;
        let lock = locked(&self.lock).take();
        drop(lock);
    }

    /// Removes the file of a write that was given up, in the background. After closing it stays: the folder may be
    /// another's by then, and the next open removes it.
    fn remove_aside(self: &Arc<Self>, write: WriteId) {
        let Some(token) = self.ledger.hold_open() else {
            return;
        };
        let shared = Arc::clone(self);
        let removal = async move {
            let disk = Arc::clone(&shared.disk);
            let removed = shared.ledger.run(move || disk.remove(&write_aside(write))).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(target: "cairn", write, %error, "remove the file of a broken write");
            }
            drop(token);
        };
        drop(self.spawner.spawn(removal));
    }
}

/// The file of an open write; removed when dropped, unless it was published.
#[derive(Debug)]
pub(super) struct Aside {
    shared: Arc<Shared>,
    reservation: Option<Reservation<Length>>,
    write: WriteId,
}

impl Aside {
    /// The file of `reservation`'s write was made.
    pub(super) fn new(shared: &Arc<Shared>, reservation: Reservation<Length>) -> Self {
        let write = reservation.write();
        Self { shared: Arc::clone(shared), reservation: Some(reservation), write }
    }

    pub(super) fn write(&self) -> WriteId {
        self.write
    }

    /// The file has another name now and holds `chunk`: its room is used.
    pub(super) fn settle(mut self, chunk: ChunkId, length: u64) {
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(chunk, Length(length));
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.reservation.is_some() {
            self.shared.remove_aside(self.write);
        }
    }
}
