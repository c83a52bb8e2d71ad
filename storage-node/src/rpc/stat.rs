//! `Chunks.Stat`: length and hash of a chunk, and if it is asked for, whether its bytes are intact.

use cairn_chain::ReadError;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_proto::convert;
use cairn_proto::v1::{StatChunkRequest, StatChunkResponse};

use futures_util::StreamExt;

use super::read::{ReadRefused, note};
use crate::node::Node;

pub(super) async fn stat(
    node: &Node,
    request: StatChunkRequest,
) -> Result<StatChunkResponse, ReadRefused> {
    let StatChunkRequest { chunk, grant: _, prove: wanted } = request;
    let chunk = convert::chunk_id(chunk)?;
    if wanted {
        prove(node, chunk).await.inspect_err(|error| note(&node.metrics, error))?;
    }
    let known = node.store.stat(chunk).await;
    let known = known.inspect_err(|error| note(&node.metrics, error))?;
    Ok(StatChunkResponse {
        length: known.length,
        hash: bytes::Bytes::copy_from_slice(&known.hash.0),
        disk: convert::bytes(known.disk.as_bytes()),
    })
}

/// Reads a chunk to its end; the store checks each block.
async fn prove(node: &Node, chunk: ChunkId) -> Result<(), ReadError> {
    let whole = ByteRange { offset: 0, length: u64::MAX };
    let mut frames = node.store.read(chunk, whole).await?.frames;
    while let Some(frame) = frames.next().await {
        node.metrics.bytes_read.inc_by(frame?.bytes.len() as u64);
    }
    Ok(())
}
