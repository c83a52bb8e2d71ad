//! Where the copies of a chunk go.
//!
//! The policy is the order of the score's fields: spread over zones first, then free space, then load. Two
//! copies of a chunk never share a node, and share a zone only when there are fewer zones than copies.

use std::collections::BTreeSet;

use crate::digest::plain_crc;
use crate::ids::{ChunkId, NodeId};
use crate::names::Zone;

/// What the master knows of a node that may take a copy. Whoever is not in state Up is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Its zone.
    pub zone: Zone,
    /// Bytes the node may hold in all.
    pub capacity: u64,
    /// Bytes it holds or was promised: reported, plus what was placed there since the report.
    pub filled: u64,
    /// Copies being written to it.
    pub load: u32,
}

impl Candidate {
    fn has_room(&self, bytes: u64) -> bool {
        self.filled.saturating_add(bytes) <= self.capacity
    }

    /// Share of the capacity that is filled, in 2⁻³² parts.
    fn fill(&self) -> u64 {
        let parts = (u128::from(self.filled) << 32) / u128::from(self.capacity.max(1));
        u64::try_from(parts).unwrap_or(u64::MAX)
    }
}

/// Lower is better. The order of the fields is the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    /// Copies of this chunk that the zone holds already.
    zone_copies: usize,
    /// Fill in steps of 1/1024: smaller differences do not outweigh load.
    fill_step: u64,
    /// Copies being written to the node.
    load: u32,
    /// The exact fill, so that small files even out as well.
    fill: u64,
    /// Spreads what is equal, the same way at every master.
    tie: u32,
    /// Makes the order total.
    node: NodeId,
}

impl Score {
    fn of(candidate: &Candidate, zone_copies: usize, chunk: ChunkId) -> Self {
        let mut name = [0; ChunkId::LEN + 16];
        name[..ChunkId::LEN].copy_from_slice(&chunk.to_bytes());
        name[ChunkId::LEN..].copy_from_slice(candidate.node.as_bytes());
        let fill = candidate.fill();
        Self {
            zone_copies,
            fill_step: fill >> 22,
            load: candidate.load,
            fill,
            tie: plain_crc(&name),
            node: candidate.node,
        }
    }
}

/// There are not enough nodes for the copies asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found} of {wanted} copies can be placed: {nodes} nodes take chunks, {with_room} have room"
)]
pub struct TooFewNodes {
    /// Copies asked for.
    pub wanted: usize,
    /// Copies that found a place.
    pub found: usize,
    /// Candidates that are not excluded.
    pub nodes: usize,
    /// Of those, with room for the chunk.
    pub with_room: usize,
}

/// Chooses `copies` nodes for `chunk` of `bytes`, best first. `holders` are the zones of copies that exist
/// already, and `excluded` nodes are passed over: holders, and nodes that just failed.
///
/// # Errors
/// [`TooFewNodes`] when not all copies find a place; nothing is chosen then.
pub fn place(
    chunk: ChunkId,
    bytes: u64,
    copies: usize,
    candidates: &[Candidate],
    holders: &[Zone],
    excluded: &BTreeSet<NodeId>,
) -> Result<Vec<NodeId>, TooFewNodes> {
    let open: Vec<_> = candidates.iter().filter(|c| !excluded.contains(&c.node)).collect();
    let mut left: Vec<_> = open.iter().copied().filter(|c| c.has_room(bytes)).collect();
    let with_room = left.len();
    let mut zones: Vec<&Zone> = holders.iter().collect();
    let mut chosen = Vec::with_capacity(copies);
    while chosen.len() < copies {
        let copies_in = |zone: &Zone| zones.iter().filter(|&&held| held == zone).count();
        let best =
            (0..left.len()).min_by_key(|&i| Score::of(left[i], copies_in(&left[i].zone), chunk));
        let Some(best) = best else {
            let (wanted, found, nodes) = (copies, chosen.len(), open.len());
            return Err(TooFewNodes { wanted, found, nodes, with_room });
        };
        let best = left.swap_remove(best);
        zones.push(&best.zone);
        chosen.push(best.node);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use uuid::Uuid;

    use super::*;
    use crate::ids::BlobId;

    fn chunk(index: u32) -> ChunkId {
        ChunkId::new(BlobId::from_uuid(Uuid::from_u128(1)), index)
    }

    fn candidate(n: u128, zone: &str) -> Candidate {
        Candidate {
            node: NodeId::from_uuid(Uuid::from_u128(n)),
            zone: Zone::new(zone).expect("a label"),
            capacity: 1 << 40,
            filled: 0,
            load: 0,
        }
    }

    fn six_in_three_zones() -> Vec<Candidate> {
        (0..6).map(|n| candidate(n, ["a", "b", "c"][n as usize % 3])).collect()
    }

    #[test]
    fn a_thousand_chunks_fill_six_nodes_evenly_and_never_share_a_zone() {
        let mut nodes = six_in_three_zones();
        for index in 0..1000 {
            let chosen = place(chunk(index), 4096, 2, &nodes, &[], &BTreeSet::new()).expect("room");
            let at = |id: NodeId| nodes.iter().position(|c| c.node == id).expect("known");
            let (one, two) = (at(chosen[0]), at(chosen[1]));
            assert_ne!(nodes[one].zone, nodes[two].zone);
            nodes[one].filled += 4096;
            nodes[two].filled += 4096;
        }
        let most = nodes.iter().map(|c| c.filled).max().expect("six");
        let least = nodes.iter().map(|c| c.filled).min().expect("six");
        assert!((most - least) * 10 < most, "{least} to {most}");
    }

    #[test]
    fn a_replacement_goes_to_a_zone_without_a_copy() {
        let nodes = six_in_three_zones();
        let holders = [nodes[0].zone.clone()];
        let excluded = BTreeSet::from([nodes[0].node, nodes[1].node]);
        let chosen = place(chunk(0), 1, 1, &nodes, &holders, &excluded).expect("room");
        assert!(
            chosen[0] == nodes[2].node || chosen[0] == nodes[4].node || chosen[0] == nodes[5].node
        );
    }

    #[test]
    fn zones_count_before_free_space_and_that_before_load() {
        let of = |n, zone, filled, load| Candidate { filled, load, ..candidate(n, zone) };
        let none = BTreeSet::new();
        let best = |nodes: [Candidate; 2], holders: &[Zone]| {
            place(chunk(0), 1, 1, &nodes, holders, &none).map(|chosen| chosen[0])
        };
        let (half, little) = (1 << 39, 1 << 20);
        let held = of(1, "a", 0, 0);
        let zone = held.zone.clone();
        let other = of(2, "b", half, 9);
        assert_eq!(best([held, other.clone()], &[zone]), Ok(other.node), "the other zone");
        let emptier = of(1, "a", 0, 9);
        assert_eq!(best([emptier.clone(), of(2, "b", half, 0)], &[]), Ok(emptier.node));
        let idle = of(2, "b", little, 0);
        assert_eq!(best([emptier, idle.clone()], &[]), Ok(idle.node), "as good as equally full");
    }

    #[test]
    fn a_full_node_is_passed_over_and_too_few_are_told_apart_from_too_full() {
        let mut nodes = vec![candidate(1, "a"), candidate(2, "b")];
        nodes[0].filled = nodes[0].capacity;
        let refused = place(chunk(0), 1, 2, &nodes, &[], &BTreeSet::new());
        assert_eq!(refused, Err(TooFewNodes { wanted: 2, found: 1, nodes: 2, with_room: 1 }));
    }

    proptest! {
        #[test]
        fn copies_share_no_node_and_share_a_zone_only_when_zones_run_out(
            zones in 1_usize..4, per_zone in 1_usize..4, copies in 1_usize..6, index in 0_u32..1000,
        ) {
            let nodes: Vec<_> = (0..zones * per_zone)
                .map(|n| candidate(n as u128, &format!("z{}", n % zones)))
                .collect();
            match place(chunk(index), 1, copies, &nodes, &[], &BTreeSet::new()) {
                Err(error) => prop_assert!(copies > nodes.len(), "{}", error),
                Ok(chosen) => {
                    let distinct: BTreeSet<_> = chosen.iter().collect();
                    prop_assert_eq!(distinct.len(), copies);
                    let used: BTreeSet<_> = chosen
                        .iter()
                        .map(|id| &nodes.iter().find(|c| c.node == *id).expect("known").zone)
                        .collect();
                    prop_assert_eq!(used.len(), copies.min(zones));
                }
            }
        }
    }
}
