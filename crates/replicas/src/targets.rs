//! Which replicas an operation goes to: known before any of them is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cairn_core::copies::Place;
use cairn_core::ids::NodeId;

use crate::replica::{CopyError, Replica, Replicas};

/// The targets of an operation cannot be used. Nothing was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTargets {
    /// Nobody is named.
    #[error("no targets: name at least one")]
    Empty,
    /// This one is not known.
    #[error("target {0} is not known")]
    Unknown(NodeId),
}

/// Where an operation goes: at least one place, each node once, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets(Vec<Place>);

impl Targets {
    /// Takes places in order; a node that is named again is left out.
    ///
    /// # Errors
    /// [`InvalidTargets::Empty`].
    pub fn new(places: impl IntoIterator<Item = Place>) -> Result<Self, InvalidTargets> {
        let mut distinct: Vec<Place> = Vec::new();
        for place in places {
            if distinct.iter().all(|known| known.node != place.node) {
                distinct.push(place);
            }
        }
        if distinct.is_empty() { Err(InvalidTargets::Empty) } else { Ok(Self(distinct)) }
    }

    /// The places, in order.
    pub fn places(&self) -> &[Place] {
        &self.0
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.0.iter().map(|place| place.node).collect()
    }
}

#[derive(Default, Clone)]
struct Known {
    units: BTreeMap<NodeId, Arc<dyn Replica>>,
    order: Vec<NodeId>,
}

impl Known {
    fn check(&self, nodes: &[NodeId]) -> Result<(), InvalidTargets> {
        let unknown = nodes.iter().find(|node| !self.units.contains_key(node));
        unknown.map_or(Ok(()), |node| Err(InvalidTargets::Unknown(*node)))
    }
}

/// Replicas by name, with a standard order: for callers that have no master to place copies for them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Units(Arc<Mutex<Known>>);

impl std::fmt::Debug for Units {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Units").field("units", &self.list()).finish_non_exhaustive()
    }
}

impl Units {
    /// Takes replicas, and the order in which an operation goes to them unless it says something else.
    ///
    /// # Errors
    /// [`InvalidTargets::Unknown`] when the order names another.
    pub fn new(
        units: impl IntoIterator<Item = (NodeId, Arc<dyn Replica>)>,
        order: &[NodeId],
    ) -> Result<Self, InvalidTargets> {
        let known = Known { units: units.into_iter().collect(), order: order.to_vec() };
        known.check(order)?;
        Ok(Self(Arc::new(Mutex::new(known))))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a replica; one that had the name before is given back.
    pub fn join(&self, node: NodeId, unit: Arc<dyn Replica>) -> Option<Arc<dyn Replica>> {
        self.lock().units.insert(node, unit)
    }

    /// Takes a replica out, of the standard order as well.
    pub fn leave(&self, node: NodeId) -> Option<Arc<dyn Replica>> {
        let mut known = self.lock();
        known.order.retain(|named| *named != node);
        known.units.remove(&node)
    }

    /// The names, in order of the names.
    pub fn list(&self) -> Vec<NodeId> {
        self.lock().units.keys().copied().collect()
    }

    /// Sets the standard order; some may be left out. Operations under way keep theirs.
    ///
    /// # Errors
    /// [`InvalidTargets::Unknown`]; the order stays as it was.
    pub fn set_order(&self, order: &[NodeId]) -> Result<(), InvalidTargets> {
        let mut known = self.lock();
        known.check(order)?;
        known.order = order.to_vec();
        Ok(())
    }

    /// The targets of one operation: those named, or the standard order.
    ///
    /// # Errors
    /// [`InvalidTargets`].
    pub fn targets(&self, named: Option<&[NodeId]>) -> Result<Targets, InvalidTargets> {
        let known = self.lock();
        let order = named.unwrap_or(&known.order);
        known.check(order)?;
        let place =
            |node: &NodeId| Place { node: *node, address: String::new(), grant: Bytes::new() };
        Targets::new(order.iter().map(place))
    }
}

impl Replicas for Units {
    fn at(&self, place: &Place) -> Result<Arc<dyn Replica>, CopyError> {
        let unit = self.lock().units.get(&place.node).cloned();
        unit.ok_or_else(|| CopyError::Unreachable("it has left".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::double::{node, place};
    use crate::memory::MemoryReplica;

    fn units(names: &[u128], order: &[u128]) -> Result<Units, InvalidTargets> {
        let unit = |n: &u128| -> (NodeId, Arc<dyn Replica>) {
            (node(*n), Arc::new(MemoryReplica::new(node(*n))))
        };
        let order: Vec<_> = order.iter().map(|n| node(*n)).collect();
        Units::new(names.iter().map(unit), &order)
    }

    #[test]
    fn the_standard_order_names_known_units_alone_and_a_wrong_one_changes_nothing() {
        assert_eq!(units(&[1, 2], &[2, 9]).err(), Some(InvalidTargets::Unknown(node(9))));
        let units = units(&[1, 2, 3], &[3, 1]).expect("all known");
        let refused = units.set_order(&[node(2), node(8)]);
        assert_eq!(refused, Err(InvalidTargets::Unknown(node(8))));
        assert_eq!(units.targets(None).map(|t| t.nodes()), Ok(vec![node(3), node(1)]));
        assert_eq!(units.set_order(&[node(2)]), Ok(()));
        assert_eq!(units.targets(None).map(|t| t.nodes()), Ok(vec![node(2)]));
    }

    #[test]
    fn units_join_and_leave_and_a_list_of_them_is_a_copy() {
        let units = units(&[1], &[1]).expect("known");
        let mut list = units.list();
        list.clear();
        assert_eq!(units.list(), [node(1)]);
        assert!(units.join(node(2), Arc::new(MemoryReplica::new(node(2)))).is_none());
        assert!(units.join(node(2), Arc::new(MemoryReplica::new(node(2)))).is_some());
        assert!(units.leave(node(1)).is_some());
        assert_eq!(units.list(), [node(2)]);
        assert_eq!(units.targets(None), Err(InvalidTargets::Empty), "the order lost its only one");
        assert!(units.at(&place(1)).is_err());
    }

    #[test]
    fn a_unit_that_joins_under_a_known_name_takes_its_place_and_keeps_its_rank() {
        let units = units(&[1, 2], &[2, 1]).expect("all known");
        let new: Arc<dyn Replica> = Arc::new(MemoryReplica::new(node(2)));
        let before = units.at(&place(2)).expect("known");
        let replaced = units.join(node(2), Arc::clone(&new)).expect("there was one");
        assert!(Arc::ptr_eq(&replaced, &before), "the old one is given back to who put it out");
        assert!(Arc::ptr_eq(&units.at(&place(2)).expect("known"), &new));
        assert_eq!(units.targets(None).map(|t| t.nodes()), Ok(vec![node(2), node(1)]));
    }

    proptest! {
        #[test]
        fn targets_are_refused_when_one_is_unknown_and_else_named_once(
            named in prop::collection::vec(1_u128..7, 0..12),
        ) {
            let units = units(&[1, 2, 3, 4], &[1]).expect("known");
            let nodes: Vec<_> = named.iter().map(|n| node(*n)).collect();
            match units.targets(Some(&nodes)) {
                Err(InvalidTargets::Empty) => prop_assert!(named.is_empty()),
                Err(InvalidTargets::Unknown(unknown)) => {
                    prop_assert_eq!(nodes.iter().find(|n| **n > node(4)), Some(&unknown));
                }
                Ok(targets) => {
                    prop_assert!(nodes.iter().all(|n| *n <= node(4)));
                    let mut first = Vec::new();
                    for node in nodes {
                        if !first.contains(&node) { first.push(node); }
                    }
                    prop_assert_eq!(targets.nodes(), first);
                }
            }
        }
    }
}
