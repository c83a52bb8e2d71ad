//! Taking chunks out of all tiers. Work on them in the background gives way first, so that it brings nothing back.

use std::sync::Arc;

use cairn_core::ids::{BlobId, ChunkId};

use super::promote;
use super::read::Seen;
use super::shared::Shared;
use super::tier::OpenTier;
use crate::report::{Fault, TierOp};
use crate::store::{DeleteError, Erased};

/// Collects what tiers answer to a deletion.
#[derive(Debug, Default)]
struct Failures(Vec<(String, DeleteError)>);

impl Failures {
    fn add(&mut self, tier: &OpenTier, op: TierOp, chunk: Option<ChunkId>, error: DeleteError) {
        tier.failed(op, chunk, Fault::from(&error));
        self.0.push((tier.name.to_string(), error));
    }

    fn none_or(mut self) -> Result<(), DeleteError> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0).1),
            _ => Err(DeleteError::Tiers(self.0)),
        }
    }
}

/// See [`crate::ChunkStore::delete`].
pub(super) async fn delete(shared: &Shared, chunks: Vec<ChunkId>) -> Result<u64, DeleteError> {
    shared.takes_deletes()?;
    let _turn = shared.turns.take(chunks.iter().copied()).await;
    if let Some(behind) = &shared.behind {
        behind.cancel(chunks.iter().copied());
    }
    let (mut most, mut failures) = (0, Failures::default());
    for tier in &shared.tiers {
        match tier.store.delete(chunks.clone()).await {
            Ok(deleted) => most = deleted.max(most),
            Err(error) => failures.add(tier, TierOp::Delete, chunks.first().copied(), error),
        }
    }
    failures.none_or().map(|()| most)
}

/// See [`crate::ChunkStore::erase_blob`].
pub(super) async fn erase_blob(
    shared: &Shared,
    blob: BlobId,
    limit: usize,
) -> Result<Erased, DeleteError> {
    shared.takes_deletes()?;
    let _turn = shared.turns.take_blob(blob).await;
    if let Some(behind) = &shared.behind {
        behind.cancel_blob(blob);
    }
    let (mut all, mut failures) = (Erased { deleted: 0, more: false }, Failures::default());
    for tier in &shared.tiers {
        match tier.store.erase_blob(blob, limit).await {
            Ok(erased) => {
                all.deleted = all.deleted.max(erased.deleted);
                all.more |= erased.more;
            }
            Err(error) => failures.add(tier, TierOp::Delete, None, error),
        }
    }
    failures.none_or().map(|()| all)
}

/// See [`crate::ChunkStore::quarantine`].
pub(super) async fn quarantine(shared: &Arc<Shared>, chunk: ChunkId) -> Result<bool, DeleteError> {
    shared.takes_deletes()?;
    let turn = shared.turns.take([chunk]).await;
    let (mut seen, mut failures) = (Seen::default(), Failures::default());
    for (at, tier) in shared.tiers.iter().enumerate() {
        match tier.store.quarantine(chunk).await {
            Ok(true) => seen.missing.push(at),
            Ok(false) => {}
            Err(error) => failures.add(tier, TierOp::Quarantine, Some(chunk), error),
        }
    }
    failures.none_or()?;
    if seen.missing.is_empty() {
        return Ok(false);
    }
    let mut intact = None;
    for tier in shared.durable() {
        if let Ok(stat) = tier.store.stat(chunk).await {
            intact = Some(stat.length);
        }
    }
    drop(turn);
    if intact.is_some() {
        promote::put_right(shared, chunk, intact, seen);
    }
    Ok(intact.is_none())
}
