//! Writing to all synchronous tiers at once.

use std::sync::Arc;

use bytes::Bytes;
use cairn_core::ids::{ChunkId, DiskIncarnation};
use cairn_runtime::BlockingError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::behind::Slot;
use super::config::OnFailure;
use super::shared::Shared;
use crate::report::{Fault, TierOp};
use crate::store::{ChunkEnd, ChunkWriter, MAX_CHUNK_BYTES, ReadError, WriteError};

/// What a tier's failure means for a write.
enum Verdict {
    /// The write fails.
    Fails,
    /// It was a cache.
    GoesOn,
    /// A later durable tier has to take the chunk.
    HandsOver,
}

impl Shared {
    fn judge(&self, tier: usize, op: TierOp, chunk: ChunkId, error: &WriteError) -> Verdict {
        if error.blames_the_write() {
            return Verdict::Fails;
        }
        let tier = &self.tiers[tier];
        if !tier.durable && matches!(error, WriteError::NoRoom { .. }) {
            tier.was_bypassed();
            return Verdict::GoesOn;
        }
        tier.failed(op, Some(chunk), Fault::from(error));
        match (tier.durable, tier.hands_over) {
            (false, _) => Verdict::GoesOn,
            (true, true) => Verdict::HandsOver,
            (true, false) => Verdict::Fails,
        }
    }
}

/// A tier's part in a write.
#[derive(Debug)]
struct Leg {
    tier: usize,
    durable: bool,
    writer: Box<dyn ChunkWriter>,
}

/// Opens a writer in each tier that is written before the answer; see [`crate::ChunkStore::begin`].
pub(super) async fn begin(
    shared: &Arc<Shared>,
    chunk: ChunkId,
    reserve: u64,
) -> Result<Box<dyn ChunkWriter>, WriteError> {
    if reserve > MAX_CHUNK_BYTES {
        return Err(WriteError::TooLarge { reserve });
    }
    shared.takes_writes()?;
    let slot = match &shared.behind {
        Some(behind) => Some(behind.slot(chunk, &shared.clock).await?),
        None => None,
    };
    let legs = open_legs(shared, chunk, reserve).await?;
    Ok(Box::new(ChainWriter { shared: Arc::clone(shared), chunk, legs, slot, broken: false }))
}

/// A durable tier that cannot take the chunk passes it on: to the next durable one, which takes it before the answer even where
/// it is written behind otherwise.
async fn open_legs(shared: &Shared, chunk: ChunkId, reserve: u64) -> Result<Vec<Leg>, WriteError> {
    let mut legs = Vec::new();
    let mut passed_on = None;
    for (at, tier) in shared.tiers.iter().enumerate() {
        let durable = tier.durable;
        if !(tier.sync || durable && passed_on.is_some()) {
            continue;
        }
        if tier.is_too_small(reserve) {
            tier.was_bypassed();
            if durable {
                let free = tier.store.usage().capacity;
                passed_on = Some(WriteError::NoRoom { wanted: reserve, free });
            }
            continue;
        }
        match tier.store.begin(chunk, reserve).await {
            Ok(writer) => {
                legs.push(Leg { tier: at, durable, writer });
                if durable {
                    passed_on = None;
                }
            }
            Err(error) => match shared.judge(at, TierOp::Begin, chunk, &error) {
                Verdict::Fails => return Err(error),
                Verdict::GoesOn => {}
                Verdict::HandsOver => passed_on = Some(error),
            },
        }
    }
    // A tier that is too small for the chunk may come after one that has taken it.
    let too_small = matches!(passed_on, Some(WriteError::NoRoom { .. }));
    match passed_on {
        Some(error) if !(too_small && legs.iter().any(|leg| leg.durable)) => Err(error),
        _ => Ok(legs),
    }
}

/// Whether one of `legs` keeps the chunk.
fn keeps(legs: &[Leg]) -> bool {
    legs.iter().any(|leg| leg.durable)
}

#[derive(Debug)]
struct ChainWriter {
    shared: Arc<Shared>,
    chunk: ChunkId,
    legs: Vec<Leg>,
    slot: Option<Slot>,
    /// A call failed or was dropped on its way.
    broken: bool,
}

impl ChainWriter {
    async fn take(&mut self, bytes: Bytes, block_crcs: Vec<u32>) -> Result<(), WriteError> {
        self.shared.takes_writes()?;
        if std::mem::replace(&mut self.broken, true) {
            return Err(WriteError::Broken);
        }
        let mut at = 0;
        while let Some(leg) = self.legs.get_mut(at) {
            let appended = leg.writer.append(bytes.clone(), block_crcs.clone()).await;
            let Err(error) = appended else {
                at += 1;
                continue;
            };
            let tier = self.legs.remove(at).tier;
            let goes_on = match self.shared.judge(tier, TierOp::Append, self.chunk, &error) {
                Verdict::Fails => false,
                Verdict::GoesOn => true,
                Verdict::HandsOver => keeps(&self.legs[at..]),
            };
            if !goes_on {
                return Err(error);
            }
        }
        self.broken = false;
        Ok(())
    }
}

impl ChunkWriter for ChainWriter {
    fn append(
        &mut self,
        bytes: Bytes,
        block_crcs: Vec<u32>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        self.take(bytes, block_crcs).boxed()
    }

    /// Runs to its end whoever goes away: half of the tiers would be worse than all or none.
    fn finish(
        self: Box<Self>,
        end: ChunkEnd,
    ) -> BoxFuture<'static, Result<DiskIncarnation, WriteError>> {
        let refused = self.shared.takes_writes().err();
        let refused = refused.or_else(|| self.broken.then_some(WriteError::Broken));
        if let Some(error) = refused {
            return futures_util::future::err(error).boxed();
        }
        let shared = Arc::clone(&self.shared);
        let task = shared.spawn_write(finish(*self, end));
        task.map(|done| done.unwrap_or(Err(BlockingError::Panicked.into()))).boxed()
    }
}

async fn finish(write: ChainWriter, end: ChunkEnd) -> Result<DiskIncarnation, WriteError> {
    let ChainWriter { shared, chunk, legs, slot, .. } = write;
    let _turn = shared.turns.take([chunk]).await;
    let mut written = Written { shared: &shared, chunk, tiers: Vec::new(), disk: None };
    let result = match written.finish(legs, end).await {
        Ok(disk) => match slot {
            Some(slot) => slot.note(&shared, &written.of_tiers(), end.length).await.map(|()| disk),
            None => Ok(disk),
        },
        Err(error) => Err(error),
    };
    if result.is_err() && shared.config.on_failure == OnFailure::Remove {
        written.undo().await;
    }
    result
}

/// What a write has left up to now. Whoever has it has the chunk's turn.
struct Written<'a> {
    shared: &'a Arc<Shared>,
    chunk: ChunkId,
    /// Tiers that have the chunk now, and whether it is new there.
    tiers: Vec<(usize, bool)>,
    /// That of the last durable one of them.
    disk: Option<DiskIncarnation>,
}

impl Written<'_> {
    async fn finish(
        &mut self,
        legs: Vec<Leg>,
        end: ChunkEnd,
    ) -> Result<DiskIncarnation, WriteError> {
        let mut rest = legs.into_iter();
        while let Some(Leg { tier, durable, writer }) = rest.next() {
            let new = self.is_new(tier).await;
            match writer.finish(end).await {
                Ok(disk) => {
                    self.shared.tiers[tier].works();
                    self.tiers.push((tier, new));
                    self.disk = if durable { Some(disk) } else { self.disk };
                }
                Err(error) => match self.shared.judge(tier, TierOp::Finish, self.chunk, &error) {
                    Verdict::GoesOn => {}
                    Verdict::HandsOver if keeps(rest.as_slice()) => {}
                    Verdict::Fails | Verdict::HandsOver => return Err(error),
                },
            }
        }
        self.disk.ok_or(WriteError::Broken)
    }

    fn of_tiers(&self) -> Vec<usize> {
        self.tiers.iter().map(|(tier, _)| *tier).collect()
    }

    /// Only what is known to be new may be taken back.
    async fn is_new(&self, tier: usize) -> bool {
        let held = self.shared.tiers[tier].store.stat(self.chunk).await;
        matches!(held, Err(ReadError::NotFound { .. }))
    }

    async fn undo(&self) {
        for (tier, _) in self.tiers.iter().filter(|(_, new)| *new) {
            let tier = &self.shared.tiers[*tier];
            if let Err(error) = tier.store.delete(vec![self.chunk]).await {
                tier.failed(TierOp::Undo, Some(self.chunk), Fault::from(&error));
            }
        }
    }
}
