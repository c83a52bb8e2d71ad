//! `Chunks.Delete`: some chunks, or all chunks of a blob. The master has decided; this carries it out.

use cairn_chain::DeleteError;
use cairn_core::ids::{BlobId, ChunkId};
use cairn_proto::v1::{DeleteChunksRequest, DeleteChunksResponse};
use cairn_proto::{InvalidField, Reason, WireError, convert};

use crate::error;
use crate::node::Node;

/// Most chunks of one call.
const MOST: usize = 1000;

/// Chunks were not deleted, or not all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteRefused {
    #[error(transparent)]
    Field(#[from] InvalidField),
    #[error(transparent)]
    Store(#[from] DeleteError),
}

impl WireError for DeleteRefused {
    fn reason(&self) -> Reason {
        match self {
            Self::Field(error) => error.reason(),
            Self::Store(error) => error::of_delete(error),
        }
    }
}

/// What is to go.
enum Doomed {
    Chunks(Vec<ChunkId>),
    Blob(BlobId),
}

pub(super) async fn delete(
    node: &Node,
    request: DeleteChunksRequest,
) -> Result<DeleteChunksResponse, DeleteRefused> {
    let (deleted, more) = match doomed(request)? {
        Doomed::Chunks(chunks) => (node.store.delete(chunks).await?, false),
        Doomed::Blob(blob) => {
            let erased = node.store.erase_blob(blob, MOST).await?;
            (erased.deleted, erased.more)
        }
    };
    node.metrics.chunks_deleted.inc_by(deleted);
    Ok(DeleteChunksResponse { deleted, more })
}

fn doomed(request: DeleteChunksRequest) -> Result<Doomed, InvalidField> {
    let DeleteChunksRequest { chunks, blob_id, grant: _ } = request;
    match (chunks.is_empty(), blob_id.is_empty()) {
        (false, true) => {
            let chunks = convert::at_most("chunks", MOST, chunks)?;
            convert::each(chunks).map(Doomed::Chunks)
        }
        (true, false) => convert::blob_id(&blob_id).map(Doomed::Blob),
        (true, true) => Err(InvalidField::new("chunks", "name chunks, or a blob")),
        (false, false) => Err(InvalidField::new("blob_id", "name chunks or a blob, not both")),
    }
}
