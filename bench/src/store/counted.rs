//! Counts syncs of a disk, and tells which memory it wrote from and read into: who copies on the way needs other memory.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_chain::disk::DiskWatch;

/// What a disk was asked for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    syncs: AtomicU64,
    watched: Mutex<Option<Watched>>,
}

#[derive(Debug)]
struct Watched {
    /// Where the client's bytes lie.
    content: Range<usize>,
    /// Bytes that were written to the disk from elsewhere.
    written_from_copies: u64,
    /// Where the bytes lie that were read since the last look.
    read: Vec<Range<usize>>,
}

/// Addresses of bytes in memory.
fn addresses(bytes: &[u8]) -> Range<usize> {
    let begin = bytes.as_ptr().addr();
    begin..begin + bytes.len()
}

fn is_within(part: &Range<usize>, whole: &Range<usize>) -> bool {
    whole.start <= part.start && part.end <= whole.end
}

impl Counts {
    /// Files and folders that were made durable.
    pub(crate) fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::Relaxed)
    }

    fn watched(&self) -> MutexGuard<'_, Option<Watched>> {
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches memory from now on; `content` is what the client hands in.
    pub(crate) fn watch(&self, content: &[u8]) {
        let content = addresses(content);
        *self.watched() = Some(Watched { content, written_from_copies: 0, read: Vec::new() });
    }

    /// Bytes that were written to the disk, and not out of the client's own memory.
    pub(crate) fn written_from_copies(&self) -> u64 {
        self.watched().as_ref().map_or(0, |watched| watched.written_from_copies)
    }

    /// Forgets what was read up to now: memory that is free may be used again.
    pub(crate) fn forget_reads(&self) {
        if let Some(watched) = &mut *self.watched() {
            watched.read.clear();
        }
    }

    /// Whether the disk has put these bytes where they lie.
    pub(crate) fn is_as_read(&self, bytes: &[u8]) -> bool {
        let part = addresses(bytes);
        let watched = self.watched();
        watched
            .as_ref()
            .is_some_and(|watched| watched.read.iter().any(|whole| is_within(&part, whole)))
    }
}

impl DiskWatch for Counts {
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
        sync()
    }

    fn wrote(&self, bytes: &[u8]) {
        if let Some(watched) = &mut *self.watched()
            && !is_within(&addresses(bytes), &watched.content)
        {
            watched.written_from_copies += bytes.len() as u64;
        }
    }

    fn read(&self, bytes: &[u8]) {
        if let Some(watched) = &mut *self.watched() {
            watched.read.push(addresses(bytes));
        }
    }
}
