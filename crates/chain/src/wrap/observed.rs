//! Tells an observer of each call of a store: what, how long, how it ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation};
use cairn_core::range::ByteRange;
use cairn_runtime::Clock;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::report::{Fault, FaultKind, TierOp};
use crate::store::{
    ChunkEnd, ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, DeleteError, DiskReport,
    Erased, ListChunks, ReadError, TierReport, Usage, WriteError,
};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// As was asked.
    Done,
    /// The chunk is not there.
    NotFound,
    /// It failed, or was refused.
    Failed(FaultKind),
    /// The caller went away.
    Cancelled,
}

impl Outcome {
    /// As metrics and logs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotFound => "not found",
            Self::Failed(FaultKind::TimedOut) => "timed out",
            Self::Failed(FaultKind::Full) => "full",
            Self::Failed(FaultKind::Corrupt) => "corrupt",
            Self::Failed(FaultKind::Refused) => "refused",
            Self::Failed(FaultKind::Closed) => "closed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A call that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What the store is called.
    pub tag: &'a str,
    /// What was asked.
    pub op: TierOp,
    /// The chunk, where it was one.
    pub chunk: Option<ChunkId>,
    /// Bytes: reserved, appended, stored, or of the chunk that was opened.
    pub bytes: Option<u64>,
    /// How long it took; for reads, until the first frame can be polled.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// Is told of calls: counts them, logs them. Called in the caller's task: it must not block.
pub trait StoreObserver: Send + Sync + fmt::Debug {
    /// A call has ended.
    fn called(&self, call: &Call<'_>);
}

/// Logs each call at debug level.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallLog;

impl StoreObserver for CallLog {
    fn called(&self, call: &Call<'_>) {
        let Call { tag, op, chunk, bytes, took, outcome } = *call;
        tracing::debug!(
            target: "cairn",
            tag, %op, chunk = chunk.map(tracing::field::display), bytes, ?took,
            outcome = outcome.name(),
            "store called"
        );
    }
}

/// A store around a store; see [the module](self).
#[derive(Debug)]
pub struct Observed {
    store: Arc<dyn ChunkStore>,
    told: Told,
}

#[derive(Debug, Clone)]
struct Told {
    tag: Arc<str>,
    observer: Arc<dyn StoreObserver>,
    clock: Clock,
}

impl Observed {
    /// Tells `observer` of the calls of `store`, which is called `tag`.
    pub fn new(
        tag: &str,
        store: Arc<dyn ChunkStore>,
        observer: Arc<dyn StoreObserver>,
        clock: Clock,
    ) -> Self {
        Self { store, told: Told { tag: tag.into(), observer, clock } }
    }
}

impl Told {
    fn call(&self, op: TierOp, chunk: Option<ChunkId>, bytes: Option<u64>) -> OpenCall {
        let begun = self.clock.monotonic();
        OpenCall { told: self.clone(), op, chunk, bytes, begun, outcome: Outcome::Cancelled }
    }

    async fn on<T, E>(
        &self,
        op: TierOp,
        chunk: Option<ChunkId>,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        for<'e> Fault: From<&'e E>,
    {
        let open = self.call(op, chunk, None);
        let result = call.await;
        open.ends(&result);
        result
    }
}

/// A call that has not ended; dropped, its caller went away.
struct OpenCall {
    told: Told,
    op: TierOp,
    chunk: Option<ChunkId>,
    bytes: Option<u64>,
    begun: Duration,
    outcome: Outcome,
}

impl OpenCall {
    fn ends<T, E>(mut self, result: &Result<T, E>)
    where
        for<'e> Fault: From<&'e E>,
    {
        self.outcome = match result.as_ref().map_err(Fault::from) {
            Ok(_) => Outcome::Done,
            Err(Fault { kind: FaultKind::Missing, .. }) => Outcome::NotFound,
            Err(fault) => Outcome::Failed(fault.kind),
        };
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let Self { op, chunk, bytes, outcome, .. } = *self;
        let took = self.told.clock.monotonic().saturating_sub(self.begun);
        let tag = &self.told.tag;
        self.told.observer.called(&Call { tag, op, chunk, bytes, took, outcome });
    }
}

impl ChunkStore for Observed {
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        async move {
            let open = self.told.call(TierOp::Begin, Some(chunk), Some(reserve));
            let begun = self.store.begin(chunk, reserve).await;
            open.ends(&begun);
            let told = self.told.clone();
            Ok(Box::new(ObservedWriter { inner: begun?, chunk, told }) as Box<dyn ChunkWriter>)
        }
        .boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        async move {
            let mut open = self.told.call(TierOp::Read, Some(chunk), None);
            let opened = self.store.read(chunk, range).await;
            open.bytes = opened.as_ref().ok().map(|reader| reader.header.length);
            open.ends(&opened);
            opened
        }
        .boxed()
    }

    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>> {
        self.told.on(TierOp::Stat, Some(chunk), self.store.stat(chunk)).boxed()
    }

    fn list(&self, list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>> {
        self.told.on(TierOp::List, None, self.store.list(list)).boxed()
    }

    fn delete(&self, chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>> {
        let chunk = chunks.first().copied();
        self.told.on(TierOp::Delete, chunk, self.store.delete(chunks)).boxed()
    }

    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        self.told.on(TierOp::Delete, None, self.store.erase_blob(blob, limit)).boxed()
    }

    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        self.told.on(TierOp::Quarantine, Some(chunk), self.store.quarantine(chunk)).boxed()
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
        self.told.on(TierOp::Flush, None, self.store.flush()).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let closed = self.store.close().map(Ok::<_, WriteError>);
            drop(self.told.on(TierOp::Close, None, closed).await);
        }
        .boxed()
    }
}

#[derive(Debug)]
struct ObservedWriter {
    inner: Box<dyn ChunkWriter>,
    chunk: ChunkId,
    told: Told,
}

impl ChunkWriter for ObservedWriter {
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        async move {
            let length = bytes.len() as u64;
            let open = self.told.call(TierOp::Append, Some(self.chunk), Some(length));
            let appended = self.inner.append(bytes, block_crcs).await;
            open.ends(&appended);
            appended
        }
        .boxed()
    }

    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        async move {
            let open = self.told.call(TierOp::Finish, Some(self.chunk), Some(end.length));
            let finished = self.inner.finish(end).await;
            open.ends(&finished);
            finished
        }
        .boxed()
    }
}
