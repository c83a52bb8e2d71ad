//! The handle of a store.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ::redb::StorageBackend;
use cairn_runtime::{Clock, Entropy};

use crate::dump::{self, Dump};
use crate::durability::Durability;
use crate::error::{OpenError, StorageFailure, TransactError, ViewError};
use crate::front::Front;
use crate::journal::Journal;
use crate::memory::Memory;
use crate::postgres::{self, PostgresConfig};
use crate::redb::{self, RedbConfig};
#[cfg(feature = "testing")]
use crate::simulated::Simulated;
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
    Redb(Arc<Front>),
    Postgres(Arc<Front>),
    #[cfg(feature = "testing")]
    Simulated(Arc<Simulated>),
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
        Ok(Kv { engine: Engine::Redb(Arc::new(redb::open(storage, config, None)?)) })
    }

    /// As [`Kv::redb`], with a journal on other machines: a synced transaction is answered when its record is durable
    /// there as well.
    pub fn redb_journaled(
        path: impl AsRef<Path>,
        config: RedbConfig,
        journal: Arc<dyn Journal>,
    ) -> Result<Kv, OpenError> {
        let path = path.as_ref().to_owned();
        Kv::redb_journaled_on(move || redb::open_file(&path), config, journal)
    }

    /// As [`Kv::redb_on`], with a journal on other machines.
    pub fn redb_journaled_on<B: StorageBackend>(
        storage: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        config: RedbConfig,
        journal: Arc<dyn Journal>,
    ) -> Result<Kv, OpenError> {
        let front = redb::open(storage, config, Some(journal))?;
        Ok(Kv { engine: Engine::Redb(Arc::new(front)) })
    }

    /// Opens the store in a PostgreSQL database, or creates it there.
    ///
    /// Several handles, in one process or in many, may have the same store open. This blocks until
    /// the server has answered, at most for the bounds of [`PostgresConfig`].
    pub fn postgres(
        config: PostgresConfig,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Kv, OpenError> {
        Ok(Kv { engine: Engine::Postgres(Arc::new(postgres::open(config, clock, entropy)?)) })
    }

    #[cfg(feature = "testing")]
    pub(crate) fn on_simulated(simulated: Simulated) -> Kv {
        Kv { engine: Engine::Simulated(Arc::new(simulated)) }
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
            Engine::Redb(front) | Engine::Postgres(front) => front.transact(durability, f).await,
            #[cfg(feature = "testing")]
            Engine::Simulated(simulated) => simulated.transact(durability, f).await,
        }
    }

    /// As [`Kv::transact`], without waiting for a journal: for what can be learned again when the store is lost, and
    /// must be possible while no node keeps the journal.
    pub async fn transact_locally<T, E, F>(
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
            Engine::Redb(front) => front.transact_locally(durability, f).await,
            _ => self.transact(durability, f).await,
        }
    }

    /// Reads everything as it is now, page by page, while transactions go on. One at a time.
    ///
    /// # Errors
    /// [`StorageFailure`], also when another one is going on.
    pub async fn dump(&self) -> Result<Dump, StorageFailure> {
        match &self.engine {
            Engine::Memory(memory) => Ok(dump::of_entries(memory.entries())),
            Engine::Redb(front) | Engine::Postgres(front) => front.dump().await,
            #[cfg(feature = "testing")]
            Engine::Simulated(simulated) => Ok(dump::of_entries(simulated.entries())),
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
            Engine::Redb(front) | Engine::Postgres(front) => front.view(f).await,
            #[cfg(feature = "testing")]
            Engine::Simulated(simulated) => simulated.view(f).await,
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
            Engine::Redb(front) | Engine::Postgres(front) => front.close().await,
            #[cfg(feature = "testing")]
            Engine::Simulated(simulated) => {
                simulated.close();
                Ok(())
            }
        }
    }

    /// Whether others, in this process or elsewhere, may have the same store open.
    pub fn is_shared(&self) -> bool {
        match &self.engine {
            Engine::Memory(_) | Engine::Redb(_) => false,
            Engine::Postgres(_) => true,
            #[cfg(feature = "testing")]
            Engine::Simulated(simulated) => simulated.shared,
        }
    }

    /// What the store has done so far.
    pub fn stats(&self) -> Stats {
        match &self.engine {
            Engine::Memory(memory) => memory.stats(),
            Engine::Redb(front) | Engine::Postgres(front) => front.stats(),
            #[cfg(feature = "testing")]
            Engine::Simulated(simulated) => simulated.stats(),
        }
    }
}
