//! fjall as a tree.

use std::fmt;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::LsmStoreConfig;
use crate::engine::EngineOpenError;
use crate::store::FRAME_BYTES;
use crate::tree::{Change, Table, Tree};

/// What fjall spends on an entry beside its value, about: key, lengths, its share of tables and filters.
const ENTRY_BYTES: u64 = 96;
/// Threads that flush and compact.
const WORKERS: usize = 2;

/// An open folder of fjall.
pub struct FjallTree {
    database: Database,
    tables: [Keyspace; 4],
}

impl fmt::Debug for FjallTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FjallTree").finish_non_exhaustive()
    }
}

/// Says what fjall's errors mean; those of the disk keep their kind.
fn said(error: fjall::Error) -> io::Error {
    match error {
        fjall::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

impl FjallTree {
    pub(super) fn open(config: &LsmStoreConfig) -> Result<Self, EngineOpenError> {
        let place = config.path.display().to_string();
        let opened =
            Database::builder(&config.path).cache_size(config.cache).worker_threads(WORKERS).open();
        let database = opened.map_err(|error| match error {
            fjall::Error::Locked => EngineOpenError::InUse { place: place.clone() },
            fjall::Error::InvalidVersion(version) => EngineOpenError::UnknownFormat {
                place: place.clone(),
                format: version.map_or_else(|| "unknown".to_owned(), |known| format!("{known:?}")),
            },
            other => EngineOpenError::refused(&place, "open the database")(said(other)),
        })?;
        let table = |name: &str, options: KeyspaceCreateOptions| {
            let options = options.max_memtable_size(config.write_buffer);
            database
                .keyspace(name, move || options)
                .map_err(|error| EngineOpenError::refused(&place, "open a table")(said(error)))
        };
        let plain = KeyspaceCreateOptions::default;
        let blobs = plain().with_kv_separation(Some(KvSeparationOptions::default()));
        let tables = [
            table("meta", plain())?,
            table("records", plain())?,
            table("slices", blobs)?,
            table("aside", plain())?,
        ];
        Ok(Self { database, tables })
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }

    /// Compacts everything, as the store does by itself little by little.
    #[cfg(feature = "testing")]
    pub(super) fn compact(&self) -> io::Result<()> {
        for table in &self.tables {
            table.rotate_memtable_and_wait().map_err(said)?;
            table.major_compact().map_err(said)?;
        }
        Ok(())
    }
}

impl Tree for FjallTree {
    const SLICE_BYTES: usize = FRAME_BYTES;

    fn room(value: u64) -> u64 {
        value + ENTRY_BYTES
    }

    fn get(&self, table: Table, key: &[u8], part: Range<usize>) -> io::Result<Option<Bytes>> {
        let found = self.table(table).get(key).map_err(said)?;
        Ok(found.map(|value| {
            let value = Bytes::from(value);
            let end = part.end.min(value.len());
            value.slice(part.start.min(end)..end)
        }))
    }

    fn keys(
        &self,
        table: Table,
        from: &[u8],
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        for entry in self.table(table).range(from..) {
            if !each(&entry.key().map_err(said)?) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, changes: Vec<Change>, durable: bool) -> io::Result<()> {
        let mode = if durable { PersistMode::SyncAll } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        for change in changes {
            match change {
                Change::Put(table, key, value) => batch.insert(self.table(table), key, value),
                Change::Remove(table, key) => batch.remove(self.table(table), key),
            }
        }
        batch.commit().map_err(said)
    }
}
