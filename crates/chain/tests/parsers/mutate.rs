//! What happens to bytes.

use std::ops::Range;

use cairn_chain::ChunkStore;
use cairn_core::digest::plain_crc;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_runtime::Entropy;
use futures_util::StreamExt;

/// Numbers that break arithmetic.
const EXTREMES: [u64; 10] = [
    0,
    1,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    1 << 32,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// A position below `bound`, 0 when there is none.
pub(crate) fn below(entropy: &Entropy, bound: usize) -> usize {
    if bound == 0 { 0 } else { entropy.below(bound as u64) as usize }
}

fn range(entropy: &Entropy, length: usize) -> Range<usize> {
    let begin = below(entropy, length);
    begin..(begin + below(entropy, 200)).min(length)
}

/// Changes bytes where they are: their number stays.
pub(crate) fn scramble(bytes: &mut [u8], entropy: &Entropy) {
    let at = below(entropy, bytes.len());
    let extreme = EXTREMES[below(entropy, EXTREMES.len())];
    let field: &[u8] = &match entropy.below(2) {
        0 => extreme.to_be_bytes().to_vec(),
        _ => (extreme as u32).to_be_bytes().to_vec(),
    };
    match entropy.below(4) {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << entropy.below(8)),
        // Fields begin at multiples of four, mostly.
        1 | 2 => {
            let at = at / 4 * 4;
            bytes[at..].iter_mut().zip(field).for_each(|(byte, new)| *byte = *new);
        }
        _ => {
            let range = range(entropy, bytes.len());
            entropy.fill(&mut bytes[range]);
        }
    }
}

/// Does something to a file: flips, cuts, swaps, what is put in or taken out, lengths that cannot be.
pub(crate) fn mutate(bytes: &mut Vec<u8>, entropy: &Entropy) {
    for _ in 0..=entropy.below(3) {
        let length = bytes.len();
        match entropy.below(6) {
            0 | 1 => scramble(bytes, entropy),
            2 => bytes.truncate(below(entropy, length + 1)),
            3 => {
                let (one, other) = (range(entropy, length), below(entropy, length));
                for (at, from) in one.zip(other..length) {
                    bytes.swap(at, from);
                }
            }
            4 => {
                let copied = bytes[range(entropy, length)].to_vec();
                let at = below(entropy, length + 1);
                bytes.splice(at..at, copied);
            }
            _ => drop(bytes.drain(range(entropy, length))),
        }
    }
}

/// Puts the checksum of some bytes where it belongs.
pub(crate) fn seal(bytes: &mut [u8], at: usize, covered: &[u8]) {
    bytes[at..at + 4].copy_from_slice(&plain_crc(covered).to_be_bytes());
}

/// All bytes of a chunk, however its hash is; nothing when they are not to be had.
pub(crate) async fn served(store: &dyn ChunkStore, chunk: ChunkId) -> Option<Vec<u8>> {
    let whole = ByteRange { offset: 0, length: u64::MAX };
    let mut reader = store.read(chunk, whole).await.ok()?;
    let mut bytes = Vec::new();
    while let Some(frame) = reader.frames.next().await {
        bytes.extend_from_slice(&frame.ok()?.bytes);
    }
    (bytes.len() as u64 == reader.header.length).then_some(bytes)
}
