//! Opening a store: whose folder it is, what is in it, and what is not fit to be served.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use cairn_core::ids::{ChunkId, DiskIncarnation};

use super::paths::{CHUNKS, QUARANTINE, TMP, chunk_file, fan_out, quarantined};
use super::reader::judge;
use super::shared::{Length, Parts, Shared};
use super::store::{FileStoreConfig, FileStoreSeams};
use crate::disk::Disk;
use crate::identity::Kind;
use crate::ledger::{Ledger, State};
use crate::open::{OpenError, failed, identify, lock};
use crate::store::Damage;

/// Folders of a store; the first holds what must not be there without an identity.
const FOLDERS: [&str; 3] = [CHUNKS, TMP, QUARANTINE];

/// Opens the folder. Blocks.
pub(super) fn open(config: &FileStoreConfig, seams: FileStoreSeams) -> Result<Shared, OpenError> {
    let disk = Arc::clone(&seams.disk);
    let lock = lock(&*disk)?;
    let incarnation = identify(&*disk, Kind::Files, &FOLDERS, || {
        DiskIncarnation::from_uuid(seams.entropy.uuid_v7(&seams.clock))
    })?;
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
