//! The engine on a tree.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_runtime::{Blocking, BlockingError};

use super::commits::Commits;
use super::keys::{self, read_record};
use super::{Change, Table, Tree};
use crate::engine::{Description, Engine, EngineError};
use crate::store::Damage;

/// Most chunks that one commit removes.
const REMOVED_AT_ONCE: usize = 64;
/// How many places a reader looks at when a chunk is written again and again.
const PLACES: usize = 8;

/// Chunks in a tree; see [the module](crate::tree).
pub struct TreeEngine<T: Tree> {
    shared: Arc<Shared<T>>,
    blocking: Blocking,
}

struct Shared<T> {
    /// `None` once the store is closed.
    tree: RwLock<Option<T>>,
    commits: Commits,
    next_place: AtomicU64,
}

impl<T: Tree> fmt::Debug for TreeEngine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeEngine").finish_non_exhaustive()
    }
}

/// Where an open write's slices are.
#[derive(Debug)]
pub struct Place {
    number: u64,
    /// Slices put so far.
    slices: u32,
}

/// A chunk that is being read.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    chunk: ChunkId,
    place: u64,
}

impl Held {
    /// Reads part of a slice. Who deletes a chunk or writes it again does not wait for readers, so what was here may be
    /// gone, or at another place by now; there the content is the same.
    fn read<T: Tree>(
        &mut self,
        tree: &T,
        number: u32,
        part: Range<usize>,
    ) -> Result<Bytes, EngineError> {
        let doing = "read blocks";
        for _ in 0..PLACES {
            let key = keys::slice(self.place, number);
            let found = tree.get(Table::Slices, &key, part.clone());
            if let Some(bytes) = found.map_err(EngineError::refused(doing))? {
                return Ok(bytes);
            }
            let record = tree.get(Table::Chunks, &keys::chunk(self.chunk), 0..keys::HEAD_BYTES);
            let record = record.map_err(EngineError::refused(doing))?.ok_or(EngineError::Gone)?;
            match keys::place_in(&record) {
                Some(place) if place != self.place => self.place = place,
                _ => return Err(Damage::Length.into()),
            }
        }
        Err(EngineError::Gone)
    }
}

fn closed() -> EngineError {
    EngineError::Refused { doing: "use the store", source: io::Error::other("it is closed") }
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> EngineError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => EngineError::Full,
        _ => EngineError::Failed { doing, source },
    }
}

impl<T: Tree> TreeEngine<T> {
    pub(super) fn new(tree: T, next_place: u64, blocking: Blocking) -> Self {
        let shared = Shared {
            tree: RwLock::new(Some(tree)),
            commits: Commits::default(),
            next_place: AtomicU64::new(next_place),
        };
        Self { shared: Arc::new(shared), blocking }
    }

    /// Runs work on the tree.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&T) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        let shared = Arc::clone(&self.shared);
        let job = move || {
            let tree = shared.tree.read().unwrap_or_else(PoisonError::into_inner);
            tree.as_ref().map(work)
        };
        self.blocking.run(job).await?.ok_or_else(closed)
    }

    /// Makes changes, in company with what else waits.
    async fn commit(
        &self,
        doing: &'static str,
        changes: Vec<Change>,
        durable: bool,
    ) -> Result<(), EngineError> {
        let answer = self.shared.commits.push(changes, durable);
        let shared = Arc::clone(&self.shared);
        self.run(move |tree| shared.commits.drain(tree)).await?;
        let committed = answer.await.map_err(|_| BlockingError::Panicked)?;
        committed.map_err(failed(doing))
    }

    /// What there is to remove of chunks, be they readable or put aside.
    async fn removals(&self, chunks: Vec<ChunkId>) -> Result<Vec<Change>, EngineError> {
        let look = move |tree: &T| {
            let mut changes = Vec::new();
            for chunk in chunks {
                let key = keys::chunk(chunk);
                for table in [Table::Chunks, Table::Aside] {
                    let Some(record) = tree.get(table, &key, 0..keys::HEAD_BYTES)? else {
                        continue;
                    };
                    if let Some(place) = keys::place_in(&record) {
                        changes.extend(slices_at(tree, place)?);
                    }
                    changes.push(Change::Remove(table, key.clone()));
                }
            }
            Ok(changes)
        };
        self.run(look).await?.map_err(EngineError::refused("look for what to remove"))
    }
}

/// The removals of all slices at a place.
pub(super) fn slices_at<T: Tree>(tree: &T, place: u64) -> io::Result<Vec<Change>> {
    let mut changes = Vec::new();
    tree.keys(Table::Slices, &keys::slice(place, 0), &mut |key| {
        let ours = keys::place_of(key) == Some(place);
        if ours {
            changes.push(Change::Remove(Table::Slices, key.to_vec()));
        }
        ours
    })?;
    Ok(changes)
}

impl<T: Tree> Engine for TreeEngine<T> {
    type Place = Place;
    type Held = Held;

    const SLICE_BYTES: usize = T::SLICE_BYTES;

    fn room(length: u64) -> u64 {
        let slice = T::SLICE_BYTES as u64;
        let last = match length % slice {
            0 => 0,
            last => T::room(last),
        };
        length / slice * T::room(slice) + last + T::room(keys::record_bytes(length))
    }

    fn place(&self, _chunk: ChunkId) -> Place {
        Place { number: self.shared.next_place.fetch_add(1, Ordering::Relaxed), slices: 0 }
    }

    async fn write(&self, place: &mut Place, slice: Bytes) -> Result<(), EngineError> {
        let key = keys::slice(place.number, place.slices);
        place.slices += 1;
        self.commit("write", vec![Change::Put(Table::Slices, key, slice)], false).await
    }

    async fn publish(
        &self,
        place: &mut Place,
        description: &Description,
        _replaces: bool,
    ) -> Result<(), EngineError> {
        let chunk = description.footer.chunk;
        let mut changes = self.removals(vec![chunk]).await?;
        let record = keys::record(place.number, description);
        changes.push(Change::Put(Table::Chunks, keys::chunk(chunk), record));
        self.commit("make a chunk durable", changes, true).await
    }

    /// Durable, so that the room can be used again.
    async fn discard(&self, place: Place) -> Result<(), EngineError> {
        if place.slices == 0 {
            return Ok(());
        }
        let doing = "discard a broken write";
        let changes = self.run(move |tree| slices_at(tree, place.number)).await?;
        self.commit(doing, changes.map_err(EngineError::refused(doing))?, true).await
    }

    async fn describe(
        &self,
        chunk: ChunkId,
        _length: u64,
    ) -> Result<Option<(Description, Held)>, EngineError> {
        let look = move |tree: &T| tree.get(Table::Chunks, &keys::chunk(chunk), 0..usize::MAX);
        let record = self.run(look).await?.map_err(EngineError::refused("read a description"))?;
        let Some(record) = record else { return Ok(None) };
        let (place, description) = read_record(&record, chunk)?;
        Ok(Some((description, Held { chunk, place })))
    }

    async fn read(
        &self,
        held: &mut Held,
        blocks: ByteRange,
        _ahead: u64,
    ) -> Result<Bytes, EngineError> {
        let slice = T::SLICE_BYTES as u64;
        let number = u32::try_from(blocks.offset / slice).unwrap_or(u32::MAX);
        let begin = usize::try_from(blocks.offset % slice).unwrap_or(usize::MAX);
        let end = begin.saturating_add(usize::try_from(blocks.length).unwrap_or(usize::MAX));
        let mut now = *held;
        let read = move |tree: &T| now.read(tree, number, begin..end).map(|bytes| (now, bytes));
        let (now, bytes) = self.run(read).await??;
        *held = now;
        Ok(bytes)
    }

    async fn remove(&self, chunks: Vec<ChunkId>) -> Result<(), EngineError> {
        for some in chunks.chunks(REMOVED_AT_ONCE) {
            let changes = self.removals(some.to_vec()).await?;
            self.commit("make a deletion durable", changes, true).await?;
        }
        Ok(())
    }

    async fn put_aside(&self, chunk: ChunkId, length: u64) -> Result<Option<u64>, EngineError> {
        let doing = "put a damaged chunk aside";
        let key = keys::chunk(chunk);
        let look = {
            let key = key.clone();
            move |tree: &T| tree.get(Table::Chunks, &key, 0..usize::MAX)
        };
        let record = self.run(look).await?.map_err(EngineError::refused(doing))?;
        let Some(record) = record else { return Ok(None) };
        let changes = vec![
            Change::Remove(Table::Chunks, key.clone()),
            Change::Put(Table::Aside, key, record),
        ];
        self.commit(doing, changes, true).await?;
        Ok(Some(Self::room(length)))
    }

    /// Waits for jobs that use the tree.
    async fn close(&self) {
        let shared = Arc::clone(&self.shared);
        let close =
            move || drop(shared.tree.write().unwrap_or_else(PoisonError::into_inner).take());
        if let Err(error) = self.blocking.run(close).await {
            tracing::warn!(target: "cairn", %error, "close a store");
        }
    }
}
