//! The calls of a node, as the master reaches it: orders arrive or not, answers are lost, and orders arrive once more later.

use std::pin::Pin;
use std::sync::Arc;

use cairn_core::copies::Place;
use cairn_core::digest::ChunkHash;
use cairn_core::ids::ChunkId;
use cairn_proto::error::refuse;
use cairn_proto::v1::chunks_server::{Chunks, ChunksServer};
use cairn_proto::{InvalidField, Reason, convert, v1};
use cairn_runtime::{Dial, InvalidAddress, PeerChannel};
use futures_util::Stream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tower::ServiceExt;
use tower::util::{BoxCloneSyncService, service_fn};

use super::node::{Failed, Node, PAGE, Stored};

/// What a node was told to do, and may be told once more.
#[derive(Debug, Clone)]
pub(super) enum Order {
    Delete(v1::DeleteChunksRequest),
    Copy(v1::CopyChunkRequest),
}

impl Order {
    /// Whether it names a chunk to delete of which `is` is true. What erases whole blobs names none.
    pub(super) fn deletes(&self, is: impl Fn(ChunkId) -> bool) -> bool {
        let Self::Delete(command) = self else { return false };
        let named = |chunk: &v1::ChunkId| convert::chunk_id(Some(chunk.clone())).is_ok_and(&is);
        command.chunks.iter().any(named)
    }
}

/// A chunk to be fetched, as it must be.
struct Wanted {
    chunk: ChunkId,
    source: Place,
    length: u64,
    hash: ChunkHash,
}

impl TryFrom<v1::CopyChunkRequest> for Wanted {
    type Error = InvalidField;

    fn try_from(order: v1::CopyChunkRequest) -> Result<Self, InvalidField> {
        Ok(Self {
            chunk: convert::chunk_id(order.chunk)?,
            source: convert::required("source", order.source)?.try_into()?,
            length: order.length,
            hash: convert::chunk_hash(&order.hash)?,
        })
    }
}

fn wrong(problem: &dyn ToString) -> Status {
    Status::invalid_argument(problem.to_string())
}

fn away(_: Failed) -> Status {
    Status::unavailable("the node is away")
}

/// A node among all nodes, which fetch chunks from each other.
#[derive(Debug, Clone)]
struct Reached {
    node: Node,
    all: Arc<Vec<Node>>,
}

/// An order from long ago arrives once more, where it does most harm, else at `node`: what kind of fault that is, if there was one and the node is there.
pub(super) fn repeat_an_order(node: &Node, all: &[Node]) -> Option<&'static str> {
    let node = all.iter().find(|node| node.is_threatened()).unwrap_or(node);
    let order = node.some_order().filter(|_| node.answers())?;
    match order {
        Order::Delete(command) => {
            node.obey(&command).ok()?;
            Some("erase command repeated")
        }
        Order::Copy(order) => {
            let Wanted { chunk, source, length, hash } = Wanted::try_from(order).ok()?;
            let source = all.iter().find(|node| node.id == source.node)?;
            let held = source.holds(chunk).filter(|_| source.answers())?;
            held.proves(length, hash).then(|| node.put(chunk, length, hash))?;
            Some("copy command repeated")
        }
    }
}

#[tonic::async_trait]
impl Chunks for Reached {
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
        request: Request<v1::StatChunkRequest>,
    ) -> Result<Response<v1::StatChunkResponse>, Status> {
        self.node.arrives().await?;
        let chunk = convert::chunk_id(request.into_inner().chunk).map_err(|field| wrong(&field))?;
        let held = self.node.read(chunk).await.map_err(away)?;
        let held = held.ok_or_else(|| refuse(Reason::ChunkNotFound, false, "it is not here"))?;
        if held.is_damaged() {
            return Err(refuse(Reason::ChunkCorrupt, false, "it is damaged"));
        }
        self.node.answered().await?;
        let hash = bytes::Bytes::copy_from_slice(&held.hash.0);
        let disk = convert::bytes(held.disk.as_bytes());
        Ok(Response::new(v1::StatChunkResponse { length: held.length, hash, disk }))
    }

    async fn flush(
        &self,
        _: Request<v1::FlushRequest>,
    ) -> Result<Response<v1::FlushResponse>, Status> {
        Err(Status::unimplemented("the master does not ask"))
    }

    async fn copy(
        &self,
        request: Request<v1::CopyChunkRequest>,
    ) -> Result<Response<v1::CopyChunkResponse>, Status> {
        let Self { node, all } = self;
        node.arrives().await?;
        let order = request.into_inner();
        node.keep(Order::Copy(order.clone()));
        let wanted = Wanted::try_from(order).map_err(|field| wrong(&field))?;
        let Wanted { chunk, source, length, hash } = wanted;
        let source = all.iter().find(|node| node.address == source.address);
        let source = source.ok_or_else(|| wrong(&"source: nobody is there"))?;
        let held = source.read(chunk).await.map_err(away)?;
        let held = held.ok_or_else(|| Status::not_found("the source does not have it"))?;
        if !held.proves(length, hash) {
            return Err(Status::data_loss("the source does not hold it as it should be"));
        }
        let disk = node.write(chunk, length, hash).await.map_err(away)?;
        node.answered().await?;
        let (node_id, disk) = (convert::bytes(node.id.as_bytes()), convert::bytes(disk.as_bytes()));
        Ok(Response::new(v1::CopyChunkResponse { node_id, disk }))
    }

    async fn list(
        &self,
        request: Request<v1::ListStoredChunksRequest>,
    ) -> Result<Response<v1::ListStoredChunksResponse>, Status> {
        self.node.arrives().await?;
        let after = request.into_inner().after.map(ChunkId::try_from).transpose();
        let after = after.map_err(|field| wrong(&field))?;
        let mut rest = self
            .node
            .chunks()
            .into_iter()
            .filter(|(chunk, _)| after.is_none_or(|after| *chunk > after));
        let stored = |(chunk, stored): (ChunkId, Stored)| v1::StoredChunk {
            chunk: Some(chunk.into()),
            length: stored.length,
            disk: convert::bytes(stored.disk.as_bytes()),
        };
        let chunks: Vec<_> = rest.by_ref().take(PAGE).map(stored).collect();
        let more = rest.next().is_some();
        self.node.answered().await?;
        Ok(Response::new(v1::ListStoredChunksResponse { chunks, more }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteChunksRequest>,
    ) -> Result<Response<v1::DeleteChunksResponse>, Status> {
        self.node.arrives().await?;
        let command = request.into_inner();
        let answer = self.node.obey(&command)?;
        self.node.keep(Order::Delete(command));
        self.node.answered().await?;
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
        let reached = Reached { node: node.clone(), all: Arc::clone(&self.0) };
        let routes = Routes::new(ChunksServer::new(reached)).into_axum_router();
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
