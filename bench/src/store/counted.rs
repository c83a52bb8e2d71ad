//! A disk that counts syncs, and tells which memory it wrote from and read into: who copies on the way needs other memory.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_chain::RealDisk;
use cairn_chain::disk::{Disk, DiskEntry, DiskFile, DiskLock, DiskSpace};

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

    fn sync(&self) {
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
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

/// See the module.
#[derive(Debug)]
pub(crate) struct Counted {
    disk: RealDisk,
    counts: Counts,
}

impl Counted {
    pub(crate) fn new(disk: RealDisk, counts: Counts) -> Self {
        Self { disk, counts }
    }

    fn file(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(CountedFile { file, counts: self.counts.clone() })
    }
}

impl Disk for Counted {
    fn create_new(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create_new(path).map(|file| self.file(file))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_folder(&self, path: &str) -> io::Result<()> {
        self.disk.create_folder(path)
    }

    fn list_folder(&self, path: &str) -> io::Result<Vec<DiskEntry>> {
        self.disk.list_folder(path)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        self.counts.sync();
        self.disk.sync_folder(path)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.sync_all()
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.disk.space()
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

#[derive(Debug)]
struct CountedFile {
    file: Box<dyn DiskFile>,
    counts: Counts,
}

impl DiskFile for CountedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.counts.wrote(bytes);
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let read = self.file.read_at(offset, length)?;
        self.counts.read(&read);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        self.counts.sync();
        self.file.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn uncache(&self, offset: u64, length: u64) {
        self.file.uncache(offset, length);
    }
}
