//! Owns an upload until it is committed: dropped before that, it gives reservation and copies back.

use std::time::Duration;

use cairn_runtime::{Clock, Spawner};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::session::Session;

/// Pause before a lease that could not be renewed is renewed again.
const RENEW_AGAIN: Duration = Duration::from_secs(2);

/// Aborts its upload when dropped, unless [`Self::committed`] was called.
#[derive(Debug)]
pub(super) struct UploadGuard {
    session: Option<Session>,
    spawner: Spawner,
    renewing: Option<JoinHandle<()>>,
    /// Whoever stops the gateway waits for it.
    open: TaskTrackerToken,
}

impl UploadGuard {
    pub(super) fn new(session: Session, spawner: Spawner, open: &TaskTracker) -> Self {
        Self { session: Some(session), spawner, renewing: None, open: open.token() }
    }

    /// Keeps the lease for as long as the guard lives. What may hang is bounded elsewhere: a silent client by the idle
    /// bound, a silent node by the bound on receipts.
    pub(super) fn keep_lease(&mut self, lease: Duration, clock: Clock) {
        let Some(session) = self.session.clone() else { return };
        self.renewing = Some(self.spawner.spawn(async move {
            let (every, mut pause) = (lease / 3, lease / 3);
            loop {
                clock.sleep(pause).await;
                pause = match session.renew().await {
                    Ok(()) => every,
                    Err(error) => {
                        tracing::warn!(upload = %session.upload, %error, "lease not renewed");
                        if error.retryable { every.min(RENEW_AGAIN) } else { every }
                    }
                };
            }
        }));
    }

    /// The version stands: nothing to give back.
    pub(super) fn committed(mut self) {
        self.session = None;
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        if let Some(renewing) = self.renewing.take() {
            renewing.abort();
        }
        let Some(session) = self.session.take() else { return };
        let open = self.open.clone();
        self.spawner.spawn(async move {
            let _open = open;
            match session.abort().await {
                Ok(()) => tracing::debug!(upload = %session.upload, "upload given up"),
                // The sweeper gives it up when its lease ends.
                Err(error) => tracing::warn!(upload = %session.upload, %error, "abort failed"),
            }
        });
    }
}
