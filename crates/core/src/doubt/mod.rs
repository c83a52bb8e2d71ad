//! Which nodes that are heard are not to be trusted with new chunks all the same.
//!
//! ```text
//! returns from silence ─► Steadiness ─ unsteady ───┐
//!                                                  ├─► doubted: worst first, as long as enough others are left
//! calls of gateways ────► Reach ────── unreached ──┘
//! ```
//!
//! A doubted node is Suspect: it is read last and gets no new chunks. It is never Down for that, and nobody is doubted at the
//! price of writes that could not be placed any more: a node in doubt is better than none. When more than half of the nodes came
//! back too often, it is the master that did not hear them, and none of them is unsteady.
//!
//! What a doubted node has counts, and nothing is given up for its sake. That must not hold up repairs and drains for ever: where there is
//! something against a node again and again, [`Lasting`] says from when on its copies are made anew.

mod lasting;
mod reach;
mod steadiness;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::ids::NodeId;
use crate::names::Zone;

pub use lasting::Lasting;
pub use reach::{Calls, Reach, Unreached};
pub use steadiness::{FlapBounds, Steadiness};

/// Why a node is doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doubt {
    /// It fell silent and came back too often lately.
    Unsteady,
    /// Gateways cannot reach it, though it is heard.
    Unreached,
}

/// A node that is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The node.
    pub node: NodeId,
    /// Where it is.
    pub zone: Zone,
    /// What gateways say; nothing when they reach it.
    pub unreached: Option<Unreached>,
    /// It came back too often lately.
    pub unsteady: bool,
}

/// What must be left of nodes that nobody doubts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Least {
    /// Nodes.
    pub nodes: usize,
    /// Zones that they are in, where there are so many.
    pub zones: usize,
}

/// The nodes that are doubted, and why. The worst come first, and no more than leave [`Least`] of the others.
pub fn doubted(heard: &[Heard], least: Least) -> BTreeMap<NodeId, Doubt> {
    let mut zones: BTreeMap<&Zone, usize> = BTreeMap::new();
    for node in heard {
        *zones.entry(&node.zone).or_default() += 1;
    }
    let (mut nodes, least_zones) = (heard.len(), least.zones.min(zones.len()));
    let mut bad = causes(heard);
    bad.sort_by_key(|(node, doubt)| (Reverse(node.unreached), Reverse(*doubt), node.node));
    let mut doubted = BTreeMap::new();
    for (node, doubt) in bad {
        let is_last_of_zone = zones.get(&node.zone) == Some(&1);
        let zones_left = zones.len() - usize::from(is_last_of_zone);
        if nodes <= least.nodes || zones_left < least_zones {
            continue;
        }
        nodes -= 1;
        match zones.get_mut(&node.zone) {
            Some(others) if !is_last_of_zone => *others -= 1,
            _ => drop(zones.remove(&node.zone)),
        }
        doubted.insert(node.node, doubt);
    }
    doubted
}

/// The nodes that there is a cause to doubt.
fn causes(heard: &[Heard]) -> Vec<(&Heard, Doubt)> {
    let unsteady = heard.iter().filter(|node| node.unsteady).count();
    let counts = unsteady * 2 <= heard.len();
    let cause = |node: &Heard| match node.unreached {
        Some(_) => Some(Doubt::Unreached),
        None => (node.unsteady && counts).then_some(Doubt::Unsteady),
    };
    heard.iter().filter_map(|node| Some((node, cause(node)?))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn heard(n: u128, zone: &str, failures: u32, unsteady: bool) -> Heard {
        let unreached = (failures > 0).then_some(Unreached { gateways: 1, failures });
        let node = NodeId::from_uuid(Uuid::from_u128(n));
        Heard { node, zone: zone.parse().expect("a zone"), unreached, unsteady }
    }

    const TWO: Least = Least { nodes: 2, zones: 1 };

    #[test]
    fn unsteady_and_unreached_nodes_are_doubted_the_worst_first_while_enough_are_left() {
        let nodes = [
            heard(1, "a", 0, false),
            heard(2, "a", 0, true),
            heard(3, "a", 4, false),
            heard(4, "a", 9, true),
        ];
        let ids: Vec<_> = nodes.iter().map(|node| node.node).collect();
        let found = doubted(&nodes, Least { nodes: 1, zones: 1 });
        let all =
            [(ids[1], Doubt::Unsteady), (ids[2], Doubt::Unreached), (ids[3], Doubt::Unreached)];
        assert_eq!(found, all.into());
        assert_eq!(doubted(&nodes, TWO), all[1..].iter().copied().collect());
        assert_eq!(doubted(&nodes, Least { nodes: 4, zones: 1 }), BTreeMap::new());
    }

    #[test]
    fn the_last_node_of_a_zone_that_is_needed_is_not_doubted() {
        let nodes = [heard(1, "a", 5, false), heard(2, "b", 0, false), heard(3, "b", 2, false)];
        let found = doubted(&nodes, Least { nodes: 1, zones: 2 });
        assert_eq!(found, [(nodes[2].node, Doubt::Unreached)].into());
        let found = doubted(&nodes, TWO);
        assert_eq!(found, [(nodes[0].node, Doubt::Unreached)].into());
    }

    #[test]
    fn when_most_nodes_come_back_again_and_again_it_is_the_master_that_did_not_hear_them() {
        let mut nodes: Vec<_> = (1..=6).map(|n| heard(n, "a", 0, n <= 3)).collect();
        assert_eq!(doubted(&nodes, TWO).len(), 3);
        nodes[3].unsteady = true;
        assert_eq!(doubted(&nodes, TWO), BTreeMap::new());
        nodes[4].unreached = Some(Unreached { gateways: 1, failures: 3 });
        assert_eq!(doubted(&nodes, TWO), [(nodes[4].node, Doubt::Unreached)].into());
    }

    proptest! {
        #[test]
        fn enough_nodes_and_zones_are_always_left_and_nobody_is_doubted_without_a_cause(
            nodes in proptest::collection::vec((0..4_u8, 0..5_u32, any::<bool>()), 0..20),
            least in 0..6_usize,
            least_zones in 0..4_usize,
        ) {
            let heard: Vec<_> = (1..)
                .zip(&nodes)
                .map(|(n, (zone, failures, unsteady))| {
                    heard(n, &format!("z{zone}"), *failures, *unsteady)
                })
                .collect();
            let found = doubted(&heard, Least { nodes: least, zones: least_zones });
            let left: Vec<_> =
                heard.iter().filter(|node| !found.contains_key(&node.node)).collect();
            let zones = |nodes: &[&Heard]| {
                nodes.iter().map(|node| node.zone.clone()).collect::<BTreeSet<_>>().len()
            };
            prop_assert!(left.len() >= least.min(heard.len()));
            let there = zones(&heard.iter().collect::<Vec<_>>());
            prop_assert!(zones(&left) >= least_zones.min(there));
            let unsteady = heard.iter().filter(|node| node.unsteady).count();
            for node in &heard {
                let cause =
                    (node.unsteady && unsteady * 2 <= heard.len()) || node.unreached.is_some();
                prop_assert!(cause || !found.contains_key(&node.node));
                // With room for all, all are doubted that there is a cause for.
                if least == 0 && least_zones == 0 {
                    prop_assert_eq!(cause, found.contains_key(&node.node));
                }
            }
        }
    }
}
