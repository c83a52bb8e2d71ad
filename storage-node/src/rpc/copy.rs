//! `Chunks.Copy`: fetches a chunk from another node, proves it and stores it.

use std::time::Duration;

use cairn_chain::{ChunkEnd, WriteError};
use cairn_core::copies::{CopyReceipt, Place};
use cairn_core::digest::{ChunkHash, ChunkHasher};
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_proto::v1::CopyChunkRequest;
use cairn_proto::{InvalidField, Reason, WireError, convert};
use cairn_replicas::{CopyError, CopyRead, Frame};
use cairn_runtime::{BlockingError, InvalidAddress, RequestId};
use cairn_transport::Peer;
use futures_util::StreamExt;

use crate::error;
use crate::fence::BeingDeleted;
use crate::node::{Node, NotAdmitted};

/// A chunk was not copied. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyRefused {
    #[error(transparent)]
    Field(#[from] InvalidField),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error(transparent)]
    BeingDeleted(#[from] BeingDeleted),
    #[error("source.address: {0}")]
    Address(#[from] InvalidAddress),
    #[error("the source: {0}")]
    Source(CopyError),
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
            Self::NotAdmitted(NotAdmitted::Busy(_)) | Self::BeingDeleted(_) => Reason::Busy,
            Self::NotAdmitted(NotAdmitted::Stopping) => Reason::Stopping,
            Self::Address(_) => Reason::InvalidField,
            Self::Source(error) => of_source(error),
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

/// What the source's answer means to the one who asked for the copy.
fn of_source(error: &CopyError) -> Reason {
    match error {
        CopyError::Missing => Reason::ChunkNotFound,
        CopyError::Corrupt(_) | CopyError::Protocol(_) => Reason::ChunkCorrupt,
        CopyError::Erased => Reason::ChunkErased,
        CopyError::Unreachable(_) | CopyError::Refused(_) => Reason::Unreachable,
        CopyError::Conflict | CopyError::Full | CopyError::SourceBroken => Reason::Unspecified,
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
    request_id: &RequestId,
) -> Result<CopyReceipt, CopyRefused> {
    let wanted = Wanted::try_from(request)?;
    let _permit = node.admit()?;
    let _writing = node.fence.write(wanted.chunk)?;
    let mut writer = node.store.begin(wanted.chunk, wanted.length).await?;
    let mut source = open(node, &wanted, request_id).await?;
    let mut hasher = ChunkHasher::default();
    let mut received = 0;
    while let Some(Frame { data, block_crcs }) = next_frame(node, &mut source).await? {
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
    let end = ChunkEnd { length: received, hash, last_block_crc: None };
    let disk = writer.finish(end).await?;
    node.metrics.chunks_written.inc();
    node.metrics.bytes_written.inc_by(received);
    Ok(node.receipt(disk))
}

/// Asks the source for the whole chunk and compares what it says of it.
async fn open(
    node: &Node,
    wanted: &Wanted,
    request_id: &RequestId,
) -> Result<CopyRead, CopyRefused> {
    let peer = Peer::dial(&*node.dialer, node.config.transport, &wanted.source.address)?;
    let replica = peer.replica(&wanted.source, request_id);
    let idle = node.config.body_idle;
    let read = replica.read(wanted.chunk, ByteRange { offset: 0, length: wanted.length });
    let opened = node.clock.timeout(idle, read).await.map_err(|_| CopyRefused::Stalled(idle))?;
    let opened = opened.map_err(CopyRefused::Source)?;
    match (opened.length, opened.hash, opened.offset) {
        said if said == (wanted.length, wanted.hash, 0) => Ok(opened),
        (length, ..) => Err(CopyRefused::Mismatch(format!("it says {length} bytes"))),
    }
}

async fn next_frame(node: &Node, source: &mut CopyRead) -> Result<Option<Frame>, CopyRefused> {
    let idle = node.config.body_idle;
    let frame = node.clock.timeout(idle, source.frames.next()).await;
    let frame = frame.map_err(|_| CopyRefused::Stalled(idle))?;
    frame.transpose().map_err(CopyRefused::Source)
}
