//! Whole blocks out of pieces that the network cut anywhere.

use bytes::{Bytes, BytesMut};
use cairn_core::digest::BLOCK_BYTES;
use cairn_replicas::Frame;

/// Puts blocks together. Only a block that lies in two pieces is copied.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The beginning of a block whose end has not come.
    begun: BytesMut,
}

impl Blocks {
    /// Takes the next piece, the checksums of the blocks that end in it, and whether the last of them may be short.
    /// Gives the blocks that are whole now, at most two frames.
    pub(super) fn push(
        &mut self,
        mut piece: Bytes,
        block_crcs: Vec<u32>,
        ends_frame: bool,
    ) -> impl Iterator<Item = Frame> + use<> {
        let mut block_crcs = block_crcs.into_iter();
        let straddling = self.straddling(&mut piece, ends_frame).map(|data| {
            let block_crcs = block_crcs.by_ref().take(1).collect();
            Frame { data, block_crcs }
        });
        let whole = match ends_frame {
            true => piece.len(),
            false => piece.len() / BLOCK_BYTES * BLOCK_BYTES,
        };
        let data = piece.split_to(whole);
        self.begun.extend_from_slice(&piece);
        let rest = Frame { data, block_crcs: block_crcs.collect() };
        let rest = (!rest.data.is_empty() || !rest.block_crcs.is_empty()).then_some(rest);
        straddling.into_iter().chain(rest)
    }

    /// The block that was begun, when `piece` ends it.
    fn straddling(&mut self, piece: &mut Bytes, ends_frame: bool) -> Option<Bytes> {
        if self.begun.is_empty() {
            return None;
        }
        let missing = BLOCK_BYTES - self.begun.len();
        self.begun.extend_from_slice(&piece.split_to(missing.min(piece.len())));
        let ended = self.begun.len() == BLOCK_BYTES || (ends_frame && piece.is_empty());
        ended.then(|| std::mem::take(&mut self.begun).freeze())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(length: usize, cuts: &[usize]) -> Vec<(usize, usize)> {
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut % length).filter(|cut| *cut > 0).collect();
        ends.push(length);
        ends.sort_unstable();
        ends.dedup();
        let begins = std::iter::once(0).chain(ends.clone());
        begins.zip(ends).collect()
    }

    proptest! {
        #[test]
        fn every_frame_is_whole_blocks_with_a_checksum_each(
            length in 1usize..400_000,
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let bytes: Bytes = (0..length).map(|at| (at % 251) as u8).collect();
            let count = length.div_ceil(BLOCK_BYTES);
            let mut blocks = Blocks::default();
            let (mut got, mut crcs) = (Vec::new(), Vec::new());
            for (from, to) in pieces(length, &cuts) {
                let ends = to == length;
                let ended = if ends { count } else { to / BLOCK_BYTES };
                let begun = from / BLOCK_BYTES;
                let sealed: Vec<u32> = (begun as u32..ended as u32).collect();
                for frame in blocks.push(bytes.slice(from..to), sealed, ends) {
                    prop_assert_eq!(got.len() % BLOCK_BYTES, 0);
                    prop_assert_eq!(frame.data.len().div_ceil(BLOCK_BYTES), frame.block_crcs.len());
                    got.extend_from_slice(&frame.data);
                    crcs.extend(frame.block_crcs);
                }
            }
            prop_assert!(got == bytes);
            prop_assert_eq!(crcs, (0..count as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_piece_of_whole_blocks_is_not_copied() {
        let piece = Bytes::from(vec![1; 3 * BLOCK_BYTES]);
        let frames: Vec<_> = Blocks::default().push(piece.clone(), vec![1, 2, 3], false).collect();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].data.as_ptr(), piece.as_ptr());
    }
}
