//! The storage nodes as the gateway knows them: fed by the master's watch, one channel per address, closed when a node
//! is Down or gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::copies::{CopyReceipt, Place};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::liveness::NodeState;
use cairn_core::range::ByteRange;
use cairn_proto::v1::chunks_client::ChunksClient;
use cairn_proto::v1::{read_chunk_response, write_chunk_request};
use cairn_proto::{MAX_MESSAGE_BYTES, REQUEST_ID, Reason, RemoteError, convert, v1};
use cairn_replicas::{BufferReader, CopyError, CopyRead, Frame, Replica, Replicas, Source};
use cairn_runtime::{Clock, Dialer, Drained, PeerChannel, Phase, RequestId};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt, stream};
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;

use crate::master::{CallContext, Master};

/// Pause before the watch is opened again after it broke.
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// All channels to nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    dialer: Dialer,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    channels: BTreeMap<String, PeerChannel>,
    addresses: BTreeMap<NodeId, String>,
    up: usize,
    states: BTreeMap<NodeId, NodeState>,
}

impl Nodes {
    /// Knows no node yet.
    pub(crate) fn new(dialer: Dialer) -> Self {
        Self { dialer, known: Arc::default() }
    }

    /// Nodes that take chunks, as last heard from the master.
    pub(crate) fn up(&self) -> usize {
        self.lock().up
    }

    /// The nodes, for calls on behalf of `context`.
    pub(crate) fn for_request(&self, context: &CallContext) -> NodesForRequest {
        NodesForRequest { nodes: self.clone(), request_id: context.request_id.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the master's watch until the gateway stops.
    pub(crate) async fn follow(self, master: Master, clock: Clock, mut drained: Drained) {
        loop {
            tokio::select! {
                biased;
                () = drained.reached(Phase::Stopped) => return,
                () = self.follow_once(&master) => {}
            }
            clock.sleep(WATCH_PAUSE).await;
        }
    }

    async fn follow_once(&self, master: &Master) {
        let mut watch = match master.watch_nodes().await {
            Ok(watch) => watch,
            Err(error) => {
                tracing::debug!(%error, "nodes cannot be watched");
                return;
            }
        };
        while let Ok(Some(event)) = watch.message().await {
            for node in event.nodes {
                self.learn(&node);
            }
        }
    }

    fn learn(&self, node: &v1::NodeInfo) {
        let id = convert::node_id(&node.node_id);
        let state = convert::node_state(node.state());
        let (Ok(id), Ok(state)) = (id, state) else {
            tracing::warn!(?node, "the master tells of a node that cannot be read");
            return;
        };
        tracing::debug!(node = %id, ?state, address = node.address, "node");
        let mut known = self.lock();
        let moved = known.addresses.insert(id, node.address.clone());
        if let Some(old) = moved.filter(|old| *old != node.address) {
            known.channels.remove(&old);
        }
        if !state.serves_chunks() {
            known.channels.remove(&node.address);
        }
        known.states.insert(id, state);
        known.up = known.states.values().filter(|state| state.takes_chunks()).count();
    }

    fn channel(&self, address: &str) -> Result<PeerChannel, CopyError> {
        let mut known = self.lock();
        if let Some(channel) = known.channels.get(address) {
            return Ok(channel.clone());
        }
        let unreachable = |error: &dyn ToString| CopyError::Unreachable(error.to_string());
        let channel = self.dialer.dial(address).map_err(|error| unreachable(&error))?;
        known.channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

/// The nodes, called on behalf of one request: its id goes along with each call.
#[derive(Debug, Clone)]
pub(crate) struct NodesForRequest {
    nodes: Nodes,
    request_id: RequestId,
}

impl Replicas for NodesForRequest {
    fn at(&self, place: &Place) -> Result<Arc<dyn Replica>, CopyError> {
        let channel = self.nodes.channel(&place.address)?;
        let client = ChunksClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let request_id = self.request_id.as_str().parse().ok();
        Ok(Arc::new(RemoteReplica { client, place: place.clone(), request_id }))
    }
}

/// A node behind gRPC.
struct RemoteReplica {
    client: ChunksClient<PeerChannel>,
    place: Place,
    request_id: Option<AsciiMetadataValue>,
}

impl RemoteReplica {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(id) = self.request_id.clone() {
            request.metadata_mut().insert(REQUEST_ID, id);
        }
        request
    }
}

impl Replica for RemoteReplica {
    fn write(
        &self,
        chunk: ChunkId,
        reserve: u64,
        source: BufferReader,
    ) -> BoxFuture<'static, Result<CopyReceipt, CopyError>> {
        let mut client = self.client.clone();
        let header =
            v1::WriteHeader { chunk: Some(chunk.into()), reserve, grant: self.place.grant.clone() };
        let node = self.place.node;
        let watched = source.clone();
        let request = self.request(requests(header, source));
        Box::pin(async move {
            let answer = client.write(request).await;
            let receipt = match answer {
                Ok(answer) => answer.into_inner(),
                Err(_) if watched.is_broken() => return Err(CopyError::SourceBroken),
                Err(status) => return Err(copy_error(status.into())),
            };
            let receipt = v1::CopyReceipt { node_id: receipt.node_id, disk: receipt.disk };
            let receipt: CopyReceipt = receipt.try_into().map_err(|e| protocol(&e))?;
            if receipt.node == node {
                Ok(receipt)
            } else {
                Err(CopyError::Protocol(format!("node {} answers for it", receipt.node)))
            }
        })
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'static, Result<CopyRead, CopyError>> {
        let mut client = self.client.clone();
        let request = self.request(v1::ReadChunkRequest {
            chunk: Some(chunk.into()),
            offset: range.offset,
            length: range.length,
            grant: self.place.grant.clone(),
        });
        Box::pin(async move {
            let answer = client.read(request).await.map_err(|status| copy_error(status.into()))?;
            let mut parts = answer.into_inner();
            let first = parts.message().await.map_err(|status| copy_error(status.into()))?;
            let Some(read_chunk_response::Part::Header(header)) = first.and_then(|m| m.part) else {
                return Err(CopyError::Protocol("no header".to_owned()));
            };
            let hash = convert::chunk_hash(&header.hash).map_err(|e| protocol(&e))?;
            let frames = parts.map(frame).boxed();
            Ok(CopyRead { length: header.length, hash, offset: header.offset, frames })
        })
    }
}

/// The messages of a write: header, data, finish. A source that breaks ends them without a finish, so that nothing is
/// stored.
fn requests(
    header: v1::WriteHeader,
    source: BufferReader,
) -> impl Stream<Item = v1::WriteChunkRequest> {
    use write_chunk_request::Part;
    let message = |part| v1::WriteChunkRequest { part: Some(part) };
    let header = stream::iter([message(Part::Header(header))]);
    let rest = stream::unfold(Some(source), move |source| async move {
        let mut source = source?;
        match source.next().await {
            Source::Piece(piece) => {
                let data = v1::ChunkData { data: piece.data, block_crcs: piece.block_crcs };
                Some((message(Part::Data(data)), Some(source)))
            }
            Source::End(end) => {
                let finish = v1::WriteFinish {
                    length: end.length,
                    hash: bytes::Bytes::copy_from_slice(&end.hash.0),
                    last_block_crc: end.last_block_crc,
                };
                Some((message(Part::Finish(finish)), None))
            }
            Source::Broken => None,
        }
    });
    header.chain(rest)
}

fn frame(message: Result<v1::ReadChunkResponse, tonic::Status>) -> Result<Frame, CopyError> {
    match message.map_err(|status| copy_error(status.into()))?.part {
        Some(read_chunk_response::Part::Data(data)) => {
            Ok(Frame { data: data.data, block_crcs: data.block_crcs })
        }
        Some(read_chunk_response::Part::Header(_)) | None => {
            Err(CopyError::Protocol("no data where data must be".to_owned()))
        }
    }
}

fn protocol(error: &cairn_proto::InvalidField) -> CopyError {
    CopyError::Protocol(error.to_string())
}

fn copy_error(error: RemoteError) -> CopyError {
    match error.reason {
        Reason::ChunkNotFound => CopyError::Missing,
        Reason::ChunkCorrupt => CopyError::Corrupt(error.message),
        Reason::ChunkConflict => CopyError::Conflict,
        Reason::ChunkErased => CopyError::Erased,
        Reason::NodeFull => CopyError::Full,
        _ if error.retryable => CopyError::Unreachable(error.message),
        _ => CopyError::Protocol(error.message),
    }
}
