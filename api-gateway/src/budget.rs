//! Memory for chunk bytes: one budget for uploads, one for downloads, stated in [`crate::Config`] and kept.

use std::sync::Arc;
use std::time::Duration;

use cairn_runtime::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::BudgetMetrics;

/// No memory became free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {total} bytes for chunks in flight were in use for {waited:?}")]
pub struct BudgetExhausted {
    /// The whole budget in bytes.
    pub total: u64,
    /// How long a share was waited for.
    pub waited: Duration,
}

/// A number of bytes that may be in memory at once. Cheap to clone; first come, first served.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    total: u64,
    clock: Clock,
    metrics: BudgetMetrics,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    permit: OwnedSemaphorePermit,
    metrics: BudgetMetrics,
}

impl Share {
    fn bytes(&self) -> u64 {
        self.permit.num_permits() as u64 * UNIT_BYTES
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.metrics.given_back(self.bytes());
    }
}

/// Budgets are counted in units of this many bytes, because a semaphore's permits are 32 bits.
const UNIT_BYTES: u64 = 1 << 10;

impl Budget {
    /// A budget of `total` bytes.
    pub(crate) fn new(total: u64, clock: Clock, metrics: BudgetMetrics) -> Self {
        let units = usize::try_from(total / UNIT_BYTES).unwrap_or(Semaphore::MAX_PERMITS);
        let units = Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)));
        metrics.limited_to(total);
        Self { units, total, clock, metrics }
    }

    /// Waits for a share of `bytes`, at most `bound`. More than the whole budget counts as the whole.
    ///
    /// # Errors
    /// [`BudgetExhausted`] when the bound is reached.
    pub(crate) async fn take(&self, bytes: u64, bound: Duration) -> Result<Share, BudgetExhausted> {
        if let Some(share) = self.try_take(bytes) {
            return Ok(share);
        }
        self.metrics.waited();
        let permits = Arc::clone(&self.units).acquire_many_owned(self.units_of(bytes));
        // The semaphore is never closed.
        match self.clock.timeout(bound, permits).await.ok().and_then(Result::ok) {
            Some(permit) => Ok(self.share(permit)),
            None => {
                self.metrics.refused();
                Err(BudgetExhausted { total: self.total, waited: bound })
            }
        }
    }

    /// A share of `bytes`, if it is free now. More than the whole budget counts as the whole.
    pub(crate) fn try_take(&self, bytes: u64) -> Option<Share> {
        let permit = Arc::clone(&self.units).try_acquire_many_owned(self.units_of(bytes));
        permit.ok().map(|permit| self.share(permit))
    }

    fn units_of(&self, bytes: u64) -> u32 {
        let units = bytes.min(self.total).div_ceil(UNIT_BYTES).min(self.total / UNIT_BYTES);
        u32::try_from(units).unwrap_or(u32::MAX)
    }

    fn share(&self, permit: OwnedSemaphorePermit) -> Share {
        let share = Share { permit, metrics: self.metrics.clone() };
        self.metrics.taken(share.bytes());
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_share_is_waited_for_and_given_back() {
        let budget = Budget::new(10 << 10, Clock::system(), BudgetMetrics::default());
        let bound = Duration::from_secs(1);
        let share = budget.take(8 << 10, bound).await.expect("free");
        assert!(budget.take(4 << 10, bound).await.is_err() && budget.try_take(4 << 10).is_none());
        drop(share);
        assert!(budget.take(1 << 40, bound).await.is_ok(), "more than all is all");
        assert!(budget.try_take(10 << 10).is_some(), "all was given back");
    }
}
