//! The calls of the node, one file each: what is asked, what can be refused, what is done.

mod copy;
mod delete;
mod flush;
mod list;
pub(crate) mod read;
mod stat;
pub(crate) mod write;

use std::sync::Arc;

use cairn_core::copies::CopyReceipt;
use cairn_proto::v1::chunks_server::Chunks;
use cairn_proto::{MAX_FRAME_BYTES, WireError, convert, v1};
use cairn_runtime::RequestId;
use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::node::Node;

// A frame of the store is a frame on the wire.
const _: () = assert!(cairn_chain::FRAME_BYTES == MAX_FRAME_BYTES);

/// The gRPC service `cairn.v1.Chunks`; made by [`crate::StorageNode::chunks_service`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ChunksService {
    node: Arc<Node>,
}

impl ChunksService {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Turns a result into an answer, and counts it when it is a refusal.
    fn answer<T, E: WireError>(
        &self,
        rpc: &'static str,
        result: Result<T, E>,
    ) -> Result<Response<T>, Status> {
        result.map(Response::new).map_err(|error| {
            self.node.metrics.failed(rpc, error.reason());
            tracing::debug!(rpc, %error, "refused");
            error.to_status()
        })
    }
}

#[tonic::async_trait]
impl Chunks for ChunksService {
    async fn write(
        &self,
        request: Request<Streaming<v1::WriteChunkRequest>>,
    ) -> Result<Response<v1::WriteChunkResponse>, Status> {
        let stored = write::write(&self.node, &mut request.into_inner()).await;
        self.answer("write", stored.map(write_response))
    }

    type ReadStream = BoxStream<'static, Result<v1::ReadChunkResponse, Status>>;

    async fn read(
        &self,
        request: Request<v1::ReadChunkRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let opened = match read::Wanted::try_from(request.into_inner()) {
            Ok(wanted) => read::read(&self.node, wanted).await,
            Err(error) => Err(error.into()),
        };
        self.answer("read", opened.map(read::messages))
    }

    async fn stat(
        &self,
        request: Request<v1::StatChunkRequest>,
    ) -> Result<Response<v1::StatChunkResponse>, Status> {
        let known = stat::stat(&self.node, request.into_inner()).await;
        self.answer("stat", known)
    }

    async fn list(
        &self,
        request: Request<v1::ListStoredChunksRequest>,
    ) -> Result<Response<v1::ListStoredChunksResponse>, Status> {
        let page = list::list(&self.node, request.into_inner()).await;
        self.answer("list", page)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteChunksRequest>,
    ) -> Result<Response<v1::DeleteChunksResponse>, Status> {
        let deleted = delete::delete(&self.node, request.into_inner()).await;
        self.answer("delete", deleted)
    }

    async fn copy(
        &self,
        request: Request<v1::CopyChunkRequest>,
    ) -> Result<Response<v1::CopyChunkResponse>, Status> {
        let id = request.extensions().get::<RequestId>().cloned();
        let id = id.unwrap_or_else(|| RequestId::background("copy"));
        let copied = copy::copy(&self.node, request.into_inner(), &id).await;
        self.answer("copy", copied.map(copy_response))
    }

    async fn flush(
        &self,
        request: Request<v1::FlushRequest>,
    ) -> Result<Response<v1::FlushResponse>, Status> {
        let flushed = flush::flush(&self.node, request.into_inner()).await;
        self.answer("flush", flushed)
    }
}

pub(crate) fn write_response(receipt: CopyReceipt) -> v1::WriteChunkResponse {
    v1::WriteChunkResponse {
        node_id: convert::bytes(receipt.node.as_bytes()),
        disk: convert::bytes(receipt.disk.as_bytes()),
    }
}

fn copy_response(receipt: CopyReceipt) -> v1::CopyChunkResponse {
    v1::CopyChunkResponse {
        node_id: convert::bytes(receipt.node.as_bytes()),
        disk: convert::bytes(receipt.disk.as_bytes()),
    }
}
