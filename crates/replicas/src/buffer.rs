//! A chunk while it is written: pieces as they arrive, kept until enough copies are durable, so that a copy can be
//! written again from the start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cairn_core::digest::{BlockCrcs, ChunkHash};
use cairn_core::ids::ChunkId;
use tokio::sync::Notify;

/// A run of a chunk's bytes, and the checksums of the blocks that end in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The bytes, at most [`ChunkBuffer::MAX_PIECE_BYTES`].
    pub data: Bytes,
    /// One per 64 KiB block that ends in `data`.
    pub block_crcs: Vec<u32>,
}

/// The end of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEnd {
    /// Bytes in all.
    pub length: u64,
    /// Hash of all bytes.
    pub hash: ChunkHash,
    /// Checksum of the last block when it is short.
    pub last_block_crc: Option<u32>,
}

/// What a reader of the buffer gets next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// More bytes.
    Piece(Piece),
    /// The chunk is whole.
    End(ChunkEnd),
    /// The writer is gone: the chunk will never be whole.
    Broken,
}

#[derive(Debug, Default)]
struct State {
    pieces: Vec<Piece>,
    length: u64,
    end: Option<ChunkEnd>,
    broken: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    grown: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing side. Dropped before [`Self::end`], it breaks the chunk.
#[derive(Debug)]
pub struct ChunkBuffer {
    shared: Arc<Shared>,
    crcs: Option<BlockCrcs>,
    length: u64,
}

impl ChunkBuffer {
    /// Longest piece: what fits a message of the wire.
    pub const MAX_PIECE_BYTES: usize = 1 << 20;

    /// An empty chunk.
    pub fn new(chunk: ChunkId) -> Self {
        Self { shared: Arc::default(), crcs: Some(BlockCrcs::new(chunk)), length: 0 }
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Takes the next bytes; they are shared, not copied.
    pub fn push(&mut self, mut data: Bytes) {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(Self::MAX_PIECE_BYTES));
            let mut block_crcs = Vec::new();
            if let Some(crcs) = &mut self.crcs {
                crcs.update(&piece, |crc| block_crcs.push(crc));
            }
            self.length += piece.len() as u64;
            let mut state = self.shared.lock();
            state.length = self.length;
            state.pieces.push(Piece { data: piece, block_crcs });
        }
        self.shared.grown.notify_waiters();
    }

    /// The chunk is whole, and this is its hash.
    pub fn end(mut self, hash: ChunkHash) -> ChunkEnd {
        let last_block_crc = self.crcs.take().and_then(BlockCrcs::finish);
        let end = ChunkEnd { length: self.length, hash, last_block_crc };
        self.shared.lock().end = Some(end);
        end
    }

    /// Reads from the start, as far as the chunk has grown and on as it grows.
    pub fn reader(&self) -> BufferReader {
        BufferReader { shared: Arc::clone(&self.shared), next: 0 }
    }
}

impl Drop for ChunkBuffer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.broken = state.end.is_none();
        drop(state);
        self.shared.grown.notify_waiters();
    }
}

/// The reading side. Cloning gives a reader at the same place.
#[derive(Debug, Clone)]
pub struct BufferReader {
    shared: Arc<Shared>,
    next: usize,
}

impl BufferReader {
    /// A reader at the start.
    #[must_use]
    pub fn rewound(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), next: 0 }
    }

    /// Waits for what comes next. After `End` or `Broken` it stays so.
    pub async fn next(&mut self) -> Source {
        loop {
            let shared = Arc::clone(&self.shared);
            // Registered before the look, so that what grows in between wakes us.
            let mut grown = std::pin::pin!(shared.grown.notified());
            grown.as_mut().enable();
            if let Some(source) = self.look() {
                return source;
            }
            grown.await;
        }
    }

    /// Waits until the chunk can grow no more; the end, or nothing when it broke.
    pub async fn ended(&self) -> Option<ChunkEnd> {
        loop {
            let mut grown = std::pin::pin!(self.shared.grown.notified());
            grown.as_mut().enable();
            {
                let state = self.shared.lock();
                if state.broken || state.end.is_some() {
                    return state.end;
                }
            }
            grown.await;
        }
    }

    /// Whether the writer went away before the end.
    pub fn is_broken(&self) -> bool {
        self.shared.lock().broken
    }

    fn look(&mut self) -> Option<Source> {
        let state = self.shared.lock();
        if let Some(piece) = state.pieces.get(self.next) {
            self.next += 1;
            return Some(Source::Piece(piece.clone()));
        }
        match state.end {
            Some(end) => Some(Source::End(end)),
            None => state.broken.then_some(Source::Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_core::digest::ChunkHasher;
    use cairn_core::ids::BlobId;
    use futures_util::FutureExt;
    use uuid::Uuid;

    use super::*;

    fn buffer() -> ChunkBuffer {
        ChunkBuffer::new(ChunkId::new(BlobId::from_uuid(Uuid::from_u128(1)), 0))
    }

    #[tokio::test]
    async fn a_late_reader_sees_everything_from_the_start() {
        let mut buffer = buffer();
        buffer.push(Bytes::from_static(b"ab"));
        let mut early = buffer.reader();
        assert!(matches!(early.next().await, Source::Piece(piece) if piece.data == "ab"));
        assert_eq!(early.next().now_or_never(), None, "nothing more yet");
        buffer.push(Bytes::from_static(b"c"));
        let mut late = early.rewound();
        let end = buffer.end(ChunkHasher::default().finish());
        assert_eq!(end.length, 3);
        assert!(matches!(late.next().await, Source::Piece(piece) if piece.data == "ab"));
        assert!(matches!(late.next().await, Source::Piece(piece) if piece.data == "c"));
        assert_eq!(late.next().await, Source::End(end));
        assert_eq!(early.ended().await, Some(end));
    }

    #[tokio::test]
    async fn a_writer_that_goes_away_breaks_the_chunk() {
        let buffer = buffer();
        let mut reader = buffer.reader();
        drop(buffer);
        assert_eq!(reader.next().await, Source::Broken);
        assert_eq!(reader.ended().await, None);
    }

    #[tokio::test]
    async fn a_long_run_is_passed_on_in_pieces_that_fit_a_message() {
        let mut buffer = buffer();
        buffer.push(Bytes::from(vec![7; ChunkBuffer::MAX_PIECE_BYTES + 1]));
        let mut reader = buffer.reader();
        let Source::Piece(first) = reader.next().await else { panic!("a piece") };
        assert_eq!((first.data.len(), first.block_crcs.len()), (1 << 20, 16));
        let Source::Piece(second) = reader.next().await else { panic!("a piece") };
        assert_eq!((second.data.len(), second.block_crcs.len()), (1, 0));
    }
}
