//! How far repair, drains and rebalance are: what is left for each, and how long that takes.
//!
//! What is left the [census](crate::census) has counted, and what was done since then is taken off. The pace is kept here: bytes that were
//! copied lately, by the time in which copies were at work, the waits for turns included; so pauses do not make it slower.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::mend::Urgency;

use super::look::Around;
use super::walk::fullest;
use crate::catalog::Left;
use crate::master::Master;

/// Time at work after which what was copied counts half.
const HALVED_AFTER: Duration = Duration::from_secs(4 * 60);
/// A pace of so long ago says nothing of now.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 60);

/// What a copy is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// A chunk has fewer copies than wanted.
    Repair,
    /// A node is emptied.
    Drain,
    /// Its place alone: another zone, an emptier node.
    Rebalance,
}

impl Purpose {
    pub(crate) const ALL: [Self; 3] = [Self::Repair, Self::Drain, Self::Rebalance];

    /// For metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Drain => "drain",
            Self::Rebalance => "rebalance",
        }
    }

    /// What copies are made for that are so urgent.
    pub(crate) fn of(urgency: Urgency) -> Option<Self> {
        match urgency {
            Urgency::Short(_) => Some(Self::Repair),
            Urgency::Leaving => Some(Self::Drain),
            Urgency::Uneven => Some(Self::Rebalance),
            Urgency::Over => None,
        }
    }
}

/// How fast copies for one purpose were made.
#[derive(Debug, Default)]
struct Pace {
    bytes: u64,
    /// In which they were made.
    busy: Duration,
    at_work: u32,
    /// When the numbers above were right.
    at: Duration,
}

impl Pace {
    fn until(&mut self, now: Duration) {
        if self.at_work > 0 {
            self.busy += now.saturating_sub(self.at);
        }
        while self.busy > HALVED_AFTER {
            self.busy /= 2;
            self.bytes /= 2;
        }
        self.at = now;
    }

    /// Bytes a second.
    fn rate(&self, now: Duration) -> Option<u64> {
        let old = self.at_work == 0 && now.saturating_sub(self.at) > FORGOTTEN_AFTER;
        let rate = u128::from(self.bytes) * 1000 / self.busy.as_millis().max(1);
        Some(u64::try_from(rate).unwrap_or(u64::MAX)).filter(|rate| *rate > 0 && !old)
    }
}

/// The pace of each purpose; a restart begins anew.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<BTreeMap<Purpose, Pace>>);

impl Paces {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Purpose, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy is begun.
    pub(super) fn begun(&self, purpose: Purpose, now: Duration) {
        let mut paces = self.lock();
        let pace = paces.entry(purpose).or_default();
        pace.until(now);
        pace.at_work += 1;
    }

    /// It ended, and so many bytes were copied.
    pub(super) fn ended(&self, purpose: Purpose, now: Duration, bytes: u64) {
        let mut paces = self.lock();
        let pace = paces.entry(purpose).or_default();
        pace.bytes += bytes;
        pace.until(now);
        pace.at_work = pace.at_work.saturating_sub(1);
    }

    /// How long so many bytes take; nothing when too little was copied lately to tell.
    fn time_for(&self, purpose: Purpose, bytes: u64, now: Duration, most: u64) -> Option<Duration> {
        if bytes == 0 {
            return Some(Duration::ZERO);
        }
        let rate = self.lock().get(&purpose)?.rate(now)?.min(most);
        bytes.checked_div(rate).map(Duration::from_secs)
    }
}

/// What is left for a purpose: copies to be made, as the last round of the census counted them. Nothing before the first one and on a
/// master without the duties; for rebalance neither when it was paused then, nor while a node is too full: how much will be moved from
/// it nobody has counted.
pub(crate) fn left(master: &Master, purpose: Purpose) -> Option<Left> {
    if !master.duties.are_mine(master.clock.monotonic()) {
        return None;
    }
    let counted = master.census.counted()?;
    let unknown = counted.settled || fullest(&Around::now(master)).is_some();
    if purpose == Purpose::Rebalance && unknown {
        return None;
    }
    Some(counted.left.get(&purpose).copied().unwrap_or_default())
}

/// How long so many bytes take for a purpose, at the pace of late and at most at the rate that is set; nothing when that cannot be told.
pub(crate) fn time_left(master: &Master, purpose: Purpose, bytes: u64) -> Option<Duration> {
    let config = &master.config;
    let most = match purpose {
        Purpose::Repair | Purpose::Drain => config.repair_rate,
        Purpose::Rebalance => config.repair_rate.min(config.rebalance_rate),
    };
    master.repairer.paces.time_for(purpose, bytes, master.clock.monotonic(), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURPOSE: Purpose = Purpose::Repair;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn left(paces: &Paces, now: u64) -> Option<u64> {
        paces.time_for(PURPOSE, 1000, seconds(now), u64::MAX).map(|left| left.as_secs())
    }

    /// Copies of 100 bytes, ten seconds each, one after the other.
    fn copies(paces: &Paces, begin: u64, copies: u64) {
        for nth in 0..copies {
            paces.begun(PURPOSE, seconds(begin + 10 * nth));
            paces.ended(PURPOSE, seconds(begin + 10 * (nth + 1)), 100);
        }
    }

    #[test]
    fn without_a_copy_nothing_is_told_but_that_nothing_takes_no_time() {
        let paces = Paces::default();
        assert_eq!(left(&paces, 0), None);
        assert_eq!(paces.time_for(PURPOSE, 0, seconds(0), 1), Some(Duration::ZERO));
        paces.begun(PURPOSE, seconds(0));
        assert_eq!(left(&paces, 1000), None, "it is at work, and nothing has come of it");
    }

    #[test]
    fn pauses_make_the_pace_no_slower_and_an_old_one_is_forgotten() {
        let paces = Paces::default();
        copies(&paces, 0, 3);
        assert_eq!(left(&paces, 30), Some(100));
        assert_eq!(left(&paces, 330), Some(100));
        copies(&paces, 330, 3);
        assert_eq!(left(&paces, 360), Some(100));
        assert_eq!(left(&paces, 360 + 31 * 60), None);
    }

    #[test]
    fn two_at_a_time_are_twice_as_fast_and_the_rate_that_is_set_is_not_passed() {
        let paces = Paces::default();
        paces.begun(PURPOSE, seconds(0));
        paces.begun(PURPOSE, seconds(0));
        paces.ended(PURPOSE, seconds(10), 100);
        paces.ended(PURPOSE, seconds(10), 100);
        assert_eq!(left(&paces, 10), Some(50));
        assert_eq!(paces.time_for(PURPOSE, 1000, seconds(10), 4), Some(seconds(250)));
        assert_eq!(paces.time_for(PURPOSE, 1000, seconds(10), 0), None, "nothing is copied");
    }

    #[test]
    fn what_was_copied_lately_counts_most() {
        let paces = Paces::default();
        copies(&paces, 0, 100);
        for nth in 0..100 {
            paces.begun(PURPOSE, seconds(1000 + 10 * nth));
            paces.ended(PURPOSE, seconds(1010 + 10 * nth), 1000);
        }
        let left = left(&paces, 2000).expect("known");
        assert!((9..=12).contains(&left), "{left}");
    }
}
