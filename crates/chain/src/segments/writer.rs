//! Writing a chunk: in memory while it is small, else into an extent while it arrives.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cairn_core::ids::{ChunkId, DiskIncarnation};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::commit::{Data, Kill, Put, Work};
use super::format::{
    PAGE_BYTES, RECORD_BYTES, Record, SMALL_BYTES, data_at, encode_table, record_bytes,
};
use super::reader;
use super::shared::{Place, Shared};
use super::table::{OpenSegment, Segment};
use crate::checks::StreamChecks;
use crate::disk::DiskFile;
use crate::ledger::{Claim, Reservation};
use crate::store::{ChunkEnd, ChunkWriter, ReadError, WriteError};

/// Pieces are collected up to this many bytes before they are written: what stays below is a record of a batch.
const PIECES_BYTES: u64 = SMALL_BYTES;

/// Opens a writer; see [`crate::ChunkStore::begin`].
pub(super) fn begin(
    shared: &Arc<Shared>,
    chunk: ChunkId,
    reserve: u64,
) -> Result<Box<dyn ChunkWriter>, WriteError> {
    let reservation = shared.ledger.reserve(chunk, record_bytes(reserve))?;
    Ok(Box::new(SegmentWriter {
        shared: Arc::clone(shared),
        chunk,
        reserve,
        reservation,
        checks: StreamChecks::new(chunk, reserve),
        pieces: Vec::new(),
        collected: 0,
        extent: None,
        broken: false,
    }))
}

/// Room in a segment for one chunk. Dropped, it is given back where nothing follows, and left to compaction elsewhere.
#[derive(Debug)]
pub(super) struct Extent {
    shared: Arc<Shared>,
    segment: Arc<OpenSegment>,
    at: u64,
    bytes: u64,
    data_at: u64,
    written: u64,
    kept: bool,
}

impl Extent {
    /// Room for a chunk of up to `reserve` bytes. Blocks.
    fn place(shared: &Arc<Shared>, reserve: u64) -> io::Result<Self> {
        let data_at = data_at(reserve);
        let bytes = (data_at + reserve).next_multiple_of(PAGE_BYTES);
        let (segment, at) = shared.place_extent(bytes)?;
        let shared = Arc::clone(shared);
        Ok(Self { shared, segment, at, bytes, data_at, written: 0, kept: false })
    }

    pub(super) fn segment(&self) -> u32 {
        self.segment.number
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn data_at(&self) -> u64 {
        self.data_at
    }

    pub(super) fn file(&self) -> &dyn DiskFile {
        &*self.segment.file
    }

    /// Appends to the data. Blocks.
    fn write(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        for piece in pieces {
            self.segment.file.write_at(self.at + self.data_at + self.written, piece)?;
            self.written += piece.len() as u64;
        }
        Ok(())
    }

    /// Writes the record before the data. Blocks.
    pub(super) fn write_record(&self, record: &Record, table: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(RECORD_BYTES + table.len());
        bytes.extend_from_slice(&record.encode(&self.segment.salt, self.at));
        bytes.extend_from_slice(table);
        self.segment.file.write_at(self.at, &bytes)
    }

    /// Gives back what a chunk of `length` bytes does not need, where nothing follows; tells how long the extent is.
    pub(super) fn shorten(&mut self, length: u64) -> u64 {
        let needed = (self.data_at + length).next_multiple_of(PAGE_BYTES);
        let mut table = self.shared.table.lock();
        if table.give_back(self.segment(), self.at, self.bytes, needed) {
            table.update(self.segment(), |segment| segment.extent_bytes -= self.bytes - needed);
            self.bytes = needed;
        }
        self.bytes
    }

    /// A record in it counts.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        let mut table = self.shared.table.lock();
        table.end_extent(self.segment(), self.bytes);
        if !self.kept {
            table.give_back(self.segment(), self.at, self.bytes, 0);
        }
        let complete = table.known().get(&self.segment()).is_some_and(Segment::is_complete);
        drop(table);
        self.shared.account();
        if complete {
            self.shared.upkeep.notify_one();
        }
    }
}

#[derive(Debug)]
struct SegmentWriter {
    shared: Arc<Shared>,
    chunk: ChunkId,
    reserve: u64,
    reservation: Reservation<Place>,
    checks: StreamChecks,
    /// What has come and is not written.
    pieces: Vec<Bytes>,
    collected: u64,
    extent: Option<Extent>,
    /// A call failed or was dropped on its way: what is in the extent is not known.
    broken: bool,
}

impl SegmentWriter {
    async fn take(&mut self, bytes: Bytes, block_crcs: &[u32]) -> Result<(), WriteError> {
        self.may_continue()?;
        self.broken = true;
        self.checks.update(&bytes, block_crcs)?;
        self.collected += bytes.len() as u64;
        self.pieces.push(bytes);
        if self.collected > PIECES_BYTES {
            self.spill().await?;
        }
        self.broken = false;
        Ok(())
    }

    fn may_continue(&self) -> Result<(), WriteError> {
        self.shared.state().may_continue(self.reservation.write())?;
        if self.broken {
            return Err(WriteError::Broken);
        }
        Ok(())
    }

    /// Writes what was collected to the extent. The job owns the extent: it is not given back under a write.
    async fn spill(&mut self) -> Result<(), WriteError> {
        self.collected = 0;
        let (pieces, extent) = (std::mem::take(&mut self.pieces), self.extent.take());
        let (shared, reserve) = (Arc::clone(&self.shared), self.reserve);
        let job = move || -> Result<Extent, WriteError> {
            // Closing waits for this job, unless it was first: then the folder may be another's.
            shared.state().takes_writes()?;
            let refused = |doing, error| shared.refused(reserve, doing, error);
            let mut extent = match extent {
                Some(extent) => extent,
                None => Extent::place(&shared, reserve)
                    .map_err(|error| refused("make a segment", error))?,
            };
            extent.write(&pieces).map_err(|error| refused("write", error))?;
            Ok(extent)
        };
        self.extent = Some(self.shared.ledger.change(job).await??);
        Ok(())
    }

    async fn publish(mut self, end: ChunkEnd) -> Result<DiskIncarnation, WriteError> {
        self.may_continue()?;
        if self.extent.is_some() && self.collected > 0 {
            self.spill().await?;
        }
        let Self { shared, chunk, reservation, checks, pieces, extent, .. } = self;
        let table = encode_table(&checks.finish(&end)?);
        let claim = shared.ledger.claim(vec![chunk]).await;
        // Under the claim: an erasure that comes from here on waits for it, and then finds the chunk.
        shared.state().may_continue(reservation.write())?;
        if is_held(&shared, chunk, &end, &claim).await? {
            return Ok(shared.incarnation);
        }
        let data = extent.map_or(Data::Whole(pieces), Data::Extent);
        let (length, hash) = (end.length, end.hash);
        let put = Put { chunk, length, hash, table, data, claim, reservation };
        shared.commit(Work::Put(put)).await?;
        Ok(shared.incarnation)
    }
}

impl ChunkWriter for SegmentWriter {
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        async move { self.take(bytes, &block_crcs).await }.boxed()
    }

    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        self.publish(end).boxed()
    }
}

/// Whether the chunk is here already, intact. Other content is refused; a damaged copy is given up, so that a repeat
/// heals it.
async fn is_held(
    shared: &Arc<Shared>,
    chunk: ChunkId,
    new: &ChunkEnd,
    _claim: &Claim<Place>,
) -> Result<bool, WriteError> {
    let Some(place) = shared.state().get(chunk).copied() else {
        return Ok(false);
    };
    match reader::prove(shared, chunk).await {
        Ok(held) if (held.length, held.hash) == (new.length, new.hash) => return Ok(true),
        Ok(_) => return Err(WriteError::Conflict { chunk }),
        Err(ReadError::Corrupt { damage, .. }) => {
            tracing::warn!(target: "cairn", %chunk, %damage, "a corrupt copy is replaced");
        }
        // In quarantine: it is known to be damaged.
        Err(ReadError::NotFound { .. }) => {}
        Err(ReadError::Disk { doing, source }) => return Err(WriteError::Disk { doing, source }),
        Err(ReadError::Interrupted(error)) => return Err(error.into()),
    }
    let victims = vec![(chunk, place)];
    shared.commit(Work::Kill(Kill { victims, quarantine: false, claim: None })).await?;
    Ok(false)
}
