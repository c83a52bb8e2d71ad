//! A store that takes everything and holds nothing: a link of a chain that only its wrapper matters of.

use bytes::Bytes;
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation};
use cairn_core::range::ByteRange;
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};

use crate::store::{
    ChunkEnd, ChunkPage, ChunkReader, ChunkStat, ChunkStore, ChunkWriter, DeleteError, DiskReport,
    Erased, ListChunks, ReadError, Usage, WriteError,
};

/// See the module. It is no place to keep anything: in a chain it is a cache, never durable.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl ChunkStore for Nothing {
    fn begin(
        &self,
        _chunk: ChunkId,
        _reserve: u64,
    ) -> BoxFuture<'_, Result<Box<dyn ChunkWriter>, WriteError>> {
        future::ok(Box::new(Self) as Box<dyn ChunkWriter>).boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        _range: ByteRange,
    ) -> BoxFuture<'_, Result<ChunkReader, ReadError>> {
        future::err(ReadError::NotFound { chunk }).boxed()
    }

    fn stat(&self, chunk: ChunkId) -> BoxFuture<'_, Result<ChunkStat, ReadError>> {
        future::err(ReadError::NotFound { chunk }).boxed()
    }

    fn list(&self, _list: ListChunks) -> BoxFuture<'_, Result<ChunkPage, ReadError>> {
        future::ok(ChunkPage { chunks: Vec::new(), more: false }).boxed()
    }

    fn delete(&self, _chunks: Vec<ChunkId>) -> BoxFuture<'_, Result<u64, DeleteError>> {
        future::ok(0).boxed()
    }

    fn erase_blob(
        &self,
        _blob: BlobId,
        _limit: usize,
    ) -> BoxFuture<'_, Result<Erased, DeleteError>> {
        future::ok(Erased { deleted: 0, more: false }).boxed()
    }

    fn quarantine(&self, _chunk: ChunkId) -> BoxFuture<'_, Result<bool, DeleteError>> {
        future::ok(false).boxed()
    }

    fn usage(&self) -> Usage {
        Usage { capacity: u64::MAX, ..Usage::default() }
    }

    fn disks(&self) -> Vec<DiskReport> {
        Vec::new()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        future::ready(()).boxed()
    }
}

impl ChunkWriter for Nothing {
    fn append(
        &mut self,
        _bytes: Bytes,
        _block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        future::ok(()).boxed()
    }

    fn finish(
        self: Box<Self>,
        _end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        future::ok(NOWHERE).boxed()
    }
}

/// No disk has it.
const NOWHERE: DiskIncarnation = DiskIncarnation::from_uuid(uuid::Uuid::nil());
