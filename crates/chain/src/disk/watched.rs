//! A disk that tells somebody of what another one does.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::{Disk, DiskEntry, DiskFile, DiskLock, DiskSpace};

/// Is told of what a disk does.
pub trait DiskWatch: Clone + Send + Sync + fmt::Debug + 'static {
    /// A file, or the names in a folder, are made durable by calling `sync`, whose answer is handed on.
    ///
    /// # Errors
    /// What `sync` says.
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()>;

    /// These bytes are written.
    fn wrote(&self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// These bytes were read.
    fn read(&self, bytes: &[u8]) {
        let _ = bytes;
    }
}

/// See the module.
#[derive(Debug)]
pub struct WatchedDisk<W> {
    disk: Arc<dyn Disk>,
    watch: W,
}

impl<W: DiskWatch> WatchedDisk<W> {
    /// Tells `watch` of what `disk` does.
    pub fn new(disk: Arc<dyn Disk>, watch: W) -> Self {
        Self { disk, watch }
    }

    fn file(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(WatchedFile { file, watch: self.watch.clone() })
    }
}

impl<W: DiskWatch> Disk for WatchedDisk<W> {
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
        self.watch.sync(|| self.disk.sync_folder(path))
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
struct WatchedFile<W> {
    file: Box<dyn DiskFile>,
    watch: W,
}

impl<W: DiskWatch> DiskFile for WatchedFile<W> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.watch.wrote(bytes);
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let read = self.file.read_at(offset, length)?;
        self.watch.read(&read);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        self.watch.sync(|| self.file.sync())
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn uncache(&self, offset: u64, length: u64) {
        self.file.uncache(offset, length);
    }
}
