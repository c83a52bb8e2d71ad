//! What is to be done for a chunk so that it has its copies, in the right number and in the right places.
//!
//! ```text
//! fewer copies that stay than wanted             copy
//! fewer zones than there could be                copy to a zone without one
//! a copy that was begun, and is not needed       forget it
//! more certain copies that stay than wanted      give up one: on a node that is being emptied, in a zone that has others,
//!                                                on the fullest node
//! ```
//!
//! A copy for another zone comes before what is below it. Where no such place is to be had, whoever carries steps out asks again
//! without open zones, so that the rest does not wait.
//!
//! One step at a time, each from what is there then; a copy is given up only while as many as wanted are certain without it, so no
//! step makes the chunk less safe.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::ids::NodeId;
use crate::names::Zone;

/// How a copy that is named stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Its node was heard lately: it can be read and counts.
    Certain,
    /// Its node is silent for a moment, or was in doubt for long and is trusted too shortly: it counts, but nothing is given up for its sake.
    Unsure,
    /// Its node is away, and is waited for: no copy is made in its place yet.
    Awaited,
    /// Its node is away for too long; it may come back.
    Away,
    /// Its node is there, and was in doubt for too long. As [`Self::Away`], but for that it can be tried when there is no better one.
    Doubted,
    /// It was found bad. Where all others are lost it is tried all the same: whoever copies it proves it.
    Bad,
    /// Lost for good: its disk or its node is gone.
    Lost,
    /// Begun, and not known to be durable.
    Begun,
}

/// A copy that is named, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCopy {
    /// Its node.
    pub node: NodeId,
    /// Where the node is; nothing when the node is not known any more.
    pub zone: Option<Zone>,
    /// How it stands.
    pub standing: Standing,
    /// Its node is being emptied, or the copy is to be moved: it can be read, and is not one of those wanted.
    pub leaves: bool,
    /// How full its node is, from 0 to `u32::MAX`.
    pub fill: u32,
}

impl SeenCopy {
    /// It can be read, as far as anybody knows.
    pub fn is_readable(&self) -> bool {
        matches!(self.standing, Standing::Certain | Standing::Unsure)
    }

    /// Copies can be made from it, when there is no better one.
    fn is_source(&self) -> bool {
        self.is_readable() || matches!(self.standing, Standing::Doubted | Standing::Bad)
    }

    /// It is one of those wanted.
    fn stays(&self) -> bool {
        !self.leaves && (self.is_readable() || self.standing == Standing::Awaited)
    }

    /// It counts, and stays: others may be given up for its sake.
    pub fn is_certain(&self) -> bool {
        !self.leaves && self.standing == Standing::Certain
    }

    /// It need not be named any more, once there are enough others.
    fn is_over(&self) -> bool {
        let lost = matches!(self.standing, Standing::Bad | Standing::Lost);
        lost || (self.leaves && self.standing != Standing::Begun)
    }
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// All is well, or nothing can be done.
    Nothing,
    /// A copy is missing.
    Copy,
    /// All copies are there, and too close together: one is to be made in a zone that has none.
    Spread,
    /// What was begun is not needed.
    Forget,
    /// This node's copy is one too many.
    GiveUp(NodeId),
}

/// How urgent a step is. The first is the most urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Too few copies can be read: so many.
    Short(u32),
    /// There is more than wanted: room is given back before more is taken.
    Over,
    /// All copies can be read, and some are to leave.
    Leaving,
    /// Copies are too close together, or on nodes that are too full.
    Uneven,
}

impl Mend {
    /// How many copies are to be made, by this step and those like it; of those for other zones one.
    pub fn copies(self, copies: &[SeenCopy], wanted: usize) -> usize {
        match self {
            Self::Copy => wanted.saturating_sub(copies.iter().filter(|copy| copy.stays()).count()),
            Self::Spread => 1,
            Self::Nothing | Self::Forget | Self::GiveUp(_) => 0,
        }
    }

    /// How urgent this step is for a chunk with these copies; nothing when there is nothing to do.
    pub fn urgency(self, copies: &[SeenCopy], wanted: usize) -> Option<Urgency> {
        let readable = copies.iter().filter(|copy| copy.is_readable()).count();
        match self {
            Self::Nothing => None,
            Self::Copy if readable >= wanted => Some(Urgency::Leaving),
            Self::Copy => Some(Urgency::Short(u32::try_from(readable).unwrap_or(u32::MAX))),
            Self::Forget | Self::GiveUp(_) => Some(Urgency::Over),
            Self::Spread => Some(Urgency::Uneven),
        }
    }
}

/// The next step for a chunk that should have `wanted` copies. `open_zones` have nodes that take chunks.
pub fn mend(copies: &[SeenCopy], wanted: usize, open_zones: &BTreeSet<Zone>) -> Mend {
    let staying: Vec<_> = copies.iter().filter(|copy| copy.stays()).collect();
    let readable = copies.iter().any(SeenCopy::is_readable);
    if staying.len() < wanted {
        return if copies.iter().any(SeenCopy::is_source) { Mend::Copy } else { Mend::Nothing };
    }
    let held = zones(&staying);
    let elsewhere = open_zones.iter().any(|zone| !held.contains(zone));
    if held.len() < wanted && elsewhere && readable {
        return Mend::Spread;
    }
    if copies.iter().any(|copy| copy.standing == Standing::Begun) {
        return Mend::Forget;
    }
    let certain: Vec<_> = copies.iter().filter(|copy| copy.is_certain()).collect();
    if certain.len() < wanted {
        return Mend::Nothing;
    }
    let over = copies.iter().find(|copy| copy.is_over()).map(|copy| copy.node);
    over.or_else(|| surplus(&certain, wanted)).map_or(Mend::Nothing, Mend::GiveUp)
}

fn zones<'a>(copies: &[&'a SeenCopy]) -> BTreeSet<&'a Zone> {
    copies.iter().filter_map(|copy| copy.zone.as_ref()).collect()
}

/// Of more copies than wanted, the one that is missed least.
fn surplus(certain: &[&SeenCopy], wanted: usize) -> Option<NodeId> {
    if certain.len() <= wanted {
        return None;
    }
    let in_zone = |copy: &SeenCopy| certain.iter().filter(|one| one.zone == copy.zone).count();
    let needed = zones(certain).len().min(wanted);
    let spared = certain.iter().filter(|copy| {
        let others: Vec<_> = certain.iter().copied().filter(|one| one.node != copy.node).collect();
        zones(&others).len() >= needed
    });
    let least_missed = spared.max_by_key(|copy| (in_zone(copy), copy.fill, Reverse(copy.node)));
    least_missed.map(|copy| copy.node)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn node(n: u128) -> NodeId {
        NodeId::from_uuid(Uuid::from_u128(n))
    }

    fn zone(name: &str) -> Zone {
        Zone::new(name).expect("a label")
    }

    fn copy(n: u128, name: &str, standing: Standing) -> SeenCopy {
        let (node, zone) = (node(n), Some(zone(name)));
        SeenCopy { node, zone, standing, leaves: false, fill: n as u32 }
    }

    fn leaving(n: u128, name: &str, standing: Standing) -> SeenCopy {
        SeenCopy { leaves: true, ..copy(n, name, standing) }
    }

    fn open(names: &[&str]) -> BTreeSet<Zone> {
        names.iter().map(|name| zone(name)).collect()
    }

    use Standing::{Awaited, Away, Bad, Begun, Certain, Doubted, Lost, Unsure};

    #[test]
    fn a_chunk_that_is_short_gets_a_copy_while_one_can_be_read() {
        let zones = open(&["a", "b", "c"]);
        assert_eq!(mend(&[copy(1, "a", Certain), copy(2, "b", Lost)], 2, &zones), Mend::Copy);
        assert_eq!(mend(&[leaving(1, "a", Certain), copy(2, "b", Certain)], 2, &zones), Mend::Copy);
        assert_eq!(mend(&[leaving(1, "a", Certain), copy(2, "b", Away)], 2, &zones), Mend::Copy);
        assert_eq!(mend(&[copy(1, "a", Lost), copy(2, "b", Awaited)], 2, &zones), Mend::Nothing);
        assert_eq!(mend(&[copy(1, "a", Bad), copy(2, "b", Bad)], 2, &zones), Mend::Copy);
        let copies = [copy(1, "a", Certain), copy(2, "b", Awaited), copy(3, "c", Lost)];
        assert_eq!(Mend::Copy.copies(&copies, 4), 2, "one that is awaited is not missing");
    }

    #[test]
    fn a_node_that_is_away_for_a_moment_is_waited_for_and_nothing_is_given_up_meanwhile() {
        let zones = open(&["a", "b", "c"]);
        for away in [Awaited, Unsure] {
            let copies = [copy(1, "a", Certain), copy(2, "b", away)];
            assert_eq!(mend(&copies, 2, &zones), Mend::Nothing);
            let copies = [copy(1, "a", Certain), copy(2, "b", away), leaving(3, "c", Certain)];
            assert_eq!(mend(&copies, 2, &zones), Mend::Nothing);
        }
    }

    #[test]
    fn a_node_that_is_doubted_for_too_long_holds_nothing_up_and_is_asked_where_there_is_no_better_one()
     {
        let zones = open(&["a", "b", "c"]);
        let drained = leaving(1, "a", Certain);
        let both = [drained, copy(2, "b", Doubted), copy(3, "c", Certain)];
        assert_eq!(mend(&both, 2, &zones), Mend::Copy);
        let made = [both.as_slice(), &[copy(4, "b", Certain)]].concat();
        assert_eq!(mend(&made, 2, &zones), Mend::GiveUp(node(1)), "the drain goes on");
        assert_eq!(mend(&made[1..], 2, &zones), Mend::Nothing, "it may be trusted again");
        assert_eq!(mend(&[copy(1, "a", Doubted), copy(2, "b", Lost)], 2, &zones), Mend::Copy);
        let leaves = [copy(1, "a", Certain), copy(2, "b", Certain), leaving(3, "c", Doubted)];
        assert_eq!(mend(&leaves, 2, &zones), Mend::GiveUp(node(3)));
        let urgency = Mend::Copy.urgency(&both, 2);
        assert_eq!(urgency, Some(Urgency::Leaving), "what leaves can be read meanwhile");
        let short = [copy(2, "b", Doubted), copy(3, "c", Certain)];
        assert_eq!(Mend::Copy.urgency(&short, 2), Some(Urgency::Short(1)));
    }

    #[test]
    fn the_copy_that_is_missed_least_is_given_up() {
        let zones = open(&["a", "b"]);
        let copies = [copy(1, "a", Certain), copy(2, "b", Certain), leaving(3, "b", Certain)];
        assert_eq!(mend(&copies, 2, &zones), Mend::GiveUp(node(3)), "the one that leaves");
        let copies = [copy(9, "a", Certain), copy(2, "b", Certain), copy(3, "b", Certain)];
        assert_eq!(mend(&copies, 2, &zones), Mend::GiveUp(node(3)), "the fuller one of a zone");
        let zones = open(&["a", "b", "c"]);
        let copies = [copy(1, "a", Certain), copy(2, "b", Certain), copy(3, "c", Certain)];
        assert_eq!(mend(&copies, 2, &zones), Mend::GiveUp(node(3)), "the fullest one");
    }

    #[test]
    fn what_is_lost_or_leaves_is_not_named_any_more_once_it_is_replaced() {
        let zones = open(&["a", "b", "c"]);
        for over in
            [copy(3, "c", Lost), copy(3, "c", Bad), leaving(3, "c", Away), leaving(3, "c", Awaited)]
        {
            let copies = [copy(1, "a", Certain), copy(2, "b", Certain), over.clone()];
            assert_eq!(mend(&copies, 2, &zones), Mend::GiveUp(node(3)), "{over:?}");
        }
        let copies = [copy(1, "a", Certain), copy(2, "b", Certain), copy(3, "c", Away)];
        assert_eq!(mend(&copies, 2, &zones), Mend::Nothing, "it may come back");
    }

    #[test]
    fn copies_that_are_too_close_get_one_in_another_zone_first() {
        let close = [copy(1, "a", Certain), copy(2, "a", Certain)];
        assert_eq!(mend(&close, 2, &open(&["a", "b"])), Mend::Spread);
        assert_eq!(mend(&close, 2, &open(&["a"])), Mend::Nothing, "there is no other zone");
        let spread = [copy(1, "a", Certain), copy(2, "a", Certain), copy(3, "b", Certain)];
        assert_eq!(mend(&spread, 2, &open(&["a", "b"])), Mend::GiveUp(node(2)));
    }

    #[test]
    fn what_was_begun_is_forgotten_when_all_copies_are_there() {
        let copies = [copy(1, "a", Certain), copy(2, "b", Certain), copy(3, "c", Begun)];
        assert_eq!(mend(&copies, 2, &open(&["a", "b", "c"])), Mend::Forget);
    }

    fn standing() -> impl Strategy<Value = Standing> {
        prop::sample::select(vec![Certain, Unsure, Awaited, Away, Doubted, Bad, Lost, Begun])
    }

    fn copies() -> impl Strategy<Value = Vec<SeenCopy>> {
        let one = (0_usize..4, standing(), any::<bool>(), any::<u32>());
        prop::collection::vec(one, 0..7).prop_map(|drawn| {
            let named = drawn.into_iter().zip(1_u128..);
            let seen = named.map(|((at, standing, leaves, fill), n)| SeenCopy {
                node: node(n),
                zone: Some(zone(["a", "b", "c", "d"][at])),
                standing,
                leaves,
                fill,
            });
            seen.collect()
        })
    }

    fn certain(copies: &[SeenCopy]) -> Vec<&SeenCopy> {
        copies.iter().filter(|copy| copy.is_certain()).collect()
    }

    proptest! {
        #[test]
        fn as_many_as_wanted_are_certain_whatever_is_given_up(
            copies in copies(), wanted in 1_usize..4,
        ) {
            if let Mend::GiveUp(gone) = mend(&copies, wanted, &open(&["a", "b", "c", "d"])) {
                let left: Vec<_> = copies.iter().filter(|c| c.node != gone).cloned().collect();
                prop_assert!(certain(&left).len() >= wanted);
            }
        }

        /// With nodes for every zone that do what they are told, steps come to an end, and then the chunk has the copies
        /// wanted, no more, in as many zones as there are.
        #[test]
        fn steps_come_to_an_end_and_then_all_is_well(copies in copies(), wanted in 1_usize..4) {
            let mut copies = copies;
            copies.retain(|copy| !matches!(copy.standing, Unsure | Awaited | Away | Doubted));
            let zones = open(&["a", "b", "c", "d"]);
            for n in 100_u128.. {
                prop_assert!(n < 150, "{:?}", copies);
                match mend(&copies, wanted, &zones) {
                    Mend::Nothing => break,
                    Mend::Forget => copies.retain(|copy| copy.standing != Begun),
                    Mend::GiveUp(node) => copies.retain(|copy| copy.node != node),
                    Mend::Copy | Mend::Spread => {
                        let held = super::zones(&certain(&copies));
                        let free = zones.iter().find(|zone| !held.contains(zone));
                        let zone = free.or(zones.first()).cloned();
                        let (standing, leaves, fill) = (Certain, false, 0);
                        copies.push(SeenCopy { node: node(n), zone, standing, leaves, fill });
                    }
                }
            }
            if !certain(&copies).is_empty() {
                prop_assert!(copies.iter().all(SeenCopy::is_certain), "{:?}", copies);
                prop_assert_eq!(copies.len(), wanted);
                prop_assert_eq!(super::zones(&certain(&copies)).len(), wanted);
            }
        }
    }
}
