//! The digests that prove bytes intact.
//!
//! ```text
//! block (64 KiB)  CRC32C, seeded with chunk id and block number   kept on disk, sent on the wire
//! chunk           BLAKE3 of its bytes                             kept in the manifest
//! file            BLAKE3 over the list of (length, chunk hash)    the file root, shown to clients
//! ```
//!
//! The seed makes the right bytes in the wrong place a mismatch: a misdirected write, or two blocks
//! exchanged, fail the check as a flipped bit does.

use std::fmt;

use crc_fast::{CrcAlgorithm, Digest};

use crate::ids::ChunkId;

/// Bytes covered by one block checksum. The last block of a chunk may be shorter.
pub const BLOCK_BYTES: usize = 64 << 10;

/// Number of blocks of a chunk of `length` bytes.
pub const fn block_count(length: u64) -> u64 {
    length.div_ceil(BLOCK_BYTES as u64)
}

/// The BLAKE3 hash of a chunk's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkHash(pub [u8; 32]);

/// The BLAKE3 hash over the list of (length, chunk hash) of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileRoot(pub [u8; 32]);

/// The SHA-256 of a whole file, as `sha256sum` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

macro_rules! hex_digest {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = std::array::TryFromSliceError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                bytes.try_into().map(Self)
            }
        }
    };
}

hex_digest!(ChunkHash);
hex_digest!(FileRoot);
hex_digest!(Sha256);

/// BLAKE3 of a chunk, computed as its bytes pass.
#[derive(Clone, Default, Debug)]
pub struct ChunkHasher(blake3::Hasher);

impl ChunkHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all that was taken.
    pub fn finish(&self) -> ChunkHash {
        ChunkHash(*self.0.finalize().as_bytes())
    }
}

/// Computes the file root, chunk by chunk.
#[derive(Clone, Default, Debug)]
pub struct RootHasher(blake3::Hasher);

impl RootHasher {
    /// Takes the next chunk of the file.
    pub fn update(&mut self, length: u64, hash: &ChunkHash) {
        self.0.update(&length.to_be_bytes());
        self.0.update(&hash.0);
    }

    /// The root of all chunks taken. An empty file has the hash of the empty list.
    pub fn finish(&self) -> FileRoot {
        FileRoot(*self.0.finalize().as_bytes())
    }
}

fn seeded(chunk: ChunkId, block: u32) -> Digest {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&chunk.to_bytes());
    digest.update(&block.to_be_bytes());
    digest
}

#[expect(clippy::cast_possible_truncation, reason = "a 32-bit CRC fills the low half")]
fn finish(digest: &Digest) -> u32 {
    digest.finalize() as u32
}

/// Checksum of one block: CRC32C (RFC 3720, appendix B.4) over chunk id, block number and bytes.
pub fn block_crc(chunk: ChunkId, block: u32, bytes: &[u8]) -> u32 {
    let mut digest = seeded(chunk, block);
    digest.update(bytes);
    finish(&digest)
}

/// CRC32C of bytes that are their own context, such as a record's header.
pub fn plain_crc(bytes: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(bytes);
    finish(&digest)
}

/// The block checksums of a chunk, computed as its bytes pass in pieces of any size.
#[derive(Clone)]
pub struct BlockCrcs {
    chunk: ChunkId,
    block: u32,
    digest: Digest,
    filled: usize,
}

impl fmt::Debug for BlockCrcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCrcs")
            .field("chunk", &self.chunk)
            .field("block", &self.block)
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

impl BlockCrcs {
    /// Starts at the first block.
    pub fn new(chunk: ChunkId) -> Self {
        Self::starting_at(chunk, 0)
    }

    /// Starts at block `block`, for a read that begins inside the chunk.
    pub fn starting_at(chunk: ChunkId, block: u32) -> Self {
        Self { chunk, block, digest: seeded(chunk, block), filled: 0 }
    }

    /// Takes the next bytes; `sealed` gets the checksum of each block that they fill.
    pub fn update(&mut self, mut bytes: &[u8], mut sealed: impl FnMut(u32)) {
        while !bytes.is_empty() {
            let take = bytes.len().min(BLOCK_BYTES - self.filled);
            let (now, later) = bytes.split_at(take);
            self.digest.update(now);
            self.filled += take;
            bytes = later;
            if self.filled == BLOCK_BYTES {
                sealed(finish(&self.digest));
                self.next_block();
            }
        }
    }

    /// The checksum of the last, short block; `None` when the chunk ended on a block's end.
    pub fn finish(self) -> Option<u32> {
        (self.filled > 0).then(|| finish(&self.digest))
    }

    fn next_block(&mut self) {
        self.block += 1;
        self.digest = seeded(self.chunk, self.block);
        self.filled = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};
    use uuid::Uuid;

    use super::*;
    use crate::ids::BlobId;

    fn chunk(index: u32) -> ChunkId {
        ChunkId::new(BlobId::from_uuid(Uuid::from_u128(9)), index)
    }

    #[test]
    fn plain_crc_is_crc32c() {
        assert_eq!(plain_crc(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn the_same_bytes_in_another_place_have_another_checksum() {
        let bytes = [7; 1000];
        let here = block_crc(chunk(0), 0, &bytes);
        assert_ne!(here, block_crc(chunk(0), 1, &bytes));
        assert_ne!(here, block_crc(chunk(1), 0, &bytes));
    }

    #[test]
    fn the_root_tells_lists_apart_that_have_the_same_bytes() {
        let hash = |bytes: &[u8]| {
            let mut hasher = ChunkHasher::default();
            hasher.update(bytes);
            hasher.finish()
        };
        let mut one = RootHasher::default();
        one.update(2, &hash(b"ab"));
        let mut two = RootHasher::default();
        two.update(1, &hash(b"a"));
        two.update(1, &hash(b"b"));
        assert_ne!(one.finish(), two.finish());
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_checksums_of_the_blocks(
            length in 0_usize..300_000, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let expected: Vec<u32> = (0_u32..)
                .zip(bytes.chunks(BLOCK_BYTES))
                .map(|(block, bytes)| block_crc(chunk(3), block, bytes))
                .collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(length + 1)).collect();
            cuts.extend([0, length]);
            cuts.sort_unstable();
            let mut crcs = BlockCrcs::new(chunk(3));
            let mut seen = Vec::new();
            for piece in cuts.windows(2) {
                crcs.update(&bytes[piece[0]..piece[1]], |crc| seen.push(crc));
            }
            seen.extend(crcs.finish());
            prop_assert_eq!(seen, expected);
        }
    }
}
