//! A chunk store that shows which chunks are being written, so that a fault can strike just then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cairn_chain::{
    ChunkEnd, ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, DeleteError, DiskReport,
    Erased, ListChunks, ReadError, Usage, WriteError,
};
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation};
use cairn_core::range::ByteRange;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::EventLog;

/// Chunks that are being written now, of all nodes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Mutex<Writes>>);

#[derive(Debug, Default)]
struct Writes {
    next: u64,
    open: BTreeMap<u64, ChunkInFlight>,
}

/// A chunk that is being written to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkInFlight {
    /// The node's host.
    pub host: String,
    /// The chunk.
    pub chunk: ChunkId,
    /// Bytes that the node has taken.
    pub taken: u64,
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, Writes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writes that are open, oldest first.
    pub fn now(&self) -> Vec<ChunkInFlight> {
        self.lock().open.values().cloned().collect()
    }

    fn begin(&self, host: &str, chunk: ChunkId) -> u64 {
        let mut writes = self.lock();
        writes.next += 1;
        let number = writes.next;
        writes.open.insert(number, ChunkInFlight { host: host.to_owned(), chunk, taken: 0 });
        number
    }
}

/// A store of the node on `host`, watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) store: Arc<dyn ChunkStore>,
    pub(super) host: String,
    pub(super) in_flight: InFlight,
    pub(super) log: EventLog,
}

/// A writer that tells how far it is, and of its end.
struct Writer {
    writer: Box<dyn ChunkWriter>,
    open: Open,
}

/// An entry of [`InFlight`] for as long as it lives.
struct Open {
    number: u64,
    in_flight: InFlight,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.in_flight.lock().open.remove(&self.number);
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.writer.fmt(f)
    }
}

impl ChunkWriter for Writer {
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        if let Some(open) = self.open.in_flight.lock().open.get_mut(&self.open.number) {
            open.taken += bytes.len() as u64;
        }
        self.writer.append(bytes, block_crcs)
    }

    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        let Self { writer, open } = *self;
        writer.finish(end).inspect(move |_| drop(open)).boxed()
    }
}

impl ChunkStore for Watched {
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        async move {
            let writer = self.store.begin(chunk, reserve).await?;
            self.log.note(&self.host, format_args!("writes chunk {chunk}"));
            let number = self.in_flight.begin(&self.host, chunk);
            let open = Open { number, in_flight: self.in_flight.clone() };
            Ok(Box::new(Writer { writer, open }) as Box<dyn ChunkWriter>)
        }
        .boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        self.store.read(chunk, range)
    }

    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>> {
        self.store.stat(chunk)
    }

    fn list(&self, list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>> {
        self.store.list(list)
    }

    fn delete(&self, chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>> {
        self.store.delete(chunks)
    }

    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        self.store.erase_blob(blob, limit)
    }

    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        self.store.quarantine(chunk)
    }

    fn usage(&self) -> Usage {
        self.store.usage()
    }

    fn disks(&self) -> Vec<DiskReport> {
        self.store.disks()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}
