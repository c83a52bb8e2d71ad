//! `Chunks.Stat`: length and hash of a chunk.

use cairn_proto::convert;
use cairn_proto::v1::{StatChunkRequest, StatChunkResponse};

use super::read::{ReadRefused, note};
use crate::node::Node;

pub(super) async fn stat(
    node: &Node,
    request: StatChunkRequest,
) -> Result<StatChunkResponse, ReadRefused> {
    let StatChunkRequest { chunk, grant: _ } = request;
    let chunk = convert::chunk_id(chunk)?;
    let known = node.store.stat(chunk).await;
    let known = known.inspect_err(|error| note(&node.metrics, error))?;
    Ok(StatChunkResponse {
        length: known.length,
        hash: bytes::Bytes::copy_from_slice(&known.hash.0),
        disk: convert::bytes(known.disk.as_bytes()),
    })
}
