//! A tier: a store with its place in the chain.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cairn_core::ids::ChunkId;
use futures_util::future::BoxFuture;

use super::config::{OnError, TierConfig, WriteMode};
use crate::report::{Fault, FaultKind, TierError, TierErrors, TierOp};
use crate::store::ChunkStore;

/// A store that becomes a tier.
#[derive(Debug, Clone)]
pub struct Tier {
    /// How it is set.
    pub config: TierConfig,
    /// Whether it may let go of what it took, as an LRU does.
    pub evicts: bool,
    /// The store, with whatever is wrapped around it.
    pub store: Arc<dyn ChunkStore>,
}

impl Tier {
    /// A tier that keeps what it takes.
    pub fn new(config: TierConfig, store: Arc<dyn ChunkStore>) -> Self {
        Self { config, evicts: false, store }
    }

    /// A tier that may let go of what it took.
    pub fn evicting(config: TierConfig, store: Arc<dyn ChunkStore>) -> Self {
        Self { config, evicts: true, store }
    }
}

/// What a tier has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierStats {
    /// Its name.
    pub tier: Arc<str>,
    /// Failures since opening.
    pub errors: u64,
    /// Its last answer was a failure.
    pub degraded: bool,
    /// Writes that passed it by, because it is too small or full.
    pub bypassed: u64,
    /// Chunks that were read from it.
    pub hits: u64,
}

/// A tier of an open chain.
pub(super) struct OpenTier {
    pub(super) name: Arc<str>,
    pub(super) store: Arc<dyn ChunkStore>,
    pub(super) sync: bool,
    pub(super) durable: bool,
    pub(super) evicts: bool,
    pub(super) promote: bool,
    pub(super) hands_over: bool,
    channel: TierErrors,
    errors: AtomicU64,
    degraded: AtomicBool,
    bypassed: AtomicU64,
    hits: AtomicU64,
}

impl fmt::Debug for OpenTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTier").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OpenTier {
    pub(super) fn new(tier: Tier, channel: TierErrors) -> Self {
        let Tier { config, evicts, store } = tier;
        Self {
            name: config.name.into(),
            store,
            sync: config.write == WriteMode::Sync,
            durable: config.durable,
            evicts,
            promote: config.promote,
            hands_over: config.on_error == OnError::Next,
            channel,
            errors: AtomicU64::new(0),
            degraded: AtomicBool::new(false),
            bypassed: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }
    }

    /// Whether a chunk of `reserve` bytes can never be in it. A failed tier says nothing of what it could hold.
    pub(super) fn is_too_small(&self, reserve: u64) -> bool {
        let failed = || self.store.disks().iter().any(|disk| disk.failed);
        reserve > self.store.usage().capacity && !failed()
    }

    /// Something went wrong here.
    pub(super) fn failed(&self, op: TierOp, chunk: Option<ChunkId>, error: Fault) {
        // What is wrong with the chunk says nothing about the tier.
        if !matches!(error.kind, FaultKind::Refused | FaultKind::Full) {
            self.degraded.store(true, Ordering::Relaxed);
        }
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.channel.report(TierError { tier: Arc::clone(&self.name), op, chunk, error });
    }

    pub(super) fn works(&self) {
        self.degraded.store(false, Ordering::Relaxed);
    }

    pub(super) fn was_bypassed(&self) {
        self.bypassed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn was_hit(&self) {
        self.works();
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> TierStats {
        TierStats {
            tier: Arc::clone(&self.name),
            errors: self.errors.load(Ordering::Relaxed),
            degraded: self.degraded.load(Ordering::Relaxed),
            bypassed: self.bypassed.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
        }
    }
}

/// The future that opens one tier.
pub type Opening = BoxFuture<'static, Result<Tier, Box<dyn std::error::Error + Send + Sync>>>;

/// A tier cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("open tier {tier}: {source}")]
pub struct TierNotOpened {
    /// Its name.
    pub tier: String,
    /// Why.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Opens tiers in order. The first failure ends it: later ones are not opened, and those that are open are closed.
///
/// # Errors
/// [`TierNotOpened`], of the first that cannot be opened.
pub async fn open_tiers(openings: Vec<(String, Opening)>) -> Result<Vec<Tier>, TierNotOpened> {
    let mut open: Vec<Tier> = Vec::with_capacity(openings.len());
    for (tier, opening) in openings {
        match opening.await {
            Ok(opened) => open.push(opened),
            Err(source) => {
                for opened in open.iter().rev() {
                    opened.store.close().await;
                }
                return Err(TierNotOpened { tier, source });
            }
        }
    }
    Ok(open)
}
