//! Writing a chunk to one disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cairn_core::ids::{ChunkId, DiskIncarnation};
use cairn_runtime::{BlockingError, Spawner};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::member::Member;
use super::{Spread, choice};
use crate::store::{ChunkEnd, ChunkWriter, ReadError, WriteError};

/// Opens a writer on one disk; see [`crate::ChunkStore::begin`].
pub(super) async fn begin(
    spread: &Spread,
    chunk: ChunkId,
    reserve: u64,
) -> Result<Box<dyn ChunkWriter>, WriteError> {
    // Until the write is known to all who come later, or the chunk is seen not to be written here.
    let _turn = spread.turns.take([chunk]).await;
    let (at, inner) = match bound_to(spread, chunk).await {
        Some(at) => (at, begin_on(&spread.members[at], chunk, reserve).await?),
        None => begin_anywhere(spread, chunk, reserve).await?,
    };
    Ok(Box::new(SpreadWriter {
        inner,
        open: spread.open.add(chunk, at),
        member: Arc::clone(&spread.members[at]),
        spawner: spread.seams.spawner.clone(),
    }))
}

/// The disk that a chunk has to go to: where it is being written, or where it is. A disk that cannot tell may have it.
async fn bound_to(spread: &Spread, chunk: ChunkId) -> Option<usize> {
    if let Some(at) = spread.open.member_of(chunk) {
        return Some(at);
    }
    for (at, member) in spread.members.iter().enumerate() {
        match member.store.stat(chunk).await {
            Err(ReadError::NotFound { .. }) => {}
            Ok(_) | Err(_) => return Some(at),
        }
    }
    None
}

async fn begin_on(
    member: &Member,
    chunk: ChunkId,
    reserve: u64,
) -> Result<Box<dyn ChunkWriter>, WriteError> {
    member.store.begin(chunk, reserve).await.inspect_err(|error| member.refused(error))
}

/// Draws disks until one takes the chunk, or none is left.
async fn begin_anywhere(
    spread: &Spread,
    chunk: ChunkId,
    reserve: u64,
) -> Result<(usize, Box<dyn ChunkWriter>), WriteError> {
    let candidates = spread.members.iter().enumerate();
    let (mut places, mut chances): (Vec<_>, Vec<_>) =
        candidates.filter_map(|(at, member)| Some((at, member.chance()?))).unzip();
    let mut refusal = WriteError::DiskFailed;
    while let Some(drawn) = choice::draw(&chances, &spread.seams.entropy) {
        chances.remove(drawn);
        let at = places.remove(drawn);
        match begin_on(&spread.members[at], chunk, reserve).await {
            Ok(writer) => return Ok((at, writer)),
            Err(error) if error.blames_the_write() => return Err(error),
            Err(error) => refusal = graver(refusal, error),
        }
    }
    Err(refusal)
}

/// Which of two refusals is answered: that there is no room, with the most that is free anywhere, before any other.
fn graver(before: WriteError, now: WriteError) -> WriteError {
    match (before, now) {
        (WriteError::NoRoom { wanted, free }, WriteError::NoRoom { free: other, .. }) => {
            WriteError::NoRoom { wanted, free: free.max(other) }
        }
        (before @ WriteError::NoRoom { .. }, _) => before,
        (_, now) => now,
    }
}

/// Chunks that are being written, each with its disk.
#[derive(Debug, Default)]
pub(super) struct OpenWrites(Mutex<BTreeMap<ChunkId, OnMember>>);

#[derive(Debug)]
struct OnMember {
    at: usize,
    writers: usize,
}

impl OpenWrites {
    fn writes(&self) -> MutexGuard<'_, BTreeMap<ChunkId, OnMember>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member_of(&self, chunk: ChunkId) -> Option<usize> {
        self.writes().get(&chunk).map(|open| open.at)
    }

    fn add(self: &Arc<Self>, chunk: ChunkId, at: usize) -> OpenWrite {
        let mut writes = self.writes();
        let open = writes.entry(chunk).or_insert(OnMember { at, writers: 0 });
        debug_assert_eq!(open.at, at, "{chunk} is written to two disks");
        open.writers += 1;
        drop(writes);
        OpenWrite { writes: Arc::clone(self), chunk }
    }
}

/// A chunk is being written, until dropped.
#[derive(Debug)]
struct OpenWrite {
    writes: Arc<OpenWrites>,
    chunk: ChunkId,
}

impl Drop for OpenWrite {
    fn drop(&mut self) {
        let mut writes = self.writes.writes();
        if let Some(open) = writes.get_mut(&self.chunk) {
            open.writers -= 1;
            if open.writers == 0 {
                writes.remove(&self.chunk);
            }
        }
    }
}

/// Dropped in this order: the disk gives the room back before the chunk may go elsewhere.
#[derive(Debug)]
struct SpreadWriter {
    inner: Box<dyn ChunkWriter>,
    open: OpenWrite,
    member: Arc<Member>,
    spawner: Spawner,
}

impl ChunkWriter for SpreadWriter {
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        let Self { inner, member, .. } = self;
        let append = inner.append(bytes, block_crcs);
        append.map(|done| done.inspect_err(|error| member.refused(error))).boxed()
    }

    /// Runs to its end whoever goes away: until the disk has decided, the chunk must not go to another one.
    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        let Self { inner, open, member, spawner } = *self;
        let finish = async move {
            let finished = inner.finish(end).await;
            match &finished {
                Ok(_) => member.works(),
                Err(error) => member.refused(error),
            }
            drop(open);
            finished
        };
        let task = spawner.spawn(finish);
        task.map(|done| done.unwrap_or(Err(BlockingError::Panicked.into()))).boxed()
    }
}
