//! Writing a chunk: slice by slice to a place of the engine's, published when it is whole.

use std::sync::Arc;

use bytes::Bytes;
use cairn_core::ids::{ChunkId, DiskIncarnation};
use cairn_runtime::BlockingError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use super::reader::OpenChunk;
use super::shared::{Kept, Shared};
use super::{Description, Engine, EngineError};
use crate::checks::StreamChecks;
use crate::ledger::Reservation;
use crate::store::{ChunkEnd, ChunkWriter, ReadError, WriteError};

/// Opens a writer; see [`crate::ChunkStore::begin`].
pub(super) fn begin<E: Engine>(
    shared: &Arc<Shared<E>>,
    chunk: ChunkId,
    reserve: u64,
) -> Result<Box<dyn ChunkWriter>, WriteError> {
    let reservation = shared.ledger.reserve(chunk, E::room(reserve))?;
    let aside = Aside {
        shared: Arc::clone(shared),
        place: Some(Place::Idle(shared.engine.place(chunk))),
        reservation: Some(reservation),
    };
    Ok(Box::new(EngineWriter {
        chunk,
        reserve,
        aside,
        checks: StreamChecks::new(chunk, reserve),
        gathered: Vec::new(),
        broken: false,
    }))
}

#[derive(Debug)]
struct EngineWriter<E: Engine> {
    chunk: ChunkId,
    reserve: u64,
    aside: Aside<E>,
    checks: StreamChecks,
    /// Less than a slice. Copied: a piece may be a part of a buffer that is much larger than itself, and a slice lies in
    /// one run of memory.
    gathered: Vec<u8>,
    /// A call failed or was dropped on its way: what has been written is not known.
    broken: bool,
}

impl<E: Engine> EngineWriter<E> {
    async fn take(&mut self, bytes: &Bytes, block_crcs: &[u32]) -> Result<(), WriteError> {
        self.may_continue()?;
        self.broken = true;
        self.checks.update(bytes, block_crcs)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            if self.gathered.is_empty() {
                self.gathered.reserve_exact(E::SLICE_BYTES.min(self.most_to_come(rest)));
            }
            let wanted = E::SLICE_BYTES - self.gathered.len();
            let (now, later) = rest.split_at(wanted.min(rest.len()));
            self.gathered.extend_from_slice(now);
            rest = later;
            if self.gathered.len() == E::SLICE_BYTES {
                self.write_gathered().await?;
            }
        }
        self.broken = false;
        Ok(())
    }

    /// Bytes that the chunk may still have, with these.
    fn most_to_come(&self, now: &[u8]) -> usize {
        let later = self.reserve - self.checks.received();
        now.len().saturating_add(usize::try_from(later).unwrap_or(usize::MAX))
    }

    async fn write_gathered(&mut self) -> Result<(), WriteError> {
        // A slice takes up no more memory than it has bytes.
        let slice = std::mem::take(&mut self.gathered).into_boxed_slice();
        let written = self.aside.write(slice.into()).await;
        written.map_err(|error| self.aside.refused(self.reserve, error))
    }

    fn may_continue(&self) -> Result<(), WriteError> {
        self.aside.may_continue()?;
        if self.broken {
            return Err(WriteError::Broken);
        }
        Ok(())
    }

    async fn publish(mut self, end: ChunkEnd) -> Result<DiskIncarnation, WriteError> {
        self.may_continue()?;
        let checks = std::mem::replace(&mut self.checks, StreamChecks::new(self.chunk, 0));
        let table = checks.finish(&end)?;
        if !self.gathered.is_empty() {
            self.write_gathered().await?;
        }
        let description = Description::new(self.chunk, &end, table);
        let shared = Arc::clone(&self.aside.shared);
        let publication = publish(self.aside, description, self.reserve);
        shared.change(publication).await??;
        Ok(shared.disk)
    }
}

impl<E: Engine> ChunkWriter for EngineWriter<E> {
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        async move { self.take(&bytes, &block_crcs).await }.boxed()
    }

    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        self.publish(end).boxed()
    }
}

/// The last step of a write, under the chunk's claim.
async fn publish<E: Engine>(
    mut aside: Aside<E>,
    description: Description,
    reserve: u64,
) -> Result<(), WriteError> {
    let shared = Arc::clone(&aside.shared);
    let chunk = description.footer.chunk;
    let claim = shared.ledger.claim(vec![chunk]).await;
    // Under the claim: an erasure that comes from here on waits for it, and then finds the chunk.
    aside.may_continue()?;
    let replaces = refuse_other_content(&shared, &description).await?;
    let refused = |aside: &Aside<E>, error| aside.refused(reserve, error);
    let mut place = aside.idle().await.map_err(|error| refused(&aside, error))?;
    let published = shared.engine.publish(&mut place, &description, replaces).await;
    if let Err(error) = published {
        aside.place = Some(Place::Idle(place));
        return Err(refused(&aside, error));
    }
    let length = description.footer.length;
    aside.settle(chunk, Kept { length, room: E::room(length), aside: false });
    drop(claim);
    Ok(())
}

/// Refuses to replace a chunk by another; tells whether there is one. The same content does replace it: the copy that
/// was just proven is the better one, and a damaged copy is healed by a repeat.
async fn refuse_other_content<E: Engine>(
    shared: &Arc<Shared<E>>,
    new: &Description,
) -> Result<bool, WriteError> {
    let (chunk, new) = (new.footer.chunk, &new.footer);
    match OpenChunk::open(shared, chunk).await {
        Ok(held) => {
            let held = held.description.footer;
            let same = (held.length, held.hash) == (new.length, new.hash);
            if same { Ok(true) } else { Err(WriteError::Conflict { chunk }) }
        }
        Err(ReadError::Corrupt { damage, .. }) => {
            tracing::warn!(target: "cairn", %chunk, %damage, "a corrupt copy is replaced");
            Ok(true)
        }
        Err(ReadError::NotFound { .. }) => Ok(false),
        Err(ReadError::TimedOut(bound)) => Err(WriteError::TimedOut(bound)),
        Err(ReadError::Disk { doing, source }) => Err(WriteError::Disk { doing, source }),
        Err(ReadError::Interrupted(error)) => Err(error.into()),
    }
}

/// Where an open write's slices are: with the writer, or with the task that writes one.
#[derive(Debug)]
enum Place<P> {
    Idle(P),
    Busy(JoinHandle<(P, Result<(), EngineError>)>),
}

/// An open write; what there is of it is discarded when it is dropped, unless it was published.
#[derive(Debug)]
struct Aside<E: Engine> {
    shared: Arc<Shared<E>>,
    place: Option<Place<E::Place>>,
    reservation: Option<Reservation<Kept>>,
}

impl<E: Engine> Aside<E> {
    fn may_continue(&self) -> Result<(), WriteError> {
        match &self.reservation {
            Some(reservation) => self.shared.state().may_continue(reservation.write()),
            None => Err(WriteError::Broken),
        }
    }

    /// Waits for the slice on its way, and takes the place.
    async fn idle(&mut self) -> Result<E::Place, EngineError> {
        if let Some(Place::Busy(task)) = &mut self.place {
            let (place, written) = task.await.map_err(|_| BlockingError::Panicked)?;
            self.place = Some(Place::Idle(place));
            written?;
        }
        match self.place.take() {
            Some(Place::Idle(place)) => Ok(place),
            other => {
                self.place = other;
                Err(BlockingError::Panicked.into())
            }
        }
    }

    /// Puts a slice on its way, when the one before has arrived.
    async fn write(&mut self, slice: Bytes) -> Result<(), EngineError> {
        let mut place = self.idle().await?;
        let shared = Arc::clone(&self.shared);
        self.place = Some(Place::Busy(self.shared.spawner.spawn(async move {
            let written = shared.engine.write(&mut place, slice).await;
            (place, written)
        })));
        Ok(())
    }

    fn refused(&self, reserve: u64, error: EngineError) -> WriteError {
        self.shared.note(&error);
        error.of_write(E::room(reserve), self.shared.state().free())
    }

    /// The chunk is durable: its room is used.
    fn settle(mut self, chunk: ChunkId, kept: Kept) {
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(chunk, kept);
        }
    }
}

impl<E: Engine> Drop for Aside<E> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        // After closing it stays: what is stored may be another's by then, and the next open removes it.
        let Some(token) = self.shared.ledger.hold_open() else { return };
        let shared = Arc::clone(&self.shared);
        let discard = async move {
            let place = match place {
                Place::Idle(place) => place,
                Place::Busy(task) => match task.await {
                    Ok((place, _)) => place,
                    Err(_) => return,
                },
            };
            if let Err(error) = shared.engine.discard(place).await {
                shared.note(&error);
                tracing::warn!(target: "cairn", %error, "discard a broken write");
            }
            drop(token);
        };
        drop(self.shared.spawner.spawn(discard));
    }
}
