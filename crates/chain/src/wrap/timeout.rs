//! A bound on each call of a store, so that one that hangs becomes one that fails.
//!
//! Opening a writer, each append, the end, opening a reader, each frame, lists and deletions are bounded; flushing and
//! closing are not: they wait for work that has bounds of its own. A call that is late is dropped; what it did may
//! have happened, or happen later.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation};
use cairn_core::range::ByteRange;
use cairn_runtime::{Clock, Elapsed};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};

use crate::settings;
use crate::store::{
    ChunkEnd, ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, DeleteError, DiskReport,
    Erased, Frame, ListChunks, ReadError, TierReport, Usage, WriteError,
};

/// How a [`Timeout`] is set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TimeoutConfig {
    /// The longest that one call may take.
    #[serde(with = "settings::time")]
    pub call: Duration,
}

impl Default for TimeoutConfig {
    /// A minute.
    fn default() -> Self {
        Self { call: Duration::from_secs(60) }
    }
}

/// A store around a store; see [the module](self).
#[derive(Debug)]
pub struct Timeout {
    store: Arc<dyn ChunkStore>,
    bound: Bound,
}

#[derive(Debug, Clone)]
struct Bound {
    call: Duration,
    clock: Clock,
}

impl Bound {
    async fn on<T, E>(
        &self,
        late: impl FnOnce(Duration) -> E,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match self.clock.timeout(self.call, call).await {
            Ok(result) => result,
            Err(Elapsed(bound)) => Err(late(bound)),
        }
    }

    fn frames(
        self,
        frames: BoxStream<'static, Result<Frame, ReadError>>,
    ) -> BoxStream<'static, Result<Frame, ReadError>> {
        let next = |state: Option<(Self, BoxStream<'static, Result<Frame, ReadError>>)>| async {
            let (bound, mut frames) = state?;
            let next = async { frames.next().await.transpose() };
            match bound.on(ReadError::TimedOut, next).await.transpose()? {
                Ok(frame) => Some((Ok(frame), Some((bound, frames)))),
                Err(error) => Some((Err(error), None)),
            }
        };
        stream::unfold(Some((self, frames)), next).boxed()
    }
}

impl Timeout {
    /// Bounds each call of `store`.
    pub fn new(store: Arc<dyn ChunkStore>, config: &TimeoutConfig, clock: Clock) -> Self {
        Self { store, bound: Bound { call: config.call, clock } }
    }
}

impl ChunkStore for Timeout {
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        async move {
            let call = self.store.begin(chunk, reserve);
            let inner = self.bound.on(WriteError::TimedOut, call).await?;
            let bound = self.bound.clone();
            Ok(Box::new(TimeoutWriter { inner: Some(inner), bound }) as Box<dyn ChunkWriter>)
        }
        .boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        async move {
            let call = self.store.read(chunk, range);
            let ChunkReader { header, frames } = self.bound.on(ReadError::TimedOut, call).await?;
            Ok(ChunkReader { header, frames: self.bound.clone().frames(frames) })
        }
        .boxed()
    }

    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>> {
        self.bound.on(ReadError::TimedOut, self.store.stat(chunk)).boxed()
    }

    fn list(&self, list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>> {
        self.bound.on(ReadError::TimedOut, self.store.list(list)).boxed()
    }

    fn delete(&self, chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>> {
        self.bound.on(DeleteError::TimedOut, self.store.delete(chunks)).boxed()
    }

    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        self.bound.on(DeleteError::TimedOut, self.store.erase_blob(blob, limit)).boxed()
    }

    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        self.bound.on(DeleteError::TimedOut, self.store.quarantine(chunk)).boxed()
    }

    fn usage(&self) -> Usage {
        self.store.usage()
    }

    fn disks(&self) -> Vec<DiskReport> {
        self.store.disks()
    }

    fn tiers(&self) -> Vec<TierReport> {
        self.store.tiers()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        self.store.flush()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}

#[derive(Debug)]
struct TimeoutWriter {
    /// None once a call was late: what the store made of it is not known.
    inner: Option<Box<dyn ChunkWriter>>,
    bound: Bound,
}

impl ChunkWriter for TimeoutWriter {
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        async move {
            let inner = self.inner.as_mut().ok_or(WriteError::Broken)?;
            let call = inner.append(bytes, block_crcs);
            let appended = self.bound.on(WriteError::TimedOut, call).await;
            if let Err(WriteError::TimedOut(_)) = appended {
                self.inner = None;
            }
            appended
        }
        .boxed()
    }

    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        async move {
            let inner = self.inner.ok_or(WriteError::Broken)?;
            self.bound.on(WriteError::TimedOut, inner.finish(end)).await
        }
        .boxed()
    }
}
