//! Writing into a store that makes room.

use std::sync::Arc;

use bytes::Bytes;
use cairn_core::ids::{ChunkId, DiskIncarnation};
use cairn_runtime::BlockingError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;

use super::room::{Reservation, Room};
use crate::store::{ChunkEnd, ChunkWriter, MAX_CHUNK_BYTES, WriteError};

/// Opens a writer; see [`crate::ChunkStore::begin`].
pub(super) async fn begin(
    room: &Arc<Room>,
    tasks: &TaskTracker,
    chunk: ChunkId,
    reserve: u64,
) -> Result<Box<dyn ChunkWriter>, WriteError> {
    if reserve > MAX_CHUNK_BYTES {
        return Err(WriteError::TooLarge { reserve });
    }
    let reservation = room.reserve(chunk, reserve).await?;
    let inner = room.store().begin(chunk, reserve).await?;
    Ok(Box::new(LruWriter { chunk, inner, reservation, tasks: tasks.clone() }))
}

#[derive(Debug)]
struct LruWriter {
    chunk: ChunkId,
    inner: Box<dyn ChunkWriter>,
    reservation: Reservation,
    tasks: TaskTracker,
}

impl ChunkWriter for LruWriter {
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        self.inner.append(bytes, block_crcs)
    }

    /// Runs to its end whoever goes away, so that what is stored is tracked.
    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        let Self { chunk, inner, reservation, tasks } = *self;
        let room = Arc::clone(reservation.room());
        let finish = async move {
            let _turn = reservation.room().turns.take([chunk]).await;
            let disk = inner.finish(end).await?;
            reservation.settle(end.length);
            Ok(disk)
        };
        let task = room.spawn(tasks.track_future(finish));
        task.map(|done| done.unwrap_or(Err(BlockingError::Panicked.into()))).boxed()
    }
}
