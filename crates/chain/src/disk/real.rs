//! A folder of the machine's file system.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
#[cfg(target_os = "linux")]
use rustix::fs::Advice;
use rustix::fs::FlockOperation;

use super::{Disk, DiskEntry, DiskFile, DiskLock, DiskSpace};

/// A file's mode is its folder's, without the right to search.
const FILE_BITS: u32 = 0o666;

/// A folder of the machine's file system.
#[derive(Debug, Clone)]
pub struct RealDisk {
    root: PathBuf,
    mode: u32,
}

impl RealDisk {
    /// Folders are for the owner alone, unless somebody says otherwise.
    pub const MODE: u32 = 0o700;

    /// The folder at `root`, made with mode 0700 when it is absent.
    ///
    /// # Errors
    /// What the system says, e.g. that `root` is a file.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        Self::open_with_mode(root, Self::MODE)
    }

    /// The folder at `root`, made when it is absent. Folders that are made have `mode`, files its bits for reading and
    /// writing, both less what the process masks.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_with_mode(root: impl Into<PathBuf>, mode: u32) -> io::Result<Self> {
        let root = root.into();
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(mode).create(&root)?;
        // A new folder is there after a crash only when its own name is durable.
        match root.parent() {
            Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all()?,
            _ => File::open(".")?.sync_all()?,
        }
        Ok(Self { root, mode })
    }

    /// The folder at `root`, which is not made. Folders and files that are made in it are for the owner alone.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none, or what the system says, e.g. that `root` is a file.
    pub fn existing(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        match fs::metadata(&root)?.is_dir() {
            true => Ok(Self { root, mode: Self::MODE }),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Where the folder is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, path: &str) -> PathBuf {
        debug_assert!(
            !path.starts_with('/') && path.split('/').all(|name| name != ".."),
            "{path:?} leaves the root"
        );
        self.root.join(path)
    }
}

impl Disk for RealDisk {
    fn create_new(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = options.mode(self.mode & FILE_BITS).open(self.path(path))?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(File::open(self.path(path))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn create_folder(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        match DirBuilder::new().mode(self.mode).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn list_folder(&self, path: &str) -> io::Result<Vec<DiskEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.path(path))? {
            let entry = entry?;
            let folder = entry.file_type()?.is_dir();
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DiskEntry { name, folder });
            }
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        File::open(self.path(path))?.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(File::open(&self.root)?)?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        Ok(())
    }

    fn space(&self) -> io::Result<DiskSpace> {
        let space = rustix::fs::statvfs(&self.root)?;
        Ok(DiskSpace {
            available: space.f_bavail.saturating_mul(space.f_frsize),
            total: space.f_blocks.saturating_mul(space.f_frsize),
        })
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn DiskLock>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(self.mode & FILE_BITS).open(self.path(path))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock(file)))
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = offset + bytes.len() as u64;
            match rustix::io::pread(&self.0, spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()?;
        // A file without a name is gone with its last descriptor: what it holds is not durable, whatever was synced.
        match rustix::fs::fstat(&self.0)?.st_nlink {
            0 => Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed")),
            _ => Ok(()),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    #[cfg(target_os = "linux")]
    fn uncache(&self, offset: u64, length: u64) {
        // Without a length it would be about all of the rest.
        if let Some(length) = NonZeroU64::new(length) {
            let _ = rustix::fs::fadvise(&self.0, offset, Some(length), Advice::DontNeed);
        }
    }
}

/// The lock goes with the file's descriptor.
#[derive(Debug)]
struct RealLock(#[expect(dead_code, reason = "held, not used")] File);

impl DiskLock for RealLock {}
