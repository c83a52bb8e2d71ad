//! How fast copies answer, learned from reads: when to ask a second copy, and whom to ask first.
//!
//! One for all reads of a gateway. What it learns is a guess that saves time: nothing breaks when it is wrong or forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::copies::Place;
use cairn_core::ids::NodeId;
use cairn_runtime::{Allowance, Backoff, Clock, Entropy};

/// Answers that are remembered.
const WINDOW: usize = 256;
/// Answers after which the delay is reckoned again.
const RECKON_EVERY: usize = 16;
/// Of the answers remembered, this part came within the delay.
const PERCENTILE: usize = 95;
/// Nodes that are remembered as slow; more are not slow, the cluster is.
const MOST_SLOW: usize = 64;

/// Bounds on what is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceBounds {
    /// Shortest wait before a second copy is asked. Default 10 ms.
    pub shortest_delay: Duration,
    /// Longest wait before a second copy is asked, and the wait while little is known. Default 250 ms.
    pub longest_delay: Duration,
    /// How long a node that a second copy has overtaken is asked after the others. Default 5 s.
    pub slow_for: Duration,
    /// Second copies asked, in percent of the reads of a chunk. Default 5.
    pub hedge_percent: u32,
    /// Second copies asked at most at once, after a time with few. Default 20.
    pub most_hedges: u32,
    /// Repeats of a node that was away, in percent of the reads of a chunk. Default 20.
    pub repeat_percent: u32,
    /// Repeats at most at once, after a time with few. Default 100.
    pub most_repeats: u32,
}

impl Default for PaceBounds {
    fn default() -> Self {
        Self {
            shortest_delay: Duration::from_millis(10),
            longest_delay: Duration::from_millis(250),
            slow_for: Duration::from_secs(5),
            hedge_percent: 5,
            most_hedges: 20,
            repeat_percent: 20,
            most_repeats: 100,
        }
    }
}

/// What a read did beyond asking one copy, to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadEvent {
    /// A second copy was asked, because the first took long.
    Hedged,
    /// The second copy was faster.
    HedgeWon,
    /// No second copy was asked: too many had been.
    HedgeRefused,
    /// A node that was away was asked again.
    Repeated,
    /// A node that was away was not asked again: too many had been.
    RepeatRefused,
}

#[derive(Debug, Default)]
struct Learned {
    answers: Vec<Duration>,
    next: usize,
    /// 95 % of the answers remembered came within this.
    delay: Option<Duration>,
    /// Until when a node is asked after the others.
    slow_until: BTreeMap<NodeId, Duration>,
}

struct Shared {
    bounds: PaceBounds,
    clock: Clock,
    entropy: Entropy,
    hedges: Allowance,
    repeats: Allowance,
    count: Box<dyn Fn(ReadEvent) + Send + Sync>,
    learned: Mutex<Learned>,
}

/// What is known of how fast copies answer. Cheap to clone.
#[derive(Clone)]
pub struct Pace(Arc<Shared>);

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pace").field("delay", &self.delay()).finish_non_exhaustive()
    }
}

impl Pace {
    /// Knows nothing yet. `count` is told of each event and must not block.
    pub fn new(
        bounds: PaceBounds,
        clock: Clock,
        entropy: Entropy,
        count: impl Fn(ReadEvent) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            bounds,
            clock,
            entropy,
            hedges: Allowance::new(bounds.hedge_percent, bounds.most_hedges),
            repeats: Allowance::new(bounds.repeat_percent, bounds.most_repeats),
            count: Box::new(count),
            learned: Mutex::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Learned> {
        self.0.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn count(&self, event: ReadEvent) {
        (self.0.count)(event);
    }

    /// How long an answer may take before a second copy is asked.
    pub fn delay(&self) -> Duration {
        let PaceBounds { shortest_delay, longest_delay, .. } = self.0.bounds;
        let learned = self.lock().delay;
        learned.map_or(longest_delay, |delay| delay.clamp(shortest_delay, longest_delay))
    }

    /// A chunk is being read.
    pub(crate) fn read(&self) {
        self.0.hedges.earn();
        self.0.repeats.earn();
    }

    /// Whether a second copy may be asked now; it counts as asked.
    pub(crate) fn may_hedge(&self) -> bool {
        let may = self.0.hedges.take();
        self.count(if may { ReadEvent::Hedged } else { ReadEvent::HedgeRefused });
        may
    }

    /// The pause before a node that was away is asked again; nothing when it may not be.
    pub(crate) fn pause_to_repeat(&self, backoff: &mut Backoff) -> Option<Duration> {
        let may = self.0.repeats.take();
        self.count(if may { ReadEvent::Repeated } else { ReadEvent::RepeatRefused });
        may.then(|| backoff.next(&self.0.entropy))
    }

    /// The first proven bytes of a read came after `took`.
    pub(crate) fn answered(&self, took: Duration) {
        let mut learned = self.lock();
        let at = learned.next % WINDOW;
        match learned.answers.get_mut(at) {
            Some(oldest) => *oldest = took,
            None => learned.answers.push(took),
        }
        learned.next = learned.next.wrapping_add(1);
        if learned.next.is_multiple_of(RECKON_EVERY) {
            let mut answers = learned.answers.clone();
            let nth = (answers.len() * PERCENTILE / 100).min(answers.len() - 1);
            let (_, delay, _) = answers.select_nth_unstable(nth);
            learned.delay = Some(*delay);
        }
    }

    /// A second copy has overtaken this node.
    pub(crate) fn was_slow(&self, node: NodeId) {
        let now = self.0.clock.monotonic();
        let mut learned = self.lock();
        learned.slow_until.retain(|_, until| *until > now);
        if learned.slow_until.len() < MOST_SLOW {
            learned.slow_until.insert(node, now + self.0.bounds.slow_for);
        }
    }

    /// Puts places whose nodes were slow lately behind the others; else the order stays.
    pub(crate) fn arrange(&self, places: &mut [Place]) {
        let learned = self.lock();
        if learned.slow_until.is_empty() {
            return;
        }
        let now = self.0.clock.monotonic();
        let slow = |place: &Place| learned.slow_until.get(&place.node).is_some_and(|&u| u > now);
        places.sort_by_key(slow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::double::{node, place};

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn pace(bounds: PaceBounds) -> Pace {
        Pace::new(bounds, Clock::system(), Entropy::seeded(1), |_| {})
    }

    #[tokio::test]
    async fn the_delay_is_what_nineteen_of_twenty_answers_need_within_its_bounds() {
        let pace = pace(PaceBounds::default());
        assert_eq!(pace.delay(), MS(250), "nothing is known");
        for answer in 1..=WINDOW as u64 {
            pace.answered(MS(answer / 2));
        }
        assert_eq!(pace.delay(), MS(122));
        (0..WINDOW).for_each(|_| pace.answered(Duration::ZERO));
        assert_eq!(pace.delay(), MS(10));
        (0..WINDOW).for_each(|_| pace.answered(MS(9000)));
        assert_eq!(pace.delay(), MS(250));
        assert_eq!(pace.lock().answers.len(), WINDOW, "no more is remembered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_overtaken_is_asked_last_for_a_while() {
        let pace = pace(PaceBounds::default());
        let arranged = || {
            let mut places = [1, 2, 3].map(place);
            pace.arrange(&mut places);
            places.map(|place| place.node)
        };
        pace.was_slow(node(1));
        assert_eq!(arranged(), [2, 3, 1].map(node));
        pace.clock().sleep(MS(5000)).await;
        assert_eq!(arranged(), [1, 2, 3].map(node));
        for n in 0..1000 {
            pace.was_slow(node(n));
        }
        assert_eq!(pace.lock().slow_until.len(), MOST_SLOW);
    }
}
