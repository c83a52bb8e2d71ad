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

use crate::catalog::{Blob, ChunkEntry, Copy, JobKey, Page, PageKey, record};
use crate::error::CatalogError;
use crate::jobs::ask;
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
    /// Nodes that are there, and that something was said against for longer than that.
    troubled: Arc<BTreeSet<NodeId>>,
    /// Zones with nodes that take chunks.
    open_zones: Arc<BTreeSet<Zone>>,
    /// A node that is too full: a copy there is to be moved.
    relieved: Option<NodeId>,
    /// Copies stay in their zones.
    settled: bool,
}

impl Around {
    pub(crate) fn now(master: &Master) -> Self {
        let directory = master.nodes.directory();
        let open = directory.values().filter(|view| view.state.takes_chunks());
        let now = Self {
            open_zones: Arc::new(open.map(|view| view.record.zone.clone()).collect()),
            awaited: Arc::new(master.nodes.away_for_less_than(master.config.repair_after)),
            troubled: Arc::new(master.nodes.troubled_for_longer_than(master.config.repair_after)),
            directory: Arc::new(directory),
            relieved: None,
            settled: false,
        };
        if master.config.rebalance_rate == 0 { now.settled() } else { now }
    }

    /// The same, as operators want it: while rebalance is paused, nothing is made for its place alone.
    pub(crate) fn heeding(self, read: &impl Read) -> Result<Self, CatalogError> {
        let paused = ask::is_paused(read, &JobKey::Rebalance)?;
        Ok(if paused { self.relieving(None).settled() } else { self })
    }

    /// The same question, of the nodes as they are now.
    pub(super) fn renewed(&self, master: &Master) -> Self {
        let now = Self::now(master).relieving(self.relieved);
        if self.settled { now.settled() } else { now }
    }

    /// The same, where nothing is to be made in another zone.
    pub(super) fn settled(self) -> Self {
        Self { open_zones: Arc::default(), settled: true, ..self }
    }

    /// The same, and a copy on this node is to be moved elsewhere.
    pub(crate) fn relieving(self, node: Option<NodeId>) -> Self {
        Self { relieved: node, ..self }
    }

    /// Copies stay in their zones.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// The node that a copy is to be moved from.
    pub(super) fn relieved(&self) -> Option<NodeId> {
        self.relieved
    }

    /// Whether the copies of a node are made anew: it is away for too long, or in lasting doubt.
    pub(super) fn is_missed(&self, view: &NodeView) -> bool {
        match view.state {
            NodeState::Up | NodeState::Draining => false,
            NodeState::Joining | NodeState::Suspect => self.troubled.contains(&view.node),
            NodeState::Down | NodeState::Removed => !self.awaited.contains(&view.node),
        }
    }

    /// What can be seen from here with what `read` says of drains: where one is paused, copies stay for now.
    pub(crate) fn with_drains(&self, read: &impl Read) -> Result<Sight<'_>, CatalogError> {
        let mut emptied = BTreeSet::new();
        for (&node, view) in self.directory.iter() {
            if view.record.membership == Membership::Draining && !is_paused(read, node)? {
                emptied.insert(node);
            }
        }
        Ok(Sight { around: self, emptied })
    }

    /// The next step for a chunk with these copies.
    pub(crate) fn mend(&self, copies: &[SeenCopy], wanted: usize) -> Mend {
        mend(copies, wanted, &self.open_zones)
    }
}

/// What can be seen of copies in one view or transaction.
#[derive(Debug)]
pub(crate) struct Sight<'a> {
    around: &'a Around,
    /// Nodes that are being emptied.
    emptied: BTreeSet<NodeId>,
}

impl Sight<'_> {
    fn standing(&self, copy: &Copy, view: Option<&NodeView>, found_bad: bool) -> Standing {
        let Some(view) = view.filter(|view| view.record.membership != Membership::Removed) else {
            return Standing::Lost;
        };
        match copy.state {
            CopyState::Copying => Standing::Begun,
            CopyState::Live if !view.record.disks.contains(&copy.disk) => Standing::Lost,
            CopyState::Live if found_bad => Standing::Bad,
            CopyState::Live => self.standing_of(view),
        }
    }

    /// How a copy stands that nothing is said against.
    fn standing_of(&self, view: &NodeView) -> Standing {
        let Around { awaited, troubled, .. } = self.around;
        match (view.state, troubled.contains(&view.node)) {
            (NodeState::Up | NodeState::Draining, false) => Standing::Certain,
            (NodeState::Joining | NodeState::Suspect, false) => Standing::Unsure,
            // Nothing is copied for want of it any more, and nothing given up for its sake yet.
            (NodeState::Up | NodeState::Draining, true) => Standing::Unsure,
            (NodeState::Joining | NodeState::Suspect, true) => Standing::Doubted,
            (NodeState::Down, false) if awaited.contains(&view.node) => Standing::Awaited,
            (NodeState::Down | NodeState::Removed, _) => Standing::Away,
        }
    }

    /// The copies of a chunk. `found_bad` are nodes whose copy a reader, a scrub or fsck found missing or wrong.
    pub(crate) fn see(&self, copies: &[Copy], found_bad: &BTreeSet<NodeId>) -> Vec<SeenCopy> {
        let seen = |copy: &Copy| {
            let view = self.around.directory.get(&copy.node);
            let relieved = self.around.relieved == Some(copy.node);
            SeenCopy {
                node: copy.node,
                zone: view.map(|view| view.record.zone.clone()),
                standing: self.standing(copy, view, found_bad.contains(&copy.node)),
                leaves: relieved || self.emptied.contains(&copy.node),
                fill: view.map_or(0, NodeView::fill),
            }
        };
        copies.iter().map(seen).collect()
    }

    /// How a chunk of a blob that is kept stands.
    pub(super) fn seen(
        &self,
        read: &impl Read,
        chunk: ChunkId,
        blob: &Blob,
        entry: &ChunkEntry,
    ) -> Result<Seen, CatalogError> {
        let mut found_bad = findings(read, chunk.blob, chunk.index, chunk.index + 1)?;
        let found_bad = found_bad.remove(&chunk.index).unwrap_or_default();
        Ok(Seen {
            chunk,
            length: entry.length,
            hash: entry.hash,
            wanted: blob.copies as usize,
            copies: self.see(&entry.copies, &found_bad),
            sources: places(&self.around.directory, chunk, entry, &found_bad),
        })
    }

    /// The next step for a chunk with these copies.
    pub(crate) fn mend(&self, copies: &[SeenCopy], wanted: usize) -> Mend {
        self.around.mend(copies, wanted)
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

    /// Whether fewer copies than wanted are there or waited for, also counting those that are to leave.
    pub(super) fn is_short(&self) -> bool {
        let there = |copy: &&SeenCopy| copy.is_readable() || copy.standing == Standing::Awaited;
        self.copies.iter().filter(there).count() < self.wanted
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
    let sight = around.with_drains(read)?;
    entry.map(|entry| sight.seen(read, chunk, &blob, &entry)).transpose()
}

#[cfg(test)]
mod tests {
    use cairn_core::chunking::ChunkSizes;
    use cairn_core::ids::{BlobId, DiskIncarnation};
    use cairn_core::mend::Urgency;
    use cairn_core::names::TenantId;
    use cairn_kv::{Durability, Kv, Txn};
    use uuid::Uuid;

    use super::*;
    use crate::admin::chunks::unsettled_chunks;
    use crate::catalog::{Job, JobKey, JobState, NodeRecord};

    fn node(n: u128) -> NodeId {
        NodeId::from_uuid(Uuid::from_u128(n))
    }

    fn disk(n: u128) -> DiskIncarnation {
        DiskIncarnation::from_uuid(Uuid::from_u128(n))
    }

    fn view(n: u128, state: NodeState, membership: Membership) -> NodeView {
        let record = NodeRecord {
            disks: [disk(n)].into(),
            address: String::new(),
            zone: Zone::new(format!("z{n}")).expect("a label"),
            membership,
        };
        NodeView { node: node(n), record, state, doubt: None, report: Arc::default() }
    }

    fn around(views: &[NodeView], troubled: &[NodeId]) -> Around {
        let directory: Directory = views.iter().map(|view| (view.node, view.clone())).collect();
        Around {
            directory: Arc::new(directory),
            awaited: Arc::default(),
            troubled: Arc::new(troubled.iter().copied().collect()),
            open_zones: Arc::default(),
            relieved: None,
            settled: false,
        }
    }

    fn live(n: u128) -> Copy {
        Copy { node: node(n), disk: disk(n), state: CopyState::Live }
    }

    #[tokio::test]
    async fn a_drain_that_is_paused_is_nothing_to_do_for_the_census_either() {
        let draining = view(1, NodeState::Draining, Membership::Draining);
        let up = view(2, NodeState::Up, Membership::Member);
        let around = around(&[draining, up], &[]);
        let closure = move |txn: &mut Txn<'_>| -> Result<_, CatalogError> {
            let id = BlobId::from_uuid(Uuid::from_u128(9));
            let blob = Blob {
                tenant: TenantId::standard(),
                state: BlobState::Live,
                current_refs: 1,
                condemned_refs: 0,
                length: 5,
                sizes: ChunkSizes::STANDARD,
                copies: 2,
                nodes: [node(1), node(2)].into(),
            };
            record::put(txn, &id, &blob)?;
            let (length, hash, copies) = (5, ChunkHash([7; 32]), vec![live(1), live(2)]);
            let entry = ChunkEntry { length, hash, copies, zones: 2, mended: false, attempt: None };
            record::put(txn, &PageKey::of(id, 0), &Page { chunks: [(0, entry)].into() })?;
            let mut found = Vec::new();
            for state in [JobState::Running, JobState::Paused] {
                record::put(txn, &JobKey::Drain(node(1)), &Job { state, ..Job::default() })?;
                let (chunks, _) = unsettled_chunks(txn, &around, None)?;
                found.push(chunks.iter().filter_map(|chunk| chunk.urgency).collect::<Vec<_>>());
            }
            Ok(found)
        };
        let found = Kv::memory().transact(Durability::Buffered, closure).await;
        assert_eq!(found.expect("a transaction"), [vec![Urgency::Leaving], vec![]]);
    }

    #[tokio::test]
    async fn a_node_with_lasting_trouble_is_not_waited_for_and_not_relied_on_before_it_is_over() {
        let states = [
            (NodeState::Up, Standing::Certain, Standing::Unsure),
            (NodeState::Suspect, Standing::Unsure, Standing::Doubted),
            (NodeState::Down, Standing::Away, Standing::Away),
        ];
        for (state, without, with) in states {
            for (troubled, expected) in [(vec![], without), (vec![node(1)], with)] {
                let around = around(&[view(1, state, Membership::Member)], &troubled);
                let sight = Sight { around: &around, emptied: BTreeSet::new() };
                let seen = sight.see(&[live(1)], &BTreeSet::new());
                assert_eq!(seen[0].standing, expected, "{state:?} {troubled:?}");
            }
        }
    }
}
