//! Opening a store on a tree: whose it is, what is in it, and what a dead process left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use cairn_core::ids::{ChunkId, DiskIncarnation};

use super::engine::{TreeEngine, slices_at};
use super::keys::{self, read_record};
use super::{Change, Table, Tree, TreeSeams};
use crate::engine::{Engine, EngineOpenError, EngineStore, Kept};
use crate::facts;
use crate::ledger::State;
use crate::store::MAX_CHUNK_BYTES;

/// Which store, and how much it may hold.
#[derive(Debug)]
pub(crate) struct Opening {
    /// What the identity begins with.
    pub(crate) title: &'static str,
    /// Where it lies, for messages.
    pub(crate) place: String,
    /// Bytes that it may hold, or of the disk beside what it holds.
    pub(crate) capacity: Capacity,
}

/// How much a store may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Capacity {
    /// So many bytes.
    Bytes(u64),
    /// What it holds, and so many bytes more.
    Free(u64),
}

/// Opens the store in `tree`, which nobody else has.
pub(crate) async fn open<T: Tree>(
    opening: Opening,
    tree: impl FnOnce() -> Result<T, EngineOpenError> + Send + 'static,
    seams: TreeSeams,
) -> Result<EngineStore<TreeEngine<T>>, EngineOpenError> {
    let blocking = seams.blocking.clone();
    let draw = seams.clone();
    let job = move || {
        let tree = tree()?;
        let draw = || DiskIncarnation::from_uuid(draw.entropy.uuid_v7(&draw.clock));
        let failed = EngineOpenError::refused(&opening.place, "open the store");
        let disk = identify(&tree, &opening, draw)?;
        let found = Found::of(&tree).map_err(failed)?;
        Ok::<_, EngineOpenError>((tree, opening, disk, found))
    };
    let (tree, opening, disk, found) = blocking.run(job).await??;
    let (chunks, aside) = (found.kept.len(), found.aside);
    let state = State::new(disk, u64::MAX, found.kept);
    let capacity = match opening.capacity {
        Capacity::Bytes(bytes) => bytes,
        Capacity::Free(bytes) => bytes.saturating_add(state.usage().used),
    };
    let leftovers = found.leftovers;
    tracing::info!(
        target: "cairn",
        place = opening.place, %disk, chunks, aside, leftovers, capacity,
        "chunk store opened"
    );
    let engine = TreeEngine::new(tree, found.next_place, blocking);
    Ok(EngineStore::over(engine, disk, state.with_capacity(capacity), seams.spawner))
}

/// Reads the identity; an empty store is given one by `draw`.
fn identify<T: Tree>(
    tree: &T,
    opening: &Opening,
    draw: impl FnOnce() -> DiskIncarnation,
) -> Result<DiskIncarnation, EngineOpenError> {
    let (title, place) = (opening.title, &opening.place);
    let failed = || EngineOpenError::refused(place, "read the store's identity");
    let known = tree.get(Table::Meta, keys::STORE, 0..facts::MOST_BYTES).map_err(failed())?;
    if let Some(bytes) = known {
        let facts = facts::decode(&bytes, title, ["disk"]);
        let [disk] = facts.map_err(|error| EngineOpenError::unreadable(place, error))?;
        return disk.parse().map_err(|_| EngineOpenError::IdentityDamaged { place: place.clone() });
    }
    let mut empty = true;
    for table in [Table::Chunks, Table::Aside] {
        tree.keys(table, &[], &mut |_| {
            empty = false;
            false
        })
        .map_err(failed())?;
    }
    if !empty {
        return Err(EngineOpenError::IdentityMissing { place: place.clone() });
    }
    let disk = draw();
    let record = Bytes::from(facts::encode(title, &[("disk", &disk.to_string())]));
    tree.commit(vec![Change::Put(Table::Meta, keys::STORE.to_vec(), record)], true)
        .map_err(EngineOpenError::refused(place, "write the store's identity"))?;
    Ok(disk)
}

/// What a tree holds.
#[derive(Debug, Default)]
struct Found {
    kept: BTreeMap<ChunkId, Kept>,
    /// Chunks put aside, earlier or now.
    aside: usize,
    /// Places that no record named.
    leftovers: usize,
    next_place: u64,
}

impl Found {
    fn of<T: Tree>(tree: &T) -> io::Result<Self> {
        let mut found = Self::default();
        let mut places = BTreeSet::new();
        let mut changes = Vec::new();
        for table in [Table::Aside, Table::Chunks] {
            for key in all_keys(tree, table)? {
                let record = tree.get(table, &key, 0..usize::MAX)?.unwrap_or_default();
                places.extend(keys::place_in(&record));
                let Ok(chunk) = ChunkId::from_slice(&key) else {
                    tracing::error!(target: "cairn", ?table, ?key, "not a chunk's record: removed");
                    changes.push(Change::Remove(table, key));
                    continue;
                };
                let described = read_record(&record, chunk);
                if let (Err(damage), Table::Chunks) = (&described, table) {
                    tracing::error!(target: "cairn", %chunk, %damage, "not an intact chunk: put aside");
                    changes.push(Change::Remove(table, key.clone()));
                    changes.push(Change::Put(Table::Aside, key, record));
                }
                let length = described.as_ref().ok().map(|(_, known)| known.footer.length);
                let aside = table == Table::Aside || described.is_err();
                // One that was put aside may have been written again before its record was removed.
                found.kept.insert(chunk, kept::<T>(length, aside));
            }
        }
        found.aside = found.kept.values().filter(|kept| kept.aside).count();
        found.remove_leftovers(tree, &places, changes)?;
        Ok(found)
    }

    fn remove_leftovers<T: Tree>(
        &mut self,
        tree: &T,
        named: &BTreeSet<u64>,
        changes: Vec<Change>,
    ) -> io::Result<()> {
        if !changes.is_empty() {
            tree.commit(changes, true)?;
        }
        self.next_place = named.last().map_or(0, |last| last.saturating_add(1));
        let mut from = 0;
        while let Some(place) = first_place(tree, from)? {
            if !named.contains(&place) {
                tree.commit(slices_at(tree, place)?, true)?;
                self.leftovers += 1;
            }
            let Some(next) = place.checked_add(1) else { break };
            from = next;
            self.next_place = self.next_place.max(next);
        }
        Ok(())
    }
}

fn kept<T: Tree>(length: Option<u64>, aside: bool) -> Kept {
    let length = length.unwrap_or_default().min(MAX_CHUNK_BYTES);
    Kept { length, room: TreeEngine::<T>::room(length), aside }
}

fn all_keys<T: Tree>(tree: &T, table: Table) -> io::Result<Vec<Vec<u8>>> {
    let mut keys = Vec::new();
    tree.keys(table, &[], &mut |key| {
        keys.push(key.to_vec());
        true
    })?;
    Ok(keys)
}

/// The first place from `from` on that has slices.
fn first_place<T: Tree>(tree: &T, from: u64) -> io::Result<Option<u64>> {
    let mut place = None;
    tree.keys(Table::Slices, &keys::slice(from, 0), &mut |key| {
        place = keys::place_of(key);
        false
    })?;
    Ok(place)
}
