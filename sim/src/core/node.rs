//! A storage node as a model: names, lengths and hashes of chunks instead of bytes, on disks that lose what was not
//! synced.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::digest::ChunkHash;
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation, NodeId};
use cairn_proto::v1::chunks_server::{Chunks, ChunksServer};
use cairn_proto::{convert, v1};
use cairn_runtime::{Clock, Dial, Entropy, InvalidAddress, PeerChannel};
use futures_util::Stream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tower::ServiceExt;
use tower::util::{BoxCloneSyncService, service_fn};

use super::tasks::turns;
use crate::EventLog;

/// Chunks of a page of an inventory, and of one step of erasing: few, so that there are several.
const PAGE: usize = 3;
/// Commands that are kept to arrive once more.
const COMMANDS_KEPT: usize = 64;
/// Disks of a node.
const DISKS: usize = 2;

/// A chunk on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) length: u64,
    pub(super) hash: ChunkHash,
    disk: DiskIncarnation,
    durable: bool,
}

/// What a node holds, and how it is.
#[derive(Debug)]
struct State {
    disks: [DiskIncarnation; DISKS],
    chunks: BTreeMap<ChunkId, Stored>,
    on: bool,
    /// Nobody reaches it.
    cut_off: bool,
    /// Starts so far.
    life: u64,
    /// What it was told to erase, and did.
    erased: BTreeSet<ChunkId>,
    commands: Vec<v1::DeleteChunksRequest>,
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
            chunks: BTreeMap::new(),
            on: true,
            cut_off: false,
            life: 0,
            erased: BTreeSet::new(),
            commands: Vec::new(),
        };
        Self {
            id,
            zone: format!("zone-{number}"),
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

    /// What it says of its disks.
    pub(super) fn disks(&self) -> Vec<v1::DiskStatus> {
        let disk = |disk: &DiskIncarnation| v1::DiskStatus {
            disk: convert::bytes(disk.as_bytes()),
            ..Default::default()
        };
        self.lock().disks.iter().map(disk).collect()
    }

    /// Loses power, and of what is not synced whatever chance wants.
    pub(super) fn lose_power(&self) {
        let mut state = self.lock();
        state.on = false;
        state.life += 1;
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
        state.life += 1;
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
        let life = {
            let mut state = self.lock();
            let drawn = state.disks[self.draw_disk()];
            // What is there stays where it is.
            let disk = state.chunks.get(&chunk).map_or(drawn, |there| there.disk);
            state.chunks.insert(chunk, Stored { length, hash, disk, durable: false });
            state.life
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

    /// A command from long ago arrives once more; false when there was none.
    pub(super) fn repeat_a_command(&self) -> bool {
        let command = {
            let state = self.lock();
            let at = usize::try_from(self.chance.below(state.commands.len() as u64)).unwrap_or(0);
            state.commands.get(at).cloned()
        };
        let Some(command) = command.filter(|_| self.answers()) else { return false };
        self.obey(&command).is_ok()
    }

    fn obey(&self, command: &v1::DeleteChunksRequest) -> Result<v1::DeleteChunksResponse, Status> {
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
        let mut deleted = 0;
        for chunk in doomed {
            if state.chunks.remove(&chunk).is_some() {
                state.erased.insert(chunk);
                deleted += 1;
            }
        }
        Ok(v1::DeleteChunksResponse { deleted, more })
    }

    /// Waits as a call on its way does; not every call arrives.
    async fn arrives(&self) -> Result<(), Status> {
        turns(self.chance.below(3)).await;
        if self.answers() { Ok(()) } else { Err(Status::unavailable("the node is away")) }
    }

    /// The way back: not every answer arrives.
    async fn answered(&self) -> Result<(), Status> {
        turns(self.chance.below(3)).await;
        if !self.calm.load(Ordering::Relaxed) && self.chance.below(24) == 0 {
            self.log.fault("node's answer lost", &self.address);
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Chunks for Node {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<v1::ReadChunkResponse, Status>> + Send>>;

    async fn write(
        &self,
        _: Request<Streaming<v1::WriteChunkRequest>>,
    ) -> Result<Response<v1::WriteChunkResponse>, Status> {
        Err(Status::unimplemented("gateways of the core tier write in process"))
    }

    async fn read(
        &self,
        _: Request<v1::ReadChunkRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented("gateways of the core tier read in process"))
    }

    async fn stat(
        &self,
        _: Request<v1::StatChunkRequest>,
    ) -> Result<Response<v1::StatChunkResponse>, Status> {
        Err(Status::unimplemented("the master does not ask"))
    }

    async fn flush(
        &self,
        _: Request<v1::FlushRequest>,
    ) -> Result<Response<v1::FlushResponse>, Status> {
        Err(Status::unimplemented("the master does not ask"))
    }

    async fn copy(
        &self,
        _: Request<v1::CopyChunkRequest>,
    ) -> Result<Response<v1::CopyChunkResponse>, Status> {
        Err(Status::unimplemented("the master does not ask"))
    }

    async fn list(
        &self,
        request: Request<v1::ListStoredChunksRequest>,
    ) -> Result<Response<v1::ListStoredChunksResponse>, Status> {
        self.arrives().await?;
        let after = request.into_inner().after.map(ChunkId::try_from).transpose();
        let after = after.map_err(|field| Status::invalid_argument(field.to_string()))?;
        let held = self.lock().chunks.clone();
        let mut rest =
            held.into_iter().filter(|(chunk, _)| after.is_none_or(|after| *chunk > after));
        let stored = |(chunk, stored): (ChunkId, Stored)| v1::StoredChunk {
            chunk: Some(chunk.into()),
            length: stored.length,
            disk: convert::bytes(stored.disk.as_bytes()),
        };
        let chunks: Vec<_> = rest.by_ref().take(PAGE).map(stored).collect();
        let more = rest.next().is_some();
        self.answered().await?;
        Ok(Response::new(v1::ListStoredChunksResponse { chunks, more }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteChunksRequest>,
    ) -> Result<Response<v1::DeleteChunksResponse>, Status> {
        self.arrives().await?;
        let command = request.into_inner();
        let answer = self.obey(&command)?;
        {
            let mut state = self.lock();
            if state.commands.len() < COMMANDS_KEPT {
                state.commands.push(command);
            }
        }
        self.answered().await?;
        Ok(Response::new(answer))
    }
}

/// Reaches nodes in process, on the task that calls: who calls is the one that is dropped when it dies.
#[derive(Debug, Clone)]
pub(super) struct NodeDial(pub(super) Arc<Vec<Node>>);

impl Dial for NodeDial {
    fn dial(&self, address: &str) -> Result<PeerChannel, InvalidAddress> {
        let node = self.0.iter().find(|node| node.address == address);
        let node = node.ok_or_else(|| InvalidAddress { address: address.to_owned() })?;
        let routes = Routes::new(ChunksServer::new(node.clone())).into_axum_router();
        Ok(BoxCloneSyncService::new(service_fn(
            move |request: http::Request<tonic::body::Body>| {
                let answer = routes.clone().oneshot(request.map(axum::body::Body::new));
                async move {
                    let Ok(response) = answer.await;
                    Ok(response.map(tonic::body::Body::new))
                }
            },
        )))
    }

    /// Nobody in this tier moves bytes of chunks.
    fn dial_http1(&self, address: &str) -> Result<PeerChannel, InvalidAddress> {
        self.dial(address)
    }
}
