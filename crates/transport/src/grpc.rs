//! Copies behind gRPC.

use cairn_core::copies::{CopyReceipt, Place};
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_proto::v1::chunks_client::ChunksClient;
use cairn_proto::v1::{read_chunk_response, write_chunk_request};
use cairn_proto::{MAX_MESSAGE_BYTES, REQUEST_ID, convert, v1};
use cairn_replicas::{BufferReader, CopyError, CopyRead, Frame, Replica, Source};
use cairn_runtime::{PeerChannel, RequestId};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt, stream};
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;

use crate::answer::{copy_error, protocol, receipt, write_finish};

pub(crate) struct GrpcReplica {
    client: ChunksClient<PeerChannel>,
    place: Place,
    request_id: Option<AsciiMetadataValue>,
}

impl GrpcReplica {
    pub(crate) fn new(channel: PeerChannel, place: Place, request: &RequestId) -> Self {
        let client = ChunksClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self { client, place, request_id: request.as_str().parse().ok() }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(id) = self.request_id.clone() {
            request.metadata_mut().insert(REQUEST_ID, id);
        }
        request
    }
}

impl Replica for GrpcReplica {
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
            match client.write(request).await {
                Ok(answer) => receipt(answer.into_inner(), node),
                Err(_) if watched.is_broken() => Err(CopyError::SourceBroken),
                Err(status) => Err(copy_error(status.into())),
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
            Source::End(end) => Some((message(Part::Finish(write_finish(&end))), None)),
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
