//! The contract, with faults before what the inner store does.

use std::io;
use std::sync::Arc;

use cairn_core::ids::{BlobId, ChunkId};
use cairn_core::range::ByteRange;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::FaultStore;
use super::io::{DOING, FaultyWriter, before_write, faulty_reader, full};
use crate::store::{
    ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, Damage, DeleteError, DiskReport,
    Erased, ListChunks, ReadError, TierReport, Usage, WriteError,
};

fn unread(source: io::Error) -> ReadError {
    ReadError::Disk { doing: DOING, source }
}

fn undeleted(source: io::Error) -> DeleteError {
    DeleteError::Disk { doing: DOING, source }
}

impl FaultStore {
    fn notice(&self, chunk: ChunkId) -> Result<(), ReadError> {
        if self.faults.is_damaged(chunk) {
            self.faults.strike("damage");
            return Err(ReadError::Corrupt { chunk, damage: Damage::Block(0) });
        }
        Ok(())
    }

    fn seen(&self, usage: Usage) -> Usage {
        let capacity = if self.faults.config().full { usage.used } else { usage.capacity };
        Usage { capacity, ..usage }
    }
}

impl ChunkStore for FaultStore {
    fn begin(
        &self,
        chunk: ChunkId,
        reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        async move {
            before_write(&self.faults).await?;
            if self.faults.config().full {
                return Err(full(&self.faults, reserve));
            }
            let inner = self.inner.begin(chunk, reserve).await?;
            let faults = Arc::clone(&self.faults);
            let writer: Box<dyn ChunkWriter> =
                Box::new(FaultyWriter { inner, chunk, faults, broken: false });
            Ok(writer)
        }
        .boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        async move {
            self.faults.before().await.map_err(unread)?;
            self.notice(chunk)?;
            let reader = self.inner.read(chunk, range).await?;
            Ok(faulty_reader(reader, Arc::clone(&self.faults)))
        }
        .boxed()
    }

    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>> {
        async move {
            self.faults.before().await.map_err(unread)?;
            self.inner.stat(chunk).await
        }
        .boxed()
    }

    fn list(&self, list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>> {
        async move {
            self.faults.before().await.map_err(unread)?;
            self.inner.list(list).await
        }
        .boxed()
    }

    fn delete(&self, chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>> {
        async move {
            self.faults.before().await.map_err(undeleted)?;
            let deleted = self.inner.delete(chunks.clone()).await?;
            for chunk in chunks {
                self.faults.heal(chunk);
            }
            Ok(deleted)
        }
        .boxed()
    }

    fn erase_blob(&self, blob: BlobId, limit: usize) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        async move {
            self.faults.before().await.map_err(undeleted)?;
            self.inner.erase_blob(blob, limit).await
        }
        .boxed()
    }

    /// A chunk that is said to be damaged is deleted from the inner store, which knows nothing of the damage.
    fn quarantine(&self, chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        async move {
            self.faults.before().await.map_err(undeleted)?;
            if !self.faults.is_damaged(chunk) {
                return self.inner.quarantine(chunk).await;
            }
            let there = self.inner.delete(vec![chunk]).await? > 0;
            self.faults.heal(chunk);
            Ok(there)
        }
        .boxed()
    }

    fn usage(&self) -> Usage {
        self.seen(self.inner.usage())
    }

    fn disks(&self) -> Vec<DiskReport> {
        let seen = |report: DiskReport| DiskReport { usage: self.seen(report.usage), ..report };
        self.inner.disks().into_iter().map(seen).collect()
    }

    fn tiers(&self) -> Vec<TierReport> {
        self.inner.tiers()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
