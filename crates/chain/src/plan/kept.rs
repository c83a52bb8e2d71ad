//! What a tier may let go of has to be kept by another one.
//!
//! A tier with an LRU evicts only what a tier that keeps everything has, as long as both were there when the chunk was written. A
//! tier that is put behind a store with chunks, or an LRU that is put around one, finds chunks that nobody else has: they are
//! noted in the journal, and copied, before anything is evicted.

use std::collections::BTreeSet;

use cairn_core::ids::ChunkId;

use super::PlanNotOpened;
use crate::chain::{Journal, Tier};
use crate::store::{ChunkStore, ListChunks, ReadError};

/// Chunks listed at a time.
const PAGE: usize = 1000;

/// Has chunks copied that only tiers have which may let go of them. Nothing may be evicted meanwhile.
pub(super) async fn keep_all(
    tiers: &[Tier],
    mut journal: Option<&mut Journal>,
) -> Result<(), PlanNotOpened> {
    let durable = || tiers.iter().filter(|tier| tier.config.durable);
    let keepers: Vec<_> = durable().filter(|tier| tier.lru.is_none()).collect();
    for tier in durable().filter(|tier| tier.lru.is_some()) {
        let failed = |error: ReadError| PlanNotOpened::Unlisted {
            tier: tier.config.name.clone(),
            problem: error.to_string(),
        };
        let (mut after, mut alone) = (None, 0);
        loop {
            let list = ListChunks { after, blob: None, limit: PAGE };
            let page = tier.store.list(list).await.map_err(failed)?;
            let mut here: BTreeSet<_> = page.chunks.iter().map(|held| held.chunk).collect();
            let Some(last) = here.last().copied() else { break };
            for keeper in &keepers {
                here = missing(here, &*keeper.store, after, last).await.map_err(failed)?;
            }
            alone += here.len();
            if !here.is_empty() {
                let journal = journal.as_deref_mut();
                let journal =
                    journal.ok_or_else(|| PlanNotOpened::Unkept(tier.config.name.clone()))?;
                let noted = journal.adopt(here.into_iter().collect()).await;
                noted.map_err(|error| PlanNotOpened::NotNoted(error.to_string()))?;
            }
            after = Some(last);
            if !page.more {
                break;
            }
        }
        if alone > 0 {
            let tier = &tier.config.name;
            tracing::warn!(target: "cairn", %tier, chunks = alone, "chunks that no other tier has are copied before they may be evicted");
        }
    }
    Ok(())
}

/// Of `chunks`, which lie after `after` and up to `last`, those that `keeper` has not.
async fn missing(
    mut chunks: BTreeSet<ChunkId>,
    keeper: &dyn ChunkStore,
    mut after: Option<ChunkId>,
    last: ChunkId,
) -> Result<BTreeSet<ChunkId>, ReadError> {
    loop {
        let page = keeper.list(ListChunks { after, blob: None, limit: PAGE }).await?;
        for held in &page.chunks {
            chunks.remove(&held.chunk);
        }
        after = page.chunks.last().map(|held| held.chunk);
        if !page.more || after.is_none_or(|reached| reached >= last) {
            return Ok(chunks);
        }
    }
}
