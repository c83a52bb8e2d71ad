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

    /// Bytes that are free now.
    pub(crate) fn free(&self) -> u64 {
        self.units.available_permits() as u64 * UNIT_BYTES
    }

    /// Waits for a share of `bytes`, at most `bound`. More than the whole budget counts as the whole.
    ///
    /// # Errors
    /// [`BudgetExhausted`] when the bound is reached.
    pub(crate) async fn take(&self, bytes: u64, bound: Duration) -> Result<Share, BudgetExhausted> {
        let units = bytes.min(self.total).div_ceil(UNIT_BYTES).min(self.total / UNIT_BYTES);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.units);
        let taken = match Arc::clone(&share).try_acquire_many_owned(units) {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.metrics.waited();
                let waited = self.clock.timeout(bound, share.acquire_many_owned(units)).await;
                // The semaphore is never closed.
                waited.ok().and_then(Result::ok)
            }
        };
        let Some(permit) = taken else {
            self.metrics.refused();
            return Err(BudgetExhausted { total: self.total, waited: bound });
        };
        let share = Share { permit, metrics: self.metrics.clone() };
        self.metrics.taken(share.bytes());
        Ok(share)
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
        assert!(budget.take(4 << 10, bound).await.is_err());
        drop(share);
        assert!(budget.take(1 << 40, bound).await.is_ok(), "more than all is all");
        assert_eq!(budget.free(), 10 << 10);
    }
}
