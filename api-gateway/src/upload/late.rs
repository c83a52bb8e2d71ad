//! Copies beyond a quorum: written on behind the answer, each chunk for as long as its buffer may be kept
//! ([`cairn_replicas::SaveBounds::late`]), out of the share of the budget that the chunk has.

use cairn_core::copies::ChunkReceipt;
use cairn_replicas::Late;
use cairn_runtime::Spawner;
use tokio::task::JoinSet;

use super::session::Session;
use crate::budget::Share;

/// A chunk that has its quorum, and whose other copies are being written.
pub(super) struct LateChunk {
    /// What its receipts say, without copies.
    pub(super) of: ChunkReceipt,
    pub(super) copies: Late<Session>,
    pub(super) share: Share,
}

/// The late copies of an upload. Dropped, they are broken off: what is short is repaired.
#[derive(Debug, Default)]
pub(super) struct LateCopies(JoinSet<ChunkReceipt>);

impl LateCopies {
    pub(super) fn begin(&mut self, spawner: &Spawner, chunk: LateChunk) {
        spawner.spawn_in(&mut self.0, async move {
            let LateChunk { of: mut receipt, mut copies, share: _share } = chunk;
            while let Some(copy) = copies.next().await {
                receipt.copies.push(copy);
            }
            receipt
        });
    }

    /// Whether nothing is being written.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Receipts that came by now.
    pub(super) fn receipts(&mut self) -> Vec<ChunkReceipt> {
        let ended = std::iter::from_fn(|| self.0.try_join_next());
        ended.filter_map(Result::ok).filter(|receipt| !receipt.copies.is_empty()).collect()
    }

    /// The next receipt; nothing when there will be none.
    pub(super) async fn next(&mut self) -> Option<ChunkReceipt> {
        loop {
            match self.0.join_next().await? {
                Ok(receipt) if !receipt.copies.is_empty() => return Some(receipt),
                Ok(_) | Err(_) => {}
            }
        }
    }
}
