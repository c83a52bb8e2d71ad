//! The handle of a store.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ::redb::StorageBackend;

use crate::durability::Durability;
use crate::error::{OpenError, StorageFailure, TransactError, ViewError};
use crate::memory::Memory;
use crate::redb::{self, Redb, RedbConfig};
use crate::snapshot::Snapshot;
use crate::stats::Stats;
use crate::txn::Txn;

/// An open store. Clones are cheap and mean the same store; it stops when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Kv {
    engine: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    Memory(Arc<Memory>),
    Redb(Arc<Redb>),
}

impl Kv {
    /// An empty store in memory, without threads: closures run at once on the caller's thread.
    pub fn memory() -> Kv {
        Kv { engine: Engine::Memory(Arc::default()) }
    }

    /// Opens the store in the file at `path`, or creates it.
    ///
    /// This blocks: after a crash it reads the whole file once or more (see
    /// [`RedbConfig`] for when it does not).
    pub fn redb(path: impl AsRef<Path>, config: RedbConfig) -> Result<Kv, OpenError> {
        let path = path.as_ref().to_owned();
        Kv::redb_on(move || redb::open_file(&path), config)
    }

    /// Opens a store on storage of the caller's own: a simulated disk, or one with faults.
    ///
    /// `storage` is called again each time the store has to reopen after a storage error.
    pub fn redb_on<B: StorageBackend>(
        storage: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        config: RedbConfig,
    ) -> Result<Kv, OpenError> {
        Ok(Kv { engine: Engine::Redb(Arc::new(Redb::open(storage, config)?)) })
    }

    /// Runs a transaction: all that `f` writes, or nothing.
    ///
    /// `f` must be pure and bounded, and may run more than once. Dropping the future does not take
    /// the transaction back.
    pub async fn transact<T, E, F>(
        &self,
        durability: Durability,
        f: F,
    ) -> Result<T, TransactError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
    {
        match &self.engine {
            Engine::Memory(memory) => memory.transact(durability, f),
            Engine::Redb(redb) => redb.transact(durability, f).await,
        }
    }

    /// Reads a consistent snapshot: everything transacted before this call, buffered or synced.
    ///
    /// For lists, sweeps and audits, which then do not hold up transactions. `f` must be pure and
    /// bounded, and may run more than once.
    pub async fn view<T, E, F>(&self, f: F) -> Result<T, ViewError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnMut(&Snapshot<'_>) -> Result<T, E> + Send + 'static,
    {
        match &self.engine {
            Engine::Memory(memory) => memory.view(f),
            Engine::Redb(redb) => redb.view(f).await,
        }
    }

    /// Takes nothing more, finishes what waits, makes everything durable and releases the file.
    ///
    /// An error means that buffered transactions may be lost. Closing twice is fine.
    pub async fn close(&self) -> Result<(), StorageFailure> {
        match &self.engine {
            Engine::Memory(memory) => {
                memory.close();
                Ok(())
            }
            Engine::Redb(redb) => redb.close().await,
        }
    }

    /// What the store has done so far.
    pub fn stats(&self) -> Stats {
        match &self.engine {
            Engine::Memory(memory) => memory.stats(),
            Engine::Redb(redb) => redb.stats(),
        }
    }
}
