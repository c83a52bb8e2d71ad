//! What the store, its writers and its jobs share.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::ids::{ChunkId, DiskIncarnation};
use cairn_runtime::{Clock, Entropy, Spawner};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::commit::Lane;
use super::files::{OpenFiles, SEGMENTS, segment_file};
use super::format::{SegmentHeader, UNIT_BYTES, record_bytes};
use super::recent::Recent;
use super::sequence::Sequences;
use super::table::{OpenSegment, Segment, Table};
use crate::disk::{Disk, DiskLock};
use crate::ledger::{Entry, Ledger, State};
use crate::store::WriteError;

/// Where a chunk's record is. 12 bytes: there is one for each chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// In units.
    unit: u32,
    /// The chunk's length; the highest bit is set when it is in quarantine.
    length: u32,
}

const QUARANTINED: u32 = 1 << 31;

impl Place {
    /// The record of a chunk of `length` bytes at offset `at` of a segment.
    pub(super) fn new(segment: u32, at: u64, length: u64) -> Self {
        Self {
            segment,
            unit: u32::try_from(at / UNIT_BYTES).unwrap_or(u32::MAX),
            length: u32::try_from(length).unwrap_or(0) & !QUARANTINED,
        }
    }

    pub(super) fn at(&self) -> u64 {
        u64::from(self.unit) * UNIT_BYTES
    }

    /// The same, in quarantine.
    pub(super) fn quarantined(self) -> Self {
        Self { length: self.length | QUARANTINED, ..self }
    }

    pub(super) fn is_quarantined(&self) -> bool {
        self.length & QUARANTINED != 0
    }

    /// Segment, unit and length, as they are kept in the index file.
    pub(super) fn to_parts(self) -> [u32; 3] {
        [self.segment, self.unit, self.length]
    }

    pub(super) fn from_parts([segment, unit, length]: [u32; 3]) -> Self {
        Self { segment, unit, length }
    }
}

impl Entry for Place {
    fn length(&self) -> u64 {
        (self.length & !QUARANTINED).into()
    }

    fn room(&self) -> u64 {
        record_bytes(self.length())
    }

    fn listed(&self) -> bool {
        !self.is_quarantined()
    }
}

/// A record that was written and must not count: no answer said that it would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Undone {
    pub(super) chunk: ChunkId,
    pub(super) segment: u32,
}

/// See the module.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) incarnation: DiskIncarnation,
    pub(super) ledger: Arc<Ledger<Place>>,
    pub(super) table: Table,
    pub(super) files: OpenFiles,
    pub(super) recent: Recent,
    pub(super) sequences: Sequences,
    pub(super) small: Lane,
    pub(super) large: Lane,
    /// Records of batches that failed; the next batch begins with their tombstones.
    pub(super) undone: Mutex<Vec<Undone>>,
    /// Records up to this sequence are in the index file.
    pub(super) indexed: AtomicU64,
    /// Bytes that a segment is to have.
    pub(super) segment_bytes: u64,
    pub(super) spawner: Spawner,
    pub(super) clock: Clock,
    entropy: Entropy,
    /// There may be something to compact or to write to the index file, or the store is closed.
    pub(super) upkeep: Arc<Notify>,
    /// Nobody needs the store any more: what can be left undone is.
    pub(super) closing: CancellationToken,
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
    pub(super) ledger: Arc<Ledger<Place>>,
    pub(super) table: Table,
    pub(super) sequences: Sequences,
    pub(super) indexed: u64,
    pub(super) segment_bytes: u64,
    pub(super) spawner: Spawner,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) lock: Box<dyn DiskLock>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let shared = Self {
            files: OpenFiles::new(Arc::clone(&parts.disk)),
            recent: Recent::default(),
            disk: parts.disk,
            incarnation: parts.incarnation,
            ledger: parts.ledger,
            table: parts.table,
            sequences: parts.sequences,
            small: Lane::default(),
            large: Lane::default(),
            undone: Mutex::default(),
            indexed: AtomicU64::new(parts.indexed),
            segment_bytes: parts.segment_bytes,
            spawner: parts.spawner,
            clock: parts.clock,
            entropy: parts.entropy,
            upkeep: Arc::new(Notify::new()),
            closing: CancellationToken::new(),
            lock: Mutex::new(Some(parts.lock)),
        };
        shared.account();
        shared
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<Place>> {
        self.ledger.state()
    }

    /// Tells the ledger what the segments hold.
    pub(super) fn account(&self) {
        let held = self.table.lock().held;
        self.state().set_held(held);
    }

    /// Makes a segment, durably: its name and header are there before anything in it counts. Blocks.
    pub(super) fn make_segment(&self, sources: Vec<u32>) -> io::Result<OpenSegment> {
        let number = self.table.lock().draw();
        let mut salt = [0; 16];
        self.entropy.fill(&mut salt);
        let header = SegmentHeader { number, disk: self.incarnation, salt, sources };
        let file = self.disk.create_new(&segment_file(number))?;
        file.write_at(0, &header.encode())?;
        self.made_durable(|| file.sync())?;
        self.made_durable(|| self.disk.sync_folder(SEGMENTS))?;
        self.table.lock().insert(number, Segment::new(header.salt()));
        Ok(OpenSegment { number, salt: header.salt(), file: Arc::from(file) })
    }

    /// Removes a segment of which nothing counts, durably. Blocks.
    pub(super) fn remove_segment(&self, number: u32) -> io::Result<()> {
        match self.disk.remove(&segment_file(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.made_durable(|| self.disk.sync_folder(SEGMENTS))?;
        self.table.lock().remove(number);
        self.files.forget(number);
        self.account();
        Ok(())
    }

    /// Syncs something; a failure ends writing.
    pub(super) fn made_durable(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        sync().inspect_err(|error| self.disk_failed(error))
    }

    /// A sync failed: nothing more is written, and what is held is still served.
    pub(super) fn disk_failed(&self, source: &io::Error) {
        if self.state().disk_failed() {
            tracing::error!(
                target: "cairn",
                disk = %self.incarnation,
                error = %source,
                "the disk failed to make data durable: the store takes no more writes until it is opened again"
            );
        }
    }

    /// The disk refused a step that leaves what is durable as it was.
    pub(super) fn refused(
        &self,
        wanted: u64,
        doing: &'static str,
        source: io::Error,
    ) -> WriteError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WriteError::NoRoom {
                wanted,
                free: self.disk.space().map_or(0, |space| space.available),
            },
            _ => WriteError::Disk { doing, source },
        }
    }

    /// What keeps others out of the folder, once: it is the caller's to let go of.
    pub(super) fn take_lock(&self) -> Option<Box<dyn DiskLock>> {
        locked(&self.lock).take()
    }
}
