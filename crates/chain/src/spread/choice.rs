//! Which disk a new chunk goes to: drawn, with chances in proportion to free room, so that disks of any size get full together,
//! and one that is added later does not take all writes alone.

use cairn_runtime::Entropy;

/// Chances count pages of this many bytes, so that those of all disks add up.
const UNIT_BYTES: u64 = 4096;
/// Most times that failures halve a disk's chance: some 1 of a million is left.
const MOST_HALVINGS: u32 = 20;

/// The chance of a disk with `free` bytes, whose last `failures` writes have failed. Never nothing: a disk without room says so
/// itself, and one that failed is found to work again only when it is tried.
pub(super) fn chance(free: u64, failures: u32) -> u64 {
    ((free / UNIT_BYTES) >> failures.min(MOST_HALVINGS)).max(1)
}

/// Draws one of `chances` and gives its position; nothing when there are none.
pub(super) fn draw(chances: &[u64], entropy: &Entropy) -> Option<usize> {
    let all = chances.iter().fold(0, |all: u64, chance| all.saturating_add(*chance));
    let mut drawn = entropy.below(all);
    for (at, chance) in chances.iter().enumerate() {
        match drawn.checked_sub(*chance) {
            Some(rest) => drawn = rest,
            None => return Some(at),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_drawn_as_often_as_its_share_of_the_free_room() {
        let entropy = Entropy::seeded(1);
        let chances = [chance(3 << 30, 0), chance(1 << 30, 0), chance(0, 0)];
        let mut drawn = [0; 3];
        for _ in 0..4000 {
            drawn[draw(&chances, &entropy).expect("one of three")] += 1;
        }
        assert!((2900..3100).contains(&drawn[0]), "{drawn:?}");
        assert!(drawn[2] <= 1, "{drawn:?}");
        assert_eq!(draw(&[], &entropy), None);
    }

    #[test]
    fn failures_in_a_row_halve_the_chance_and_leave_some() {
        assert_eq!(chance(1 << 40, 0), 2 * chance(1 << 40, 1));
        assert_eq!(chance(1 << 20, 10_000), 1);
        let most = [chance(u64::MAX, 0); 256];
        assert!(draw(&most, &Entropy::seeded(1)).is_some());
    }
}
