//! How a blob is cut into chunks: the sizes are a rule, so an offset finds its chunk by arithmetic.
//!
//! ```text
//! as the cluster does     first │ first │ … │ large │ large │ … │ rest
//! equal(4) of 4k+3 bytes  k │ k │ k │ k+3                          first = k, large = k+3, large_from = 3
//! ```
//!
//! So that the last of equal parts takes the remainder needs no rule of its own: it is the one large chunk.

use std::fmt;
use std::str::FromStr;

use crate::ids::ChunkIndex;

/// Smallest size that a cluster can be told to cut into: 1 KiB.
const LEAST_CHUNK_BYTES: u64 = 1 << 10;
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
pub enum InvalidChunkSizes {
    /// One has no bytes or too many, or they shrink.
    #[error(
        "chunk sizes {first} and {large} are no sizes: use up to 64 MiB, the first not above the second"
    )]
    Range {
        /// Bytes of the early chunks.
        first: u64,
        /// Bytes of the late chunks.
        large: u64,
    },
    /// Too small for a cluster.
    #[error("chunks of {0} bytes: use 1 KiB to 64 MiB")]
    Small(u64),
}

impl ChunkSizes {
    /// 8 MiB, from chunk 10,000 on 64 MiB.
    pub const STANDARD: Self =
        Self { first: CHUNK_BYTES, large: LARGE_CHUNK_BYTES, large_from: LARGE_FROM };

    /// Other sizes, 1 byte to 64 MiB.
    ///
    /// # Errors
    /// [`InvalidChunkSizes`] when a size is out of range or `first > large`.
    pub fn new(first: u64, large: u64, large_from: ChunkIndex) -> Result<Self, InvalidChunkSizes> {
        if first == 0 || large > LARGE_CHUNK_BYTES || first > large {
            return Err(InvalidChunkSizes::Range { first, large });
        }
        Ok(Self { first, large, large_from })
    }

    /// Chunks of `bytes` up to index 10,000, eight times that after it (at most 64 MiB).
    ///
    /// # Errors
    /// [`InvalidChunkSizes`] when `bytes` is not 1 KiB to 64 MiB.
    pub fn starting_with(bytes: u64) -> Result<Self, InvalidChunkSizes> {
        if bytes < LEAST_CHUNK_BYTES {
            return Err(InvalidChunkSizes::Small(bytes));
        }
        let large = bytes.saturating_mul(8).min(LARGE_CHUNK_BYTES).max(bytes);
        Self::new(bytes, large, LARGE_FROM)
    }

    /// The sizes of `parts` equal parts of `length` bytes, all of which are there: the last is the large one.
    fn equal(Parts(parts): Parts, length: u64) -> Result<Self, InvalidChunking> {
        let parts = if length < u64::from(parts) { 1 } else { parts };
        let part = length / u64::from(parts);
        let last = part + length % u64::from(parts);
        if last > LARGE_CHUNK_BYTES {
            return Err(InvalidChunking::LargePart { parts, length, last });
        }
        if parts > MANY_PARTS && part < LEAST_CHUNK_BYTES {
            return Err(InvalidChunking::SmallPart { parts, length });
        }
        // An empty file has no chunk: any size will do.
        Ok(Self { first: part.max(1), large: last.max(1), large_from: parts - 1 })
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

/// With more equal parts than this, each has at least [`LEAST_CHUNK_BYTES`]: a small file is not a million chunks.
const MANY_PARTS: u32 = 1000;

/// How many equal parts: 1 to [`MAX_CHUNKS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts(ChunkIndex);

impl Parts {
    /// Checks a number of parts.
    ///
    /// # Errors
    /// [`InvalidChunking::Unknown`] when it is out of range.
    pub fn new(parts: u32) -> Result<Self, InvalidChunking> {
        let parts = Some(parts).filter(|parts| (1..=MAX_CHUNKS).contains(parts));
        parts.map(Self).ok_or(InvalidChunking::Unknown)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// What a request asks of how its file is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chunking {
    /// As the cluster does.
    #[default]
    Standard,
    /// Into equal parts, the last with the remainder; a file with fewer bytes than parts is one. As text `equal(6)`.
    Equal(Parts),
}

/// A file cannot be cut as it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChunking {
    /// No rule that there is.
    #[error("use equal(N), with 1 to {MAX_CHUNKS} parts")]
    Unknown,
    /// Equal parts of what has no end yet.
    #[error("equal parts need the length of the file: announce it")]
    NoLength,
    /// A part would be larger than a chunk may be.
    #[error(
        "{parts} parts of {length} bytes: the last would have {last} bytes, a part has at most \
         {LARGE_CHUNK_BYTES}: use more parts"
    )]
    LargePart {
        /// How many parts.
        parts: u32,
        /// Bytes of the file.
        length: u64,
        /// Bytes of the last part.
        last: u64,
    },
    /// Very many parts of next to nothing.
    #[error(
        "{parts} parts of {length} bytes: with more than {MANY_PARTS} parts each has at least \
         {LEAST_CHUNK_BYTES} bytes: use fewer parts"
    )]
    SmallPart {
        /// How many parts.
        parts: u32,
        /// Bytes of the file.
        length: u64,
    },
}

impl Chunking {
    /// The sizes of the chunks of a file of `length` bytes in a cluster that cuts into `standard`.
    ///
    /// # Errors
    /// [`InvalidChunking`] when the length is not known and must be, or when a part would be too large.
    pub fn sizes(
        self,
        standard: ChunkSizes,
        length: Option<u64>,
    ) -> Result<ChunkSizes, InvalidChunking> {
        match self {
            Self::Standard => Ok(standard),
            Self::Equal(parts) => {
                ChunkSizes::equal(parts, length.ok_or(InvalidChunking::NoLength)?)
            }
        }
    }
}

impl fmt::Display for Chunking {
    /// The form of the header `Cairn-Chunking`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("standard"),
            Self::Equal(Parts(parts)) => write!(f, "equal({parts})"),
        }
    }
}

impl FromStr for Chunking {
    type Err = InvalidChunking;

    /// Reads `equal(N)`. That the cluster's sizes are wanted is said by saying nothing.
    fn from_str(text: &str) -> Result<Self, InvalidChunking> {
        let parts = text.strip_prefix("equal(").and_then(|rest| rest.strip_suffix(')'));
        let digits = parts.filter(|parts| parts.bytes().all(|byte| byte.is_ascii_digit()));
        let parts =
            digits.and_then(|digits| digits.parse().ok()).ok_or(InvalidChunking::Unknown)?;
        Parts::new(parts).map(Self::Equal)
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

    fn equal(parts: u32, length: u64) -> Result<ChunkSizes, InvalidChunking> {
        Chunking::Equal(Parts::new(parts)?).sizes(ChunkSizes::STANDARD, Some(length))
    }

    fn lengths(sizes: &ChunkSizes, bytes: u64) -> Vec<u64> {
        let count = sizes.count(bytes).expect("few chunks");
        (0..count).map(|index| sizes.length(index, bytes)).collect()
    }

    #[test]
    fn equal_parts_are_equal_and_the_last_takes_the_remainder() {
        let cut = |length| lengths(&equal(6, length).expect("small"), length);
        assert_eq!(cut(0), []);
        assert_eq!(cut(3), [3], "fewer bytes than parts: one");
        assert_eq!(cut(6), [1; 6]);
        assert_eq!(cut(8), [1, 1, 1, 1, 1, 3]);
        assert_eq!(cut(9007), [1501, 1501, 1501, 1501, 1501, 1502]);
    }

    #[test]
    fn a_part_is_not_larger_than_a_chunk_may_be() {
        let most = LARGE_CHUNK_BYTES;
        assert!(equal(6, 6 * most).is_ok());
        let too_large =
            InvalidChunking::LargePart { parts: 6, length: 6 * most + 1, last: most + 1 };
        assert_eq!(equal(6, 6 * most + 1), Err(too_large));
        assert!(equal(6, 6 * most + 5).is_err(), "the remainder counts");
        assert!(equal(7, 6 * most + 5).is_ok());
        assert!(equal(1, MAX_FILE_BYTES).is_err());
        assert!(equal(MAX_CHUNKS, MAX_FILE_BYTES).is_ok());
    }

    #[test]
    fn a_small_file_is_not_cut_into_very_many_parts() {
        assert!(equal(1000, 1000).is_ok());
        let small = |parts, length| InvalidChunking::SmallPart { parts, length };
        assert_eq!(equal(1001, 1001 * 1023), Err(small(1001, 1001 * 1023)));
        assert!(equal(1001, 1001 * 1024).is_ok());
        assert_eq!(equal(MAX_CHUNKS, 2_000_000), Err(small(MAX_CHUNKS, 2_000_000)));
        assert!(equal(MAX_CHUNKS, 5).is_ok(), "fewer bytes than parts: one");
    }

    #[test]
    fn equal_parts_of_what_has_no_known_length_are_refused() {
        let chunking: Chunking = "equal(6)".parse().expect("a rule");
        assert_eq!(chunking.sizes(ChunkSizes::STANDARD, None), Err(InvalidChunking::NoLength));
        assert_eq!(Chunking::Standard.sizes(ChunkSizes::STANDARD, None), Ok(ChunkSizes::STANDARD));
    }

    #[test]
    fn a_rule_is_read_as_it_was_written_and_another_text_is_refused() {
        for text in ["equal(1)", "equal(6)", "equal(1000000)"] {
            assert_eq!(text.parse::<Chunking>().expect(text).to_string(), text);
        }
        for text in [
            "",
            "equal",
            "equal()",
            "equal(0)",
            "equal(-1)",
            "equal(+6)",
            "equal(1.5)",
            "equal(1000001)",
            "equal(4294967302)",
            "equal(6",
            "equal(6) ",
            "Equal(6)",
            "half",
            "standard",
        ] {
            assert_eq!(text.parse::<Chunking>(), Err(InvalidChunking::Unknown), "{text:?}");
        }
    }

    #[test]
    fn a_cluster_is_not_told_to_cut_smaller_than_1_kib() {
        assert_eq!(ChunkSizes::starting_with(1023), Err(InvalidChunkSizes::Small(1023)));
        assert!(ChunkSizes::starting_with(1024).is_ok());
        assert!(ChunkSizes::starting_with(LARGE_CHUNK_BYTES + 1).is_err());
        assert!(ChunkSizes::new(0, 1, 0).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn equal_parts_tile_the_file(parts in 1_u32..500, bytes in 0_u64..5_000_000) {
            let sizes = equal(parts, bytes).expect("small");
            let cut = lengths(&sizes, bytes);
            let few = bytes < u64::from(parts);
            prop_assert_eq!(cut.len(), if few { bytes.min(1) as usize } else { parts as usize });
            prop_assert_eq!(cut.iter().sum::<u64>(), bytes);
            if let Some((last, others)) = cut.split_last() {
                prop_assert!(others.iter().all(|length| *length == bytes / u64::from(parts)));
                prop_assert!(few || *last == bytes / u64::from(parts) + bytes % u64::from(parts));
            }
        }

        #[test]
        fn in_equal_parts_every_byte_finds_its_chunk(
            parts in 1_u32..=MAX_CHUNKS, bytes in 1_u64..=MAX_FILE_BYTES, at in 0_f64..1.0,
        ) {
            let Ok(sizes) = equal(parts, bytes) else { return Ok(()) };
            let at = ((bytes as f64 * at) as u64).min(bytes - 1);
            let index = sizes.index_at(at).expect("in the file");
            let begins = sizes.offset(index);
            prop_assert!(begins <= at && at < begins + sizes.length(index, bytes));
            prop_assert_eq!(sizes.index_at(begins), Some(index));
            prop_assert_eq!(sizes.count(at + 1), Some(index + 1));
        }

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
