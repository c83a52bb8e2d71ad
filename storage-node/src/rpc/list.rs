//! `Chunks.List`: the chunks held, page by page.

use cairn_chain::ListChunks;
use cairn_core::ids::{BlobId, ChunkId};
use cairn_proto::convert;
use cairn_proto::v1::{ListStoredChunksRequest, ListStoredChunksResponse, StoredChunk};

use super::read::ReadRefused;
use crate::node::Node;

/// Most entries of a page.
const MOST: usize = 1000;

pub(super) async fn list(
    node: &Node,
    request: ListStoredChunksRequest,
) -> Result<ListStoredChunksResponse, ReadRefused> {
    let ListStoredChunksRequest { after, limit, blob_id } = request;
    let limit = if limit == 0 { MOST } else { MOST.min(limit as usize) };
    let after: Option<ChunkId> = after.map(TryInto::try_into).transpose()?;
    let blob: Option<BlobId> =
        if blob_id.is_empty() { None } else { Some(convert::blob_id(&blob_id)?) };
    let page = node.store.list(ListChunks { after, blob, limit }).await?;
    let told = |held: cairn_chain::StoredChunk| StoredChunk {
        chunk: Some(held.chunk.into()),
        length: held.length,
        disk: convert::bytes(held.disk.as_bytes()),
    };
    let chunks = page.chunks.into_iter().map(told).collect();
    Ok(ListStoredChunksResponse { chunks, more: page.more })
}
