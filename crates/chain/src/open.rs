//! What opening a store in a folder has in common: the lock, the identity, and how it fails.

use std::io;

use cairn_core::ids::DiskIncarnation;
use cairn_runtime::BlockingError;

use crate::disk::{Disk, DiskLock, durable_write, read_small};
use crate::identity::{self, Kind};

/// Held by the process that has the folder.
const LOCK: &str = "lock";

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder.
    #[error("the chunk store is open in another process: one node per data folder")]
    Locked,
    /// The folder was written by another version.
    #[error(
        "the chunk store has format {format}, this version knows format 1: use the Cairn that wrote it"
    )]
    UnknownFormat {
        /// The format that the folder says.
        format: String,
    },
    /// The folder belongs to another kind of store.
    #[error("the folder holds a {found}, not a {wanted}: choose that store, or an empty folder")]
    OtherStore {
        /// The kind that the folder says.
        found: &'static str,
        /// The kind that was to be opened.
        wanted: &'static str,
    },
    /// The identity does not match its checksum.
    #[error(
        "the chunk store's identity (file `store`) is damaged: put it back from a copy, or start with an empty folder"
    )]
    IdentityDamaged,
    /// There are chunks, and nothing says whose.
    #[error(
        "the folder has chunks but no identity (file `store`): put it back from a copy, or start with an empty folder"
    )]
    IdentityMissing,
    /// The disk refused.
    #[error("{doing}: {source}")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// The work on the disk gave no result.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
}

pub(crate) fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Disk { doing, source }
}

pub(crate) fn lock(disk: &dyn Disk) -> Result<Box<dyn DiskLock>, OpenError> {
    disk.lock(LOCK).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => failed("lock the folder")(error),
    })
}

/// Reads the folder's identity; an empty folder is given its `folders`, and an identity by `draw`. The first folder is
/// the one with the data: where it has some, an identity is missing, not new.
pub(crate) fn identify(
    disk: &dyn Disk,
    kind: Kind,
    folders: &[&str],
    draw: impl FnOnce() -> DiskIncarnation,
) -> Result<DiskIncarnation, OpenError> {
    let doing = "read the store's identity";
    let known = read_small(disk, identity::FILE, identity::MOST_BYTES).map_err(failed(doing))?;
    if let Some(bytes) = known {
        return identity::decode(kind, &bytes);
    }
    for folder in folders {
        disk.create_folder(folder).map_err(failed("make the store's folders"))?;
    }
    for folder in folders.iter().take(1) {
        let data = disk.list_folder(folder).map_err(failed("read the folder of chunks"))?;
        if !data.is_empty() {
            return Err(OpenError::IdentityMissing);
        }
    }
    // Before the identity: a folder that has one has all its folders.
    disk.sync_folder("").map_err(failed("make the store's folders durable"))?;
    let incarnation = draw();
    durable_write(disk, identity::FILE, identity::encode(kind, incarnation).as_bytes())
        .map_err(failed("write the store's identity"))?;
    Ok(incarnation)
}
