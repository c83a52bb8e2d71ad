//! Taking chunks out of all disks.
//!
//! A disk that has failed refuses every change. That is no reason to refuse a deletion of what it does not have: else one bad
//! disk would keep all deleted data of its node.

use std::sync::Arc;

use cairn_core::ids::{BlobId, ChunkId};
use futures_util::future;

use super::member::Member;
use crate::store::{DeleteError, Erased, ListChunks, ReadError};

/// Collects what disks answer to a deletion.
#[derive(Debug, Default)]
struct Failures(Vec<(String, DeleteError)>);

impl Failures {
    fn add(&mut self, member: &Member, error: DeleteError) {
        tracing::warn!(target: "cairn", disk = member.name, %error, "delete from a disk");
        self.0.push((member.name.clone(), error));
    }

    fn none_or(mut self) -> Result<(), DeleteError> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0).1),
            _ => Err(DeleteError::Disks(self.0)),
        }
    }
}

/// See [`crate::ChunkStore::delete`].
pub(super) async fn delete(
    members: &[Arc<Member>],
    chunks: Vec<ChunkId>,
) -> Result<u64, DeleteError> {
    let deletions = members.iter().map(|member| member.store.delete(chunks.clone()));
    let results = future::join_all(deletions).await;
    let (mut all, mut failures) = (0, Failures::default());
    for (member, result) in members.iter().zip(results) {
        match result {
            Ok(deleted) => all += deleted,
            Err(error) if is_refusal(&error) && has_none_of(member, &chunks).await => {}
            Err(error) => failures.add(member, error),
        }
    }
    failures.none_or().map(|()| all)
}

/// See [`crate::ChunkStore::erase_blob`]. Every disk is asked each time, with a limit of 0 once the limit is reached: it
/// refuses the blob from then on.
pub(super) async fn erase_blob(
    members: &[Arc<Member>],
    blob: BlobId,
    limit: usize,
) -> Result<Erased, DeleteError> {
    let (mut all, mut failures) = (Erased { deleted: 0, more: false }, Failures::default());
    for member in members {
        let done = usize::try_from(all.deleted).unwrap_or(usize::MAX);
        match member.store.erase_blob(blob, limit.saturating_sub(done)).await {
            Ok(erased) => {
                all.deleted += erased.deleted;
                all.more |= erased.more;
            }
            Err(error) if is_refusal(&error) && has_nothing_of(member, blob).await => {}
            Err(error) => failures.add(member, error),
        }
    }
    failures.none_or().map(|()| all)
}

/// See [`crate::ChunkStore::quarantine`]. True when no disk has an intact copy.
pub(super) async fn quarantine(
    members: &[Arc<Member>],
    chunk: ChunkId,
) -> Result<bool, DeleteError> {
    let (mut put_aside, mut intact, mut failures) = (false, false, Failures::default());
    for member in members {
        if has_none_of(member, &[chunk]).await {
            continue;
        }
        match member.store.quarantine(chunk).await {
            Ok(true) => put_aside = true,
            Ok(false) => intact = true,
            Err(error) => failures.add(member, error),
        }
    }
    failures.none_or().map(|()| put_aside && !intact)
}

/// Whether a disk takes no changes at all, whatever they are about.
fn is_refusal(error: &DeleteError) -> bool {
    matches!(error, DeleteError::DiskFailed)
}

/// Whether a disk is known to have none of `chunks`.
async fn has_none_of(member: &Member, chunks: &[ChunkId]) -> bool {
    for chunk in chunks {
        if !matches!(member.store.stat(*chunk).await, Err(ReadError::NotFound { .. })) {
            return false;
        }
    }
    true
}

/// Whether a disk is known to have no chunk of `blob`.
async fn has_nothing_of(member: &Member, blob: BlobId) -> bool {
    let list = ListChunks { after: None, blob: Some(blob), limit: 1 };
    member.store.list(list).await.is_ok_and(|page| page.chunks.is_empty())
}
