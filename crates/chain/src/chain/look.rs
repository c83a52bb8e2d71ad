//! What is known of the chunks held, of all durable tiers together.

use std::collections::BTreeMap;

use cairn_core::ids::ChunkId;

use super::shared::Shared;
use super::tier::OpenTier;
use crate::report::{Fault, TierOp};
use crate::store::{
    ChunkPage, ChunkStat, DiskReport, ListChunks, ReadError, StoredChunk, TierReport, Usage,
};

impl Shared {
    /// Durable tiers in the order in which they are believed: receipts name the last synchronous one.
    fn believed(&self) -> impl Iterator<Item = &OpenTier> {
        let receipts = self.tiers.iter().rposition(|tier| tier.durable && tier.sync);
        let first = receipts.map(|at| &self.tiers[at]);
        let rest = self.tiers.iter().enumerate();
        let rest = rest.filter(move |(at, tier)| tier.durable && Some(*at) != receipts);
        first.into_iter().chain(rest.map(|(_, tier)| tier))
    }
}

/// See [`crate::ChunkStore::stat`].
pub(super) async fn stat(shared: &Shared, chunk: ChunkId) -> Result<ChunkStat, ReadError> {
    let mut last = None;
    for tier in shared.believed() {
        match tier.store.stat(chunk).await {
            Ok(stat) => return Ok(stat),
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => {
                tier.failed(TierOp::Stat, Some(chunk), Fault::from(&error));
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or(ReadError::NotFound { chunk }))
}

/// The pages of all durable tiers, merged. A tier that cannot be listed fails the list: with a part missing, chunks would
/// seem lost. See [`crate::ChunkStore::list`].
pub(super) async fn list(shared: &Shared, list: ListChunks) -> Result<ChunkPage, ReadError> {
    let mut chunks: BTreeMap<ChunkId, StoredChunk> = BTreeMap::new();
    let mut more = false;
    // Of what follows the end of a page that is not the last, nothing is known yet.
    let mut known_to = None;
    for tier in shared.believed() {
        let page = tier.store.list(list).await.inspect_err(|error| {
            tier.failed(TierOp::List, None, Fault::from(error));
        })?;
        if page.more {
            more = true;
            let last = page.chunks.last().map(|held| held.chunk).or(list.after);
            known_to = known_to.min(last).or(last).or(known_to);
        }
        for held in page.chunks {
            chunks.entry(held.chunk).or_insert(held);
        }
    }
    let all = chunks.len();
    let known = |held: &StoredChunk| known_to.is_none_or(|last| held.chunk <= last);
    let chunks: Vec<_> = chunks.into_values().filter(known).take(list.limit).collect();
    more |= chunks.len() < all;
    Ok(ChunkPage { chunks, more })
}

/// See [`crate::ChunkStore::usage`].
pub(super) fn usage(shared: &Shared) -> Usage {
    let keeps = |tier: &&OpenTier| tier.durable && tier.sync && !tier.evicts();
    if let Some(anchor) = shared.tiers.iter().rev().find(keeps) {
        return anchor.store.usage();
    }
    let front = shared.tiers.iter().find(|tier| tier.durable && tier.sync);
    let front = front.map(|tier| tier.store.usage()).unwrap_or_default();
    let Some(anchor) = shared.tiers.iter().find(|tier| tier.durable && !tier.sync) else {
        return front;
    };
    let (anchor, behind) = (anchor.store.usage(), shared.behind_stats());
    Usage {
        capacity: anchor.capacity,
        used: anchor.used + behind.waiting_bytes,
        reclaimable: anchor.reclaimable,
        reserved: front.reserved,
        chunks: anchor.chunks + behind.waiting as u64,
        damaged: anchor.damaged,
        open_writes: front.open_writes,
    }
}

/// See [`crate::ChunkStore::disks`].
pub(super) fn disks(shared: &Shared) -> Vec<DiskReport> {
    let mut disks: Vec<DiskReport> = Vec::new();
    for report in shared.durable().flat_map(|tier| tier.store.disks()) {
        if disks.iter().all(|known| known.disk != report.disk) {
            disks.push(report);
        }
    }
    disks
}

/// See [`crate::ChunkStore::tiers`].
pub(super) fn tiers(shared: &Shared) -> Vec<TierReport> {
    let mut tiers = Vec::new();
    for (at, tier) in shared.tiers.iter().enumerate() {
        tiers.push(tier.report(shared.waiting_for(at)));
        tiers.extend(tier.store.tiers());
    }
    tiers
}
