//! Opening a store: whose folder it is, what is in it, and what is not fit to be served.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use cairn_core::ids::{ChunkId, DiskIncarnation};
use cairn_runtime::BlockingError;

use super::identity;
use super::paths::{CHUNKS, LOCK, QUARANTINE, TMP, chunk_file, fan_out, quarantined};
use super::reader::judge;
use super::shared::{Length, Parts, Shared};
use super::store::{FileStoreConfig, FileStoreSeams};
use crate::disk::{Disk, DiskLock, durable_write, read_small};
use crate::ledger::{Ledger, State};
use crate::store::Damage;

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

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Disk { doing, source }
}

/// Opens the folder. Blocks.
pub(super) fn open(config: &FileStoreConfig, seams: FileStoreSeams) -> Result<Shared, OpenError> {
    let disk = Arc::clone(&seams.disk);
    let lock = lock(&*disk)?;
    let incarnation =
        identify(&*disk, || DiskIncarnation::from_uuid(seams.entropy.uuid_v7(&seams.clock)))?;
    // A process that died may have left files and folders whose names are not durable yet. What is served from here on
    // must be: a chunk that is listed may be counted on.
    disk.sync_all().map_err(failed("sync the disk"))?;
    let leftovers = remove_leftovers(&*disk).map_err(failed("remove leftovers"))?;
    let found = Walk::of(&*disk).map_err(failed("read the folders of chunks"))?;
    let (chunks, quarantined) = (found.chunks.len(), found.quarantined);
    let state = State::new(incarnation, u64::MAX, found.chunks);
    let capacity = match config.capacity {
        Some(capacity) => capacity,
        None => {
            let space = disk.space().map_err(failed("ask for the disk's space"))?;
            let free = space.available.saturating_sub(config.keep_free);
            free + state.usage().used
        }
    };
    let state = state.with_capacity(capacity);
    tracing::info!(
        target: "cairn",
        disk = %incarnation, chunks, capacity, leftovers, quarantined,
        "chunk store opened"
    );
    let parts = Parts {
        disk: seams.disk,
        incarnation,
        ledger: Ledger::new(state, seams.blocking),
        spawner: seams.spawner,
        folders: found.folders,
        next_quarantine: found.next_quarantine,
        lock,
    };
    Ok(Shared::new(parts))
}

fn lock(disk: &dyn Disk) -> Result<Box<dyn DiskLock>, OpenError> {
    disk.lock(LOCK).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => failed("lock the folder")(error),
    })
}

/// Reads the folder's identity; an empty folder is given one by `draw`.
fn identify(
    disk: &dyn Disk,
    draw: impl FnOnce() -> DiskIncarnation,
) -> Result<DiskIncarnation, OpenError> {
    let doing = "read the store's identity";
    let known = read_small(disk, identity::FILE, identity::MOST_BYTES).map_err(failed(doing))?;
    if let Some(bytes) = known {
        return identity::decode(&bytes);
    }
    for folder in [CHUNKS, TMP, QUARANTINE] {
        disk.create_folder(folder).map_err(failed("make the store's folders"))?;
    }
    let chunks = disk.list_folder(CHUNKS).map_err(failed("read the folder of chunks"))?;
    if !chunks.is_empty() {
        return Err(OpenError::IdentityMissing);
    }
    // Before the identity: a folder that has one has all its folders.
    disk.sync_folder("").map_err(failed("make the store's folders durable"))?;
    let incarnation = draw();
    durable_write(disk, identity::FILE, identity::encode(incarnation).as_bytes())
        .map_err(failed("write the store's identity"))?;
    Ok(incarnation)
}

fn remove_leftovers(disk: &dyn Disk) -> io::Result<usize> {
    let leftovers = disk.list_folder(TMP)?;
    for leftover in &leftovers {
        disk.remove(&format!("{TMP}/{}", leftover.name))?;
    }
    Ok(leftovers.len())
}

/// What the folders of chunks hold.
#[derive(Debug, Default)]
struct Walk {
    chunks: BTreeMap<ChunkId, Length>,
    folders: BTreeSet<[u8; 2]>,
    quarantined: u64,
    next_quarantine: u64,
}

impl Walk {
    fn of(disk: &dyn Disk) -> io::Result<Self> {
        let mut walk = Self { next_quarantine: next_quarantine(disk)?, ..Self::default() };
        for outer in folders(disk, CHUNKS)? {
            let path = format!("{CHUNKS}/{outer:02x}");
            for inner in folders(disk, &path)? {
                walk.folders.insert([outer, inner]);
                walk.folder(disk, &format!("{path}/{inner:02x}"), [outer, inner])?;
            }
        }
        if walk.quarantined > 0 {
            disk.sync_folder(QUARANTINE)?;
        }
        Ok(walk)
    }

    fn folder(&mut self, disk: &dyn Disk, path: &str, fan: [u8; 2]) -> io::Result<()> {
        for entry in disk.list_folder(path)? {
            if entry.folder {
                tracing::warn!(target: "cairn", path, name = entry.name, "a folder that is not ours");
                continue;
            }
            let chunk: Option<ChunkId> = entry.name.parse().ok();
            let at = format!("{path}/{}", entry.name);
            let damage = match chunk.filter(|chunk| fan_out(chunk.blob) == fan) {
                None => Damage::Misplaced,
                Some(chunk) => match judge(&*disk.open(&chunk_file(chunk))?, chunk)? {
                    Ok(footer) => {
                        self.chunks.insert(chunk, Length(footer.length));
                        continue;
                    }
                    Err(damage) => damage,
                },
            };
            self.put_aside(disk, &at, chunk, damage)?;
        }
        Ok(())
    }

    fn put_aside(
        &mut self,
        disk: &dyn Disk,
        from: &str,
        chunk: Option<ChunkId>,
        damage: Damage,
    ) -> io::Result<()> {
        let to = quarantined(self.next_quarantine, chunk);
        disk.rename(from, &to)?;
        tracing::error!(target: "cairn", from, to, %damage, "not an intact chunk: put aside");
        self.next_quarantine += 1;
        self.quarantined += 1;
        Ok(())
    }
}

/// The folders in `path` that can hold chunks, by the byte that names them.
fn folders(disk: &dyn Disk, path: &str) -> io::Result<Vec<u8>> {
    let mut folders = Vec::new();
    for entry in disk.list_folder(path)? {
        match u8::from_str_radix(&entry.name, 16) {
            Ok(byte) if entry.folder && entry.name == format!("{byte:02x}") => folders.push(byte),
            _ => tracing::warn!(target: "cairn", path, name = entry.name, "not ours: left alone"),
        }
    }
    Ok(folders)
}

/// The first number that no file in quarantine has.
fn next_quarantine(disk: &dyn Disk) -> io::Result<u64> {
    let number = |name: &str| name.split('-').next()?.parse::<u64>().ok();
    let entries = disk.list_folder(QUARANTINE)?;
    let last = entries.iter().filter_map(|entry| number(&entry.name)).max();
    Ok(last.map_or(0, |last| last + 1))
}
