//! How a blob is cut into chunks: the sizes are a rule, so an offset finds its chunk by arithmetic.

use crate::ids::ChunkIndex;

/// Default size of a chunk: 8 MiB.
pub const CHUNK_BYTES: u64 = 8 << 20;
/// Size of the chunks from [`LARGE_FROM`] on: 64 MiB.
pub const LARGE_CHUNK_BYTES: u64 = 64 << 20;
/// First index that has [`LARGE_CHUNK_BYTES`].
pub const LARGE_FROM: ChunkIndex = 10_000;
/// Most chunks of one blob.
pub const MAX_CHUNKS: ChunkIndex = 1_000_000;
/// Largest file: 50 TiB.
pub const MAX_FILE_BYTES: u64 = 50 << 40;

/// The sizes of a blob's chunks: `first` below index `large_from`, `large` from there on. Every chunk
/// but the last is full.
///
/// Kept with the blob, so that the default can change without touching what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSizes {
    first: u64,
    large: u64,
    large_from: ChunkIndex,
}

/// A chunk size is outside its limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "chunk sizes {first} and {large} are no sizes: use 1 KiB to 64 MiB, the first not above the second"
)]
pub struct InvalidChunkSizes {
    /// Bytes of the early chunks.
    pub first: u64,
    /// Bytes of the late chunks.
    pub large: u64,
}

impl ChunkSizes {
    /// 8 MiB, from chunk 10,000 on 64 MiB.
    pub const STANDARD: Self =
        Self { first: CHUNK_BYTES, large: LARGE_CHUNK_BYTES, large_from: LARGE_FROM };

    /// Other sizes, 1 KiB to 64 MiB.
    ///
    /// # Errors
    /// [`InvalidChunkSizes`] when a size is out of range or `first > large`.
    pub fn new(first: u64, large: u64, large_from: ChunkIndex) -> Result<Self, InvalidChunkSizes> {
        if first < 1024 || large > LARGE_CHUNK_BYTES || first > large {
            return Err(InvalidChunkSizes { first, large });
        }
        Ok(Self { first, large, large_from })
    }

    /// Chunks of `bytes` up to index 10,000, eight times that after it (at most 64 MiB).
    ///
    /// # Errors
    /// [`InvalidChunkSizes`] when `bytes` is not 1 KiB to 64 MiB.
    pub fn starting_with(bytes: u64) -> Result<Self, InvalidChunkSizes> {
        let large = bytes.saturating_mul(8).min(LARGE_CHUNK_BYTES).max(bytes);
        Self::new(bytes, large, LARGE_FROM)
    }

    /// Bytes of the chunks below [`Self::large_from`].
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Bytes of the chunks from [`Self::large_from`] on.
    pub fn large(&self) -> u64 {
        self.large
    }

    /// The index from which chunks are large.
    pub fn large_from(&self) -> ChunkIndex {
        self.large_from
    }

    /// Largest length that chunk `index` can have.
    pub fn capacity(&self, index: ChunkIndex) -> u64 {
        if index < self.large_from { self.first } else { self.large }
    }

    /// Where chunk `index` begins in the blob.
    pub fn offset(&self, index: ChunkIndex) -> u64 {
        let early = index.min(self.large_from);
        let late = index - early;
        u64::from(early) * self.first + u64::from(late) * self.large
    }

    /// The chunk that holds byte `offset`; `None` past the last chunk a blob may have.
    pub fn index_at(&self, offset: u64) -> Option<ChunkIndex> {
        let switch = self.offset(self.large_from);
        let index = if offset < switch {
            offset / self.first
        } else {
            u64::from(self.large_from) + (offset - switch) / self.large
        };
        let index = ChunkIndex::try_from(index).ok()?;
        (index < MAX_CHUNKS).then_some(index)
    }

    /// Number of chunks of a blob of `bytes`; `None` when it would be more than [`MAX_CHUNKS`]. An
    /// empty blob has none.
    pub fn count(&self, bytes: u64) -> Option<ChunkIndex> {
        match bytes.checked_sub(1) {
            None => Some(0),
            Some(last) => self.index_at(last).map(|index| index + 1),
        }
    }

    /// Length of chunk `index` in a blob of `bytes`; 0 when the blob ends before it.
    pub fn length(&self, index: ChunkIndex, bytes: u64) -> u64 {
        bytes.saturating_sub(self.offset(index)).min(self.capacity(index))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn the_standard_sizes_reach_the_largest_file() {
        let count = ChunkSizes::STANDARD.count(MAX_FILE_BYTES);
        assert!(count.is_some_and(|count| count <= MAX_CHUNKS), "{count:?}");
    }

    #[test]
    fn a_blob_around_one_chunk_has_one_or_two() {
        let sizes = ChunkSizes::STANDARD;
        assert_eq!(sizes.count(0), Some(0));
        assert_eq!(sizes.count(1), Some(1));
        assert_eq!(sizes.count(CHUNK_BYTES), Some(1));
        assert_eq!(sizes.count(CHUNK_BYTES + 1), Some(2));
        assert_eq!(sizes.length(1, CHUNK_BYTES + 1), 1);
    }

    #[test]
    fn past_the_last_chunk_there_is_none() {
        let sizes = ChunkSizes::STANDARD;
        assert_eq!(sizes.index_at(sizes.offset(MAX_CHUNKS)), None);
        assert_eq!(sizes.count(u64::MAX), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn chunks_tile_the_blob(
            first in 1024_u64..4096, factor in 1_u64..4, from in 0_u32..50, bytes in 0_u64..500_000,
        ) {
            let sizes = ChunkSizes::new(first, first * factor, from).expect("in range");
            let count = sizes.count(bytes).expect("few chunks");
            let mut offset = 0;
            for index in 0..count {
                prop_assert_eq!(sizes.offset(index), offset);
                let length = sizes.length(index, bytes);
                prop_assert!(length > 0 && length <= sizes.capacity(index));
                prop_assert_eq!(sizes.index_at(offset), Some(index));
                prop_assert_eq!(sizes.index_at(offset + length - 1), Some(index));
                offset += length;
            }
            prop_assert_eq!(offset, bytes);
        }
    }
}
