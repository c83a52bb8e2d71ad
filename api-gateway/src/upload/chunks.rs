//! Cuts a body into chunks and keeps a window of them in flight.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::chunking::{ChunkSizes, MAX_FILE_BYTES};
use cairn_core::copies::{ChunkPlacement, ChunkReceipt, ChunkWant};
use cairn_core::digest::ChunkHash;
use cairn_core::ids::{BlobId, ChunkId, ChunkIndex, NodeId};
use cairn_core::strategy::SaveStrategy;
use cairn_replicas::{BufferReader, ChunkBuffer, NotSaved, Save, SaveError, Saved, Targets, save};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::MAX_TIMED;
use super::error::UploadError;
use super::hash::{FileDigests, HashPipe};
use super::late::{LateChunk, LateCopies};
use super::session::{Begun, PLACED_AT_ONCE, Session};
use super::shared::Shared;
use crate::budget::Share;
use crate::metrics::GatewayMetrics;

/// Receipts handed over by one call. A commit carries what is left.
const CONFIRM_BATCH: usize = 32;

/// A chunk that is being filled.
struct Filling {
    index: ChunkIndex,
    buffer: ChunkBuffer,
    copies: Copies,
}

/// Whether a chunk's copies are written while it is filled.
enum Copies {
    /// They are; this tells them of the end.
    Running(oneshot::Sender<Closed>),
    /// Quota for the whole chunk is not reserved: the copies are written once the chunk is whole, and
    /// exactly that is reserved.
    WaitForQuota(Share),
}

/// A chunk that is whole, and its hash to come.
struct Closed {
    buffer: ChunkBuffer,
    hash: oneshot::Receiver<ChunkHash>,
}

/// A chunk that has the copies asked for.
struct SavedChunk {
    receipt: ChunkReceipt,
    took: Vec<Duration>,
    late: Option<LateChunk>,
}

/// Takes a body and gives receipts.
pub(super) struct Chunks {
    shared: Arc<Shared>,
    session: Session,
    blob: BlobId,
    sizes: ChunkSizes,
    copies: usize,
    least_copies: usize,
    strategy: SaveStrategy,
    /// The length, when it is known: then all of it is reserved.
    length: Option<u64>,
    reserved: u64,
    received: u64,
    next_index: ChunkIndex,
    placements: VecDeque<ChunkPlacement>,
    filling: Option<Filling>,
    /// Memory that the start of the body was gathered with.
    gathered: Option<Share>,
    saving: JoinSet<Result<SavedChunk, UploadError>>,
    receipts: Vec<ChunkReceipt>,
    /// Copies beyond a quorum, which are not waited for.
    late: LateCopies,
    /// The longest time of each node.
    nodes: BTreeMap<NodeId, Duration>,
    hashes: HashPipe,
}

/// What a body became.
pub(super) struct Cut {
    pub(super) blob: BlobId,
    pub(super) length: u64,
    pub(super) digests: FileDigests,
    /// Receipts that were not confirmed yet.
    pub(super) receipts: Vec<ChunkReceipt>,
    /// Copies beyond a quorum that are still being written.
    pub(super) late: LateCopies,
    /// The longest time of each node, from the end of a chunk to the receipt.
    pub(super) nodes: BTreeMap<NodeId, Duration>,
}

impl Chunks {
    pub(super) fn new(
        shared: Arc<Shared>,
        session: Session,
        begun: Begun,
        strategy: SaveStrategy,
        length: Option<u64>,
        gathered: Option<Share>,
    ) -> Self {
        let hashes =
            HashPipe::start(&shared.seams.spawner, shared.seams.hashing.clone(), begun.sha256);
        Self {
            shared,
            session,
            blob: begun.blob,
            sizes: begun.sizes,
            copies: begun.copies,
            least_copies: begun.least_copies,
            strategy,
            length,
            reserved: begun.reserved,
            received: 0,
            next_index: 0,
            placements: begun.placements.into(),
            filling: None,
            gathered,
            saving: JoinSet::new(),
            receipts: Vec::new(),
            late: LateCopies::default(),
            nodes: BTreeMap::new(),
            hashes,
        }
    }

    /// Takes the next bytes of the body.
    pub(super) async fn push(&mut self, mut bytes: Bytes) -> Result<(), UploadError> {
        let received = self.received + bytes.len() as u64;
        if let Some(announced) = self.length.filter(|announced| received > *announced) {
            return Err(UploadError::Length { announced, received });
        }
        if received > MAX_FILE_BYTES {
            return Err(UploadError::TooLarge);
        }
        while !bytes.is_empty() {
            let mut filling = match self.filling.take() {
                Some(filling) => filling,
                None => self.open().await?,
            };
            let room = self.sizes.capacity(filling.index) - filling.buffer.length();
            let take = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let part = bytes.split_to(take);
            self.received += part.len() as u64;
            self.hashes.bytes(part.clone()).await?;
            filling.buffer.push(part);
            if filling.buffer.length() == self.sizes.capacity(filling.index) {
                self.close(filling).await?;
            } else {
                self.filling = Some(filling);
            }
        }
        Ok(())
    }

    /// The body has ended: waits for all copies and hashes.
    pub(super) async fn finish(mut self) -> Result<Cut, UploadError> {
        if let Some(announced) = self.length.filter(|announced| *announced != self.received) {
            return Err(UploadError::Length { announced, received: self.received });
        }
        if let Some(filling) = self.filling.take() {
            self.close(filling).await?;
        }
        while !self.saving.is_empty() {
            self.one_saved().await?;
        }
        self.receipts.extend(self.late.receipts());
        self.confirm_batches().await?;
        let digests = self.hashes.end_of_file().await?;
        let Self { blob, received: length, receipts, late, nodes, .. } = self;
        Ok(Cut { blob, length, digests, receipts, late, nodes })
    }

    /// Opens the next chunk: a place in the window, memory, quota, and its copies.
    async fn open(&mut self) -> Result<Filling, UploadError> {
        while self.saving.len() >= self.shared.config.window_chunks {
            self.one_saved().await?;
        }
        let index = self.next_index;
        self.next_index += 1;
        let share = self.share(index).await?;
        let buffer = ChunkBuffer::new(ChunkId::new(self.blob, index));
        let copies = if self.has_quota(index).await? {
            let placement = self.placement(index).await?;
            Copies::Running(self.save(placement, buffer.reader(), share)?)
        } else {
            Copies::WaitForQuota(share)
        };
        Ok(Filling { index, buffer, copies })
    }

    /// The chunk is whole.
    async fn close(&mut self, filling: Filling) -> Result<(), UploadError> {
        let Filling { index, buffer, copies } = filling;
        let hash = self.hashes.end_of_chunk().await?;
        let end = match copies {
            Copies::Running(end) => end,
            Copies::WaitForQuota(share) => {
                self.reserve_received().await?;
                let placement = self.placement(index).await?;
                self.save(placement, buffer.reader(), share)?
            }
        };
        // A receiver that is gone belongs to a save that has failed; its result tells why.
        let _ = end.send(Closed { buffer, hash });
        Ok(())
    }

    /// Memory for chunk `index`. The first one lives in what the start of the body was gathered with.
    async fn share(&mut self, index: ChunkIndex) -> Result<Share, UploadError> {
        if let Some(share) = self.gathered.take() {
            return Ok(share);
        }
        let bytes = self.expected_length(index);
        Ok(self.shared.uploads.take(bytes, self.shared.config.budget_wait).await?)
    }

    /// Whether all that chunk `index` can have is reserved, after asking for more.
    async fn has_quota(&mut self, index: ChunkIndex) -> Result<bool, UploadError> {
        let end = self.sizes.offset(index) + self.expected_length(index);
        if self.length.is_none() && self.reserved < end {
            let wants = self.wants(index);
            self.allocate(wants).await?;
        }
        Ok(self.length.is_some() || self.reserved >= end)
    }

    /// Reserves exactly what was received, where no more can be had.
    async fn reserve_received(&mut self) -> Result<(), UploadError> {
        if self.reserved < self.received { self.allocate(Vec::new()).await } else { Ok(()) }
    }

    /// Where chunk `index` goes.
    async fn placement(&mut self, index: ChunkIndex) -> Result<ChunkPlacement, UploadError> {
        if self.placements.front().is_none_or(|placement| placement.index != index) {
            self.placements.clear();
            let wants = self.wants(index);
            self.allocate(wants).await?;
        }
        let placement = self.placements.pop_front().filter(|placement| placement.index == index);
        placement.ok_or(UploadError::Internal("the master placed another chunk than was asked"))
    }

    /// The next chunks from `index` on.
    fn wants(&self, index: ChunkIndex) -> Vec<ChunkWant> {
        let end = self.length.and_then(|length| self.sizes.count(length)).unwrap_or(u32::MAX);
        let want = |index| ChunkWant {
            index,
            length: self.expected_length(index),
            copies: self.copies,
            holders: Vec::new(),
            failed: Vec::new(),
        };
        (index..end.min(index.saturating_add(PLACED_AT_ONCE))).map(want).collect()
    }

    async fn allocate(&mut self, wants: Vec<ChunkWant>) -> Result<(), UploadError> {
        let (reserved, placements) =
            self.session.allocate(self.received, wants, self.least_copies).await?;
        self.reserved = self.reserved.max(reserved);
        if !placements.is_empty() {
            self.placements = placements.into();
        }
        Ok(())
    }

    /// Starts writing the copies of a chunk.
    fn save(
        &mut self,
        placement: ChunkPlacement,
        source: BufferReader,
        share: Share,
    ) -> Result<oneshot::Sender<Closed>, UploadError> {
        let (end, closed) = oneshot::channel();
        let targets = Targets::new(placement.places);
        let plan = Save {
            chunk: ChunkId::new(self.blob, placement.index),
            reserve: self.expected_length(placement.index),
            targets: targets.map_err(|_| UploadError::Internal("a chunk was placed nowhere"))?,
            least: self.least_copies,
            strategy: Arc::new(self.strategy),
            source,
            replicas: Arc::new(self.shared.nodes.for_request(&self.session.context)),
            replace: self.session.clone(),
            bounds: self.shared.config.save,
            clock: self.shared.seams.clock.clone(),
        };
        let metrics = self.shared.seams.metrics.clone();
        let saving = save_chunk(metrics, self.strategy, plan, closed, share);
        self.shared.seams.spawner.spawn_in(&mut self.saving, saving);
        Ok(end)
    }

    /// Waits for one chunk's copies; receipts are confirmed in batches.
    async fn one_saved(&mut self) -> Result<(), UploadError> {
        let Some(saved) = self.saving.join_next().await else { return Ok(()) };
        let SavedChunk { receipt, took, late } =
            saved.map_err(|_| UploadError::Internal("a save panicked"))??;
        self.timed(&receipt, &took);
        self.receipts.push(receipt);
        if let Some(late) = late {
            self.late.begin(&self.shared.seams.spawner, late);
        }
        self.receipts.extend(self.late.receipts());
        self.confirm_batches().await
    }

    /// Hands over receipts while there are whole batches of them: late copies may have ended all at once.
    async fn confirm_batches(&mut self) -> Result<(), UploadError> {
        while self.receipts.len() >= CONFIRM_BATCH {
            let batch = self.receipts.drain(..CONFIRM_BATCH).collect();
            self.session.confirm(self.blob, batch).await?;
        }
        Ok(())
    }

    /// Keeps the longest time of each node.
    fn timed(&mut self, receipt: &ChunkReceipt, took: &[Duration]) {
        for (copy, took) in receipt.copies.iter().zip(took) {
            if self.nodes.len() < MAX_TIMED || self.nodes.contains_key(&copy.node) {
                let longest = self.nodes.entry(copy.node).or_default();
                *longest = (*longest).max(*took);
            }
        }
    }

    /// The most that chunk `index` can have.
    fn expected_length(&self, index: ChunkIndex) -> u64 {
        match self.length {
            Some(length) => self.sizes.length(index, length),
            None => self.sizes.capacity(index),
        }
    }
}

/// Writes the copies of one chunk while it is filled.
async fn save_chunk(
    metrics: GatewayMetrics,
    strategy: SaveStrategy,
    plan: Save<Session>,
    closed: oneshot::Receiver<Closed>,
    share: Share,
) -> Result<SavedChunk, UploadError> {
    let index = plan.chunk.index;
    let end = async {
        let Closed { buffer, hash } = closed.await.ok()?;
        Some(buffer.end(hash.await.ok()?))
    };
    let (end, saved) = tokio::join!(end, save(plan));
    let Saved { copies, took, failures, late } = saved.map_err(|error| not_saved(index, *error))?;
    metrics.saved(strategy, failures.len());
    let end = end.ok_or(UploadError::Internal("a chunk was saved that never ended"))?;
    let with = |copies| ChunkReceipt { index, length: end.length, hash: end.hash, copies };
    let of = with(Vec::new());
    let late = (!late.is_empty()).then(|| LateChunk { of, copies: late, share });
    Ok(SavedChunk { receipt: with(copies), took, late })
}

fn not_saved(index: ChunkIndex, error: SaveError<UploadError>) -> UploadError {
    let problem = error.to_string();
    match error.cause {
        NotSaved::NoPlace(error) => error,
        NotSaved::Quorum { quorum, places: copies } => UploadError::Quorum { quorum, copies },
        NotSaved::Cancelled | NotSaved::Failed => UploadError::Copies { index, problem },
    }
}
