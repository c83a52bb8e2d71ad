//! The disk as an argument: the few operations that a store needs, so that a simulation can lose, fail and fill one.
//!
//! Paths are relative to the disk's root, with `/` between names. They are made by the store from ids and numbers,
//! never from what a client sent. Every call blocks: make it on a pool for blocking work.

#[cfg(feature = "testing")]
pub mod memory;
mod real;
mod watched;

use std::fmt;
use std::io;

pub use real::RealDisk;
pub use watched::{DiskWatch, WatchedDisk};

/// A folder on a file system, or what stands for one.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a file for writing and reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], or what the disk says.
    fn create_new(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or what the disk says.
    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, in the place of the file that has it. Atomic; durable when the folder of `to` is
    /// synced.
    ///
    /// # Errors
    /// What the disk says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; durable when its folder is synced.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or what the disk says.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes a folder, unless it is there; durable when its parent is synced.
    ///
    /// # Errors
    /// What the disk says, e.g. that a file has the name.
    fn create_folder(&self, path: &str) -> io::Result<()>;

    /// The entries of a folder (`""` is the root), in the order of their names. Names that are not UTF-8 are not ours
    /// and are left out.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or what the disk says.
    fn list_folder(&self, path: &str) -> io::Result<Vec<DiskEntry>>;

    /// Makes the names in a folder (`""` is the root) durable.
    ///
    /// # Errors
    /// What the disk says. After a failure it is not known what is durable, and trying again does not tell.
    fn sync_folder(&self, path: &str) -> io::Result<()>;

    /// Makes all that was written before durable, also by a process that is gone.
    ///
    /// # Errors
    /// As for [`Self::sync_folder`].
    fn sync_all(&self) -> io::Result<()>;

    /// How much space the file system has.
    ///
    /// # Errors
    /// What the disk says.
    fn space(&self) -> io::Result<DiskSpace>;

    /// Takes the lock at `path` for this process, until the guard is dropped or the process ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another has it, or what the disk says.
    fn lock(&self, path: &str) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the disk says; part of the bytes may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads `length` bytes at `offset`, fewer where the file ends.
    ///
    /// # Errors
    /// What the disk says.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Makes content and length durable; the name is the folder's matter.
    ///
    /// # Errors
    /// What the disk says. After a failure the content is lost for good: the system may have dropped it, and would
    /// say that a second sync succeeds.
    fn sync(&self) -> io::Result<()>;

    /// Bytes of the file.
    ///
    /// # Errors
    /// What the disk says.
    fn length(&self) -> io::Result<u64>;

    /// Says that what was read of `length` bytes at `offset` is not wanted again soon: the system need not keep it in
    /// memory. A wish, and about whole pages: nothing comes of it where the system does not know it.
    fn uncache(&self, offset: u64, length: u64) {
        let _ = (offset, length);
    }
}

/// Holds a lock until dropped.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskEntry {
    /// Its name in the folder.
    pub name: String,
    /// True for a folder.
    pub folder: bool,
}

/// Space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// What may still be written.
    pub available: u64,
    /// All there is.
    pub total: u64,
}

/// Gives a written file its final name, so that after a crash the name holds the whole content or does not exist.
///
/// The argument: `sync` makes content and length durable under a name that is thrown away at the next open, so no
/// crash up to here leaves a trace. The rename is atomic, so whoever looks meets the whole file or none; since the
/// content was durable before, the name can never become durable ahead of it. Only then the folder is synced: a crash
/// before that may undo the rename, and the caller has not been told of success. The folder that the file leaves
/// needs no sync: an old name that comes back is a leftover.
///
/// # Errors
/// [`PublishError`]; its variants say whether the disk can be trusted further.
pub fn durable_publish(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    from: &str,
    to: &str,
) -> Result<(), PublishError> {
    file.sync().map_err(PublishError::Sync)?;
    disk.rename(from, to).map_err(PublishError::Rename)?;
    disk.sync_folder(parent(to)).map_err(PublishError::Sync)
}

/// A file was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What was written is not durable, and nothing that is still unsynced can be trusted.
    #[error("make a file durable: {0}")]
    Sync(io::Error),
    /// The file keeps its old name.
    #[error("name a file: {0}")]
    Rename(io::Error),
}

/// Writes a small file durably, in the place of the one that has the name; a crash leaves the old or the new one.
///
/// # Errors
/// What the disk says.
pub fn durable_write(disk: &dyn Disk, path: &str, bytes: &[u8]) -> io::Result<()> {
    let aside = format!("{path}.new");
    match disk.remove(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create_new(&aside)?;
    file.write_at(0, bytes)?;
    durable_publish(disk, &*file, &aside, path).map_err(|error| match error {
        PublishError::Sync(source) | PublishError::Rename(source) => source,
    })
}

/// Reads a small file; `None` when there is none.
///
/// # Errors
/// What the disk says, also when it holds more than `most` bytes.
pub fn read_small(disk: &dyn Disk, path: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = file.read_at(0, most + 1)?;
    if bytes.len() > most {
        let problem = format!("{path} has more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(Some(bytes))
}

/// The folder that holds `path`.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
