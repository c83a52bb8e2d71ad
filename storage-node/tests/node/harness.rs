//! A node on a disk in memory, its store, and clients that are given the service itself.

use std::sync::Arc;

use cairn_chain::conformance::{blob, content, hash};
use cairn_chain::disk::memory::MemoryDisk;
use cairn_chain::{ChunkStore, FileStore, FileStoreConfig, FileStoreSeams};
use cairn_core::digest::BlockCrcs;
use cairn_core::ids::{ChunkId, NodeId};
use cairn_proto::v1::chunks_client::ChunksClient;
use cairn_proto::v1::chunks_server::ChunksServer;
use cairn_proto::v1::write_chunk_request::Part;
use cairn_proto::v1::{self, ChunkData, WriteChunkRequest, WriteFinish, WriteHeader};
use cairn_proto::{MAX_FRAME_BYTES, convert};
use cairn_runtime::grpc::{GrpcServices, beside_http};
use cairn_runtime::request::Guard;
use cairn_runtime::{Blocking, Clock, Drain, Entropy, LocalDial, NetworkDial, Spawner};
use cairn_storage_node::{ChunksService, Config, NodeIdentity, Seams, StorageNode};
use prometheus_client::registry::Registry;

pub(crate) const MASTER: &str = "http://master:7000";

pub(crate) struct Harness {
    pub(crate) id: NodeId,
    pub(crate) disk: MemoryDisk,
    pub(crate) store: Arc<dyn ChunkStore>,
    pub(crate) node: StorageNode,
    pub(crate) dial: Arc<LocalDial>,
    pub(crate) drain: Drain,
    pub(crate) registry: Registry,
}

impl Harness {
    pub(crate) async fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_peers(|_| {}, change).await
    }

    /// With services that the node can dial from the beginning.
    pub(crate) async fn with_peers(
        add: impl FnOnce(&LocalDial),
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let disk = MemoryDisk::new(1 << 26);
        let seams = FileStoreSeams {
            disk: Arc::new(disk.clone()),
            blocking: Blocking::inline(),
            spawner: Spawner::current(),
            entropy: Entropy::seeded(1),
            clock: Clock::system(),
        };
        let config = FileStoreConfig { capacity: Some(1 << 25), keep_free: 0 };
        let store: Arc<dyn ChunkStore> =
            Arc::new(FileStore::open(config, seams).await.expect("a store"));
        let dial = Arc::new(LocalDial::new(Arc::new(NetworkDial::tcp(1))));
        add(&dial);
        let drain = Drain::default();
        let mut registry = Registry::default();
        let seams = Seams {
            clock: Clock::system(),
            entropy: Entropy::seeded(2),
            spawner: Spawner::current(),
            hashing: Blocking::inline(),
            dialer: dial.clone(),
            drained: drain.watch(),
        };
        let (entropy, clock) = (Entropy::seeded(3), Clock::system());
        let identity =
            NodeIdentity::open(Arc::new(disk.clone()), &Blocking::inline(), &entropy, &clock).await;
        let identity = identity.expect("an identity");
        let id = identity.node();
        let mut config =
            Config::new(identity, "http://node:7100".to_owned(), vec![MASTER.to_owned()]);
        change(&mut config);
        let node =
            StorageNode::build(config, Arc::clone(&store), seams, &mut registry).expect("a node");
        Self { id, disk, store, node, dial, drain, registry }
    }

    pub(crate) fn client(&self) -> ChunksClient<ChunksServer<ChunksService>> {
        ChunksClient::new(self.node.chunks_service())
            .max_decoding_message_size(cairn_proto::MAX_MESSAGE_BYTES)
    }

    /// What the node serves on its port: gRPC and the lane.
    pub(crate) fn routes(&self) -> axum::Router {
        let guard = Guard { service: "node", clock: Clock::system(), entropy: Entropy::seeded(4) };
        let (grpc, _) = GrpcServices::new().with(self.node.chunks_service()).build(guard.clone());
        beside_http(grpc, self.node.lane(guard))
    }

    /// The one chunk's file.
    pub(crate) fn chunk_file(&self) -> String {
        let files = self.disk.files();
        files.into_iter().find(|path| path.starts_with("chunks/")).expect("a chunk")
    }

    pub(crate) fn is_empty(&self) -> bool {
        let usage = self.store.usage();
        (usage.chunks, usage.reserved, usage.open_writes) == (0, 0, 0)
    }
}

pub(crate) fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

pub(crate) fn header(chunk: ChunkId, reserve: u64) -> WriteChunkRequest {
    let header = WriteHeader { chunk: Some(chunk.into()), reserve, grant: bytes::Bytes::new() };
    WriteChunkRequest { part: Some(Part::Header(header)) }
}

pub(crate) fn data(data: bytes::Bytes, block_crcs: Vec<u32>) -> WriteChunkRequest {
    WriteChunkRequest { part: Some(Part::Data(ChunkData { data, block_crcs })) }
}

pub(crate) fn finish(bytes: &[u8], last_block_crc: Option<u32>) -> WriteChunkRequest {
    let finish = WriteFinish {
        length: bytes.len() as u64,
        hash: bytes::Bytes::copy_from_slice(&hash(bytes).0),
        last_block_crc,
    };
    WriteChunkRequest { part: Some(Part::Finish(finish)) }
}

/// The messages that write `length` bytes.
pub(crate) fn writing(chunk: ChunkId, length: usize) -> Vec<WriteChunkRequest> {
    let bytes = content(length, 1);
    let mut messages = vec![header(chunk, length as u64)];
    let mut crcs = BlockCrcs::new(chunk);
    for at in (0..length).step_by(MAX_FRAME_BYTES) {
        let piece = bytes.slice(at..length.min(at + MAX_FRAME_BYTES));
        let mut sealed = Vec::new();
        crcs.update(&piece, |crc| sealed.push(crc));
        messages.push(data(piece, sealed));
    }
    messages.push(finish(&bytes, crcs.finish()));
    messages
}

pub(crate) fn reading(chunk: ChunkId) -> v1::ReadChunkRequest {
    v1::ReadChunkRequest { chunk: Some(chunk.into()), ..Default::default() }
}

pub(crate) fn id_bytes(id: &[u8; 16]) -> bytes::Bytes {
    convert::bytes(id)
}
