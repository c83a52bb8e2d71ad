//! Proves a chunk's bytes while they arrive: no I/O, no time.

use cairn_core::digest::{BLOCK_BYTES, BlockCrcs, block_crc};
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;

use crate::store::{ChunkEnd, Damage, FRAME_BYTES, WriteError};

/// What has arrived of a chunk, checked up to here.
#[derive(Debug)]
pub(crate) struct StreamChecks {
    chunk: ChunkId,
    reserve: u64,
    received: u64,
    crcs: BlockCrcs,
    table: Vec<u32>,
    /// The checksum of the last, short block has come: so have all bytes.
    ended: bool,
}

impl StreamChecks {
    pub(crate) fn new(chunk: ChunkId, reserve: u64) -> Self {
        Self {
            chunk,
            reserve,
            received: 0,
            crcs: BlockCrcs::new(chunk),
            table: Vec::new(),
            ended: false,
        }
    }

    /// Takes the next bytes and the checksums that came with them.
    pub(crate) fn update(&mut self, bytes: &[u8], sent: &[u32]) -> Result<(), WriteError> {
        if self.ended && !(bytes.is_empty() && sent.is_empty()) {
            return Err(WriteError::Checksums("bytes came after the last block"));
        }
        let received = self.received + bytes.len() as u64;
        if received > self.reserve {
            return Err(WriteError::PastReserve { reserve: self.reserve });
        }
        self.received = received;
        let known = self.table.len();
        self.crcs.update(bytes, |crc| self.table.push(crc));
        let sealed = self.table.len() - known;
        if sent.len() < sealed {
            return Err(WriteError::Checksums("too few came with the bytes"));
        }
        let (blocks, last) = sent.split_at(sealed);
        for (at, crc) in (known..).zip(blocks) {
            self.compare(at, self.table[at], *crc)?;
        }
        match last {
            [] => Ok(()),
            [crc] => self.seal(*crc),
            _ => Err(WriteError::Checksums("too many came with the bytes")),
        }
    }

    /// Checks the end, and gives the checksums of all blocks.
    pub(crate) fn finish(mut self, end: &ChunkEnd) -> Result<Vec<u32>, WriteError> {
        if end.length != self.received {
            return Err(WriteError::LengthMismatch {
                announced: end.length,
                received: self.received,
            });
        }
        match end.last_block_crc {
            Some(crc) if self.ended => {
                let last = self.table.len() - 1;
                self.compare(last, self.table[last], crc)?;
            }
            Some(crc) => self.seal(crc)?,
            None if !self.ended && self.crcs.clone().finish().is_some() => {
                return Err(WriteError::Checksums("the last block's is missing"));
            }
            None => {}
        }
        Ok(self.table)
    }

    /// Takes the checksum of the last, short block.
    fn seal(&mut self, sent: u32) -> Result<(), WriteError> {
        let Some(computed) = self.crcs.clone().finish() else {
            return Err(WriteError::Checksums("one came and no block is open"));
        };
        self.compare(self.table.len(), computed, sent)?;
        self.table.push(computed);
        self.ended = true;
        Ok(())
    }

    fn compare(&self, block: usize, computed: u32, sent: u32) -> Result<(), WriteError> {
        if computed == sent {
            return Ok(());
        }
        Err(WriteError::BlockMismatch {
            chunk: self.chunk,
            block: u32::try_from(block).unwrap_or(u32::MAX),
        })
    }
}

/// The next frame of a run of whole blocks, and the rest; nothing at its end.
pub(crate) fn next_frame(blocks: ByteRange) -> Option<(ByteRange, ByteRange)> {
    if blocks.is_empty() {
        return None;
    }
    let now = ByteRange { offset: blocks.offset, length: blocks.length.min(FRAME_BYTES as u64) };
    let later = ByteRange { offset: now.end(), length: blocks.length - now.length };
    Some((now, later))
}

/// Proves whole blocks that begin at `offset` of the chunk and should have `length` bytes against the chunk's `table`;
/// gives their checksums.
pub(crate) fn prove_blocks(
    chunk: ChunkId,
    table: &[u32],
    offset: u64,
    length: usize,
    bytes: &[u8],
) -> Result<Vec<u32>, Damage> {
    let first = usize::try_from(offset).unwrap_or(usize::MAX) / BLOCK_BYTES;
    let count = length.div_ceil(BLOCK_BYTES);
    let mut crcs = Vec::with_capacity(count);
    for at in 0..count {
        let begin = (at * BLOCK_BYTES).min(bytes.len());
        let end = (begin + BLOCK_BYTES).min(bytes.len());
        let block = u32::try_from(first + at).unwrap_or(u32::MAX);
        let stored = table.get(first + at).copied();
        if stored != Some(block_crc(chunk, block, &bytes[begin..end])) {
            return Err(Damage::Block(block));
        }
        crcs.extend(stored);
    }
    if bytes.len() != length {
        return Err(Damage::Length);
    }
    Ok(crcs)
}

#[cfg(test)]
mod tests {
    use cairn_core::digest::{BLOCK_BYTES, ChunkHash, block_crc};
    use cairn_core::ids::BlobId;

    use super::*;

    fn chunk() -> ChunkId {
        ChunkId::new(BlobId::from_slice(&[1; 16]).expect("16 bytes"), 0)
    }

    fn end(length: u64, last_block_crc: Option<u32>) -> ChunkEnd {
        ChunkEnd { length, hash: ChunkHash([0; 32]), last_block_crc }
    }

    #[test]
    fn the_last_checksum_may_come_with_the_bytes_or_with_the_end_or_with_both() {
        let crc = block_crc(chunk(), 0, b"abc");
        for (with_bytes, with_end) in [(true, false), (false, true), (true, true)] {
            let mut checks = StreamChecks::new(chunk(), 3);
            let sent: &[u32] = if with_bytes { &[crc] } else { &[] };
            checks.update(b"abc", sent).expect("the right checksum");
            let table = checks.finish(&end(3, with_end.then_some(crc)));
            assert_eq!(table.expect("the right end"), [crc]);
        }
    }

    #[test]
    fn a_checksum_too_many_too_few_or_too_late_is_refused() {
        let whole = vec![0; BLOCK_BYTES];
        let crc = block_crc(chunk(), 0, &whole);
        let most = BLOCK_BYTES as u64 * 2;
        let checks = || StreamChecks::new(chunk(), most);
        assert!(matches!(checks().update(&whole, &[]), Err(WriteError::Checksums(_))));
        assert!(matches!(checks().update(&whole, &[crc, 1]), Err(WriteError::Checksums(_))));
        let mut ended = checks();
        ended.update(b"a", &[block_crc(chunk(), 0, b"a")]).expect("the last block");
        assert!(matches!(ended.update(b"b", &[]), Err(WriteError::Checksums(_))));
        let mut open = checks();
        open.update(b"a", &[]).expect("an open block");
        assert!(matches!(open.finish(&end(1, None)), Err(WriteError::Checksums(_))));
    }
}
