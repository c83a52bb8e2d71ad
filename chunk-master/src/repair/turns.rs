//! Turns: when a copy may begin, so that rates are kept: in all, for each node, for what is done only to even out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cairn_core::ids::NodeId;

/// What a rate is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// All copies.
    All,
    /// Copies that only even out.
    Rebalance,
    /// Copies from a node, and to it.
    Node(NodeId),
    /// Copies of a node that are read for the sake of strays elsewhere.
    Strays(NodeId),
}

/// A lane, and the bytes a second that may go through it.
pub(super) type Rate = (Lane, u64);

/// When each lane is free again, on the monotonic clock. Lanes that are free are forgotten.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<Lane, Duration>>);

impl Turns {
    /// How long to wait, so that `bytes` keep each rate.
    pub(super) fn wait(&self, now: Duration, bytes: u64, rates: &[Rate]) -> Duration {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.retain(|_, at| *at > now);
        let begins = rates.iter().filter_map(|(lane, _)| free.get(lane)).max();
        let begins = begins.copied().unwrap_or(now);
        for &(lane, rate) in rates {
            // Each lane for itself: one that is slow takes nothing of the others.
            let at = free.get(&lane).copied().unwrap_or(now);
            free.insert(lane, at.saturating_add(takes(bytes, rate)));
        }
        begins - now
    }
}

impl Turns {
    /// Whether `bytes` have room in a lane that is booked for no longer than `ahead`; then they are booked.
    pub(super) fn has_room(
        &self,
        now: Duration,
        bytes: u64,
        (lane, rate): Rate,
        ahead: Duration,
    ) -> bool {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.retain(|_, at| *at > now);
        let at = free.get(&lane).copied().unwrap_or(now);
        let has_room = at - now < ahead;
        if has_room {
            free.insert(lane, at.saturating_add(takes(bytes, rate)));
        }
        has_room
    }
}

/// How long so many bytes take at `rate` bytes a second.
fn takes(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(n: u128) -> Lane {
        Lane::Node(NodeId::from_uuid(Uuid::from_u128(n)))
    }

    #[test]
    fn each_rate_is_kept_and_nodes_that_have_nothing_to_do_with_it_do_not_wait() {
        let turns = Turns::default();
        let now = Duration::from_secs(10);
        let copy = |from: u128, to: u128| {
            let rates = [(Lane::All, 400), (node(from), 100), (node(to), 100)];
            turns.wait(now, 100, &rates).as_millis()
        };
        assert_eq!(copy(1, 2), 0);
        assert_eq!(copy(3, 4), 250, "the rate in all");
        assert_eq!(copy(1, 5), 1000, "node 1 is busy for a second");
        assert_eq!(copy(5, 6), 1000, "so is node 5");
        let later = Duration::from_secs(100);
        assert_eq!(turns.wait(later, 100, &[(node(1), 100)]), Duration::ZERO);
        assert_eq!(turns.0.lock().expect("no panic").len(), 1, "what is free is forgotten");
    }

    #[test]
    fn what_does_not_wait_has_room_for_as_far_ahead_as_is_said() {
        let turns = Turns::default();
        let taken = |second| {
            let now = Duration::from_secs(second);
            let one = || turns.has_room(now, 100, (node(1), 100), Duration::from_secs(3));
            std::iter::from_fn(|| one().then_some(())).count()
        };
        assert_eq!(taken(10), 3);
        assert_eq!(taken(12), 2, "what was booked is done by a half");
        assert_eq!(taken(100), 3);
    }
}
