//! A storage node as a model: names, lengths and hashes of chunks instead of bytes, on disks that lose what was not
//! synced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::copies::NodeMoment;
use cairn_core::digest::ChunkHash;
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation, NodeId};
use cairn_proto::{convert, v1};
use cairn_runtime::{Clock, Entropy};
use tonic::Status;
use uuid::Uuid;

use super::calls::Order;
use super::tasks::turns;
use crate::EventLog;

/// Chunks of a page of an inventory, and of one step of erasing: few, so that there are several.
pub(super) const PAGE: usize = 3;
/// Orders that are kept to arrive once more.
const ORDERS_KEPT: usize = 64;
/// Zones that the nodes are in.
const ZONES: u32 = 3;
/// Disks of a node.
const DISKS: usize = 2;

/// A chunk on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) length: u64,
    pub(super) hash: ChunkHash,
    pub(super) disk: DiskIncarnation,
    durable: bool,
    /// Its bytes are not what was written: whoever reads it finds out.
    damaged: bool,
}

impl Stored {
    /// Whether it has so many bytes with that hash.
    pub(super) fn proves(&self, length: u64, hash: ChunkHash) -> bool {
        !self.damaged && (self.length, self.hash) == (length, hash)
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged
    }
}

/// What a node holds, and how it is.
#[derive(Debug)]
struct State {
    disks: [DiskIncarnation; DISKS],
    /// Those that the master knows, as far as the node was told.
    known: [DiskIncarnation; DISKS],
    chunks: BTreeMap<ChunkId, Stored>,
    on: bool,
    /// Nobody reaches it.
    cut_off: bool,
    /// Starts so far.
    life: u64,
    /// What it was told to erase, and did, and did not get again.
    erased: BTreeSet<ChunkId>,
    /// Writes begun in this life, and the last one of each chunk.
    writes: u64,
    written: BTreeMap<ChunkId, u64>,
    /// Chunks being written, by how many.
    writing: BTreeMap<ChunkId, u32>,
    orders: Vec<Order>,
}

impl State {
    /// Whether a chunk was or is written since a moment of this life, or the moment is of another one.
    fn keeps(&self, chunk: &ChunkId, moment: NodeMoment) -> bool {
        moment.start != Uuid::from_u64_pair(1, self.life)
            || self.writing.contains_key(chunk)
            || self.written.get(chunk).is_some_and(|at| *at > moment.writes)
    }

    /// Memory is lost.
    fn begin_life(&mut self) {
        self.life += 1;
        self.writes = 0;
        self.written.clear();
        self.writing.clear();
    }
}

/// A write that goes on.
struct Writing<'a> {
    node: &'a Node,
    chunk: ChunkId,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut state = self.node.lock();
        let writers = state.writing.get(&self.chunk).map_or(0, |writers| writers.saturating_sub(1));
        match writers {
            0 => state.writing.remove(&self.chunk),
            left => state.writing.insert(self.chunk, left),
        };
    }
}

/// A node. Cheap to clone; clones are the same node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) zone: String,
    pub(super) address: String,
    state: Arc<Mutex<State>>,
    chance: Entropy,
    log: EventLog,
    /// No more faults.
    calm: Arc<AtomicBool>,
}

/// A node did not do what it was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed;

impl Node {
    pub(super) fn new(
        number: u32,
        chance: &Entropy,
        clock: &Clock,
        log: &EventLog,
        calm: &Arc<AtomicBool>,
    ) -> Self {
        let id = NodeId::from_uuid(chance.uuid_v7(clock));
        let disks = [(); DISKS].map(|()| DiskIncarnation::from_uuid(chance.uuid_v7(clock)));
        let state = State {
            disks,
            known: disks,
            chunks: BTreeMap::new(),
            on: true,
            cut_off: false,
            life: 0,
            erased: BTreeSet::new(),
            writes: 0,
            written: BTreeMap::new(),
            writing: BTreeMap::new(),
            orders: Vec::new(),
        };
        Self {
            id,
            // The fourth one is in the zone of the first.
            zone: format!("zone-{}", number % ZONES),
            address: format!("http://node-{number}:1"),
            state: Arc::new(Mutex::new(state)),
            chance: chance.clone(),
            log: log.clone(),
            calm: Arc::clone(calm),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes and serves calls now.
    pub(super) fn answers(&self) -> bool {
        let state = self.lock();
        state.on && !state.cut_off
    }

    pub(super) fn is_on(&self) -> bool {
        self.lock().on
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.lock().cut_off
    }

    pub(super) fn cut_off(&self, cut_off: bool) {
        self.lock().cut_off = cut_off;
    }

    /// Now, as the node counts it.
    pub(super) fn moment(&self) -> NodeMoment {
        let state = self.lock();
        NodeMoment { start: Uuid::from_u64_pair(1, state.life), writes: state.writes }
    }

    /// The disks that it has.
    pub(super) fn disks(&self) -> [DiskIncarnation; DISKS] {
        self.lock().disks
    }

    /// Loses power, and of what is not synced whatever chance wants.
    pub(super) fn lose_power(&self) {
        let mut state = self.lock();
        state.on = false;
        state.begin_life();
        let before = state.chunks.len();
        state.chunks.retain(|_, stored| stored.durable || self.chance.below(2) == 0);
        let lost = before - state.chunks.len();
        state.chunks.values_mut().for_each(|stored| stored.durable = true);
        for _ in 0..lost {
            self.log.fault("unsynced chunk lost", &self.address);
        }
    }

    /// Holds a chunk that is not synced yet.
    pub(super) fn is_writing(&self) -> bool {
        self.lock().chunks.values().any(|stored| !stored.durable)
    }

    pub(super) fn start(&self) {
        self.lock().on = true;
    }

    /// Comes back with one of its disks empty.
    pub(super) fn replace_disk(&self, empty: DiskIncarnation) {
        let mut state = self.lock();
        let at = self.draw_disk();
        let gone = std::mem::replace(&mut state.disks[at], empty);
        state.chunks.retain(|_, stored| stored.disk != gone);
        state.begin_life();
    }

    /// The master has answered: it knows these disks.
    pub(super) fn is_registered(&self, disks: [DiskIncarnation; DISKS]) {
        self.lock().known = disks;
    }

    /// The master knows the disks that it has.
    pub(super) fn is_known(&self) -> bool {
        let state = self.lock();
        state.known == state.disks
    }

    /// A chunk goes bad on its disk, or out of it: nobody is told.
    pub(super) fn spoil(&self, chunk: ChunkId, loses: bool) {
        let mut state = self.lock();
        if loses {
            state.chunks.remove(&chunk);
        } else if let Some(stored) = state.chunks.get_mut(&chunk) {
            stored.damaged = true;
        }
    }

    /// What the disk has of a chunk.
    pub(super) fn holds(&self, chunk: ChunkId) -> Option<Stored> {
        self.lock().chunks.get(&chunk).copied()
    }

    /// A whole and durable copy is there.
    pub(super) fn has_good(&self, chunk: ChunkId, length: u64) -> bool {
        let good = |stored: Stored| stored.durable && !stored.damaged && stored.length == length;
        self.holds(chunk).is_some_and(good)
    }

    /// Everything that it holds.
    pub(super) fn chunks(&self) -> BTreeMap<ChunkId, Stored> {
        self.lock().chunks.clone()
    }

    fn draw_disk(&self) -> usize {
        usize::try_from(self.chance.below(DISKS as u64)).unwrap_or(0)
    }

    /// Writes a chunk and syncs it. A receipt is the disk's; without one the chunk may be there all the same.
    pub(super) async fn write(
        &self,
        chunk: ChunkId,
        length: u64,
        hash: ChunkHash,
    ) -> Result<DiskIncarnation, Failed> {
        turns(self.chance.below(4)).await;
        if !self.answers() {
            return Err(Failed);
        }
        let (life, _writing) = {
            let mut state = self.lock();
            self.begin(&mut state, chunk, length, hash);
            *state.writing.entry(chunk).or_default() += 1;
            (state.life, Writing { node: self, chunk })
        };
        turns(self.chance.below(4)).await;
        let disk = {
            let mut state = self.lock();
            if state.life != life {
                return Err(Failed);
            }
            let Some(stored) = state.chunks.get_mut(&chunk) else { return Err(Failed) };
            stored.durable = true;
            stored.disk
        };
        turns(self.chance.below(4)).await;
        if self.answers() { Ok(disk) } else { Err(Failed) }
    }

    /// Begins to write. What is there and whole stays as it is; what is damaged is written anew.
    fn begin(&self, state: &mut State, chunk: ChunkId, length: u64, hash: ChunkHash) {
        state.writes += 1;
        state.written.insert(chunk, state.writes);
        state.erased.remove(&chunk);
        let disk = state.disks[self.draw_disk()];
        let new = Stored { length, hash, disk, durable: false, damaged: false };
        let there = state.chunks.entry(chunk).or_insert(new);
        if !there.proves(length, hash) {
            *there = Stored { disk: there.disk, ..new };
        }
    }

    /// Writes a chunk and syncs it, at once.
    pub(super) fn put(&self, chunk: ChunkId, length: u64, hash: ChunkHash) {
        let mut state = self.lock();
        self.begin(&mut state, chunk, length, hash);
        if let Some(stored) = state.chunks.get_mut(&chunk) {
            stored.durable = true;
        }
    }

    /// Reads a chunk; nothing when the node does not have it.
    pub(super) async fn read(&self, chunk: ChunkId) -> Result<Option<Stored>, Failed> {
        turns(self.chance.below(3)).await;
        if !self.answers() {
            return Err(Failed);
        }
        Ok(self.lock().chunks.get(&chunk).copied())
    }

    /// Whether it was told to erase the chunk.
    pub(super) fn has_erased(&self, chunk: ChunkId) -> bool {
        self.lock().erased.contains(&chunk)
    }

    pub(super) fn inventory(&self) -> BTreeMap<ChunkId, u64> {
        self.lock().chunks.iter().map(|(chunk, stored)| (*chunk, stored.length)).collect()
    }

    /// Keeps an order, to arrive once more.
    pub(super) fn keep(&self, order: Order) {
        let mut state = self.lock();
        if state.orders.len() < ORDERS_KEPT {
            state.orders.push(order);
        }
    }

    /// An order from long ago: one that deletes a chunk that is there again, if there is one.
    pub(super) fn some_order(&self) -> Option<Order> {
        let state = self.lock();
        let strikes = |order: &&Order| order.deletes(|chunk| state.chunks.contains_key(&chunk));
        let mut orders: Vec<_> = state.orders.iter().filter(strikes).collect();
        if orders.is_empty() {
            orders = state.orders.iter().collect();
        }
        let at = usize::try_from(self.chance.below(orders.len() as u64)).unwrap_or(0);
        orders.get(at).map(|order| (*order).clone())
    }

    /// It is there, and holds a chunk again that it was told to delete.
    pub(super) fn is_threatened(&self) -> bool {
        let state = self.lock();
        let holds = |chunk: ChunkId| state.chunks.contains_key(&chunk);
        state.on && !state.cut_off && state.orders.iter().any(|order| order.deletes(holds))
    }

    /// Deletes what a command says.
    pub(super) fn obey(
        &self,
        command: &v1::DeleteChunksRequest,
    ) -> Result<v1::DeleteChunksResponse, Status> {
        let wrong = |problem: &dyn ToString| Status::invalid_argument(problem.to_string());
        let mut state = self.lock();
        let mut doomed: Vec<ChunkId> = if command.blob_id.is_empty() {
            let chunks = command.chunks.iter().cloned().map(|chunk| convert::chunk_id(Some(chunk)));
            chunks.collect::<Result<_, _>>().map_err(|field| wrong(&field))?
        } else {
            let blob: BlobId = convert::blob_id(&command.blob_id).map_err(|field| wrong(&field))?;
            state.chunks.keys().filter(|chunk| chunk.blob == blob).copied().take(PAGE + 1).collect()
        };
        let more = !command.blob_id.is_empty() && doomed.len() > PAGE;
        doomed.truncate(if more { PAGE } else { usize::MAX });
        let not_after = command.not_after.clone().map(NodeMoment::try_from).transpose();
        let not_after = not_after.map_err(|field| wrong(&field))?;
        let kept: BTreeSet<_> = doomed
            .iter()
            .filter(|chunk| not_after.is_some_and(|moment| state.keeps(chunk, moment)))
            .copied()
            .collect();
        let mut deleted = 0;
        for chunk in doomed.into_iter().filter(|chunk| !kept.contains(chunk)) {
            if state.chunks.remove(&chunk).is_some() {
                state.erased.insert(chunk);
                deleted += 1;
            }
        }
        let kept = kept.into_iter().map(Into::into).collect();
        Ok(v1::DeleteChunksResponse { deleted, more, kept })
    }

    /// Waits as a call on its way does; not every call arrives.
    pub(super) async fn arrives(&self) -> Result<(), Status> {
        turns(self.chance.below(3)).await;
        if self.answers() { Ok(()) } else { Err(Status::unavailable("the node is away")) }
    }

    /// The way back: not every answer arrives.
    pub(super) async fn answered(&self) -> Result<(), Status> {
        turns(self.chance.below(3)).await;
        if !self.calm.load(Ordering::Relaxed) && self.chance.below(24) == 0 {
            self.log.fault("node's answer lost", &self.address);
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(())
    }
}
