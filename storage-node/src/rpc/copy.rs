//! `Chunks.Copy`: fetches a chunk from another node, proves it and stores it.

use std::time::Duration;

use cairn_chain::{ChunkEnd, WriteError};
use cairn_core::copies::{CopyReceipt, Place};
use cairn_core::digest::{ChunkHash, ChunkHasher};
use cairn_core::ids::ChunkId;
use cairn_proto::v1::chunks_client::ChunksClient;
use cairn_proto::v1::read_chunk_response::Part;
use cairn_proto::v1::{
    ChunkData, CopyChunkRequest, ReadChunkRequest, ReadChunkResponse, ReadHeader,
};
use cairn_proto::{InvalidField, MAX_MESSAGE_BYTES, Reason, RemoteError, WireError, convert};
use cairn_runtime::{BlockingError, InvalidAddress};
use tonic::{Status, Streaming};

use crate::error;
use crate::node::{Node, NotAdmitted};

/// A chunk was not copied. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyRefused {
    #[error(transparent)]
    Field(#[from] InvalidField),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error("source.address: {0}")]
    Address(#[from] InvalidAddress),
    #[error("the source: {0}")]
    Source(RemoteError),
    #[error("the source sent nothing for {0:?}")]
    Stalled(Duration),
    #[error("the source does not hold the chunk as it should be: {0}")]
    Mismatch(String),
    #[error(transparent)]
    Store(WriteError),
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
}

impl WireError for CopyRefused {
    fn reason(&self) -> Reason {
        match self {
            Self::Field(error) => error.reason(),
            Self::NotAdmitted(NotAdmitted::Busy(_)) => Reason::Busy,
            Self::NotAdmitted(NotAdmitted::Stopping) => Reason::Stopping,
            Self::Address(_) => Reason::InvalidField,
            Self::Source(error) => error.reason,
            Self::Stalled(_) => Reason::Unreachable,
            Self::Mismatch(_) => Reason::ChunkCorrupt,
            Self::Store(error) => error::of_write(error),
            Self::Interrupted(_) => Reason::StorageFailed,
        }
    }
}

impl From<WriteError> for CopyRefused {
    /// What the body would be blamed for is the source's fault here.
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::BlockMismatch { .. }
            | WriteError::Checksums(_)
            | WriteError::LengthMismatch { .. }
            | WriteError::PastReserve { .. } => Self::Mismatch(error.to_string()),
            other => Self::Store(other),
        }
    }
}

impl From<Status> for CopyRefused {
    fn from(status: Status) -> Self {
        Self::Source(status.into())
    }
}

/// The chunk as it must be.
#[derive(Debug)]
struct Wanted {
    chunk: ChunkId,
    source: Place,
    length: u64,
    hash: ChunkHash,
}

impl TryFrom<CopyChunkRequest> for Wanted {
    type Error = InvalidField;

    fn try_from(request: CopyChunkRequest) -> Result<Self, InvalidField> {
        let CopyChunkRequest { chunk, source, length, hash, grant: _ } = request;
        Ok(Self {
            chunk: convert::chunk_id(chunk)?,
            source: convert::required("source", source)?.try_into()?,
            length,
            hash: convert::chunk_hash(&hash)?,
        })
    }
}

pub(super) async fn copy(
    node: &Node,
    request: CopyChunkRequest,
) -> Result<CopyReceipt, CopyRefused> {
    let wanted = Wanted::try_from(request)?;
    let _permit = node.admit()?;
    let mut writer = node.store.begin(wanted.chunk, wanted.length).await?;
    let mut body = open(node, &wanted).await?;
    let mut hasher = ChunkHasher::default();
    let mut received = 0;
    while let Some(part) = next_part(node, &mut body).await? {
        let Part::Data(ChunkData { data, block_crcs }) = part else {
            return Err(CopyRefused::Mismatch("it sent two headers".to_owned()));
        };
        received += data.len() as u64;
        let hashed = data.clone();
        let hashing = node.hashing.run(move || {
            hasher.update(&hashed);
            hasher
        });
        hasher = hashing.await?;
        writer.append(data, block_crcs).await?;
    }
    let hash = hasher.finish();
    if (received, hash) != (wanted.length, wanted.hash) {
        let found = format!("{received} bytes with BLAKE3 {hash}");
        return Err(CopyRefused::Mismatch(found));
    }
    writer.finish(ChunkEnd { length: received, hash, last_block_crc: None }).await?;
    node.metrics.chunks_written.inc();
    node.metrics.bytes_written.inc_by(received);
    Ok(node.receipt())
}

/// Asks the source for the whole chunk and compares what it says of it.
async fn open(node: &Node, wanted: &Wanted) -> Result<Streaming<ReadChunkResponse>, CopyRefused> {
    let channel = node.dialer.dial(&wanted.source.address)?;
    let mut client = ChunksClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let request = ReadChunkRequest {
        chunk: Some(wanted.chunk.into()),
        offset: 0,
        length: 0,
        grant: wanted.source.grant.clone(),
    };
    let idle = node.config.body_idle;
    let opened = node.clock.timeout(idle, client.read(request)).await;
    let mut body = opened.map_err(|_| CopyRefused::Stalled(idle))??.into_inner();
    match next_part(node, &mut body).await? {
        Some(Part::Header(ReadHeader { length, hash, offset: 0 }))
            if length == wanted.length && hash == wanted.hash.0.as_slice() =>
        {
            Ok(body)
        }
        Some(Part::Header(header)) => {
            Err(CopyRefused::Mismatch(format!("it says {} bytes", header.length)))
        }
        _ => Err(CopyRefused::Mismatch("it sent no header".to_owned())),
    }
}

async fn next_part(
    node: &Node,
    body: &mut Streaming<ReadChunkResponse>,
) -> Result<Option<Part>, CopyRefused> {
    let idle = node.config.body_idle;
    let message = node.clock.timeout(idle, body.message()).await;
    let message = message.map_err(|_| CopyRefused::Stalled(idle))??;
    Ok(message.and_then(|message| message.part))
}
