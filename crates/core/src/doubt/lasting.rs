//! Whether there has been something against a node for so long that its copies are not to be waited for any more.
//!
//! ```text
//! told ── told ── told ── told ─►   it lasts, once the first and the last are far enough apart
//!                          └─ trusted for a while ─► over: the next one is a first one
//! ```
//!
//! Only what happens counts: a return from silence, a gateway that cannot reach the node. The hold that a node is left alone for
//! afterwards does not: whoever flapped for five minutes is not given up ten minutes later. A moment of trust between two things that
//! happen is no end: who cannot reach a node notices only when it is trusted, and called, again.

use std::time::Duration;

/// What there is against a node, on the master's monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lasting(Option<Trouble>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trouble {
    /// The first thing that happened.
    since: Duration,
    /// The last one.
    last: Duration,
    /// When the node was last found silent or in doubt.
    distrusted: Duration,
}

impl Lasting {
    /// Something happened: the node came back from silence, or is in doubt because gateways cannot reach it.
    pub fn told(&mut self, now: Duration) {
        let since = self.0.map_or(now, |trouble| trouble.since);
        self.0 = Some(Trouble { since, last: now, distrusted: now });
    }

    /// The node is trusted now, or silent or in doubt. It is over when it was trusted for `quiet`.
    pub fn looked_at(&mut self, now: Duration, trusted: bool, quiet: Duration) {
        let Some(trouble) = &mut self.0 else { return };
        if !trusted {
            trouble.distrusted = now;
        } else if now.saturating_sub(trouble.distrusted) >= quiet {
            self.0 = None;
        }
    }

    /// Whether it went on for so long, and is not over.
    pub fn is_longer_than(&self, bound: Duration) -> bool {
        self.0.is_some_and(|trouble| trouble.last.saturating_sub(trouble.since) > bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(30);
    const BOUND: Duration = Duration::from_secs(600);

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn trouble_lasts_when_it_goes_on_for_longer_than_the_bound() {
        let mut node = Lasting::default();
        for n in 0..=30 {
            node.told(at(n * 20));
            assert!(!node.is_longer_than(BOUND), "{n}");
            node.looked_at(at(n * 20 + 10), true, QUIET);
        }
        node.told(at(620));
        assert!(node.is_longer_than(BOUND));
    }

    #[test]
    fn the_time_for_which_a_node_is_left_alone_afterwards_does_not_count() {
        let mut node = Lasting::default();
        for n in 0..=15 {
            node.told(at(n * 20));
        }
        for second in 300..900 {
            node.looked_at(at(second), false, QUIET);
            assert!(!node.is_longer_than(BOUND), "after {second} s");
        }
    }

    #[test]
    fn it_is_over_only_when_the_node_was_trusted_for_a_while() {
        let mut node = Lasting::default();
        node.told(at(0));
        node.told(at(700));
        node.looked_at(at(729), true, QUIET);
        assert!(node.is_longer_than(BOUND));
        node.looked_at(at(730), false, QUIET);
        node.looked_at(at(759), true, QUIET);
        assert!(node.is_longer_than(BOUND), "it was in doubt again");
        node.looked_at(at(760), true, QUIET);
        assert!(!node.is_longer_than(BOUND));
        node.told(at(761));
        assert!(!node.is_longer_than(BOUND), "that is a first one");
    }
}
