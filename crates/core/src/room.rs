//! How much can still be placed, when each chunk has several whole copies on different nodes.

/// Most bytes of content that fit on nodes with so many bytes of room each, in `copies` copies that never share a node.
/// One node with much room does not help where two are needed: it holds no more than one copy of everything.
///
/// The most that fits is the largest `x` for which `Σ min(room, x) ≥ copies · x`, since a node takes at most one copy of
/// each byte. Whatever the number `k` of nodes with more room than `x`, the others must hold `copies − k` copies.
pub fn placeable(room: &[u64], copies: usize) -> u64 {
    let mut room: Vec<u128> = room.iter().copied().map(u128::from).collect();
    room.sort_unstable_by(|a, b| b.cmp(a));
    let mut others: u128 = room.iter().sum();
    let mut most = u128::MAX;
    for k in 0..copies {
        most = most.min(others / (copies - k) as u128);
        others -= room.get(k).copied().unwrap_or(0);
    }
    u64::try_from(most).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, proptest};

    use super::placeable;

    #[test]
    fn one_large_node_does_not_make_up_for_small_ones() {
        assert_eq!(placeable(&[10, 10, 10], 2), 15);
        assert_eq!(placeable(&[1000, 10, 10], 2), 20);
        assert_eq!(placeable(&[1000], 2), 0);
        assert_eq!(placeable(&[5, 7], 1), 12);
        assert_eq!(placeable(&[], 3), 0);
    }

    proptest! {
        #[test]
        fn it_is_the_most_that_fits(room in vec(0_u64..1000, 0..8), copies in 1_usize..5) {
            let fits = |bytes: u64| {
                let held: u64 = room.iter().map(|room| bytes.min(*room)).sum();
                held >= copies as u64 * bytes
            };
            let most = placeable(&room, copies);
            prop_assert!(fits(most) && !fits(most + 1), "{most}");
        }
    }
}
