//! Pauses between attempts: growing, bounded, and different for everyone.

use std::time::Duration;

use cairn_runtime::{Clock, Entropy};

use super::connect::Shared;

/// Why there is a pause.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    /// Another transaction was in the way; it is gone soon.
    Conflict,
    /// The connection was lost; the server may be starting.
    Lost,
}

impl Cause {
    /// The longest first pause, and the longest of all.
    fn bounds(self) -> (Duration, Duration) {
        match self {
            Cause::Conflict => (Duration::from_millis(1), Duration::from_millis(100)),
            Cause::Lost => (Duration::from_millis(20), Duration::from_secs(1)),
        }
    }
}

/// The attempts at one piece of work.
pub(super) struct Backoff {
    clock: Clock,
    entropy: Entropy,
    give_up: Duration,
    pauses: u32,
}

impl Backoff {
    pub(super) fn new(shared: &Shared) -> Backoff {
        let clock = shared.clock.clone();
        let give_up = clock.monotonic() + shared.config.retry_for;
        Backoff { clock, entropy: shared.entropy.clone(), give_up, pauses: 0 }
    }

    /// Whether there is no time for another attempt.
    pub(super) fn is_over(&self) -> bool {
        self.clock.monotonic() >= self.give_up
    }

    pub(super) async fn pause(&mut self, cause: Cause) {
        let (first, longest) = cause.bounds();
        let most = first.saturating_mul(1 << self.pauses.min(16)).min(longest);
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        self.pauses += 1;
        self.clock.sleep(Duration::from_micros(self.entropy.below(micros.saturating_add(1)))).await;
    }
}
