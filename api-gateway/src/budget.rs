//! Memory for chunk bytes: one budget for uploads, one for downloads, stated in [`crate::Config`] and kept.

use std::sync::Arc;
use std::time::Duration;

use cairn_runtime::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Budgets are counted in units of this many bytes, because a semaphore's permits are 32 bits.
const UNIT_BYTES: u64 = 1 << 10;

impl Budget {
    /// A budget of `total` bytes.
    pub(crate) fn new(total: u64, clock: Clock) -> Self {
        let units = usize::try_from(total / UNIT_BYTES).unwrap_or(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))), total, clock }
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
        let share = Arc::clone(&self.units).acquire_many_owned(units);
        match self.clock.timeout(bound, share).await {
            Ok(Ok(share)) => Ok(Share(share)),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(BudgetExhausted { total: self.total, waited: bound }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_share_is_waited_for_and_given_back() {
        let budget = Budget::new(10 << 10, Clock::system());
        let bound = Duration::from_secs(1);
        let share = budget.take(8 << 10, bound).await.expect("free");
        assert!(budget.take(4 << 10, bound).await.is_err());
        drop(share);
        assert!(budget.take(1 << 40, bound).await.is_ok(), "more than all is all");
        assert_eq!(budget.free(), 10 << 10);
    }
}
