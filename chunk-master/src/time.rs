//! Which time decides what.
//!
//! The wall may jump. So leases are counted in *steady* time: the wall as it was when this master began,
//! plus monotonic time since. How long a version waits before it is purged is judged by both: it begins at
//! the later of the two and ends when the earlier one says so. A jump can therefore only make a wait
//! longer, until the two agree again or the master restarts.
//!
//! Masters of one catalog share their steady time: who does the duties writes down what time it is, and the others go by
//! it ([`Time::told`]). They are behind by what such a word takes on its way, never ahead.
//!
//! A master that starts cannot know how long it was away, nor whether the wall jumped meanwhile. So leases and kept
//! answers are given the whole of their time again, counted from its start.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_runtime::Clock;

use crate::config::millis;

/// The times by which the master decides, in milliseconds since 1970-01-01 UTC.
#[derive(Debug)]
pub(crate) struct Time {
    clock: Clock,
    zero: Mutex<Zero>,
}

/// Where this master's time begins.
#[derive(Debug, Clone, Copy)]
struct Zero {
    /// Steady time at monotonic zero.
    steady_ms: u64,
    /// This machine's wall at monotonic zero, as it was when this master began.
    wall_ms: u64,
    /// Monotonic time as this master began.
    began: Duration,
}

impl Time {
    pub(crate) fn new(clock: Clock) -> Self {
        let zero = Zero::by_wall(&clock);
        Self { clock, zero: Mutex::new(zero) }
    }

    fn zero(&self) -> MutexGuard<'_, Zero> {
        self.zero.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew by the wall, but not before `least_ms`: no master was there to go on from.
    pub(crate) fn begin(&self, least_ms: u64) {
        let by_wall = Zero::by_wall(&self.clock);
        let least_ms = least_ms.saturating_sub(millis(self.clock.monotonic()));
        *self.zero() = Zero { steady_ms: by_wall.steady_ms.max(least_ms), ..by_wall };
    }

    /// It was `steady_ms` a moment ago, as the master says who does the duties. The first word is taken as it is, the
    /// later ones when they lead ahead: then the word before took longer on its way.
    pub(crate) fn told(&self, steady_ms: u64, first: bool) {
        let told_ms = steady_ms.saturating_sub(millis(self.clock.monotonic()));
        let mut zero = self.zero();
        zero.steady_ms = if first { told_ms } else { zero.steady_ms.max(told_ms) };
    }

    /// For people: what the wall says.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// For leases: never jumps while the master runs.
    pub(crate) fn steady_ms(&self) -> u64 {
        self.zero().steady_ms.saturating_add(millis(self.clock.monotonic()))
    }

    /// How long this master has been there.
    pub(crate) fn awake_ms(&self) -> u64 {
        millis(self.clock.monotonic().saturating_sub(self.zero().began))
    }

    /// For the beginning of a wait: the later of the two.
    pub(crate) fn later_ms(&self) -> u64 {
        self.wall_ms().max(self.steady_ms())
    }

    /// For the end of a wait: the earlier of the two.
    pub(crate) fn earlier_ms(&self) -> u64 {
        self.wall_ms().min(self.steady_ms())
    }

    /// How far this machine's wall has moved against its monotonic clock since this master began. That the walls of two
    /// masters differ is no jump.
    pub(crate) fn jump(&self) -> Duration {
        let expected_ms = self.zero().wall_ms.saturating_add(millis(self.clock.monotonic()));
        Duration::from_millis(self.wall_ms().abs_diff(expected_ms))
    }
}

impl Zero {
    fn by_wall(clock: &Clock) -> Self {
        let began = clock.monotonic();
        let wall_ms = clock.wall_ms().saturating_sub(millis(began));
        Self { steady_ms: wall_ms, wall_ms, began }
    }
}
