//! Writing a chunk: a header, data in pieces, a finish; answered when the copy is durable. gRPC and the lane read the
//! same parts off their wires.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use cairn_chain::{ChunkEnd, WriteError};
use cairn_core::copies::CopyReceipt;
use cairn_core::ids::ChunkId;
use cairn_proto::v1::write_chunk_request::Part as WirePart;
use cairn_proto::v1::{ChunkData, WriteChunkRequest, WriteFinish, WriteHeader};
use cairn_proto::{InvalidField, MAX_FRAME_BYTES, Reason, WireError, convert};
use tonic::Streaming;

use crate::error;
use crate::fence::BeingDeleted;
use crate::node::{Node, NotAdmitted};

/// A chunk was not written. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteRefused {
    #[error(transparent)]
    Field(#[from] InvalidField),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error(transparent)]
    BeingDeleted(#[from] BeingDeleted),
    #[error("no part of the chunk came for {0:?}: nothing was stored")]
    Stalled(Duration),
    #[error("the chunk ended before its finish: nothing was stored")]
    BrokenOff,
    #[error(transparent)]
    Store(#[from] WriteError),
}

impl WireError for WriteRefused {
    fn reason(&self) -> Reason {
        match self {
            Self::Field(error) => error.reason(),
            Self::NotAdmitted(NotAdmitted::Busy(_)) | Self::BeingDeleted(_) => Reason::Busy,
            Self::NotAdmitted(NotAdmitted::Stopping) => Reason::Stopping,
            Self::Stalled(_) | Self::BrokenOff => Reason::BodyMismatch,
            Self::Store(error) => error::of_write(error),
        }
    }
}

/// What of a chunk can come.
pub(crate) enum Part {
    Header { chunk: ChunkId, reserve: u64 },
    Data { bytes: Bytes, block_crcs: Vec<u32> },
    Finish(ChunkEnd),
}

/// The parts of a chunk, off the wire. An end before the finish breaks the write off.
pub(crate) trait Parts: Send {
    /// The next part; nothing when the body broke off.
    fn next(&mut self) -> impl Future<Output = Result<Option<Part>, InvalidField>> + Send;
}

pub(crate) async fn write(
    node: &Node,
    parts: &mut impl Parts,
) -> Result<CopyReceipt, WriteRefused> {
    let _permit = node.admit()?;
    let Part::Header { chunk, reserve } = next_part(node, parts).await? else {
        return Err(InvalidField::new("part", "the first one must be the header").into());
    };
    let _writing = node.fence.write(chunk)?;
    let mut writer = node.store.begin(chunk, reserve).await?;
    loop {
        match next_part(node, parts).await? {
            Part::Header { .. } => {
                return Err(InvalidField::new("part", "there must be one header").into());
            }
            Part::Data { bytes, block_crcs } => writer.append(bytes, block_crcs).await?,
            Part::Finish(end) => {
                let disk = writer.finish(end).await?;
                node.metrics.chunks_written.inc();
                node.metrics.bytes_written.inc_by(end.length);
                return Ok(node.receipt(disk));
            }
        }
    }
}

async fn next_part(node: &Node, parts: &mut impl Parts) -> Result<Part, WriteRefused> {
    let idle = node.config.body_idle;
    let part = node.clock.timeout(idle, parts.next()).await;
    part.map_err(|_| WriteRefused::Stalled(idle))??.ok_or(WriteRefused::BrokenOff)
}

impl Parts for Streaming<WriteChunkRequest> {
    async fn next(&mut self) -> Result<Option<Part>, InvalidField> {
        match self.message().await {
            Ok(message) => message.map(part).transpose(),
            Err(status) => {
                tracing::debug!(%status, "the body of a chunk broke off");
                Ok(None)
            }
        }
    }
}

fn part(message: WriteChunkRequest) -> Result<Part, InvalidField> {
    match convert::required("part", message.part)? {
        WirePart::Header(WriteHeader { chunk, reserve, grant: _ }) => {
            Ok(Part::Header { chunk: convert::chunk_id(chunk)?, reserve })
        }
        WirePart::Data(ChunkData { data, block_crcs }) => {
            if data.len() > MAX_FRAME_BYTES {
                let problem =
                    format!("{} bytes: send at most {MAX_FRAME_BYTES} at a time", data.len());
                return Err(InvalidField::new("data", problem));
            }
            Ok(Part::Data { bytes: data, block_crcs })
        }
        WirePart::Finish(finish) => Ok(Part::Finish(end(&finish)?)),
    }
}

/// Reads the end of a chunk.
pub(crate) fn end(finish: &WriteFinish) -> Result<ChunkEnd, InvalidField> {
    let WriteFinish { length, hash, last_block_crc } = finish;
    let hash = convert::chunk_hash(hash)?;
    Ok(ChunkEnd { length: *length, hash, last_block_crc: *last_block_crc })
}
