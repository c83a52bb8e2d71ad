//! The steps of storing a file, in order.

use std::sync::Arc;
use std::time::Duration;

use cairn_core::chunking::{ChunkSizes, MAX_FILE_BYTES};
use cairn_core::ids::UploadId;
use cairn_core::strategy::SaveStrategy;
use cairn_proto::WireError;
use tokio_util::task::TaskTracker;

use super::body::BodyReader;
use super::chunks::Chunks;
use super::commit::commit;
use super::error::UploadError;
use super::gather::{Gathered, gather};
use super::guard::UploadGuard;
use super::session::{Begun, Session};
use super::shared::Shared;
use super::{Body, NewFile, StoredFile};
use crate::budget::{Budget, Share};
use crate::config::UploadConfig;
use crate::master::{CallContext, Master};
use crate::nodes::Nodes;
use crate::seams::Seams;

/// Stores files. Cheap to clone.
#[derive(Clone)]
pub struct Uploads(Arc<Shared>);

impl std::fmt::Debug for Uploads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploads").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Uploads {
    pub(crate) fn new(config: UploadConfig, master: Master, nodes: Nodes, seams: Seams) -> Self {
        let uploads =
            Budget::new(config.budget_bytes, seams.clock.clone(), seams.metrics.upload_budget());
        let open = TaskTracker::new();
        Self(Arc::new(Shared { config, master, nodes, uploads, seams, open }))
    }

    /// Waits until no upload is open and all aborts are delivered, at most `bound`. To be called when no new uploads
    /// come.
    pub(crate) async fn settled(&self, bound: Duration) {
        self.0.open.close();
        if self.0.seams.clock.timeout(bound, self.0.open.wait()).await.is_err() {
            tracing::warn!(open = self.0.open.len(), "uploads are left to the sweeper");
        }
    }

    /// Stores a file: when this returns, it is fsynced on the copies that the answer names.
    ///
    /// # Errors
    /// [`UploadError`]; nothing is stored then, unless the outcome of the commit is unknown.
    pub async fn store(
        &self,
        context: CallContext,
        file: NewFile,
        body: Body,
        waits_for_continue: bool,
    ) -> Result<StoredFile, UploadError> {
        let (idle, clock) = (self.0.config.body_idle, self.0.seams.clock.clone());
        let mut body = BodyReader::new(body, waits_for_continue, idle, clock);
        let begun = self.0.seams.clock.monotonic();
        let _open = self.0.seams.metrics.upload_opened();
        let stored = self.store_from(context, &file, &mut body).await;
        let metrics = &self.0.seams.metrics;
        match &stored {
            Ok(stored) => {
                let took = self.0.seams.clock.monotonic().saturating_sub(begun);
                metrics.stored(stored.object.length, took.as_secs_f64());
            }
            Err(error) => metrics.upload_ended(error.reason().as_str_name()),
        }
        if stored.is_err() {
            let config = &self.0.config;
            self.0.seams.spawner.spawn(body.drain(config.refused_bytes, config.refused_time));
        }
        stored
    }

    async fn store_from(
        &self,
        context: CallContext,
        file: &NewFile,
        body: &mut BodyReader,
    ) -> Result<StoredFile, UploadError> {
        let shared = &self.0;
        if !shared.seams.drained.takes_work() {
            return Err(UploadError::Stopping);
        }
        if file.length.is_some_and(|length| length > MAX_FILE_BYTES) {
            return Err(UploadError::TooLarge);
        }
        // The master decides. But what is not announced is refused here, before it is read to see whether it is short.
        file.chunking.sizes(ChunkSizes::STANDARD, file.length)?;
        let (length, start) = self.start(file, body).await?;
        let session = self.session(context);
        // Owned before the first call: a begin whose answer is lost is given back as well.
        let mut guard =
            UploadGuard::new(session.clone(), shared.seams.spawner.clone(), &shared.open);
        let received = start.as_ref().map_or(0, |(gathered, _)| gathered.bytes);
        let mut begun = session.begin(file, length, received).await?;
        // What the client announced is checked, whatever the bucket wants.
        begun.sha256 |= file.sha256.is_some();
        let strategy = self.strategy(file, &begun)?;
        guard.keep_lease(begun.lease, shared.seams.clock.clone());

        let (gathered, share) = start.unzip();
        let gathered = gathered.unwrap_or(Gathered { pieces: Vec::new(), bytes: 0, ended: false });
        let mut chunks =
            Chunks::new(Arc::clone(shared), session.clone(), begun, strategy, length, share);
        for piece in gathered.pieces {
            chunks.push(piece).await?;
        }
        if !gathered.ended {
            while let Some(piece) = body.next().await? {
                chunks.push(piece).await?;
            }
        }
        let cut = chunks.finish().await?;
        if file.sha256.is_some() && file.sha256 != cut.digests.sha256 {
            return Err(UploadError::Digest);
        }
        commit(shared, session, guard, cut).await
    }

    /// How the copies are written: as the request says, else the bucket.
    fn strategy(&self, file: &NewFile, begun: &Begun) -> Result<SaveStrategy, UploadError> {
        let strategy = file.write.or(begun.write).unwrap_or_default();
        let quorum = strategy.quorum().map_or(0, |quorum| quorum as usize);
        if quorum > begun.copies {
            return Err(UploadError::Quorum { quorum, copies: begun.copies });
        }
        // What must be durable for the commit is waited for, whatever the quorum.
        Ok(strategy.with_at_least(u32::try_from(begun.least_copies).unwrap_or(u32::MAX)))
    }

    /// The length, when it is known, and what had to be read to learn it.
    async fn start(
        &self,
        file: &NewFile,
        body: &mut BodyReader,
    ) -> Result<(Option<u64>, Option<(Gathered, Share)>), UploadError> {
        if file.length.is_some() {
            return Ok((file.length, None));
        }
        let config = &self.0.config;
        let share = self.0.uploads.take(config.gather_bytes, config.budget_wait).await?;
        let gathered = gather(body, config.gather_bytes).await?;
        let length = gathered.ended.then_some(gathered.bytes);
        Ok((length, Some((gathered, share))))
    }

    fn session(&self, context: CallContext) -> Session {
        let upload = UploadId::from_uuid(self.0.seams.entropy.uuid_v7(&self.0.seams.clock));
        Session { upload, context, master: self.0.master.clone() }
    }
}
