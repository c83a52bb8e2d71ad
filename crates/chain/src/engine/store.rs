//! The store itself: each call of the contract, in a few lines.

use std::sync::Arc;

use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation};
use cairn_core::range::ByteRange;
use cairn_runtime::Spawner;
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};

use super::shared::{Kept, Shared};
use super::{Engine, reader, writer};
use crate::ledger::{Claim, State};
use crate::store::{
    ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, DeleteError, DiskReport, Erased,
    ListChunks, MAX_CHUNK_BYTES, ReadError, Usage, WriteError,
};

/// A chunk store over an engine; see the module of the engine. Dropped without [`ChunkStore::close`] it lets go of what
/// it has open when its last writer, reader and task is gone.
#[derive(Debug)]
pub struct EngineStore<E: Engine> {
    shared: Arc<Shared<E>>,
}

impl<E: Engine> EngineStore<E> {
    /// A store of what `state` says that `engine` has.
    pub(crate) fn over(
        engine: E,
        disk: DiskIncarnation,
        state: State<Kept>,
        spawner: Spawner,
    ) -> Self {
        Self { shared: Arc::new(Shared::new(engine, disk, state, spawner)) }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn engine(&self) -> &E {
        &self.shared.engine
    }

    async fn delete_claimed(&self, claim: Claim<Kept>) -> Result<u64, DeleteError> {
        if claim.chunks().is_empty() {
            return Ok(0);
        }
        let removal = remove(Arc::clone(&self.shared), claim);
        self.shared.change(removal).await?
    }
}

impl<E: Engine> ChunkStore for EngineStore<E> {
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        if reserve > MAX_CHUNK_BYTES {
            return future::err(WriteError::TooLarge { reserve }).boxed();
        }
        future::ready(writer::begin(&self.shared, chunk, reserve)).boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        reader::read(&self.shared, chunk, range).boxed()
    }

    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>> {
        reader::stat(&self.shared, chunk).boxed()
    }

    fn list(&self, list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>> {
        future::ok(self.shared.state().list(&list)).boxed()
    }

    fn delete(&self, chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>> {
        async move {
            self.shared.state().takes_deletes()?;
            let claim = self.shared.ledger.claim(chunks).await;
            self.delete_claimed(claim).await
        }
        .boxed()
    }

    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        async move {
            let (claim, more) = self.shared.ledger.claim_erased(blob, limit).await?;
            let deleted = self.delete_claimed(claim).await?;
            tracing::info!(target: "cairn", %blob, deleted, more, "blob erased");
            Ok(Erased { deleted, more })
        }
        .boxed()
    }

    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        async move {
            self.shared.state().takes_deletes()?;
            let claim = self.shared.ledger.claim(vec![chunk]).await;
            let look = put_aside(Arc::clone(&self.shared), chunk, claim);
            self.shared.change(look).await?
        }
        .boxed()
    }

    fn usage(&self) -> Usage {
        self.shared.state().usage()
    }

    fn disks(&self) -> Vec<DiskReport> {
        vec![self.shared.state().report()]
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.shared.ledger.close().await;
            self.shared.engine.close().await;
        }
        .boxed()
    }
}

/// Removes claimed chunks; answers how many could be read until now.
async fn remove<E: Engine>(shared: Arc<Shared<E>>, claim: Claim<Kept>) -> Result<u64, DeleteError> {
    shared.state().takes_deletes()?;
    let held = |chunk: &&ChunkId| shared.state().get(**chunk).is_some();
    let held: Vec<ChunkId> = claim.chunks().iter().filter(held).copied().collect();
    if held.is_empty() {
        return Ok(0);
    }
    let removed = shared.engine.remove(held.clone()).await;
    removed.map_err(|error| {
        shared.note(&error);
        error.of_delete()
    })?;
    let mut state = shared.state();
    let gone = held.iter().filter_map(|chunk| state.remove(*chunk));
    Ok(gone.filter(|kept| !kept.aside).count() as u64)
}

/// Takes a claimed chunk out of what is read, if it is damaged.
async fn put_aside<E: Engine>(
    shared: Arc<Shared<E>>,
    chunk: ChunkId,
    claim: Claim<Kept>,
) -> Result<bool, DeleteError> {
    shared.state().takes_deletes()?;
    let Ok(kept) = shared.held(chunk) else { return Ok(false) };
    match reader::prove(&shared, chunk).await {
        Ok(()) => return Ok(false),
        Err(ReadError::Corrupt { damage, .. }) => {
            let room = shared.engine.put_aside(chunk, kept.length).await.map_err(|error| {
                shared.note(&error);
                error.of_delete()
            })?;
            match room {
                Some(room) => drop(shared.state().put(chunk, Kept { room, aside: true, ..kept })),
                None => drop(shared.state().remove(chunk)),
            }
            tracing::error!(target: "cairn", %chunk, %damage, "not an intact chunk: put aside");
        }
        Err(ReadError::NotFound { .. }) => drop(shared.state().remove(chunk)),
        Err(ReadError::TimedOut(bound)) => return Err(DeleteError::TimedOut(bound)),
        Err(ReadError::Disk { doing, source }) => return Err(DeleteError::Disk { doing, source }),
        Err(ReadError::Interrupted(error)) => return Err(error.into()),
    }
    drop(claim);
    Ok(true)
}
