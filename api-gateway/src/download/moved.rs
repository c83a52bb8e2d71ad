//! Where a chunk is that was moved since its page was located, which may be a gibibyte ahead of the reader.

use cairn_core::copies::Place;
use cairn_core::ids::ChunkId;
use cairn_core::object::ObjectInfo;
use cairn_core::range::ByteRange;
use cairn_replicas::Elsewhere;
use futures_util::future::BoxFuture;

use super::locate::{What, locate};
use crate::master::{CallContext, Master};

/// Asks the master for a chunk of a version that is being read.
pub(super) struct Moved {
    pub(super) master: Master,
    pub(super) context: CallContext,
    pub(super) object: ObjectInfo,
    /// Where the chunk begins in the file.
    pub(super) offset: u64,
}

impl Elsewhere for Moved {
    fn places(&self, chunk: ChunkId) -> BoxFuture<'static, Vec<Place>> {
        let (master, context) = (self.master.clone(), self.context.clone());
        let (object, range) = (self.object.clone(), ByteRange { offset: self.offset, length: 1 });
        Box::pin(async move {
            let ObjectInfo { bucket, key, version, .. } = &object;
            let what = What { bucket, key, version: Some(*version) };
            match locate(&master, &context, what, range).await {
                Ok(page) => {
                    let now = page.chunks.into_iter().find(|now| now.chunk == chunk);
                    now.map(|now| now.places).unwrap_or_default()
                }
                Err(error) => {
                    let id = &context.request_id;
                    tracing::warn!(request_id = %id, %chunk, %error, "where a chunk is now is not known");
                    Vec::new()
                }
            }
        })
    }
}
