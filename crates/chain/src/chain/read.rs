//! Reading from the first tier that has the chunk intact, and going on from the next where one fails on the way.

use std::io;
use std::sync::Arc;

use cairn_core::digest::BLOCK_BYTES;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::promote;
use super::shared::Shared;
use crate::report::{Fault, TierOp};
use crate::store::{ChunkReader, Frame, ReadError, ReadHeader};

/// What a read has learnt of the tiers on its way down.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// They lack the chunk.
    pub(super) missing: Vec<usize>,
    /// Their copy is damaged.
    pub(super) damaged: Vec<usize>,
}

/// Reads, and has what is missing or damaged in the tiers before put right in the background; see
/// [`crate::ChunkStore::read`].
pub(super) async fn read(
    shared: &Arc<Shared>,
    chunk: ChunkId,
    range: ByteRange,
) -> Result<ChunkReader, ReadError> {
    let tiers = (0..shared.tiers.len()).collect();
    let (mut descent, opened) = Descent::open(shared, chunk, range, tiers).await;
    let (tier, reader) = opened.inspect_err(|_| {
        promote::put_right(shared, chunk, None, descent.seen.clone());
    })?;
    promote::put_right(shared, chunk, Some(reader.header.length), descent.seen.clone());
    descent.heals = true;
    Ok(descent.into_reader(tier, reader, range))
}

/// Reads from some tiers for work in the background, which leaves it to others to put anything right.
pub(super) async fn read_from(
    shared: &Arc<Shared>,
    chunk: ChunkId,
    tiers: Vec<usize>,
) -> Result<ChunkReader, ReadError> {
    let range = ByteRange { offset: 0, length: u64::MAX };
    let (descent, opened) = Descent::open(shared, chunk, range, tiers).await;
    let (tier, reader) = opened?;
    Ok(descent.into_reader(tier, reader, range))
}

/// A way down the tiers.
struct Descent {
    shared: Arc<Shared>,
    chunk: ChunkId,
    rest: std::vec::IntoIter<usize>,
    seen: Seen,
    heals: bool,
}

type Opened = Result<(usize, ChunkReader), ReadError>;

impl Descent {
    async fn open(
        shared: &Arc<Shared>,
        chunk: ChunkId,
        range: ByteRange,
        tiers: Vec<usize>,
    ) -> (Self, Opened) {
        let shared = Arc::clone(shared);
        let (rest, seen) = (tiers.into_iter(), Seen::default());
        let mut descent = Self { shared, chunk, rest, seen, heals: false };
        let opened = descent.next(range).await;
        (descent, opened)
    }

    /// Opens the chunk in the next tier that has it. "Not found" means that every tier said so; else the last
    /// other answer is given.
    async fn next(&mut self, range: ByteRange) -> Opened {
        let mut last = None;
        for at in self.rest.by_ref() {
            let tier = &self.shared.tiers[at];
            match tier.store.read(self.chunk, range).await {
                Ok(reader) => {
                    tier.was_hit();
                    return Ok((at, reader));
                }
                Err(ReadError::NotFound { .. }) => {
                    tier.works();
                    self.seen.missing.push(at);
                }
                Err(error) => {
                    tier.failed(TierOp::Read, Some(self.chunk), Fault::from(&error));
                    if let ReadError::Corrupt { .. } = error {
                        self.seen.damaged.push(at);
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or(ReadError::NotFound { chunk: self.chunk }))
    }

    fn into_reader(self, tier: usize, reader: ChunkReader, range: ByteRange) -> ChunkReader {
        let ChunkReader { header, frames } = reader;
        let length = header.length;
        let blocks = ByteRange::within(range.offset, range.length, length)
            .aligned_to(BLOCK_BYTES as u64, length);
        let way = Way { descent: self, tier, header, frames, at: header.offset, end: blocks.end() };
        let frames = stream::unfold(Some(way), |way| async {
            let mut way = way?;
            match way.frame().await? {
                Ok(frame) => Some((Ok(frame), Some(way))),
                Err(error) => Some((Err(error), None)),
            }
        });
        ChunkReader { header, frames: frames.boxed() }
    }
}

/// A chunk on its way to the reader.
struct Way {
    descent: Descent,
    tier: usize,
    header: ReadHeader,
    frames: BoxStream<'static, Result<Frame, ReadError>>,
    /// The bytes before were handed out.
    at: u64,
    end: u64,
}

impl Way {
    async fn frame(&mut self) -> Option<Result<Frame, ReadError>> {
        loop {
            let error = match self.frames.next().await {
                Some(Ok(frame)) => {
                    self.at += frame.bytes.len() as u64;
                    return Some(Ok(frame));
                }
                None if self.at >= self.end => return None,
                None => ReadError::Disk {
                    doing: "read all blocks",
                    source: io::ErrorKind::UnexpectedEof.into(),
                },
                Some(Err(error)) => error,
            };
            self.note(&error);
            if let Err(last) = self.go_on_below().await {
                return Some(Err(match last {
                    ReadError::NotFound { .. } => error,
                    last => last,
                }));
            }
        }
    }

    /// The tier failed on the way.
    fn note(&mut self, error: &ReadError) {
        let Descent { shared, chunk, seen, .. } = &mut self.descent;
        if let ReadError::NotFound { .. } = error {
            return;
        }
        shared.tiers[self.tier].failed(TierOp::Read, Some(*chunk), Fault::from(error));
        if let ReadError::Corrupt { .. } = error {
            seen.damaged.push(self.tier);
        }
        if self.descent.heals {
            let seen = Seen { missing: Vec::new(), damaged: self.descent.seen.damaged.clone() };
            let length = Some(self.header.length);
            promote::put_right(&self.descent.shared, self.descent.chunk, length, seen);
        }
    }

    /// Opens the rest in a tier further down, at the block where this one failed.
    async fn go_on_below(&mut self) -> Result<(), ReadError> {
        loop {
            let rest = ByteRange { offset: self.at, length: self.end - self.at };
            let (tier, reader) = self.descent.next(rest).await?;
            let same = |header: ReadHeader| {
                (header.length, header.hash, header.offset)
                    == (self.header.length, self.header.hash, self.at)
            };
            if same(reader.header) {
                (self.tier, self.frames) = (tier, reader.frames);
                return Ok(());
            }
            let chunk = self.descent.chunk;
            let other = Fault::new(crate::report::FaultKind::Corrupt, "it holds another content");
            self.descent.shared.tiers[tier].failed(TierOp::Read, Some(chunk), other);
        }
    }
}
