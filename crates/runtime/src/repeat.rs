//! Repeating calls: how long to pause, and how much of it all callers together may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Entropy;

/// Pauses that double, half of each drawn at random, so that those who failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    pause: Duration,
    longest: Duration,
}

impl Backoff {
    /// Begins with about `first`; no pause is longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { pause: first, longest }
    }

    /// The next pause: between half of it and all of it.
    pub fn next(&mut self, entropy: &Entropy) -> Duration {
        let pause = self.pause.min(self.longest);
        self.pause = pause.saturating_mul(2);
        let half = u64::try_from((pause / 2).as_micros()).unwrap_or(u64::MAX);
        pause / 2 + Duration::from_micros(entropy.below(half))
    }
}

/// What may be done beyond what was asked for: each use earns a part of an extra call, so that extra calls stay a share of
/// all calls, however many fail at once. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct Allowance(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// In hundredths of an extra call.
    left: AtomicU64,
    percent: u64,
    most: u64,
}

/// What one extra call costs.
const ONE: u64 = 100;

impl Allowance {
    /// Extra calls are `percent` of the uses in the long run, and at most `most` at once. Begins full.
    pub fn new(percent: u32, most: u32) -> Self {
        let most = u64::from(most) * ONE;
        Self(Arc::new(Shared { left: AtomicU64::new(most), percent: u64::from(percent), most }))
    }

    /// A use.
    pub fn earn(&self) {
        let Shared { left, percent, most } = &*self.0;
        let more = |left: u64| (left < *most).then(|| (left + percent).min(*most));
        let _full = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Takes an extra call; false when there is none.
    pub fn take(&self) -> bool {
        let less = |left: u64| left.checked_sub(ONE);
        self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_drawn_between_half_and_all() {
        let entropy = Entropy::seeded(1);
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(50), ms(150));
        for pause in [50, 100, 150, 150].map(ms) {
            let drawn = backoff.next(&entropy);
            assert!((pause / 2..=pause).contains(&drawn), "{drawn:?} of {pause:?}");
        }
    }

    #[test]
    fn extra_calls_are_a_share_of_all_calls() {
        let allowance = Allowance::new(10, 2);
        assert_eq!([allowance.take(), allowance.take(), allowance.take()], [true, true, false]);
        for _ in 0..9 {
            allowance.earn();
        }
        assert!(!allowance.take(), "nine uses earn less than one");
        allowance.earn();
        assert!(allowance.take());
        for _ in 0..1000 {
            allowance.earn();
        }
        assert_eq!([allowance.take(), allowance.take(), allowance.take()], [true, true, false]);
    }
}
