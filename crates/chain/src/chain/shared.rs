//! What a chain, its writers and its background work share, and how it ends.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_runtime::{Clock, Entropy, Spawner};
use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::behind::{Behind, BehindStats};
use super::config::ChainConfig;
use super::promote::Promoter;
use super::tier::OpenTier;
use crate::report::{Fault, FaultKind, TierOp};
use crate::store::{DeleteError, WriteError};
use crate::turns::Turns;

/// See the module.
pub(super) struct Shared {
    pub(super) tiers: Vec<OpenTier>,
    pub(super) config: ChainConfig,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) spawner: Spawner,
    pub(super) turns: Arc<Turns>,
    /// None without tiers that are written behind.
    pub(super) behind: Option<Behind>,
    pub(super) promoter: Promoter,
    /// Ends of writes, which closing waits for.
    pub(super) writes: TaskTracker,
    /// Work in the background, which ends with `stop`.
    pub(super) background: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) closed: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("tiers", &self.tiers).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn takes_writes(&self) -> Result<(), WriteError> {
        if self.closed.load(Ordering::Acquire) { Err(WriteError::Closed) } else { Ok(()) }
    }

    pub(super) fn takes_deletes(&self) -> Result<(), DeleteError> {
        if self.closed.load(Ordering::Acquire) { Err(DeleteError::Closed) } else { Ok(()) }
    }

    /// Durable tiers, in order.
    pub(super) fn durable(&self) -> impl Iterator<Item = &OpenTier> {
        self.tiers.iter().filter(|tier| tier.durable)
    }

    /// Runs the end of a write, whoever goes away.
    pub(super) fn spawn_write<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.spawner.spawn(self.writes.track_future(work))
    }

    /// Runs work in the background until it ends or the chain does.
    pub(super) fn spawn_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let work = async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = work => {}
            }
        };
        drop(self.spawner.spawn(self.background.track_future(work)));
    }

    pub(super) fn behind_stats(&self) -> BehindStats {
        self.behind.as_ref().map(Behind::stats).unwrap_or_default()
    }

    /// Chunks that are still to be copied to a tier.
    pub(super) fn waiting_for(&self, tier: usize) -> u64 {
        self.behind.as_ref().map_or(0, |behind| behind.waiting_for(tier))
    }

    /// See [`crate::ChunkStore::flush`].
    pub(super) async fn flush(&self) -> Result<(), WriteError> {
        self.takes_writes()?;
        if let Some(behind) = &self.behind {
            behind.flush(&self.stop).await?;
        }
        for tier in &self.tiers {
            tier.store.flush().await?;
        }
        Ok(())
    }

    /// See [`crate::ChunkStore::close`].
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.writes.close();
        self.writes.wait().await;
        self.drain().await;
        self.stop.cancel();
        self.background.close();
        self.background.wait().await;
        if let Some(behind) = &self.behind {
            behind.close().await;
        }
        for tier in &self.tiers {
            // One that panics must not keep the others open.
            let close = async { tier.store.close().await };
            if AssertUnwindSafe(close).catch_unwind().await.is_err() {
                tier.failed(TierOp::Close, None, Fault::new(FaultKind::Failed, "closing panicked"));
            }
        }
    }

    /// Gives what is still to be copied its time.
    async fn drain(&self) {
        let Some(behind) = &self.behind else {
            return;
        };
        let bound = self.config.behind.drain;
        let flushed = self.clock.timeout(bound, behind.flush(&self.stop)).await;
        let waiting = behind.stats().waiting;
        if flushed.is_err() {
            tracing::warn!(
                target: "cairn",
                waiting, ?bound,
                "closed before all was copied to the tiers behind: it goes on after the next start"
            );
        }
    }
}
