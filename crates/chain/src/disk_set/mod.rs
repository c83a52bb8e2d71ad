//! The disks of a node: which it has is kept in a small record in its data folder, and decided by one rule when it starts.
//!
//! ```text
//! paths that are configured ─┐
//! record: path → disk ───────┼─► rule ─┬─► open it · make it one · leave it out ─► record ─► Spread over those that opened
//! what is in the folders ────┘         └─► refused, with the reason
//! ```
//!
//! A disk that the record knows is never made anew: where its folder is empty or gone, it is not mounted, or dead, and the node
//! starts without it. Its chunks count as missing meanwhile, and are there again when it is back. A path that is configured no more is
//! dropped from the record: that is how an operator says that a disk is gone for good.
//!
//! Each disk's folder says whose it is, in a file `owner`: so a disk of another node is not taken, and the record can be lost.

mod open;
mod path;
mod plan;
mod record;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cairn_core::ids::{DiskIncarnation, NodeId};
use cairn_runtime::{Blocking, BlockingError};
use futures_util::future::BoxFuture;

pub use open::{DiskSetSeams, OpenDisks, lock_folder, open_disks, recorded_paths};

use crate::disk::Disk;
use crate::open::OpenError;
use crate::spread::NoDisks;
use crate::store::ChunkStore;

/// Most disks of a node.
pub const MOST_DISKS: usize = 64;
/// Most bytes of a disk's path.
pub const MOST_PATH_BYTES: usize = 1024;

/// Where a disk is put in: a folder, and how the store in it is opened.
pub trait Bay: Send + Sync + fmt::Debug {
    /// Where work on the disk runs. Threads of its own: a disk that hangs then holds up no other.
    fn blocking(&self) -> &Blocking;

    /// The folder as it is; it is not made. Blocks.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none, or what the system says.
    fn find(&self) -> io::Result<Arc<dyn Disk>>;

    /// The folder, made when there is none. Blocks.
    ///
    /// # Errors
    /// What the system says.
    fn make(&self) -> io::Result<Arc<dyn Disk>>;

    /// Opens the store in the folder; an empty folder becomes one.
    ///
    /// # Errors
    /// [`OpenError`].
    fn open(&self, folder: Arc<dyn Disk>) -> BoxFuture<'_, Result<Arc<dyn ChunkStore>, OpenError>>;
}

/// A disk that the node has and could not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it should be.
    pub path: PathBuf,
    /// Its life.
    pub disk: DiskIncarnation,
    /// Why it was left out.
    pub why: String,
}

/// The disks cannot be opened as they are configured. Nothing was made a disk that was not one, except those that the rule had
/// allowed before one of them failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskSetError {
    /// None is configured.
    #[error(transparent)]
    NoDisks(#[from] NoDisks),
    /// There are more than a node can have.
    #[error("a node can have {MOST_DISKS} disks, not {0}")]
    TooMany(usize),
    /// A path cannot be kept in the record.
    #[error("the disk's path {} {wrong}", path.display())]
    BadPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// A path is given twice, or lies within another.
    #[error("the disks {} and {} are one, or one is in the other: each needs a folder of its own", one.display(), other.display())]
    Overlap {
        /// One of them.
        one: PathBuf,
        /// The other one.
        other: PathBuf,
    },
    /// Two paths lead to the same disk.
    #[error("{} and {} are the same disk, {disk}: name it once", one.display(), other.display())]
    SameDisk {
        /// The disk.
        disk: DiskIncarnation,
        /// One way to it.
        one: PathBuf,
        /// The other one.
        other: PathBuf,
    },
    /// A folder holds another disk than it did.
    #[error(
        "{} was disk {recorded} and is disk {found} now: mount each disk where it was, or leave the path out for one start to let go of disk {recorded}",
        path.display()
    )]
    OtherDisk {
        /// The folder.
        path: PathBuf,
        /// The disk that was there.
        recorded: DiskIncarnation,
        /// The disk that is there.
        found: DiskIncarnation,
    },
    /// A disk is in another place, while its own is configured as well.
    #[error(
        "disk {disk} was {} and is {} now: mount it where it was, or leave the old path out of the configuration",
        recorded.display(), found.display()
    )]
    WrongPlace {
        /// The disk.
        disk: DiskIncarnation,
        /// Where it was.
        recorded: PathBuf,
        /// Where it is.
        found: PathBuf,
    },
    /// A folder is a disk of another node.
    #[error(
        "{} is a disk of node {owner}: it can be used here when it is emptied, which loses its chunks",
        path.display()
    )]
    OtherNode {
        /// The folder.
        path: PathBuf,
        /// The node.
        owner: NodeId,
    },
    /// A folder has chunks, and nothing says that they are this node's.
    #[error(
        "{} holds chunks and nothing says that they are this node's: it can be used when it is emptied, which loses them",
        path.display()
    )]
    NoOwner {
        /// The folder.
        path: PathBuf,
    },
    /// The node's data folder holds chunks, and is not among the disks.
    #[error("the node's data folder holds chunks (disk {0}): name it as a disk, too")]
    DataFolder(DiskIncarnation),
    /// None of the node's disks is configured.
    #[error(
        "none of the node's disks is configured: {}; name at least one of them, also when it is dead", paths(.0)
    )]
    NoneKnown(Vec<PathBuf>),
    /// A folder that is to become a disk cannot be read.
    #[error("{} is to be a new disk and cannot be read: {why}", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A new disk cannot be opened, or another process has a disk.
    #[error("open the disk {}: {source}", path.display())]
    NotOpened {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// No disk could be opened.
    #[error("none of the node's disks can be opened: {}", reasons(.0))]
    NoneOpened(Vec<LeftOut>),
    /// The record was written by another version.
    #[error(
        "the record of the node's disks (file `disks`) has format {0}, this version knows format 1: use the Cairn that wrote it"
    )]
    UnknownFormat(String),
    /// The record does not match its checksum.
    #[error(
        "the record of the node's disks (file `disks`) is damaged: see that all disks are mounted, then remove it, and it is made again from them"
    )]
    RecordDamaged,
    /// The data folder refused.
    #[error("{doing}: {source}")]
    Folder {
        /// What was tried.
        doing: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// The work on the disk gave no result.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
}

fn paths(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

fn reasons(left_out: &[LeftOut]) -> String {
    let reasons =
        left_out.iter().map(|LeftOut { path, why, .. }| format!("{}: {why}", path.display()));
    reasons.collect::<Vec<_>>().join("; ")
}
