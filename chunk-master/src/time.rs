//! Which time decides what.
//!
//! The wall may jump. So leases are counted in *steady* time: the wall as it was when this master began,
//! plus monotonic time since. How long a version waits before it is purged is judged by both: it begins at
//! the later of the two and ends when the earlier one says so. A jump can therefore only make a wait
//! longer, until the two agree again or the master restarts.
//!
//! A master that starts cannot know how long it was away, nor whether the wall jumped meanwhile. So leases and kept
//! answers are given the whole of their time again, counted from its start.

use std::time::Duration;

use cairn_runtime::Clock;

use crate::config::millis;

/// The times by which the master decides, in milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone)]
pub(crate) struct Time {
    clock: Clock,
    /// Wall time at monotonic zero, as this master began.
    zero_ms: u64,
    /// Monotonic time as this master began.
    began: Duration,
}

impl Time {
    pub(crate) fn new(clock: Clock) -> Self {
        let zero_ms = clock.wall_ms().saturating_sub(millis(clock.monotonic()));
        let began = clock.monotonic();
        Self { clock, zero_ms, began }
    }

    /// For people: what the wall says.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// For leases: never jumps while the master runs.
    pub(crate) fn steady_ms(&self) -> u64 {
        self.zero_ms.saturating_add(millis(self.clock.monotonic()))
    }

    /// How long this master has been there.
    pub(crate) fn awake_ms(&self) -> u64 {
        millis(self.clock.monotonic().saturating_sub(self.began))
    }

    /// For the beginning of a wait: the later of the two.
    pub(crate) fn later_ms(&self) -> u64 {
        self.wall_ms().max(self.steady_ms())
    }

    /// For the end of a wait: the earlier of the two.
    pub(crate) fn earlier_ms(&self) -> u64 {
        self.wall_ms().min(self.steady_ms())
    }

    /// How far the wall has moved against steady time.
    pub(crate) fn jump(&self) -> Duration {
        Duration::from_millis(self.wall_ms().abs_diff(self.steady_ms()))
    }
}
