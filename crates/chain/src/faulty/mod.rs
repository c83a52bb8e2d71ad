//! A wrapper that fails on purpose: to see what the chain, the node and its operators make of a bad disk.
//!
//! ```text
//! call ─► hangs until released ─► delay ─► fails at random ─► full? ─► inner store
//! append   half of the bytes reach the inner store, then an error         reads   a flipped bit, or noticed damage
//! ```
//!
//! Faults come from the settings, and can be changed while the store is in use. Chance comes from
//! [`Entropy`], time from [`Clock`].

mod io;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::ids::ChunkId;
use cairn_runtime::{Clock, Entropy};
use serde::Deserialize;
use tokio::sync::watch;

use crate::settings;
use crate::store::ChunkStore;

/// Which faults strike, and how often. The default has none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FaultConfig {
    /// The share of calls that fail, from 0 to 1.
    pub fail_rate: f64,
    /// The share of frames that come with a flipped bit, from 0 to 1. Their checksums are right, so that whoever looks
    /// notices.
    pub corrupt_rate: f64,
    /// The share of appends of which half of the bytes reach the inner store before they fail, from 0 to 1.
    pub partial_rate: f64,
    /// How long each call waits.
    #[serde(deserialize_with = "settings::duration")]
    pub delay: Duration,
    /// Calls wait until [`FaultStore::set`] says otherwise.
    pub hang: bool,
    /// Writes are refused as on a full disk.
    pub full: bool,
}

/// A rate is no share.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("`{name}` must lie between 0 and 1, not {value}")]
pub struct InvalidRate {
    /// The setting.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
}

impl FaultConfig {
    /// Looks at the rates.
    ///
    /// # Errors
    /// [`InvalidRate`] for the first that is no share.
    pub fn check(&self) -> Result<(), InvalidRate> {
        let rates = [
            ("fail-rate", self.fail_rate),
            ("corrupt-rate", self.corrupt_rate),
            ("partial-rate", self.partial_rate),
        ];
        match rates.into_iter().find(|(_, rate)| !(0.0..=1.0).contains(rate)) {
            Some((name, value)) => Err(InvalidRate { name, value }),
            None => Ok(()),
        }
    }
}

/// What a [`FaultStore`] needs of its surroundings.
#[derive(Debug, Clone)]
pub struct FaultSeams {
    /// Decides when a fault strikes.
    pub entropy: Entropy,
    /// Delays go by it.
    pub clock: Clock,
}

/// A store that fails on purpose; see [the module](crate::faulty). Clones are the same store.
#[derive(Debug, Clone)]
pub struct FaultStore {
    inner: Arc<dyn ChunkStore>,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct Faults {
    config: watch::Sender<FaultConfig>,
    struck: Mutex<BTreeMap<&'static str, u64>>,
    /// Chunks that are said to be damaged.
    damaged: Mutex<BTreeSet<ChunkId>>,
    seams: FaultSeams,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultStore {
    /// Wraps a store.
    ///
    /// # Errors
    /// [`InvalidRate`].
    pub fn new(
        inner: Arc<dyn ChunkStore>,
        config: FaultConfig,
        seams: FaultSeams,
    ) -> Result<Self, InvalidRate> {
        config.check()?;
        let faults = Faults {
            config: watch::Sender::new(config),
            struck: Mutex::default(),
            damaged: Mutex::default(),
            seams,
        };
        Ok(Self { inner, faults: Arc::new(faults) })
    }

    /// Other faults from now on; calls that hang go on when these do not say `hang`.
    ///
    /// # Errors
    /// [`InvalidRate`]; nothing has changed then.
    pub fn set(&self, config: FaultConfig) -> Result<(), InvalidRate> {
        config.check()?;
        self.faults.config.send_replace(config);
        Ok(())
    }

    /// From now on reads of `chunk` notice damage in its first block, until it is put aside, deleted or written again.
    pub fn damage(&self, chunk: ChunkId) {
        locked(&self.faults.damaged).insert(chunk);
    }

    /// Faults that struck so far, by kind: `hang`, `delay`, `fail`, `corrupt`, `damage`, `partial`, `full`.
    pub fn struck(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.faults.struck).clone()
    }

    /// Waits until a fault of this kind has struck `times` times.
    pub async fn wait_until_struck(&self, kind: &'static str, times: u64) {
        let mut changes = self.faults.config.subscribe();
        loop {
            if self.struck().get(kind).is_some_and(|struck| *struck >= times) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Faults {
    fn config(&self) -> FaultConfig {
        self.config.borrow().clone()
    }

    fn strike(&self, kind: &'static str) {
        *locked(&self.struck).entry(kind).or_default() += 1;
        // Whoever waits for this fault looks again.
        self.config.send_modify(|_| {});
    }

    /// Whether a fault that comes with this rate strikes now.
    fn strikes(&self, kind: &'static str, rate: f64) -> bool {
        const STEPS: u64 = 1 << 32;
        let strikes = rate > 0.0 && (self.seams.entropy.below(STEPS) as f64) < rate * STEPS as f64;
        if strikes {
            self.strike(kind);
        }
        strikes
    }

    /// What comes before every call: hanging, waiting, failing.
    async fn before(&self) -> Result<(), std::io::Error> {
        if self.config.borrow().hang {
            self.strike("hang");
            let mut changes = self.config.subscribe();
            // It fails only when the store is gone, which this call holds.
            let _ = changes.wait_for(|config| !config.hang).await;
        }
        let config = self.config();
        if !config.delay.is_zero() {
            self.strike("delay");
            self.seams.clock.sleep(config.delay).await;
        }
        if self.strikes("fail", config.fail_rate) {
            return Err(std::io::Error::other("a fault on request"));
        }
        Ok(())
    }

    fn is_damaged(&self, chunk: ChunkId) -> bool {
        locked(&self.damaged).contains(&chunk)
    }

    fn heal(&self, chunk: ChunkId) -> bool {
        locked(&self.damaged).remove(&chunk)
    }
}

#[cfg(test)]
mod tests;
