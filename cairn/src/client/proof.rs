//! What proves that a file arrived as it was stored: the file root where it can be computed, else the SHA-256.

use std::vec;

use cairn_core::digest::{ChunkHash, ChunkHasher, FileRoot, RootHasher, Sha256};
use cairn_core::lengths::ChunkLengths;

use super::digest::Hasher;

/// What the bytes of a version are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// Each chunk can be hashed on its own, in parallel and in any order.
    Root { root: FileRoot, chunks: ChunkLengths },
    /// All bytes in order.
    Sha256(Sha256),
}

impl Proof {
    /// The quicker one of those that the server tells.
    pub(super) fn of(
        root: Option<FileRoot>,
        chunks: Option<ChunkLengths>,
        sha256: Option<Sha256>,
    ) -> Option<Self> {
        let root = root.zip(chunks).map(|(root, chunks)| Self::Root { root, chunks });
        root.or(sha256.map(Self::Sha256))
    }

    /// As people say it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Root { .. } => "file root",
            Self::Sha256(_) => "SHA-256",
        }
    }

    /// As scripts read it.
    pub(super) const fn id(&self) -> &'static str {
        match self {
            Self::Root { .. } => "root",
            Self::Sha256(_) => "sha256",
        }
    }

    /// The lengths of the chunks that are hashed each on its own.
    pub(super) fn chunks(&self) -> Option<&ChunkLengths> {
        match self {
            Self::Root { chunks, .. } => Some(chunks),
            Self::Sha256(_) => None,
        }
    }

    /// Says what is wrong, when something is.
    pub(super) fn check(&self, arrived: &Arrived) -> Result<(), String> {
        let (stored, arrived) = match (self, arrived) {
            (Self::Root { root, .. }, Arrived::Root(arrived)) if root == arrived => return Ok(()),
            (Self::Sha256(sha256), Arrived::Sha256(arrived)) if sha256 == arrived => return Ok(()),
            (Self::Root { root, .. }, arrived) => (root.to_string(), arrived.to_string()),
            (Self::Sha256(sha256), arrived) => (sha256.to_string(), arrived.to_string()),
        };
        Err(format!("its {} is {arrived}, the server keeps {stored}", self.name()))
    }
}

/// What the bytes that arrived give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrived {
    Root(FileRoot),
    Sha256(Sha256),
}

impl std::fmt::Display for Arrived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root(root) => root.fmt(f),
            Self::Sha256(sha256) => sha256.fmt(f),
        }
    }
}

/// The root of chunks that were hashed each on its own, given in order.
pub(super) fn root_of(hashes: impl IntoIterator<Item = (u64, ChunkHash)>) -> Arrived {
    let mut root = RootHasher::default();
    for (length, hash) in hashes {
        root.update(length, &hash);
    }
    Arrived::Root(root.finish())
}

/// Computes a proof over bytes that pass in order.
#[derive(Debug)]
pub(super) enum InOrder {
    Root(Box<Chunks>),
    Sha256(Hasher),
}

/// The chunk that is passing, and those to come.
#[derive(Debug)]
pub(super) struct Chunks {
    to_come: vec::IntoIter<u64>,
    length: u64,
    taken: u64,
    hasher: ChunkHasher,
    hashes: Vec<(u64, ChunkHash)>,
}

impl InOrder {
    pub(super) fn for_proof(proof: &Proof) -> Self {
        match proof {
            Proof::Sha256(_) => Self::Sha256(Hasher::default()),
            Proof::Root { chunks, .. } => Self::Root(Box::new(Chunks::new(chunks.each()))),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Root(chunks) => chunks.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Arrived {
        match self {
            Self::Root(chunks) => root_of(chunks.finish()),
            Self::Sha256(hasher) => Arrived::Sha256(hasher.finish()),
        }
    }
}

impl Chunks {
    /// Chunks of these lengths are to come.
    pub(super) fn new(lengths: impl IntoIterator<Item = u64>) -> Self {
        let lengths: Vec<u64> = lengths.into_iter().collect();
        let mut to_come = lengths.into_iter();
        let length = to_come.next().unwrap_or(0);
        Self { to_come, length, taken: 0, hasher: ChunkHasher::default(), hashes: Vec::new() }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.length.saturating_sub(self.taken);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            // What comes after the last chunk belongs to none, and makes the last one another.
            let take = if room == 0 { bytes.len() } else { room.min(bytes.len()) };
            let (now, later) = bytes.split_at(take);
            self.hasher.update(now);
            self.taken += take as u64;
            bytes = later;
            if self.taken == self.length && self.to_come.len() > 0 {
                self.seal();
            }
        }
    }

    /// The hash of each chunk.
    pub(super) fn finish(mut self) -> Vec<(u64, ChunkHash)> {
        if self.length > 0 || self.taken > 0 {
            self.seal();
        }
        self.hashes
    }

    fn seal(&mut self) {
        self.hashes.push((self.taken, std::mem::take(&mut self.hasher).finish()));
        self.length = self.to_come.next().unwrap_or(0);
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(lengths: &[u64], pieces: &[&[u8]]) -> Vec<(u64, ChunkHash)> {
        let mut chunks = Chunks::new(lengths.iter().copied());
        for piece in pieces {
            chunks.update(piece);
        }
        chunks.finish()
    }

    fn hash(bytes: &[u8]) -> ChunkHash {
        let mut hasher = ChunkHasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn more_or_fewer_bytes_than_the_chunks_have_are_noticed() {
        let whole = hashes(&[3, 2], &[b"abcde"]);
        assert_eq!(whole, [(3, hash(b"abc")), (2, hash(b"de"))]);
        assert_ne!(hashes(&[3, 2], &[b"abcdef"]), whole);
        assert_ne!(hashes(&[3, 2], &[b"abcd"]), whole);
        assert_eq!(hashes(&[], &[]), []);
        assert_ne!(hashes(&[], &[b"a"]), []);
    }

    #[test]
    fn the_root_is_preferred_where_it_can_be_computed() {
        let (root, sha256) = (Some(FileRoot([1; 32])), Some(Sha256([2; 32])));
        let chunks: Option<ChunkLengths> = "5".parse().ok();
        let id = |proof: Option<Proof>| proof.map(|proof| proof.id());
        assert_eq!(id(Proof::of(root, chunks.clone(), sha256)), Some("root"));
        assert_eq!(id(Proof::of(root, None, sha256)), Some("sha256"));
        assert_eq!(id(Proof::of(None, chunks, sha256)), Some("sha256"));
        assert_eq!(id(Proof::of(root, None, None)), None);
    }

    #[test]
    fn pieces_of_any_size_give_the_hashes_of_the_chunks() {
        let lengths = [7, 1, 20, 3];
        let bytes: Vec<u8> = (0..31).collect();
        let cuts = [(0, 7), (7, 8), (8, 28), (28, 31)];
        let expected = cuts.map(|(from, to)| ((to - from) as u64, hash(&bytes[from..to])));
        for piece in 1..=bytes.len() {
            let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
            assert_eq!(hashes(&lengths, &pieces), expected, "pieces of {piece}");
        }
    }
}
