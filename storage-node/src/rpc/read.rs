//! Reading a chunk: a header, then frames of whole blocks, read from the disk as the client takes them. gRPC and the
//! lane put them on their wires.

use cairn_chain::{ChunkReader, Frame, ReadError};
use cairn_core::ids::ChunkId;
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

/// What is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) chunk: ChunkId,
    pub(crate) offset: u64,
    /// Bytes; 0 for all from `offset`.
    pub(crate) length: u64,
}

impl TryFrom<ReadChunkRequest> for Wanted {
    type Error = InvalidField;

    fn try_from(request: ReadChunkRequest) -> Result<Self, InvalidField> {
        let ReadChunkRequest { chunk, offset, length, grant: _ } = request;
        Ok(Self { chunk: convert::chunk_id(chunk)?, offset, length })
    }
}

/// A chunk that is being read.
pub(crate) struct Opened {
    pub(crate) header: ReadHeader,
    pub(crate) frames: BoxStream<'static, Result<Frame, ReadRefused>>,
}

pub(crate) async fn read(node: &Node, wanted: Wanted) -> Result<Opened, ReadRefused> {
    let Wanted { chunk, offset, length } = wanted;
    let length = if length == 0 { u64::MAX } else { length };
    let opened = node.store.read(chunk, ByteRange { offset, length }).await;
    let ChunkReader { header, frames } = opened.inspect_err(|error| note(&node.metrics, error))?;
    node.metrics.chunks_read.inc();
    let header = ReadHeader {
        length: header.length,
        hash: bytes::Bytes::copy_from_slice(&header.hash.0),
        offset: header.offset,
    };
    let open = node.metrics.reading();
    let frames = frames.map(move |frame| {
        match &frame {
            Ok(frame) => drop(open.metrics.bytes_read.inc_by(frame.bytes.len() as u64)),
            Err(error) => note(&open.metrics, error),
        }
        frame.map_err(|error| {
            let refused = ReadRefused::Store(error);
            open.metrics.failed("read", refused.reason());
            refused
        })
    });
    Ok(Opened { header, frames: frames.boxed() })
}

/// As messages of gRPC.
pub(super) fn messages(opened: Opened) -> BoxStream<'static, Result<ReadChunkResponse, Status>> {
    let message = |part| ReadChunkResponse { part: Some(part) };
    let header = stream::iter([Ok(message(Part::Header(opened.header)))]);
    let frames = opened.frames.map(move |frame| match frame {
        Ok(Frame { bytes, block_crcs }) => {
            Ok(message(Part::Data(ChunkData { data: bytes, block_crcs })))
        }
        Err(refused) => Err(refused.to_status()),
    });
    header.chain(frames).boxed()
}

/// A corrupt chunk is worth a line in the log: an operator may want to look at the disk.
pub(super) fn note(metrics: &Metrics, error: &ReadError) {
    if let ReadError::Corrupt { chunk, damage } = error {
        metrics.corrupt_reads.inc();
        tracing::error!(target: "cairn", %chunk, %damage, "a chunk is corrupt");
    }
}
