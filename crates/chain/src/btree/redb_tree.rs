//! redb as a tree.

use std::fmt;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, StorageBackend,
    TableDefinition, TableError,
};

use super::SLICE_BYTES;
use crate::engine::EngineOpenError;
use crate::tree::{Change, Table, Tree};

/// What redb spends on an entry beside its value, about: key, offsets, its share of a page's head.
const ENTRY_BYTES: u64 = 64;

type Definition<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// An open file of redb.
pub struct RedbTree {
    database: Database,
    names: [String; 4],
}

impl fmt::Debug for RedbTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbTree").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Says what redb's errors mean; those of the disk keep their kind.
fn said(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

impl RedbTree {
    pub(super) fn open(
        storage: impl StorageBackend,
        prefix: &str,
        cache: u64,
        place: &str,
    ) -> Result<Self, EngineOpenError> {
        let cache = usize::try_from(cache).unwrap_or(usize::MAX);
        let opened = Builder::new().set_cache_size(cache).create_with_backend(storage);
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => {
                EngineOpenError::InUse { place: place.to_owned() }
            }
            DatabaseError::UpgradeRequired(version) => EngineOpenError::UnknownFormat {
                place: place.to_owned(),
                format: format!("{version} of redb"),
            },
            other => EngineOpenError::refused(place, "open the database")(said(other)),
        })?;
        let names = ["meta", "records", "slices", "aside"];
        let names = names.map(|name| format!("{prefix}.{name}"));
        let tree = Self { database, names };
        tree.make_tables().map_err(|error| match error {
            Unfit::Foreign(why) => EngineOpenError::Foreign { place: place.to_owned(), why },
            Unfit::Refused(source) => {
                EngineOpenError::refused(place, "make the store's tables")(source)
            }
        })?;
        Ok(tree)
    }

    /// Makes all tables at once, unless they are there: a crash leaves none or all.
    fn make_tables(&self) -> Result<(), Unfit> {
        let refused = |error: io::Error| Unfit::Refused(error);
        let begun = self.database.begin_write();
        let mut transaction = begun.map_err(|error| refused(said(error)))?;
        transaction.set_quick_repair(true);
        for name in &self.names {
            transaction.open_table(Definition::new(name)).map_err(|error| match error {
                TableError::Storage(error) => refused(said(error)),
                other => Unfit::Foreign(other.to_string()),
            })?;
        }
        transaction.commit().map_err(|error| refused(said(error)))
    }

    fn definition(&self, table: Table) -> Definition<'_> {
        Definition::new(&self.names[table as usize])
    }
}

/// Why the tables cannot be used.
enum Unfit {
    Foreign(String),
    Refused(io::Error),
}

impl Tree for RedbTree {
    const SLICE_BYTES: usize = SLICE_BYTES;

    fn room(value: u64) -> u64 {
        value + ENTRY_BYTES
    }

    fn get(&self, table: Table, key: &[u8], part: Range<usize>) -> io::Result<Option<Bytes>> {
        let transaction = self.database.begin_read().map_err(said)?;
        let table = transaction.open_table(self.definition(table)).map_err(said)?;
        let found = table.get(key).map_err(said)?;
        Ok(found.map(|value| {
            let value = value.value();
            let end = part.end.min(value.len());
            Bytes::copy_from_slice(&value[part.start.min(end)..end])
        }))
    }

    fn keys(
        &self,
        table: Table,
        from: &[u8],
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        let transaction = self.database.begin_read().map_err(said)?;
        let table = transaction.open_table(self.definition(table)).map_err(said)?;
        for entry in table.range(from..).map_err(said)? {
            let (key, _) = entry.map_err(said)?;
            if !each(key.value()) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, changes: Vec<Change>, durable: bool) -> io::Result<()> {
        let mut transaction = self.database.begin_write().map_err(said)?;
        let durability = if durable { Durability::Immediate } else { Durability::None };
        transaction.set_durability(durability).map_err(io::Error::other)?;
        transaction.set_quick_repair(durable);
        for change in changes {
            match change {
                Change::Put(table, key, value) => {
                    let mut table = transaction.open_table(self.definition(table)).map_err(said)?;
                    table.insert(&key[..], &value[..]).map_err(said)?;
                }
                Change::Remove(table, key) => {
                    let mut table = transaction.open_table(self.definition(table)).map_err(said)?;
                    table.remove(&key[..]).map_err(said)?;
                }
            }
        }
        transaction.commit().map_err(said)
    }
}
