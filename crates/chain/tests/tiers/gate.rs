//! A store whose calls wait at gates and fail on request, so that tests decide who comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cairn_chain::{
    ChunkEnd, ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, Damage, DeleteError,
    DiskReport, Erased, ListChunks, ReadError, Usage, WriteError,
};
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation};
use cairn_core::range::ByteRange;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    Begin,
    Append,
    Finish,
    Read,
    Frame,
    List,
    Delete,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) inner: Arc<dyn ChunkStore>,
    gates: Arc<Gates>,
}

#[derive(Debug, Default)]
struct Gates {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    shut: BTreeSet<At>,
    waiting: BTreeMap<At, usize>,
    /// Calls that pass before the next fails, and how many fail then.
    failing: BTreeMap<At, (usize, usize)>,
    damaged_frame: Option<usize>,
    calls: BTreeMap<At, usize>,
    panics: bool,
}

impl Gates {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the gate is shut; an error when the call is to fail.
    async fn pass(&self, at: At) -> io::Result<()> {
        *self.state().calls.entry(at).or_default() += 1;
        *self.state().waiting.entry(at).or_default() += 1;
        let _left = Left(self, at);
        self.changed.notify_waiters();
        loop {
            let changed = self.changed.notified();
            if !self.state().shut.contains(&at) {
                break;
            }
            changed.await;
        }
        match self.state().failing.get_mut(&at) {
            Some((0, 0)) | None => Ok(()),
            Some((0, failing)) => {
                *failing -= 1;
                Err(io::Error::other("on purpose"))
            }
            Some((passing, _)) => {
                *passing -= 1;
                Ok(())
            }
        }
    }
}

struct Left<'a>(&'a Gates, At);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.0.state().waiting.get_mut(&self.1) {
            *waiting -= 1;
        }
    }
}

impl Gate {
    pub(super) fn around(inner: Arc<dyn ChunkStore>) -> Arc<Self> {
        Arc::new(Self { inner, gates: Arc::default() })
    }

    /// Calls wait from now on.
    pub(super) fn shut(&self, at: At) {
        self.gates.state().shut.insert(at);
    }

    pub(super) fn open(&self, at: At) {
        self.gates.state().shut.remove(&at);
        self.gates.changed.notify_waiters();
    }

    /// Waits until a call waits at the gate.
    pub(super) async fn reached(&self, at: At) {
        loop {
            let changed = self.gates.changed.notified();
            {
                let state = self.gates.state();
                let waits = state.waiting.get(&at).is_some_and(|waiting| *waiting > 0);
                if waits && state.shut.contains(&at) {
                    return;
                }
            }
            changed.await;
        }
    }

    /// The next calls fail, after `passing` that do not.
    pub(super) fn fail(&self, at: At, passing: usize, failing: usize) {
        self.gates.state().failing.insert(at, (passing, failing));
    }

    /// The frame of this number is corrupt, in every read.
    pub(super) fn damage_frame(&self, number: usize) {
        self.gates.state().damaged_frame = Some(number);
    }

    pub(super) fn panic_at_close(&self) {
        self.gates.state().panics = true;
    }

    pub(super) fn calls(&self, at: At) -> usize {
        self.gates.state().calls.get(&at).copied().unwrap_or(0)
    }
}

fn write_failed(source: io::Error) -> WriteError {
    WriteError::Disk { doing: "write", source }
}

fn read_failed(source: io::Error) -> ReadError {
    ReadError::Disk { doing: "read", source }
}

fn delete_failed(source: io::Error) -> DeleteError {
    DeleteError::Disk { doing: "delete", source }
}

impl ChunkStore for Gate {
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        async move {
            self.gates.pass(At::Begin).await.map_err(write_failed)?;
            let inner = self.inner.begin(chunk, reserve).await?;
            Ok(Box::new(Writer { inner, gates: Arc::clone(&self.gates) }) as Box<dyn ChunkWriter>)
        }
        .boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        async move {
            self.gates.pass(At::Read).await.map_err(read_failed)?;
            let ChunkReader { header, frames } = self.inner.read(chunk, range).await?;
            let gates = Arc::clone(&self.gates);
            let frames = frames.enumerate().then(move |(number, frame)| {
                let gates = Arc::clone(&gates);
                async move {
                    gates.pass(At::Frame).await.map_err(read_failed)?;
                    if gates.state().damaged_frame == Some(number) {
                        return Err(ReadError::Corrupt { chunk, damage: Damage::Block(0) });
                    }
                    frame
                }
            });
            Ok(ChunkReader { header, frames: frames.boxed() })
        }
        .boxed()
    }

    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>> {
        self.inner.stat(chunk)
    }

    fn list(&self, list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>> {
        async move {
            self.gates.pass(At::List).await.map_err(read_failed)?;
            self.inner.list(list).await
        }
        .boxed()
    }

    fn delete(&self, chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>> {
        async move {
            self.gates.pass(At::Delete).await.map_err(delete_failed)?;
            self.inner.delete(chunks).await
        }
        .boxed()
    }

    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        async move {
            self.gates.pass(At::Delete).await.map_err(delete_failed)?;
            self.inner.erase_blob(blob, limit).await
        }
        .boxed()
    }

    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        self.inner.quarantine(chunk)
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }

    fn disks(&self) -> Vec<DiskReport> {
        self.inner.disks()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        self.inner.flush()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let panics = self.gates.state().panics;
        assert!(!panics, "on purpose");
        self.inner.close()
    }
}

#[derive(Debug)]
struct Writer {
    inner: Box<dyn ChunkWriter>,
    gates: Arc<Gates>,
}

impl ChunkWriter for Writer {
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        async move {
            self.gates.pass(At::Append).await.map_err(write_failed)?;
            self.inner.append(bytes, block_crcs).await
        }
        .boxed()
    }

    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        async move {
            self.gates.pass(At::Finish).await.map_err(write_failed)?;
            self.inner.finish(end).await
        }
        .boxed()
    }
}
