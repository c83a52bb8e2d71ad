//! The registry: nodes in memory.
//!
//! ```text
//! RegisterNode, Heartbeat ─►┐                       ┌─► place   (Begin, Allocate)
//! gateways' calls ─────────►├─► one short mutex ────┼─► places  (Locate)
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
use cairn_core::doubt::{Doubt, FlapBounds, Heard, Lasting, Least, Reach, Steadiness, doubted};
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation, GatewayId, NodeId};
use cairn_core::lifecycle::CopyState;
use cairn_core::liveness::{Liveness, LivenessBounds, Membership, NodeState};
use cairn_core::names::Zone;
use cairn_core::placement::{Candidate, place};
use cairn_proto::convert::NodeCalls;
use cairn_runtime::Clock;
use tokio::sync::broadcast;

use crate::catalog::{ChunkEntry, NodeRecord};
use crate::config::Config;
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
    /// Why it is Suspect, when it is heard.
    pub(crate) doubt: Option<Doubt>,
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
    /// Copies with which it may do when nodes are short.
    pub(crate) least: u32,
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
    steadiness: Steadiness,
    lasting: Lasting,
    doubt: Option<Doubt>,
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
            steadiness: Steadiness::default(),
            lasting: Lasting::default(),
            doubt: None,
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
        let (record, report) = (self.record.clone(), Arc::clone(&self.report));
        let doubt = self.doubt.filter(|_| state == NodeState::Suspect);
        NodeView { node, record, state, doubt, report }
    }
}

/// The nodes that this master knows.
#[derive(Debug)]
pub(crate) struct Registry {
    members: Mutex<BTreeMap<NodeId, Member>>,
    /// What gateways said lately. Taken under the members, never the other way round.
    reach: Mutex<Reach>,
    changes: broadcast::Sender<Vec<NodeView>>,
    clock: Clock,
    bounds: LivenessBounds,
    flaps: FlapBounds,
    /// What must be left that nobody doubts.
    least: Least,
}

impl Registry {
    pub(crate) fn new(clock: Clock, config: &Config) -> Self {
        let copies = usize::try_from(config.copies).unwrap_or(usize::MAX);
        Self {
            members: Mutex::default(),
            reach: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            clock,
            bounds: config.liveness,
            flaps: config.flaps,
            least: Least { nodes: copies, zones: copies },
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self, member: &Member) -> NodeState {
        let (membership, now) = (member.record.membership, self.clock.monotonic());
        match member.liveness.state_of(membership, now, &self.bounds) {
            NodeState::Up if member.doubt.is_some() => NodeState::Suspect,
            state => state,
        }
    }

    /// A member is heard; tells whether it was away before.
    fn hear(&self, member: &mut Member) -> bool {
        let now = self.clock.monotonic();
        let state = member.liveness.state(now, &self.bounds);
        if member.liveness.silence(now) > self.flaps.most_hold.saturating_add(self.flaps.hold) {
            // It was away, which is no doubt: what there was before has nothing to do with this return.
            member.lasting = Lasting::default();
        }
        member.liveness.heard(now);
        let was_away = matches!(state, NodeState::Suspect | NodeState::Down);
        if was_away {
            member.steadiness.returned(now, &self.flaps);
            member.lasting.told(now);
        }
        self.look_at(member);
        was_away
    }

    /// Notes whether a member is trusted now. Who was in trouble for long is when it was for as long as a first hold lasts.
    fn look_at(&self, member: &mut Member) {
        let state = self.state(member);
        let trusted = matches!(state, NodeState::Up | NodeState::Draining);
        member.lasting.looked_at(self.clock.monotonic(), trusted, self.flaps.hold);
    }

    /// Judges whom to doubt of those that are heard.
    fn judge(&self, members: &mut BTreeMap<NodeId, Member>) {
        let now = self.clock.monotonic();
        // One that is drained takes nothing anyway, and is no reason to trust another.
        let is_heard = |member: &Member| {
            let membership = member.record.membership;
            member.liveness.state_of(membership, now, &self.bounds) == NodeState::Up
        };
        let up = members.iter().filter(|(_, member)| is_heard(member)).map(|(&node, _)| node);
        let up: BTreeSet<_> = up.collect();
        let unreached = self.reach().unreached(now, &up);
        let mut heard = Vec::with_capacity(up.len());
        for (&node, member) in members.iter_mut().filter(|(node, _)| up.contains(node)) {
            let unreached = unreached.get(&node).copied();
            if member.doubt == Some(Doubt::Unreached) && unreached.is_none() {
                // As good as a return from silence: it may not be reached again as soon as it is called.
                member.steadiness.returned(now, &self.flaps);
            }
            let unsteady = member.steadiness.is_unsteady(now, &self.flaps);
            heard.push(Heard { node, zone: member.record.zone.clone(), unreached, unsteady });
        }
        let doubted = doubted(&heard, self.least);
        for (node, member) in members.iter_mut() {
            member.doubt = doubted.get(node).copied();
            if member.doubt == Some(Doubt::Unreached) {
                member.lasting.told(now);
            }
            self.look_at(member);
        }
    }

    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A gateway tells how its calls went.
    pub(crate) fn told(&self, gateway: GatewayId, calls: &[NodeCalls]) {
        let now = self.clock.monotonic();
        let members = self.lock();
        let mut reach = self.reach();
        for NodeCalls { node, calls } in calls {
            if members.contains_key(node) {
                reach.tell(now, gateway, *node, *calls);
            }
        }
        drop(reach);
        drop(members);
        self.reassess();
    }

    /// What watchers are to hear of a member, when it is something new.
    fn change(&self, node: NodeId, member: &mut Member) -> Option<NodeView> {
        let state = self.state(member);
        let is_new = std::mem::replace(&mut member.announced, state) != state;
        is_new.then(|| member.view(node, state))
    }

    /// Tells watchers; nobody may be watching.
    fn announce(&self, changed: Vec<NodeView>) {
        for node in &changed {
            let (id, state, doubt) = (node.node, node.state, node.doubt);
            tracing::info!(target: "cairn", node = %id, ?state, ?doubt, "node changed");
        }
        if !changed.is_empty() {
            let _watchers = self.changes.send(changed);
        }
    }

    /// Takes nodes from the catalog. Those that are not known were not heard yet; of the others, another master may have written
    /// whether they belong.
    pub(crate) fn load(&self, nodes: impl IntoIterator<Item = (NodeId, NodeRecord)>) {
        for (node, record) in nodes {
            let membership = record.membership;
            if membership != Membership::Removed {
                let joining = || Member::joining(record, &self.clock);
                self.lock().entry(node).or_insert_with(joining);
            }
            self.belongs(node, membership);
        }
    }

    /// A node has made itself known, which is as good as a heartbeat. Other disks or another address make it a new one.
    pub(crate) fn register(&self, node: NodeId, record: NodeRecord, report: Report) {
        let mut members = self.lock();
        let was_away = members.get_mut(&node).is_some_and(|member| self.hear(member));
        let known = members.get(&node).is_some_and(|m| m.record == record);
        if !known {
            let before = members.remove(&node).map(|before| (before.steadiness, before.lasting));
            let (steadiness, lasting) = before.unwrap_or_default();
            let member = Member { steadiness, lasting, ..Member::joining(record, &self.clock) };
            members.entry(node).or_insert(member).liveness.heard(self.clock.monotonic());
        }
        if was_away {
            self.judge(&mut members);
        }
        if let Some(member) = members.get_mut(&node) {
            member.reports(report);
            let changed = self.change(node, member);
            let again = || member.view(node, member.announced);
            self.announce(if known { changed.into_iter().collect() } else { vec![again()] });
        }
    }

    /// A node lives, with the disks that it is registered with.
    pub(crate) fn heartbeat(&self, node: NodeId, report: Report) -> Result<(), NodeUnknown> {
        let disks = report.incarnations();
        let mut members = self.lock();
        let member = members.get_mut(&node).filter(|m| m.record.disks == disks);
        let member = member.ok_or(NodeUnknown(node))?;
        member.reports(report);
        if self.hear(member) || member.doubt.is_some() {
            self.judge(&mut members);
        }
        let changed = members.get_mut(&node).and_then(|member| self.change(node, member));
        self.announce(changed.into_iter().collect());
        Ok(())
    }

    /// Whether a node belongs to the cluster from now on. One that was removed is told to watchers, and forgotten.
    pub(crate) fn belongs(&self, node: NodeId, membership: Membership) {
        let mut members = self.lock();
        let known = members.get_mut(&node).filter(|m| m.record.membership != membership);
        let Some(member) = known else { return };
        member.record.membership = membership;
        self.announce(self.change(node, member).into_iter().collect());
        if membership == Membership::Removed {
            members.remove(&node);
        }
    }

    /// Judges silence and doubts, so that watchers hear of nodes that say nothing.
    pub(crate) fn reassess(&self) {
        let mut members = self.lock();
        self.judge(&mut members);
        let changed = members.iter_mut().filter_map(|(&node, member)| self.change(node, member));
        self.announce(changed.collect());
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

    /// Nodes that there was something against for longer than `bound`, again and again, and that were not trusted for a while since.
    pub(crate) fn troubled_for_longer_than(&self, bound: Duration) -> BTreeSet<NodeId> {
        let members = self.lock();
        let troubled = |member: &Member| member.lasting.is_longer_than(bound);
        members.iter().filter(|(_, member)| troubled(member)).map(|(&node, _)| node).collect()
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
        self.place_at_least(blob, wants, usize::MAX, least_zones)
    }

    /// As [`Self::place`]. Where there are too few nodes for all copies of a chunk, `least` of them do, once all nodes were
    /// heard.
    pub(crate) fn place_at_least(
        &self,
        blob: BlobId,
        wants: &[ChunkWant],
        least: usize,
        least_zones: u32,
    ) -> Result<Placement<'_>, NotPlaced> {
        let mut members = self.lock();
        let unheard = members.values().any(|member| self.state(member) == NodeState::Joining);
        let least = if unheard { usize::MAX } else { least };
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
            let chosen = place_one(blob, want, &candidates, least, (&zones, least_zones));
            // Nodes that were not heard since this master began may live.
            let nodes = chosen.map_err(|few| if unheard { NotPlaced::NotHeardYet } else { few })?;
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
    least: usize,
    (zones, least_zones): (&BTreeMap<NodeId, Zone>, u32),
) -> Result<Vec<NodeId>, NotPlaced> {
    let held: Vec<_> = want.holders.iter().filter_map(|id| zones.get(id)).cloned().collect();
    let excluded: BTreeSet<_> = want.holders.iter().chain(&want.failed).copied().collect();
    let chunk = ChunkId::new(blob, want.index);
    let choose = |copies| place(chunk, want.length, copies, candidates, &held, &excluded);
    let nodes = match choose(want.copies) {
        Err(few) if few.found >= least.max(1) => choose(few.found)?,
        chosen => chosen?,
    };
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
    let copies = u32::try_from(want.holders.len() + chosen.len()).unwrap_or(u32::MAX);
    // Fewer copies than zones are in as many zones.
    let wanted = wanted.min(copies);
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

    /// The places of the copies.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.chunks.iter().flat_map(|placed| &placed.places)
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
