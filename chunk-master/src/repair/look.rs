//! How a chunk stands: what the catalog names, what was found of it, and how its nodes are now.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_core::copies::Place;
use cairn_core::digest::ChunkHash;
use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::lifecycle::{BlobState, CopyState};
use cairn_core::liveness::{Membership, NodeState};
use cairn_core::mend::{Mend, SeenCopy, Standing, mend};
use cairn_core::names::Zone;
use cairn_kv::Read;

use crate::catalog::{Blob, ChunkEntry, Copy, Page, PageKey, record};
use crate::error::CatalogError;
use crate::jobs::drain::is_paused;
use crate::master::Master;
use crate::nodes::{Directory, NodeView, places};
use crate::object::locate::findings;

/// The nodes at one moment, as whoever mends chunks sees them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    pub(crate) directory: Arc<Directory>,
    /// Nodes that are away for less than the time after which their copies are made anew.
    awaited: Arc<BTreeSet<NodeId>>,
    /// Zones with nodes that take chunks.
    open_zones: Arc<BTreeSet<Zone>>,
    /// A node that is too full: a copy there is to be moved.
    relieved: Option<NodeId>,
    /// Copies stay in their zones: there is no place in another one.
    settled: bool,
}

impl Around {
    pub(crate) fn now(master: &Master) -> Self {
        let directory = master.nodes.directory();
        let open = directory.values().filter(|view| view.state.takes_chunks());
        Self {
            open_zones: Arc::new(open.map(|view| view.record.zone.clone()).collect()),
            awaited: Arc::new(master.nodes.away_for_less_than(master.config.repair_after)),
            directory: Arc::new(directory),
            relieved: None,
            settled: false,
        }
    }

    /// The same question, of the nodes as they are now.
    pub(super) fn renewed(&self, master: &Master) -> Self {
        let now = Self::now(master).relieving(self.relieved);
        if self.settled { now.settled() } else { now }
    }

    /// The same, where there is no place in another zone.
    pub(super) fn settled(self) -> Self {
        Self { open_zones: Arc::default(), settled: true, ..self }
    }

    /// The same, and a copy on this node is to be moved elsewhere.
    pub(crate) fn relieving(self, node: Option<NodeId>) -> Self {
        Self { relieved: node, ..self }
    }

    /// The node that a copy is to be moved from.
    pub(super) fn relieved(&self) -> Option<NodeId> {
        self.relieved
    }

    fn standing(&self, copy: &Copy, view: Option<&NodeView>, found_bad: bool) -> Standing {
        let Some(view) = view.filter(|view| view.record.membership != Membership::Removed) else {
            return Standing::Lost;
        };
        match copy.state {
            CopyState::Copying => Standing::Begun,
            CopyState::Live if !view.record.disks.contains(&copy.disk) => Standing::Lost,
            CopyState::Live if found_bad => Standing::Bad,
            CopyState::Live => match view.state {
                NodeState::Up | NodeState::Draining => Standing::Certain,
                NodeState::Joining | NodeState::Suspect => Standing::Unsure,
                NodeState::Down if self.awaited.contains(&copy.node) => Standing::Awaited,
                NodeState::Down | NodeState::Removed => Standing::Away,
            },
        }
    }

    /// The copies of a chunk. `found_bad` are nodes whose copy a reader, a scrub or fsck found missing or wrong.
    pub(crate) fn see(&self, copies: &[Copy], found_bad: &BTreeSet<NodeId>) -> Vec<SeenCopy> {
        let seen = |copy: &Copy| {
            let view = self.directory.get(&copy.node);
            let draining = view.is_some_and(|v| v.record.membership == Membership::Draining);
            SeenCopy {
                node: copy.node,
                zone: view.map(|view| view.record.zone.clone()),
                standing: self.standing(copy, view, found_bad.contains(&copy.node)),
                leaves: draining || self.relieved == Some(copy.node),
                fill: view.map_or(0, NodeView::fill),
            }
        };
        copies.iter().map(seen).collect()
    }

    /// The next step for a chunk with these copies.
    pub(crate) fn mend(&self, copies: &[SeenCopy], wanted: usize) -> Mend {
        mend(copies, wanted, &self.open_zones)
    }
}

/// A chunk that can be mended.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) chunk: ChunkId,
    pub(crate) length: u64,
    pub(crate) hash: ChunkHash,
    /// Copies that it should have.
    pub(crate) wanted: usize,
    pub(crate) copies: Vec<SeenCopy>,
    /// Where it can be copied from, best first. Copies that were found bad come last: whoever fetches one proves it.
    pub(crate) sources: Vec<Place>,
}

impl Seen {
    /// How many copies count and stay.
    pub(super) fn certain(&self) -> usize {
        self.copies.iter().filter(|copy| copy.is_certain()).count()
    }

    /// Nodes whose copies stand so.
    pub(super) fn nodes(&self, stands: impl Fn(&SeenCopy) -> bool) -> Vec<NodeId> {
        self.copies.iter().filter(|copy| stands(copy)).map(|copy| copy.node).collect()
    }
}

/// A blob whose chunks are kept: it is part of a version, or of one that can come back.
pub(crate) fn is_kept(blob: &Blob) -> bool {
    matches!(blob.state, BlobState::Live | BlobState::Condemned)
}

/// How `chunk` stands; nothing when it is not kept.
pub(crate) fn look(
    read: &impl Read,
    chunk: ChunkId,
    around: &Around,
) -> Result<Option<Seen>, CatalogError> {
    let Some(blob) = record::get::<Blob>(read, &chunk.blob)?.filter(is_kept) else {
        return Ok(None);
    };
    let page = record::get::<Page>(read, &PageKey::of(chunk.blob, chunk.index))?;
    let entry = page.and_then(|mut page| page.chunks.remove(&chunk.index));
    entry.map(|entry| seen(read, chunk, &blob, &entry, around)).transpose()
}

/// How a chunk of a blob that is kept stands.
pub(super) fn seen(
    read: &impl Read,
    chunk: ChunkId,
    blob: &Blob,
    entry: &ChunkEntry,
    around: &Around,
) -> Result<Seen, CatalogError> {
    let mut found_bad = findings(read, chunk.blob, chunk.index, chunk.index + 1)?;
    let found_bad = found_bad.remove(&chunk.index).unwrap_or_default();
    let mut copies = around.see(&entry.copies, &found_bad);
    for copy in copies.iter_mut().filter(|copy| copy.leaves) {
        // Where the drain is paused, they stay for now.
        copy.leaves = !is_paused(read, copy.node)?;
    }
    Ok(Seen {
        chunk,
        length: entry.length,
        hash: entry.hash,
        wanted: blob.copies as usize,
        copies,
        sources: places(&around.directory, chunk, entry, &found_bad),
    })
}
