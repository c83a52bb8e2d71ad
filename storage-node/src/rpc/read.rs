//! `Chunks.Read`: a header, then frames of whole blocks, read from the disk as the client takes them.

use cairn_chain::{ChunkReader, Frame, ReadError};
use cairn_core::range::ByteRange;
use cairn_proto::v1::read_chunk_response::Part;
use cairn_proto::v1::{ChunkData, ReadChunkRequest, ReadChunkResponse, ReadHeader};
use cairn_proto::{InvalidField, Reason, WireError, convert};
use futures_util::stream::{self, BoxStream, StreamExt};
use tonic::Status;

use crate::error;
use crate::metrics::Metrics;
use crate::node::Node;

/// A chunk was not read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadRefused {
    #[error(transparent)]
    Field(#[from] InvalidField),
    #[error(transparent)]
    Store(#[from] ReadError),
}

impl WireError for ReadRefused {
    fn reason(&self) -> Reason {
        match self {
            Self::Field(error) => error.reason(),
            Self::Store(error) => error::of_read(error),
        }
    }
}

pub(super) async fn read(
    node: &Node,
    request: ReadChunkRequest,
) -> Result<BoxStream<'static, Result<ReadChunkResponse, Status>>, ReadRefused> {
    let ReadChunkRequest { chunk, offset, length, grant: _ } = request;
    let chunk = convert::chunk_id(chunk)?;
    let length = if length == 0 { u64::MAX } else { length };
    let opened = node.store.read(chunk, ByteRange { offset, length }).await;
    let ChunkReader { header, frames } = opened.inspect_err(|error| note(&node.metrics, error))?;
    node.metrics.chunks_read.inc();
    let header = Part::Header(ReadHeader {
        length: header.length,
        hash: bytes::Bytes::copy_from_slice(&header.hash.0),
        offset: header.offset,
    });
    let metrics = node.metrics.clone();
    let frames = frames.map(move |frame| match frame {
        Ok(Frame { bytes, block_crcs }) => {
            metrics.bytes_read.inc_by(bytes.len() as u64);
            Ok(response(Part::Data(ChunkData { data: bytes, block_crcs })))
        }
        Err(error) => {
            note(&metrics, &error);
            let refused = ReadRefused::Store(error);
            metrics.failed("read", refused.reason());
            Err(refused.to_status())
        }
    });
    Ok(stream::iter([Ok(response(header))]).chain(frames).boxed())
}

fn response(part: Part) -> ReadChunkResponse {
    ReadChunkResponse { part: Some(part) }
}

/// A corrupt chunk is worth a line in the log: an operator may want to look at the disk.
pub(super) fn note(metrics: &Metrics, error: &ReadError) {
    if let ReadError::Corrupt { chunk, damage } = error {
        metrics.corrupt_reads.inc();
        tracing::error!(target: "cairn", %chunk, %damage, "a chunk is corrupt");
    }
}
