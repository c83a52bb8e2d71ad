//! Content that costs nothing to make and something to get right: a fixed block of noise, begun at an offset that
//! depends on the file.

use bytes::Bytes;

/// Bytes of noise; a prime, so that no block or chunk size divides it.
const NOISE_BYTES: usize = 1_048_573;
/// Largest piece that is sent at once.
const PIECE_BYTES: usize = 256 << 10;

/// Noise that all files are cut from. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Noise(Bytes);

impl Noise {
    pub(crate) fn new() -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        Self(std::iter::repeat_with(next).take(NOISE_BYTES).collect())
    }

    /// Up to `most` bytes of file `file` at `offset`, without copying.
    pub(crate) fn piece(&self, file: u64, offset: u64, most: u64) -> Bytes {
        let start = (file.wrapping_mul(7919).wrapping_add(offset)) % NOISE_BYTES as u64;
        let start = usize::try_from(start).unwrap_or(0);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let end = (start + most.min(PIECE_BYTES)).min(NOISE_BYTES);
        self.0.slice(start..end)
    }

    /// Whether `bytes` are what file `file` has at `offset`.
    pub(crate) fn matches(&self, file: u64, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let piece = self.piece(file, offset, bytes.len() as u64);
            let (now, later) = bytes.split_at(piece.len());
            if now != piece {
                return false;
            }
            offset += piece.len() as u64;
            bytes = later;
        }
        true
    }

    /// All pieces of a file.
    pub(crate) fn pieces(self, file: u64, length: u64) -> impl Iterator<Item = Bytes> + Send {
        let mut offset = 0;
        std::iter::from_fn(move || {
            let piece = self.piece(file, offset, length - offset);
            offset += piece.len() as u64;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_pieces_and_another_file_is_not() {
        let noise = Noise::new();
        let all: Vec<u8> = noise.clone().pieces(5, 3_000_000).flatten().collect();
        assert_eq!(all.len(), 3_000_000);
        assert!(noise.matches(5, 0, &all));
        assert!(noise.matches(5, 1000, &all[1000..2_000_000]));
        assert!(!noise.matches(6, 0, &all));
    }
}
