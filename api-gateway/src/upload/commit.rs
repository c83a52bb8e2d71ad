//! The last step: detached from the client, so that one who leaves now does not leave the outcome open.

use cairn_core::ids::BlobId;

use super::StoredFile;
use super::chunks::Cut;
use super::error::UploadError;
use super::guard::UploadGuard;
use super::late::LateCopies;
use super::session::Session;
use super::shared::Shared;

pub(super) async fn commit(
    shared: &Shared,
    session: Session,
    guard: UploadGuard,
    cut: Cut,
) -> Result<StoredFile, UploadError> {
    let Cut { blob, length, digests, receipts, late, nodes } = cut;
    let (spawner, open) = (shared.seams.spawner.clone(), shared.open.token());
    let committing = shared.seams.spawner.spawn(async move {
        // Repeated by the session while the outcome is unknown: the master knows the upload by its id. A guard that
        // is dropped after that asks for an abort, which the master refuses once the version stands.
        let stored = session.commit(blob, receipts, length, digests).await?;
        guard.committed();
        tracing::info!(
            upload = %session.upload, key = %stored.object.key, length = stored.object.length,
            durability = %stored.durability, "stored",
        );
        if !late.is_empty() {
            spawner.spawn(async move {
                let _open = open;
                confirm_late(&session, blob, late).await;
            });
        }
        Ok(StoredFile { nodes, ..stored })
    });
    committing.await.map_err(|_| UploadError::Internal("the commit panicked"))?
}

/// Hands on the receipts of copies beyond the quorum, as they come.
async fn confirm_late(session: &Session, blob: BlobId, mut late: LateCopies) {
    while let Some(receipt) = late.next().await {
        let index = receipt.index;
        if let Err(error) = session.confirm_late(blob, receipt).await {
            // The chunk is short, as far as the master knows: it is repaired.
            tracing::debug!(%blob, index, %error, "late copies not confirmed");
        }
    }
}
