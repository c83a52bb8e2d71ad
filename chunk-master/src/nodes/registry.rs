//! The registry: nodes in memory.
//!
//! ```text
//! RegisterNode, Heartbeat ─►┐                       ┌─► place   (Begin, Allocate)
//!                           ├─► one short mutex ────┼─► places  (Locate)
//! reassess, every beat ────►┘                       └─► changes (WatchNodes)
//! ```
//!
//! Liveness and fill are here only; what must outlive the master is the node's record in the catalog.
//! Fill is advisory: between two heartbeats it is the last report plus what was placed since, and the
//! node itself decides whether it has room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::copies::{ChunkPlacement, ChunkWant, NodeMoment, Place};
use cairn_core::digest::plain_crc;
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation, NodeId};
use cairn_core::lifecycle::CopyState;
use cairn_core::liveness::{Liveness, LivenessBounds, Membership, NodeState};
use cairn_core::names::Zone;
use cairn_core::placement::{Candidate, place};
use cairn_runtime::Clock;
use tokio::sync::broadcast;

use crate::catalog::{ChunkEntry, NodeRecord};
use crate::error::{NodeUnknown, NotPlaced};

/// Changes that a slow watcher may lag behind before it is given the full list instead.
const CHANGES_KEPT: usize = 256;

/// How a node is, as it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fullness {
    /// Bytes it may hold in all.
    pub(crate) capacity: u64,
    /// Bytes it holds or has promised.
    pub(crate) used: u64,
    /// Chunks it holds.
    pub(crate) chunks: u64,
    /// Copies being written to it.
    pub(crate) open_writes: u32,
}

/// How a disk of a node is, as the node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskView {
    pub(crate) disk: DiskIncarnation,
    /// Bytes it may hold in all.
    pub(crate) capacity: u64,
    /// Bytes it holds or has promised.
    pub(crate) used: u64,
    /// Chunks it holds.
    pub(crate) chunks: u64,
    /// Chunks that were found damaged.
    pub(crate) damaged: u64,
    /// It takes nothing more.
    pub(crate) failed: bool,
}

/// How a tier of a node is, as the node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TierView {
    pub(crate) name: String,
    /// Bytes it may hold in all.
    pub(crate) capacity: u64,
    /// Bytes it holds or has promised.
    pub(crate) used: u64,
    /// Its last answer was a failure.
    pub(crate) degraded: bool,
    /// Failures since the node was started.
    pub(crate) errors: u64,
    /// What the last of them was.
    pub(crate) last_error: String,
    /// Chunks that are still to be copied to it.
    pub(crate) waiting: u64,
}

/// What a node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// All disks together.
    pub(crate) fullness: Fullness,
    pub(crate) disks: Vec<DiskView>,
    pub(crate) tiers: Vec<TierView>,
    /// When it was so, as the node counts it.
    pub(crate) moment: Option<NodeMoment>,
}

impl Report {
    /// The lives of its disks.
    pub(crate) fn incarnations(&self) -> BTreeSet<DiskIncarnation> {
        self.disks.iter().map(|disk| disk.disk).collect()
    }

    /// Of a node that was not heard: its disks by name.
    fn unheard(record: &NodeRecord) -> Self {
        let disk = |&disk: &DiskIncarnation| DiskView {
            disk,
            capacity: 0,
            used: 0,
            chunks: 0,
            damaged: 0,
            failed: false,
        };
        Self { disks: record.disks.iter().map(disk).collect(), ..Self::default() }
    }
}

/// A node as the master sees it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeView {
    pub(crate) node: NodeId,
    pub(crate) record: NodeRecord,
    pub(crate) state: NodeState,
    pub(crate) report: Arc<Report>,
}

impl NodeView {
    pub(crate) fn fullness(&self) -> Fullness {
        self.report.fullness
    }

    /// How full it is, from 0 to `u32::MAX`.
    pub(crate) fn fill(&self) -> u32 {
        let Fullness { capacity, used, .. } = self.report.fullness;
        let part = u128::from(used) * u128::from(u32::MAX) / u128::from(capacity.max(1));
        u32::try_from(part).unwrap_or(u32::MAX)
    }
}

/// How the copies of each chunk are to be spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) copies: u32,
    /// Least zones, where there are that many.
    pub(crate) zones: u32,
}

/// What a placement gives to a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) nodes: BTreeSet<NodeId>,
    /// Least zones that the copies of each chunk must be in, as many as there are.
    pub(crate) zones: u32,
}

/// All nodes at one moment.
pub(crate) type Directory = BTreeMap<NodeId, NodeView>;

#[derive(Debug)]
struct Member {
    record: NodeRecord,
    liveness: Liveness,
    report: Arc<Report>,
    /// Placed here since the last heartbeat.
    pending_bytes: u64,
    pending_writes: u32,
    /// The state that watchers were told last.
    announced: NodeState,
}

impl Member {
    fn joining(record: NodeRecord, clock: &Clock) -> Self {
        Self {
            report: Arc::new(Report::unheard(&record)),
            record,
            liveness: Liveness::joining(clock.monotonic()),
            pending_bytes: 0,
            pending_writes: 0,
            announced: NodeState::Joining,
        }
    }

    fn reports(&mut self, report: Report) {
        self.report = Arc::new(report);
        self.pending_bytes = 0;
        self.pending_writes = 0;
    }

    fn candidate(&self, node: NodeId) -> Candidate {
        let Fullness { capacity, used, open_writes, .. } = self.report.fullness;
        Candidate {
            node,
            zone: self.record.zone.clone(),
            capacity,
            filled: used.saturating_add(self.pending_bytes),
            load: open_writes.saturating_add(self.pending_writes),
        }
    }

    fn view(&self, node: NodeId, state: NodeState) -> NodeView {
        NodeView { node, record: self.record.clone(), state, report: Arc::clone(&self.report) }
    }
}

/// The nodes that this master knows.
#[derive(Debug)]
pub(crate) struct Registry {
    members: Mutex<BTreeMap<NodeId, Member>>,
    changes: broadcast::Sender<Vec<NodeView>>,
    clock: Clock,
    bounds: LivenessBounds,
}

impl Registry {
    pub(crate) fn new(clock: Clock, bounds: LivenessBounds) -> Self {
        Self {
            members: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            clock,
            bounds,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self, member: &Member) -> NodeState {
        let membership = member.record.membership;
        member.liveness.state_of(membership, self.clock.monotonic(), &self.bounds)
    }

    /// Tells watchers; nobody may be watching.
    fn announce(&self, changed: Vec<NodeView>) {
        for node in &changed {
            let (id, state) = (node.node, node.state);
            tracing::info!(target: "cairn", node = %id, ?state, "node changed");
        }
        if !changed.is_empty() {
            let _watchers = self.changes.send(changed);
        }
    }

    /// Takes nodes from the catalog: nobody of them was heard yet.
    pub(crate) fn load(&self, nodes: impl IntoIterator<Item = (NodeId, NodeRecord)>) {
        let mut members = self.lock();
        for (node, record) in nodes {
            if record.membership == Membership::Removed {
                continue;
            }
            let joining = || Member::joining(record, &self.clock);
            members.entry(node).or_insert_with(joining);
        }
    }

    /// A node has made itself known, which is as good as a heartbeat. Other disks or another address make it a new one.
    pub(crate) fn register(&self, node: NodeId, record: NodeRecord, report: Report) {
        let mut members = self.lock();
        let known = members.get(&node).is_some_and(|m| m.record == record);
        if !known {
            members.insert(node, Member::joining(record, &self.clock));
        }
        if let Some(member) = members.get_mut(&node) {
            member.liveness.heard(self.clock.monotonic());
            member.reports(report);
            let state = self.state(member);
            if !known || member.announced != state {
                member.announced = state;
                self.announce(vec![member.view(node, state)]);
            }
        }
    }

    /// A node lives, with the disks that it is registered with.
    pub(crate) fn heartbeat(&self, node: NodeId, report: Report) -> Result<(), NodeUnknown> {
        let disks = report.incarnations();
        let mut members = self.lock();
        let member = members.get_mut(&node).filter(|m| m.record.disks == disks);
        let member = member.ok_or(NodeUnknown(node))?;
        member.liveness.heard(self.clock.monotonic());
        member.reports(report);
        let state = self.state(member);
        if member.announced != state {
            member.announced = state;
            self.announce(vec![member.view(node, state)]);
        }
        Ok(())
    }

    /// Whether a node belongs to the cluster from now on. One that was removed is told to watchers, and forgotten.
    pub(crate) fn belongs(&self, node: NodeId, membership: Membership) {
        let mut members = self.lock();
        let Some(member) = members.get_mut(&node) else { return };
        member.record.membership = membership;
        let state = self.state(member);
        if member.announced != state {
            member.announced = state;
            self.announce(vec![member.view(node, state)]);
        }
        if membership == Membership::Removed {
            members.remove(&node);
        }
    }

    /// Judges silence, so that watchers hear of nodes that say nothing.
    pub(crate) fn reassess(&self) {
        let mut members = self.lock();
        let mut changed = Vec::new();
        for (&node, member) in members.iter_mut() {
            let state = self.state(member);
            if member.announced != state {
                member.announced = state;
                changed.push(member.view(node, state));
            }
        }
        self.announce(changed);
    }

    /// All nodes, by id.
    pub(crate) fn directory(&self) -> Directory {
        let members = self.lock();
        let view =
            |(&node, member): (&NodeId, &Member)| (node, member.view(node, self.state(member)));
        members.iter().map(view).collect()
    }

    /// Nodes that are Down, and have been for less than `bound`.
    pub(crate) fn away_for_less_than(&self, bound: Duration) -> BTreeSet<NodeId> {
        let bound = self.bounds.down_after.saturating_add(bound);
        let now = self.clock.monotonic();
        let members = self.lock();
        let away = |member: &Member| {
            self.state(member) == NodeState::Down && member.liveness.silence(now) < bound
        };
        members.iter().filter(|(_, member)| away(member)).map(|(&node, _)| node).collect()
    }

    /// All nodes, and every change from here on.
    pub(crate) fn watch(&self) -> (Directory, broadcast::Receiver<Vec<NodeView>>) {
        let changes = self.changes.subscribe();
        (self.directory(), changes)
    }

    /// Chooses nodes for chunks of `blob`, in all or none, and counts what it gives them until their next
    /// heartbeat or until the placement is dropped without being kept. Each chunk's copies are in `least_zones` zones,
    /// or in all that there are: a zone counts whose nodes are silent or full.
    pub(crate) fn place(
        &self,
        blob: BlobId,
        wants: &[ChunkWant],
        least_zones: u32,
    ) -> Result<Placement<'_>, NotPlaced> {
        let mut members = self.lock();
        let zones: BTreeMap<_, _> =
            members.iter().map(|(&node, member)| (node, member.record.zone.clone())).collect();
        let there = zones.values().collect::<BTreeSet<_>>().len();
        let least_zones = least_zones.min(u32::try_from(there).unwrap_or(u32::MAX));
        let mut candidates: Vec<_> = members
            .iter()
            .filter(|(_, member)| self.state(member).takes_chunks())
            .map(|(&node, member)| member.candidate(node))
            .collect();
        let mut chunks = Vec::with_capacity(wants.len());
        let mut given = Vec::new();
        for want in wants {
            let chosen = place_one(blob, want, &candidates, &zones, least_zones);
            let nodes = chosen.map_err(|too_few| self.unless_unheard(&members, too_few))?;
            for candidate in candidates.iter_mut().filter(|c| nodes.contains(&c.node)) {
                candidate.filled = candidate.filled.saturating_add(want.length);
                candidate.load = candidate.load.saturating_add(1);
            }
            given.extend(nodes.iter().map(|&node| (node, want.length)));
            let place = |node: &NodeId| members.get(node).map(|m| open_place(*node, &m.record));
            chunks.push(ChunkPlacement {
                index: want.index,
                places: nodes.iter().filter_map(place).collect(),
            });
        }
        for (node, bytes) in &given {
            if let Some(member) = members.get_mut(node) {
                member.pending_bytes = member.pending_bytes.saturating_add(*bytes);
                member.pending_writes = member.pending_writes.saturating_add(1);
            }
        }
        Ok(Placement { registry: self, chunks, given, zones: least_zones })
    }

    /// Why nothing was placed: nodes that were not heard since this master began may live.
    fn unless_unheard(&self, members: &BTreeMap<NodeId, Member>, too_few: NotPlaced) -> NotPlaced {
        let unheard = |member: &Member| self.state(member) == NodeState::Joining;
        if members.values().any(unheard) { NotPlaced::NotHeardYet } else { too_few }
    }

    fn take_back(&self, given: &[(NodeId, u64)]) {
        let mut members = self.lock();
        for (node, bytes) in given {
            if let Some(member) = members.get_mut(node) {
                member.pending_bytes = member.pending_bytes.saturating_sub(*bytes);
                member.pending_writes = member.pending_writes.saturating_sub(1);
            }
        }
    }
}

fn place_one(
    blob: BlobId,
    want: &ChunkWant,
    candidates: &[Candidate],
    zones: &BTreeMap<NodeId, Zone>,
    least_zones: u32,
) -> Result<Vec<NodeId>, NotPlaced> {
    let held: Vec<_> = want.holders.iter().filter_map(|id| zones.get(id)).cloned().collect();
    let excluded: BTreeSet<_> = want.holders.iter().chain(&want.failed).copied().collect();
    let chunk = ChunkId::new(blob, want.index);
    let nodes = place(chunk, want.length, want.copies, candidates, &held, &excluded)?;
    check_zones(want, &nodes, zones, least_zones)?;
    Ok(nodes)
}

fn check_zones(
    want: &ChunkWant,
    chosen: &[NodeId],
    zones: &BTreeMap<NodeId, Zone>,
    wanted: u32,
) -> Result<(), NotPlaced> {
    let holding = want.holders.iter().chain(chosen).filter_map(|node| zones.get(node));
    let found = holding.collect::<BTreeSet<_>>().len();
    let found = u32::try_from(found).unwrap_or(u32::MAX);
    if found < wanted { Err(NotPlaced::Zones { wanted, found }) } else { Ok(()) }
}

/// A place without a grant: the master is in open mode.
fn open_place(node: NodeId, record: &NodeRecord) -> Place {
    Place { node, address: record.address.clone(), grant: bytes::Bytes::new() }
}

/// Nodes that were chosen. Dropped without [`Self::keep`], nothing counts on them any more.
#[derive(Debug)]
pub(crate) struct Placement<'a> {
    registry: &'a Registry,
    chunks: Vec<ChunkPlacement>,
    given: Vec<(NodeId, u64)>,
    zones: u32,
}

impl Placement<'_> {
    /// What the transaction records of it.
    pub(crate) fn placed(&self) -> Placed {
        let nodes = self.given.iter().map(|&(node, _)| node).collect();
        Placed { nodes, zones: self.zones }
    }

    /// The placement was given out.
    pub(crate) fn keep(mut self) -> Vec<ChunkPlacement> {
        self.given.clear();
        std::mem::take(&mut self.chunks)
    }
}

impl Drop for Placement<'_> {
    fn drop(&mut self) {
        if !self.given.is_empty() {
            self.registry.take_back(&self.given);
        }
    }
}

/// How good a copy is to read; lower is better. The order of the fields is the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ReadScore {
    /// A reader found it missing or wrong.
    found_bad: bool,
    state: NodeState,
    /// Spreads readers over what is equal.
    tie: u32,
}

/// The places of a chunk's copies, best first. Copies on another life of a disk are gone; those on nodes
/// that do not serve are left out while there are others.
pub(crate) fn places(
    directory: &Directory,
    chunk: ChunkId,
    entry: &ChunkEntry,
    found_bad: &BTreeSet<NodeId>,
) -> Vec<Place> {
    let mut scored: Vec<_> = entry
        .copies
        .iter()
        .filter(|copy| copy.state == CopyState::Live)
        .filter_map(|copy| {
            let view = directory.get(&copy.node)?;
            let name = [chunk.to_bytes().as_slice(), copy.node.as_bytes()].concat();
            let score = ReadScore {
                found_bad: found_bad.contains(&copy.node),
                state: view.state,
                tie: plain_crc(&name),
            };
            view.record.disks.contains(&copy.disk).then_some((score, view))
        })
        .collect();
    scored.sort_by_key(|&(score, _)| score);
    if scored.iter().any(|(score, _)| score.state.serves_chunks()) {
        scored.retain(|(score, _)| score.state.serves_chunks());
    }
    let place = |(_, view): (ReadScore, &NodeView)| open_place(view.node, &view.record);
    scored.into_iter().map(place).collect()
}
