//! Orphans: chunks on nodes that the catalog gives nobody a claim on.
//!
//! ```text
//! blob absent or Purging    every chunk of it
//! blob Live                 a copy that the manifest does not name: its node failed while the chunk was
//!                           written, the copy was placed anew, and the node has it after all; left alone while the
//!                           chunk is short of copies, and until one of those was proven
//! blob Open, Condemned      none: receipts may be on their way, and a purge takes all of it
//! ```
//!
//! The inventory is read first and judged afterwards. A blob's record is written before any node hears of the
//! blob, and ids are never used again, so a blob that is absent then stays absent. A repair adds copies to a Live blob: it names
//! each before it makes it. A copy that was not named may be named later; so a stray is deleted as of a moment of its node from
//! before it was judged, and the node keeps what was written since, however late the order arrives.

use std::collections::BTreeMap;

use cairn_core::ids::{BlobId, ChunkId, NodeId};
use cairn_core::lifecycle::BlobState;
use cairn_kv::{Read, Snapshot, ViewError};

use super::{Effort, PassError, SweepError, SweepReport};
use crate::catalog::{Blob, ChunkEntry, Page, PageKey, record};
use crate::config::{Faults, SeededBug};
use crate::error::CatalogError;
use crate::master::Master;
use crate::nodes::{Deleted, NodeView, Unreached};
use crate::repair::{Around, Seen, delete_strays, not_short, of_strays};

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
        Effort::Bounded | Effort::CatchUp => master.sweeper.cursor(node.node),
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
        let chunks: Vec<_> = chunks.into_iter().map(|(chunk, _)| chunk).collect();
        let last = chunks.last().copied();
        let holder = node.node;
        let faults = master.config.faults();
        let unclaimed = master.kv.view(move |view| judge(view, holder, &chunks, faults)).await?;
        match delete(master, node, unclaimed).await? {
            Ok(done) => deleted += done.deleted,
            Err(error) => {
                tracing::debug!(target: "cairn", node = %node.node, %error, "orphans stay");
                break;
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

/// What a node was told to delete.
#[derive(Debug, Default)]
pub(crate) struct Deletion {
    /// All that it was told of. Strays of chunks that are short of copies or not proven are left, and what was written meanwhile.
    pub(crate) ordered: Vec<ChunkId>,
    /// How many of them were there.
    pub(crate) deleted: u64,
}

impl Deletion {
    fn add(&mut self, ordered: Vec<ChunkId>, done: &Deleted) {
        self.deleted += done.deleted;
        self.ordered.extend(ordered.into_iter().filter(|chunk| !done.kept.contains(chunk)));
    }
}

/// Has a node delete what nobody has a claim on.
pub(crate) async fn delete(
    master: &Master,
    node: &NodeView,
    unclaimed: Vec<(ChunkId, Verdict)>,
) -> Result<Result<Deletion, Unreached>, ViewError<SweepError>> {
    let stray = |(_, verdict): &(ChunkId, Verdict)| *verdict == Verdict::Stray;
    let (strays, orphans): (Vec<_>, Vec<_>) = unclaimed.into_iter().partition(stray);
    let chunks = |these: Vec<(ChunkId, Verdict)>| -> Vec<_> {
        these.into_iter().map(|(chunk, _)| chunk).collect()
    };
    let strays = not_needed(master, chunks(strays)).await?;
    let orphans = chunks(orphans);
    let mut done = Deletion::default();
    if !orphans.is_empty() {
        match master.peers.delete(&node.record.address, &orphans, None).await {
            Ok(deleted) => done.add(orphans, &deleted),
            Err(error) => return Ok(Err(error)),
        }
    }
    if !strays.is_empty() {
        match delete_strays(master, node, &strays).await {
            Ok(deleted) => done.add(strays, &deleted),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(done))
}

/// Of strays, those whose chunks have all their copies, and one of them proven.
async fn not_needed(
    master: &Master,
    strays: Vec<ChunkId>,
) -> Result<Vec<ChunkId>, ViewError<SweepError>> {
    if strays.is_empty() {
        return Ok(strays);
    }
    let around = Around::now(master);
    let seen_by = around.clone();
    let view = move |view: &Snapshot<'_>| -> Result<Vec<Seen>, SweepError> {
        Ok(not_short(view, &strays, &seen_by)?)
    };
    let whole = master.kv.view(view).await?;
    Ok(of_strays(master, &whole, &around).await.unwrap_or_else(|error| {
        tracing::warn!(target: "cairn", %error, "what was found of copies is not noted: strays stay");
        Vec::new()
    }))
}

/// What the catalog says of a chunk that a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Named, or of a blob that is being written or waits.
    Claimed,
    /// Its blob is being erased from this node.
    Leaving,
    /// Its blob is not there, or is being erased without this node.
    Orphan,
    /// Its blob is Live, and does not name this copy.
    Stray,
}

/// The verdicts on chunks that `node` holds. An orphan may be deleted now and for ever; a stray only as of a moment from before
/// this was judged, while its chunk has all its copies, and one of them was proven.
pub(crate) fn verdicts(
    read: &impl Read,
    node: NodeId,
    chunks: &[ChunkId],
) -> Result<Vec<(ChunkId, Verdict)>, CatalogError> {
    let mut claims = Claims::new(read, node, Faults::default());
    chunks.iter().map(|chunk| Ok((*chunk, claims.verdict(*chunk)?))).collect()
}

/// Of the chunks that `node` holds, those that nobody has a claim on.
fn judge(
    read: &impl Read,
    node: NodeId,
    chunks: &[ChunkId],
    faults: Faults,
) -> Result<Vec<(ChunkId, Verdict)>, SweepError> {
    let mut claims = Claims::new(read, node, faults);
    let mut unclaimed = Vec::new();
    for chunk in chunks {
        let verdict = claims.verdict(*chunk)?;
        if verdict != Verdict::Claimed {
            unclaimed.push((*chunk, verdict));
        }
    }
    Ok(unclaimed)
}

/// What the catalog says of the chunks on one node; each record is read once.
struct Claims<'a, R> {
    read: &'a R,
    node: NodeId,
    /// State of each blob, and whether the node was handed out for it.
    blobs: BTreeMap<BlobId, Option<(BlobState, bool)>>,
    pages: BTreeMap<PageKey, Option<Page>>,
    faults: Faults,
}

impl<'a, R: Read> Claims<'a, R> {
    fn new(read: &'a R, node: NodeId, faults: Faults) -> Self {
        Self { read, node, blobs: BTreeMap::new(), pages: BTreeMap::new(), faults }
    }

    fn verdict(&mut self, chunk: ChunkId) -> Result<Verdict, CatalogError> {
        Ok(match self.blob(chunk.blob)? {
            None | Some((BlobState::Purging, false)) => Verdict::Orphan,
            Some((BlobState::Purging, true)) => Verdict::Leaving,
            Some((BlobState::Live, _)) if self.names(chunk)? => Verdict::Claimed,
            Some((BlobState::Live, _)) => Verdict::Stray,
            Some((BlobState::Open, _)) if self.faults.has(SeededBug::SweepOpenBlobs) => {
                Verdict::Orphan
            }
            Some((BlobState::Open | BlobState::Condemned, _)) => Verdict::Claimed,
        })
    }

    fn blob(&mut self, id: BlobId) -> Result<Option<(BlobState, bool)>, CatalogError> {
        if let Some(known) = self.blobs.get(&id) {
            return Ok(*known);
        }
        let blob = record::get::<Blob>(self.read, &id)?;
        let known = blob.map(|blob| (blob.state, blob.nodes.contains(&self.node)));
        self.blobs.insert(id, known);
        Ok(known)
    }

    /// Whether the manifest names the copy.
    fn names(&mut self, chunk: ChunkId) -> Result<bool, CatalogError> {
        let key = PageKey::of(chunk.blob, chunk.index);
        if !self.pages.contains_key(&key) {
            self.pages.insert(key, record::get::<Page>(self.read, &key)?);
        }
        let page = self.pages.get(&key).and_then(Option::as_ref);
        let entry = page.and_then(|page| page.chunks.get(&chunk.index));
        let names = |entry: &ChunkEntry| entry.copies.iter().any(|copy| copy.node == self.node);
        Ok(entry.is_some_and(names))
    }
}
