//! Opens the file, creates it where there is none, and refuses what this program cannot read.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, StorageBackend, TableDefinition, TableError,
};

use crate::error::{OpenError, StorageFailure};

/// All entries of the store.
pub(super) const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// Facts about the file itself.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The key in [`META`] that states how the file is to be read.
const FORMAT: &str = "format";
/// Goes up when an older program could no longer read the file correctly. Never used again.
const FORMAT_VERSION: u64 = 1;

/// From this file size on, commits pay for quick repair. Below it a repair reads the whole file
/// three times, which takes seconds; far above it takes minutes in which nothing can be served.
const QUICK_REPAIR_FROM: u64 = 1 << 30;

/// An open database, and how to commit to it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) quick_repair: bool,
}

/// Opens the database, again if need be.
pub(super) type Opener = Box<dyn Fn() -> Result<Opened, OpenError> + Send + Sync>;

pub(super) fn opener<B: StorageBackend>(
    storage: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    cache_bytes: usize,
) -> Opener {
    Box::new(move || open(storage().map_err(failed("open the storage"))?, cache_bytes))
}

/// Opens a file as storage for redb. A new file is not durable before its directory is.
pub(crate) fn open_file(path: &Path) -> io::Result<FileBackend> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
            sync_directory_of(path)?;
            file
        }
        result => result?,
    };
    FileBackend::new(file).map_err(io::Error::other)
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn open(backend: impl StorageBackend, cache_bytes: usize) -> Result<Opened, OpenError> {
    let len = backend.len().map_err(failed("read the size of the file"))?;
    let database = Builder::new()
        .set_cache_size(cache_bytes)
        .create_with_backend(backend)
        .map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
            other => failed("open the database")(other),
        })?;
    if is_new(&database)? {
        initialise(&database)?;
    } else {
        check_format(&database)?;
    }
    Ok(Opened { database, quick_repair: len >= QUICK_REPAIR_FROM })
}

/// Whether the first transaction of the file has not happened yet.
fn is_new(database: &Database) -> Result<bool, OpenError> {
    let txn = database.begin_read().map_err(failed("begin a read transaction"))?;
    let mut tables = txn.list_tables().map_err(failed("list the tables"))?;
    Ok(tables.next().is_none())
}

/// Creates both tables at once: a crash leaves a new file or a whole one.
fn initialise(database: &Database) -> Result<(), OpenError> {
    let txn = database.begin_write().map_err(failed("begin the first transaction"))?;
    txn.open_table(ENTRIES).map_err(failed("create the table of entries"))?;
    txn.open_table(META)
        .map_err(failed("create the meta table"))?
        .insert(FORMAT, FORMAT_VERSION)
        .map_err(failed("write the format version"))?;
    txn.commit().map_err(failed("commit the first transaction"))
}

fn check_format(database: &Database) -> Result<(), OpenError> {
    let txn = database.begin_read().map_err(failed("begin a read transaction"))?;
    let meta = txn.open_table(META).map_err(foreign("open the meta table"))?;
    let version = meta.get(FORMAT).map_err(failed("read the format version"))?;
    match version.map(|version| version.value()) {
        Some(FORMAT_VERSION) => {}
        Some(found) => {
            return Err(OpenError::UnknownFormat { found, known: FORMAT_VERSION });
        }
        None => return Err(OpenError::Foreign),
    }
    txn.open_table(ENTRIES).map_err(foreign("open the table of entries"))?;
    Ok(())
}

/// A table that is missing, or of other types, belongs to another program.
fn foreign(doing: &'static str) -> impl FnOnce(TableError) -> OpenError {
    move |error| match error {
        TableError::Storage(error) => failed(doing)(error),
        _ => OpenError::Foreign,
    }
}

fn failed<E>(doing: &'static str) -> impl FnOnce(E) -> OpenError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |error| OpenError::Storage(StorageFailure::new(doing, error))
}
