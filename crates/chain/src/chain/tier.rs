//! A tier: a store with its place in the chain.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::ids::ChunkId;
use futures_util::future::BoxFuture;

use super::config::{OnError, TierConfig, WriteMode};
use crate::report::{Fault, FaultKind, TierError, TierErrors, TierOp};
use crate::store::{ChunkStore, TierReport};
use crate::wrap::Lru;

/// A store that becomes a tier.
#[derive(Debug, Clone)]
pub struct Tier {
    /// How it is set.
    pub config: TierConfig,
    /// The LRU within [`Self::store`], by which the tier may let go of what it took.
    pub lru: Option<Arc<Lru>>,
    /// The store, with whatever is wrapped around it.
    pub store: Arc<dyn ChunkStore>,
}

impl Tier {
    /// A tier that keeps what it takes.
    pub fn new(config: TierConfig, store: Arc<dyn ChunkStore>) -> Self {
        Self { config, lru: None, store }
    }

    /// A tier that may let go of what it took.
    pub fn evicting(config: TierConfig, lru: Arc<Lru>) -> Self {
        Self { config, store: Arc::<Lru>::clone(&lru), lru: Some(lru) }
    }
}

/// A tier of an open chain.
pub(super) struct OpenTier {
    pub(super) name: Arc<str>,
    pub(super) store: Arc<dyn ChunkStore>,
    lru: Option<Arc<Lru>>,
    pub(super) sync: bool,
    pub(super) durable: bool,
    pub(super) promote: bool,
    pub(super) hands_over: bool,
    channel: TierErrors,
    errors: AtomicU64,
    last_error: Mutex<Option<Arc<str>>>,
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
        let Tier { config, lru, store } = tier;
        Self {
            name: config.name.into(),
            store,
            sync: config.write == WriteMode::Sync,
            durable: config.durable,
            lru,
            promote: config.promote,
            hands_over: config.on_error == OnError::Next,
            channel,
            errors: AtomicU64::new(0),
            last_error: Mutex::new(None),
            degraded: AtomicBool::new(false),
            bypassed: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }
    }

    /// Whether it may let go of what it took.
    pub(super) fn evicts(&self) -> bool {
        self.lru.is_some()
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
        *self.last_error() = Some(format!("{op}: {error}").into());
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

    fn last_error(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is, with so many chunks that are still to be copied to it.
    pub(super) fn report(&self, waiting: u64) -> TierReport {
        TierReport {
            tier: Arc::clone(&self.name),
            usage: self.store.usage(),
            degraded: self.degraded.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            last_error: self.last_error().clone(),
            bypassed: self.bypassed.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
            waiting,
            lru: self.lru.as_ref().map(|lru| lru.stats()),
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
