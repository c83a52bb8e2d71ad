//! `Chunks.Delete`: some chunks, or all chunks of a blob. The master has decided; this carries it out, but for chunks that
//! were written since it did.

use cairn_chain::{DeleteError, Erased};
use cairn_core::copies::NodeMoment;
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
    /// Unless they were written after the moment, when there is one.
    Chunks(Vec<ChunkId>, Option<NodeMoment>),
    Blob(BlobId),
}

pub(super) async fn delete(
    node: &Node,
    request: DeleteChunksRequest,
) -> Result<DeleteChunksResponse, DeleteRefused> {
    let answer = match doomed(request)? {
        Doomed::Chunks(chunks, None) => {
            let deleted = node.store.delete(chunks).await?;
            DeleteChunksResponse { deleted, ..Default::default() }
        }
        Doomed::Chunks(chunks, Some(moment)) => unless_written(node, &chunks, moment).await?,
        Doomed::Blob(blob) => {
            let Erased { deleted, more } = node.store.erase_blob(blob, MOST).await?;
            DeleteChunksResponse { deleted, more, ..Default::default() }
        }
    };
    node.metrics.chunks_deleted.inc_by(answer.deleted);
    Ok(answer)
}

/// Deletes those of the chunks that nobody began to write after the moment.
async fn unless_written(
    node: &Node,
    chunks: &[ChunkId],
    moment: NodeMoment,
) -> Result<DeleteChunksResponse, DeleteRefused> {
    let deleting = node.fence.delete(chunks, moment);
    let doomed = deleting.doomed();
    let kept = chunks.iter().filter(|chunk| !doomed.contains(chunk));
    let kept = kept.map(|chunk| (*chunk).into()).collect();
    let deleted = match doomed.is_empty() {
        true => 0,
        false => node.store.delete(doomed.iter().copied().collect()).await?,
    };
    Ok(DeleteChunksResponse { deleted, kept, ..Default::default() })
}

fn doomed(request: DeleteChunksRequest) -> Result<Doomed, InvalidField> {
    let DeleteChunksRequest { chunks, blob_id, grant: _, not_after } = request;
    match (chunks.is_empty(), blob_id.is_empty()) {
        (false, true) => {
            let chunks = convert::each(convert::at_most("chunks", MOST, chunks)?)?;
            Ok(Doomed::Chunks(chunks, not_after.map(TryInto::try_into).transpose()?))
        }
        (true, false) => convert::blob_id(&blob_id).map(Doomed::Blob),
        (true, true) => Err(InvalidField::new("chunks", "name chunks, or a blob")),
        (false, false) => Err(InvalidField::new("blob_id", "name chunks or a blob, not both")),
    }
}
