//! The lengths of a version's chunks, run by run: with the bytes, all that is needed to compute the file root.
//!
//! ```text
//! one blob of 20 MiB              8388608;n=2, 4194304
//! one blob of 100 GiB             8388608;n=10000, 67108864;n=350
//! later: parts of 12 MiB, a tail  8388608, 4194304, 8388608, 4194304, 77
//! ```

use std::fmt;
use std::str::FromStr;

use crate::chunking::{ChunkSizes, LARGE_CHUNK_BYTES, MAX_CHUNKS};

/// Some chunks of one length, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRun {
    /// Bytes of each, 1 to 64 MiB.
    pub length: u64,
    /// How many, at least one.
    pub count: u32,
}

/// The lengths of all chunks of a version, in order. Says the same of any version, of however many blobs it is made.
///
/// As text it is a list of integers of RFC 9651, each with the parameter `n` when it stands for several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkLengths(Vec<ChunkRun>);

/// What was read is no list of chunk lengths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChunkLengths {
    /// A run has no length or no count, or it is no number.
    #[error("a run of chunks is LENGTH or LENGTH;n=COUNT, with a length of 1 byte to 64 MiB")]
    Run,
    /// More than is kept with a version.
    #[error(
        "{runs} runs, {chunks} chunks: a version has at most {} runs and {MAX_CHUNKS} chunks",
        ChunkLengths::MAX_RUNS
    )]
    TooMany {
        /// Runs of chunks.
        runs: usize,
        /// Chunks of all runs.
        chunks: u64,
    },
    /// The chunks are not those of the file.
    #[error("the chunks have {sum} bytes, the file has {length}")]
    OtherLength {
        /// Bytes of all chunks.
        sum: u64,
        /// Bytes of the file.
        length: u64,
    },
}

impl ChunkLengths {
    /// Most runs that are kept and told: a header of at most 1.3 KiB.
    pub const MAX_RUNS: usize = 64;

    /// Checks runs.
    ///
    /// # Errors
    /// [`InvalidChunkLengths`] but for the file's length, which is not known here.
    pub fn new(runs: Vec<ChunkRun>) -> Result<Self, InvalidChunkLengths> {
        let fits = |run: &ChunkRun| run.count > 0 && (1..=LARGE_CHUNK_BYTES).contains(&run.length);
        if !runs.iter().all(fits) {
            return Err(InvalidChunkLengths::Run);
        }
        let chunks = runs.iter().map(|run| u64::from(run.count)).sum();
        if runs.len() > Self::MAX_RUNS || chunks > u64::from(MAX_CHUNKS) {
            return Err(InvalidChunkLengths::TooMany { runs: runs.len(), chunks });
        }
        Ok(Self(runs))
    }

    /// Checks the runs of a file of `length` bytes; `None` when they are not told.
    ///
    /// # Errors
    /// [`InvalidChunkLengths`].
    pub fn told(runs: Vec<ChunkRun>, length: u64) -> Result<Option<Self>, InvalidChunkLengths> {
        if runs.is_empty() && length > 0 {
            return Ok(None);
        }
        let lengths = Self::new(runs)?;
        match lengths.bytes() {
            sum if sum == length => Ok(Some(lengths)),
            sum => Err(InvalidChunkLengths::OtherLength { sum, length }),
        }
    }

    /// The chunks of one blob of `bytes`.
    pub fn of_blob(sizes: &ChunkSizes, bytes: u64) -> Self {
        let early = bytes.min(sizes.offset(sizes.large_from()));
        let mut runs: Vec<ChunkRun> = Vec::new();
        for (bytes, size) in [(early, sizes.first()), (bytes - early, sizes.large())] {
            let full = u32::try_from(bytes / size).unwrap_or(u32::MAX);
            let all = [
                ChunkRun { length: size, count: full },
                ChunkRun { length: bytes % size, count: 1 },
            ];
            for run in all.into_iter().filter(|run| run.length > 0 && run.count > 0) {
                match runs.last_mut() {
                    Some(last) if last.length == run.length => {
                        last.count = last.count.saturating_add(run.count);
                    }
                    _ => runs.push(run),
                }
            }
        }
        Self(runs)
    }

    /// The runs, in order.
    pub fn runs(&self) -> &[ChunkRun] {
        &self.0
    }

    /// The length of each chunk, in order.
    pub fn each(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|run| std::iter::repeat_n(run.length, run.count as usize))
    }

    /// Bytes of all chunks.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|run| run.length * u64::from(run.count)).sum()
    }
}

impl fmt::Display for ChunkLengths {
    /// The form of the header `Cairn-Chunks`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, ChunkRun { length, count }) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            match count {
                1 => write!(f, "{comma}{length}")?,
                count => write!(f, "{comma}{length};n={count}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for ChunkLengths {
    type Err = InvalidChunkLengths;

    /// Reads the header `Cairn-Chunks`; the empty text is the empty list.
    fn from_str(text: &str) -> Result<Self, InvalidChunkLengths> {
        let items = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
        let runs = items.map(read_run).collect::<Option<Vec<_>>>();
        Self::new(runs.ok_or(InvalidChunkLengths::Run)?)
    }
}

fn read_run(item: &str) -> Option<ChunkRun> {
    let (length, count) = match item.split_once(';') {
        None => (item, "1"),
        Some((length, parameter)) => (length, parameter.trim_start().strip_prefix("n=")?),
    };
    Some(ChunkRun { length: length.parse().ok()?, count: count.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn told(text: &str, length: u64) -> Result<Option<ChunkLengths>, InvalidChunkLengths> {
        ChunkLengths::told(text.parse::<ChunkLengths>()?.0, length)
    }

    #[test]
    fn a_text_is_read_as_it_was_written() {
        for text in ["8388608;n=2, 4194304", "8388608;n=10000, 67108864;n=350", "1", ""] {
            let lengths: ChunkLengths = text.parse().expect(text);
            assert_eq!(lengths.to_string(), text);
        }
        assert_eq!("8;n=2,4".parse::<ChunkLengths>().expect("no blanks").bytes(), 20);
    }

    #[test]
    fn what_is_no_list_of_lengths_is_refused() {
        for text in
            ["a", "0", "1;n=0", "1;m=2", "1,", "-1", "67108865", "1;n=1000001", "1;n=4294967296"]
        {
            assert!(text.parse::<ChunkLengths>().is_err(), "{text}");
        }
        let many = vec!["1"; ChunkLengths::MAX_RUNS + 1].join(",");
        assert!(many.parse::<ChunkLengths>().is_err());
    }

    #[test]
    fn the_chunks_are_those_of_the_file_or_none_are_told() {
        assert_eq!(told("", 5), Ok(None));
        assert_eq!(told("", 0), Ok(Some(ChunkLengths::default())));
        assert!(told("4;n=2", 8).is_ok_and(|lengths| lengths.is_some()));
        assert!(told("4;n=2", 9).is_err());
    }

    proptest! {
        #[test]
        fn a_blob_has_the_chunks_of_its_sizes(
            first in 1024_u64..4096, factor in 1_u64..4, from in 0_u32..50, bytes in 0_u64..500_000,
        ) {
            let sizes = ChunkSizes::new(first, first * factor, from).expect("in range");
            let count = sizes.count(bytes).expect("few chunks");
            let expected: Vec<u64> = (0..count).map(|index| sizes.length(index, bytes)).collect();
            let lengths = ChunkLengths::of_blob(&sizes, bytes);
            prop_assert_eq!(lengths.each().collect::<Vec<_>>(), expected);
            prop_assert_eq!(lengths.bytes(), bytes);
            prop_assert!(lengths.runs().windows(2).all(|two| two[0].length != two[1].length));
            prop_assert_eq!(lengths.to_string().parse(), Ok(lengths));
        }
    }
}
