//! Which nodes gateways cannot reach, by what they say of their calls.
//!
//! A gateway says for each node how many of its calls came through in an interval. What it says of a node counts when more of them failed than
//! not, for [`LASTS`]. It counts only as long as it is about no more than half of the nodes: a gateway that can reach hardly
//! anybody is cut off itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::{GatewayId, NodeId};

/// So many failed calls make a node unreached, of one gateway or of several together.
const FAILURES: u32 = 3;
/// How long a failed call counts. A node that nobody calls any more, since it is Suspect, gets another chance then.
const LASTS: Duration = Duration::from_secs(15);
/// Most pairs of gateway and node that are kept; further ones are not noted until others have lost their weight.
const MOST_TOLD: usize = 4096;

/// Calls of a gateway to a node in an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls that the node answered, with whatever.
    pub reached: u32,
    /// Calls that did not come through, were not answered in time, or were broken off.
    pub unreached: u32,
}

/// What gateways say of a node that they cannot reach. Ordered from less to more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreached {
    /// How many gateways say so.
    pub gateways: u32,
    /// How many calls failed.
    pub failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    failures: u32,
    /// When the last of them was told.
    last: Duration,
}

/// What gateways said lately, at times of the master's monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    told: BTreeMap<(GatewayId, NodeId), Told>,
}

impl Reach {
    /// A gateway tells of its calls to a node.
    pub fn tell(&mut self, now: Duration, gateway: GatewayId, node: NodeId, calls: Calls) {
        self.told.retain(|_, told| now.saturating_sub(told.last) < LASTS);
        let key = (gateway, node);
        if calls.unreached <= calls.reached {
            self.told.remove(&key);
        } else if self.told.len() < MOST_TOLD || self.told.contains_key(&key) {
            let told = self.told.entry(key).or_insert(Told { failures: 0, last: now });
            told.failures = told.failures.saturating_add(calls.unreached);
            told.last = now;
        }
    }

    /// The nodes of `heard` that gateways cannot reach.
    pub fn unreached(
        &self,
        now: Duration,
        heard: &BTreeSet<NodeId>,
    ) -> BTreeMap<NodeId, Unreached> {
        let counts = |told: &Told| now.saturating_sub(told.last) < LASTS;
        let weighed: Vec<_> = self
            .told
            .iter()
            .filter(|((_, node), told)| counts(told) && heard.contains(node))
            .map(|(&(gateway, node), told)| (gateway, node, told.failures))
            .collect();
        let mut named: BTreeMap<GatewayId, usize> = BTreeMap::new();
        for (gateway, ..) in &weighed {
            *named.entry(*gateway).or_default() += 1;
        }
        let mut unreached: BTreeMap<NodeId, Unreached> = BTreeMap::new();
        for (gateway, node, failures) in weighed {
            if named.get(&gateway).is_some_and(|named| named * 2 > heard.len()) {
                continue;
            }
            let all = unreached.entry(node).or_insert(Unreached { gateways: 0, failures: 0 });
            all.gateways += 1;
            all.failures = all.failures.saturating_add(failures);
        }
        unreached.retain(|_, all| all.failures >= FAILURES);
        unreached
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn node(n: u128) -> NodeId {
        NodeId::from_uuid(Uuid::from_u128(n))
    }

    fn gateway(n: u128) -> GatewayId {
        GatewayId::from_uuid(Uuid::from_u128(n))
    }

    fn nodes(count: u128) -> BTreeSet<NodeId> {
        (1..=count).map(node).collect()
    }

    const fn failed(unreached: u32) -> Calls {
        Calls { reached: 0, unreached }
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn several_failed_calls_of_one_or_of_several_gateways_make_a_node_unreached_for_a_time() {
        let mut reach = Reach::default();
        let all = nodes(6);
        reach.tell(at(0), gateway(1), node(1), failed(2));
        assert!(reach.unreached(at(0), &all).is_empty(), "two may be chance");
        reach.tell(at(1), gateway(2), node(1), failed(1));
        let found = reach.unreached(at(1), &all);
        assert_eq!(found, [(node(1), Unreached { gateways: 2, failures: 3 })].into());
        reach.tell(at(2), gateway(1), node(2), failed(3));
        assert_eq!(reach.unreached(at(2), &all).len(), 2);
        assert_eq!(reach.unreached(at(16), &all).len(), 1, "the first is forgiven");
        assert!(reach.unreached(at(17), &all).is_empty());
    }

    #[test]
    fn a_node_that_answers_as_often_as_not_is_reached() {
        let mut reach = Reach::default();
        reach.tell(at(0), gateway(1), node(1), Calls { reached: 50, unreached: 50 });
        assert!(reach.unreached(at(0), &nodes(6)).is_empty());
        reach.tell(at(0), gateway(1), node(1), failed(5));
        assert_eq!(reach.unreached(at(0), &nodes(6)).len(), 1);
        reach.tell(at(1), gateway(1), node(1), Calls { reached: 9, unreached: 1 });
        assert!(reach.unreached(at(1), &nodes(6)).is_empty(), "it answers again");
    }

    #[test]
    fn a_gateway_that_is_cut_off_makes_nobody_suspect_and_another_ones_word_counts() {
        let mut reach = Reach::default();
        let all = nodes(6);
        for n in 1..=4 {
            reach.tell(at(0), gateway(1), node(n), failed(100));
        }
        assert!(reach.unreached(at(0), &all).is_empty());
        reach.tell(at(0), gateway(2), node(2), failed(3));
        let found = reach.unreached(at(0), &all);
        assert_eq!(found, [(node(2), Unreached { gateways: 1, failures: 3 })].into());
        assert!(reach.unreached(at(0), &nodes(1)).is_empty(), "one of one is more than half");
    }

    proptest! {
        /// Whatever gateways say: nobody is unreached by the word of gateways alone that name most nodes, nothing counts for
        /// longer than its time, and what is kept is bounded.
        #[test]
        fn words_count_for_a_minority_of_nodes_and_for_a_time(
            told in proptest::collection::vec(
                (0..20_u64, 1..4_u128, 1..9_u128, 0..5_u32, 0..5_u32), 0..80),
            there in 1..8_u128,
        ) {
            let mut reach = Reach::default();
            let mut now = at(0);
            for (wait, by, of, reached, unreached) in told {
                now += at(wait);
                reach.tell(now, gateway(by), node(of), Calls { reached, unreached });
            }
            let heard = nodes(there);
            let found = reach.unreached(now, &heard);
            for (node, all) in &found {
                prop_assert!(heard.contains(node) && all.failures >= FAILURES && all.gateways > 0);
            }
            let of_one = |by| {
                let told = reach.told.iter().filter(|((gateway, node), told)| {
                    *gateway == by && heard.contains(node) && now - told.last < LASTS
                });
                told.count()
            };
            let honest = (1..4).map(gateway).filter(|by| of_one(*by) * 2 <= heard.len()).count();
            let most = found.values().map(|all| all.gateways as usize).max().unwrap_or(0);
            prop_assert!(most <= honest);
            prop_assert!(reach.unreached(now + LASTS, &heard).is_empty());
        }
    }
}
