//! The last step: detached from the client, so that one who leaves now does not leave the outcome open.

use cairn_runtime::Spawner;

use super::StoredFile;
use super::chunks::Cut;
use super::error::UploadError;
use super::guard::UploadGuard;
use super::session::Session;

pub(super) async fn commit(
    spawner: &Spawner,
    session: Session,
    guard: UploadGuard,
    cut: Cut,
) -> Result<StoredFile, UploadError> {
    let committing = spawner.spawn(async move {
        // Repeated by the session while the outcome is unknown: the master knows the upload by its id. A guard that
        // is dropped after that asks for an abort, which the master refuses once the version stands.
        let stored = session.commit(cut.blob, cut.receipts, cut.length, cut.digests).await?;
        guard.committed();
        tracing::info!(
            upload = %session.upload, key = %stored.object.key, length = stored.object.length,
            durability = %stored.durability, "stored",
        );
        Ok(stored)
    });
    committing.await.map_err(|_| UploadError::Internal("the commit panicked"))?
}
