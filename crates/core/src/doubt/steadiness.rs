//! Whether a node that fell silent and came back is to be trusted again.
//!
//! ```text
//! back ── back ── back ── hold ──► steady        each further return within the window doubles the hold
//!  └──────── window ───────┘
//! ```

use std::collections::VecDeque;
use std::time::Duration;

/// Most returns that are remembered of a node.
const REMEMBERED: usize = 16;

/// Bounds on returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlapBounds {
    /// How long a return counts. Default 10 min.
    pub window: Duration,
    /// So many returns within the window are too many, at least 1. Fewer is stricter: at 1, whoever was away once has to wait.
    /// Default 3.
    pub returns: usize,
    /// How long a node must be steady after the first return that is too many; twice as long after each further one. Default
    /// 30 s.
    pub hold: Duration,
    /// The longest that it must be steady. Default 10 min.
    pub most_hold: Duration,
}

impl Default for FlapBounds {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(600),
            returns: 3,
            hold: Duration::from_secs(30),
            most_hold: Duration::from_secs(600),
        }
    }
}

/// When a node came back lately, on the master's monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steadiness {
    returns: VecDeque<Duration>,
}

impl Steadiness {
    /// The node came back.
    pub fn returned(&mut self, now: Duration, bounds: &FlapBounds) {
        self.returns.retain(|at| now.saturating_sub(*at) <= bounds.window);
        self.returns.push_back(now);
        if self.returns.len() > REMEMBERED {
            self.returns.pop_front();
        }
    }

    /// Whether it came back too often, and not long enough ago.
    pub fn is_unsteady(&self, now: Duration, bounds: &FlapBounds) -> bool {
        let Some(last) = self.returns.back() else { return false };
        let Some(more) = self.returns.len().checked_sub(bounds.returns.max(1)) else {
            return false;
        };
        let doubled = 1_u32.checked_shl(u32::try_from(more).unwrap_or(u32::MAX));
        let hold = bounds.hold.saturating_mul(doubled.unwrap_or(u32::MAX)).min(bounds.most_hold);
        now.saturating_sub(*last) < hold
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn whoever_was_away_now_and_then_is_steady() {
        let bounds = FlapBounds::default();
        let mut node = Steadiness::default();
        for n in 0..10 {
            assert!(!node.is_unsteady(at(n * 400), &bounds));
            node.returned(at(n * 400), &bounds);
            assert!(!node.is_unsteady(at(n * 400), &bounds), "two in ten minutes");
        }
    }

    #[test]
    fn a_node_toggled_every_10_seconds_is_unsteady_from_its_third_return_on_and_for_a_growing_hold()
    {
        let bounds = FlapBounds::default();
        let mut node = Steadiness::default();
        for n in 1..=15 {
            let now = at(n * 20);
            node.returned(now, &bounds);
            assert_eq!(node.is_unsteady(now, &bounds), n >= 3, "return {n}");
            assert_eq!(node.is_unsteady(now + at(10), &bounds), n >= 3, "after return {n}");
        }
        assert!(node.is_unsteady(at(300 + 599), &bounds), "the hold has grown to its bound");
        assert!(!node.is_unsteady(at(300 + 600), &bounds), "and no further");
    }

    #[test]
    fn the_hold_doubles_with_each_return_that_is_too_many() {
        let bounds = FlapBounds::default();
        let mut node = Steadiness::default();
        for (n, hold) in [(1, 0), (2, 0), (3, 30), (4, 60), (5, 120), (6, 240), (7, 480)] {
            node.returned(at(n), &bounds);
            let ends = at(n + hold);
            assert!(!node.is_unsteady(ends, &bounds), "return {n}");
            assert!(hold == 0 || node.is_unsteady(ends - at(1), &bounds), "return {n}");
        }
    }

    proptest! {
        #[test]
        fn whatever_happened_a_node_is_steady_once_it_stayed_for_the_longest_hold(
            waits in proptest::collection::vec(0..1000_u64, 0..60),
            returns in 0..5_usize,
        ) {
            let bounds = FlapBounds { returns, ..FlapBounds::default() };
            let mut node = Steadiness::default();
            let mut now = at(0);
            for wait in waits {
                now += at(wait);
                node.returned(now, &bounds);
                prop_assert!(node.returns.len() <= REMEMBERED);
            }
            prop_assert!(!node.is_unsteady(now + bounds.most_hold, &bounds));
        }
    }
}
