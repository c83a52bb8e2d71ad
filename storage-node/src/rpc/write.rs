//! `Chunks.Write`: a header, data in frames, a finish; answered when the copy is durable.

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
use crate::node::{Node, NotAdmitted};

/// A chunk was not written. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteRefused {
    #[error(transparent)]
    Field(#[from] InvalidField),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
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
            Self::NotAdmitted(NotAdmitted::Busy(_)) => Reason::Busy,
            Self::NotAdmitted(NotAdmitted::Stopping) => Reason::Stopping,
            Self::Stalled(_) | Self::BrokenOff => Reason::BodyMismatch,
            Self::Store(error) => error::of_write(error),
        }
    }
}

/// What of a chunk can come.
enum Part {
    Header { chunk: ChunkId, reserve: u64 },
    Data { bytes: Bytes, block_crcs: Vec<u32> },
    Finish(ChunkEnd),
}

pub(super) async fn write(
    node: &Node,
    mut body: Streaming<WriteChunkRequest>,
) -> Result<CopyReceipt, WriteRefused> {
    let _permit = node.admit()?;
    let Part::Header { chunk, reserve } = next_part(node, &mut body).await? else {
        return Err(InvalidField::new("part", "the first one must be the header").into());
    };
    let mut writer = node.store.begin(chunk, reserve).await?;
    loop {
        match next_part(node, &mut body).await? {
            Part::Header { .. } => {
                return Err(InvalidField::new("part", "there must be one header").into());
            }
            Part::Data { bytes, block_crcs } => writer.append(bytes, block_crcs).await?,
            Part::Finish(end) => {
                writer.finish(end).await?;
                node.metrics.chunks_written.inc();
                node.metrics.bytes_written.inc_by(end.length);
                return Ok(node.receipt());
            }
        }
    }
}

async fn next_part(
    node: &Node,
    body: &mut Streaming<WriteChunkRequest>,
) -> Result<Part, WriteRefused> {
    let idle = node.config.body_idle;
    let message = node.clock.timeout(idle, body.message()).await;
    match message.map_err(|_| WriteRefused::Stalled(idle))? {
        Ok(Some(message)) => Ok(part(message)?),
        Ok(None) => Err(WriteRefused::BrokenOff),
        Err(status) => {
            tracing::debug!(%status, "the body of a chunk broke off");
            Err(WriteRefused::BrokenOff)
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
        WirePart::Finish(WriteFinish { length, hash, last_block_crc }) => {
            let hash = convert::chunk_hash(&hash)?;
            Ok(Part::Finish(ChunkEnd { length, hash, last_block_crc }))
        }
    }
}
