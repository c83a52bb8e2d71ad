//! Orphans: chunks on nodes whose blob the catalog does not have, or is erasing.
//!
//! The inventory is read first and judged afterwards: a blob's record is written before any node hears
//! of the blob, and ids are never used again, so a blob that is absent then stays absent.

use std::collections::BTreeSet;

use cairn_core::ids::{BlobId, ChunkId};
use cairn_core::lifecycle::BlobState;
use cairn_kv::Read;

use super::{Effort, PassError, SweepError, SweepReport};
use crate::catalog::{Blob, record};
use crate::master::Master;
use crate::nodes::NodeView;

/// Pages of each node's inventory in a bounded pass.
const PAGES: usize = 4;

pub(super) async fn run(
    master: &Master,
    effort: Effort,
    report: &mut SweepReport,
) -> Result<(), PassError> {
    for node in master.nodes.directory().values() {
        if node.state.takes_chunks() {
            report.orphans_deleted += walk(master, effort, node).await?;
        }
    }
    Ok(())
}

/// Walks a node's inventory on from its cursor; a complete walk begins at the beginning.
async fn walk(master: &Master, effort: Effort, node: &NodeView) -> Result<u64, PassError> {
    let mut cursor = match effort {
        Effort::Bounded => master.sweeper.cursor(node.node),
        Effort::Complete => None,
    };
    let address = &node.record.address;
    let mut deleted = 0;
    let mut pages = 0;
    while !effort.is_enough(pages, PAGES) {
        let (chunks, more) = match master.peers.inventory(address, cursor).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(target: "cairn", node = %node.node, %error, "no inventory");
                break;
            }
        };
        let last = chunks.last().copied();
        let orphans = master.kv.view(move |view| judge(view, &chunks)).await?;
        if !orphans.is_empty() {
            match master.peers.delete(address, orphans).await {
                Ok(count) => deleted += count,
                Err(error) => {
                    tracing::debug!(target: "cairn", node = %node.node, %error, "orphans stay");
                    break;
                }
            }
        }
        // A node that does not move on is not asked for ever.
        cursor = last.filter(|last| more && cursor.is_none_or(|before| *last > before));
        pages += 1;
        if cursor.is_none() {
            break;
        }
    }
    master.sweeper.set_cursor(node.node, cursor);
    if deleted > 0 {
        tracing::info!(target: "cairn", node = %node.node, deleted, "orphans deleted");
    }
    Ok(deleted)
}

/// The chunks that no blob has a claim on.
fn judge(read: &impl Read, chunks: &[ChunkId]) -> Result<Vec<ChunkId>, SweepError> {
    let blobs: BTreeSet<_> = chunks.iter().map(|chunk| chunk.blob).collect();
    let mut unclaimed: BTreeSet<BlobId> = BTreeSet::new();
    for id in blobs {
        let state = record::get::<Blob>(read, &id)?.map(|blob| blob.state);
        match state {
            None | Some(BlobState::Purging) => {
                unclaimed.insert(id);
            }
            Some(BlobState::Open | BlobState::Live | BlobState::Condemned) => {}
        }
    }
    let orphan = |chunk: &&ChunkId| unclaimed.contains(&chunk.blob);
    Ok(chunks.iter().filter(orphan).copied().collect())
}
