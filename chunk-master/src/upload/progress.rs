//! The counters of an upload's confirmed chunks.

use cairn_core::chunking::ChunkSizes;
use cairn_core::ids::ChunkIndex;

use crate::catalog::{ChunkEntry, Progress};
use crate::error::Incomplete;

/// Moves one chunk from bar `from` (none when it is new) to bar `to` of a histogram.
fn move_bar(bars: &mut Vec<u64>, from: Option<usize>, to: usize) {
    if let Some(bar) = from.and_then(|from| bars.get_mut(from)) {
        *bar = bar.saturating_sub(1);
    }
    if bars.len() <= to {
        bars.resize(to + 1, 0);
    }
    bars[to] += 1;
}

fn first_bar(bars: &[u64]) -> u32 {
    let first = bars.iter().position(|&count| count > 0).unwrap_or(0);
    u32::try_from(first).unwrap_or(u32::MAX)
}

impl Progress {
    /// Counts a chunk as it is now; `before` is how it was counted already.
    pub(super) fn count(
        &mut self,
        index: ChunkIndex,
        sizes: &ChunkSizes,
        before: Option<&ChunkEntry>,
        now: &ChunkEntry,
    ) -> Result<(), Incomplete> {
        if before.is_none() {
            if now.length < sizes.capacity(index) {
                if let Some(other) = self.short {
                    return Err(Incomplete::TwoShortChunks(other, index));
                }
                self.short = Some(index);
            }
            self.chunks += 1;
            self.bytes += now.length;
            self.highest = self.highest.max(Some(index));
        }
        let copies = |entry: &ChunkEntry| entry.copies.len();
        move_bar(&mut self.by_copies, before.map(copies), copies(now));
        let zones = |entry: &ChunkEntry| entry.zones as usize;
        move_bar(&mut self.by_zones, before.map(zones), zones(now));
        Ok(())
    }

    /// Least number of copies of any confirmed chunk.
    pub(super) fn least_copies(&self) -> u32 {
        first_bar(&self.by_copies)
    }

    /// Least number of zones that the copies of any confirmed chunk are in.
    pub(super) fn least_zones(&self) -> u32 {
        first_bar(&self.by_zones)
    }

    /// Checks that the confirmed chunks tile exactly `length` bytes: all of `0..count` are there, all but
    /// the last are full, and the sum is right.
    pub(super) fn tiles(&self, length: u64, sizes: &ChunkSizes) -> Result<(), Incomplete> {
        let expected = u64::from(sizes.count(length).unwrap_or(ChunkIndex::MAX));
        let confirmed = self.chunks;
        let contiguous = self.highest.map_or(0, |highest| u64::from(highest) + 1) == confirmed;
        if confirmed != expected || !contiguous {
            return Err(Incomplete::ChunksMissing { confirmed, expected });
        }
        match (self.short, self.highest) {
            (Some(short), Some(last)) if short != last => {
                return Err(Incomplete::TwoShortChunks(short, last));
            }
            _ => {}
        }
        if self.bytes != length {
            let confirmed = self.bytes;
            return Err(Incomplete::LengthDiffers { confirmed, length });
        }
        Ok(())
    }
}
