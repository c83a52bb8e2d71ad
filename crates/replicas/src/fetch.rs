//! Fetching a range of a chunk: every block is proven before it is passed on.
//!
//! Which copies are asked, and when a second one is, is the strategy's matter (`contest`). A copy that fails, stalls or lies is left at the last good block and the next one goes on from there. When the whole
//! chunk is read, its last block is held back until the chunk's hash matches, so that wrong bytes never look like a
//! complete chunk.

mod contest;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::copies::{ChunkLocation, CopyFinding, CopyReport, Place};
use cairn_core::digest::{BLOCK_BYTES, ChunkHasher, block_crc};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::range::ByteRange;
use cairn_runtime::{Backoff, Blocking};
use futures_util::future::{BoxFuture, ready};
use futures_util::{Stream, StreamExt, stream};

use crate::pace::Pace;
use crate::replica::{CopyError, CopyRead, Frame, Replicas};
use crate::rule::ReadRule;
use crate::save::NowhereElse;
use crate::targets::Targets;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// Longest wait for the end of an answer whose blocks have all come: no more than a new connection would cost.
const END_BOUND: Duration = Duration::from_millis(100);

/// A chunk could not be read from any of its copies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no good copy of {chunk}: {}", causes_text(causes))]
pub struct FetchError {
    /// The chunk.
    pub chunk: ChunkId,
    /// What went wrong with each copy, in the order tried.
    pub causes: Vec<(NodeId, CopyError)>,
}

fn causes_text(causes: &[(NodeId, CopyError)]) -> String {
    let each: Vec<_> = causes.iter().map(|(node, error)| format!("{node}: {error}")).collect();
    if each.is_empty() { "it has no copies".to_owned() } else { each.join("; ") }
}

/// Finds where a chunk is, when it is not where it was said to be: copies are moved, and deleted where they were.
pub trait Elsewhere: Send + Sync {
    /// Those that have it now, best first; none when that is not known.
    fn places(&self, chunk: ChunkId) -> BoxFuture<'static, Vec<Place>>;
}

impl Elsewhere for NowhereElse {
    fn places(&self, _: ChunkId) -> BoxFuture<'static, Vec<Place>> {
        Box::pin(ready(Vec::new()))
    }
}

/// What is fetched, with what.
#[derive(Clone)]
pub struct Fetch {
    /// Where the chunk lies.
    pub location: ChunkLocation,
    /// The bytes wanted, within the chunk.
    pub range: ByteRange,
    /// Asked where else the chunk is, when no copy is left.
    pub elsewhere: Arc<dyn Elsewhere>,
    /// Which copies are asked, and when.
    pub strategy: Arc<dyn ReadRule>,
    /// Finds the nodes.
    pub replicas: Arc<dyn Replicas>,
    /// Is told of copies that are missing or wrong. Must not block.
    pub report: Arc<dyn Fn(CopyReport) + Send + Sync>,
    /// Longest wait for an answer, and between frames. Default of the gateway: 10 s.
    pub stall: Duration,
    /// What is known of how fast copies answer; it measures the wait as well.
    pub pace: Pace,
    /// Computes checksums and hashes.
    pub hashing: Blocking,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch")
            .field("location", &self.location)
            .field("range", &self.range)
            .field("strategy", &self.strategy)
            .finish_non_exhaustive()
    }
}

/// Proven bytes, and who served them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The node whose copy they came from.
    pub node: NodeId,
    /// The bytes.
    pub bytes: Bytes,
}

/// The bytes of the range, in order. After an error the stream ends.
pub fn fetch(fetch: Fetch) -> impl Stream<Item = Result<Run, FetchError>> + Send {
    stream::unfold(Some(Reading::new(fetch)), |reading| async {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(run)) => Some((Ok(run), Some(reading))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// A read that is open.
struct Open {
    place: Place,
    read: CopyRead,
}

/// Pause before a node that was away or busy is asked again; doubled each time.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));

struct Reading {
    fetch: Fetch,
    /// Whole blocks that cover the range.
    blocks: ByteRange,
    /// Next byte wanted from a copy: the start of a block.
    position: u64,
    /// Hash of all blocks so far, when the whole chunk is read.
    hasher: Option<ChunkHasher>,
    /// The last block, until the hash matches.
    held: Option<Run>,
    /// Whether any byte was passed on.
    passed_on: bool,
    open: Option<Open>,
    /// Copies to try, best first, and how often each may still fail.
    untried: VecDeque<(Place, u8)>,
    /// How often it may still be asked where else the chunk is.
    looks: u8,
    backoff: Backoff,
    /// When the copy was asked whose first bytes are to be proven.
    asked_at: Option<Duration>,
    /// Nodes that gave blocks since `position` was at the start.
    served_by: Vec<NodeId>,
    causes: Vec<(NodeId, CopyError)>,
}

impl Reading {
    /// A node that is merely away or busy is asked once more, after all others.
    const TRIES: u8 = 2;
    /// A chunk that is moved more often while it is read cannot be read.
    const LOOKS: u8 = 3;

    fn new(fetch: Fetch) -> Self {
        let length = fetch.location.length;
        let blocks = fetch.range.aligned_to(BLOCK, length);
        let whole = blocks == ByteRange::whole(length);
        let targets = Targets::new(fetch.location.places.iter().cloned());
        // Without any, the first look at them tells.
        let mut places = targets.map(|targets| targets.places().to_vec()).unwrap_or_default();
        if fetch.strategy.hedges() {
            fetch.pace.arrange(&mut places);
        }
        fetch.pace.read();
        Self {
            blocks,
            position: blocks.offset,
            hasher: whole.then(ChunkHasher::default),
            held: None,
            passed_on: false,
            open: None,
            untried: places.into_iter().map(|place| (place, Self::TRIES)).collect(),
            looks: Self::LOOKS,
            backoff: BACKOFF,
            asked_at: None,
            served_by: Vec::new(),
            causes: Vec::new(),
            fetch,
        }
    }

    /// The next run of bytes; nothing at the end.
    async fn next(&mut self) -> Result<Option<Run>, FetchError> {
        loop {
            if self.position == self.blocks.end() {
                self.read_to_end().await;
                match self.finish() {
                    Finish::Done(last) => return Ok(last),
                    Finish::Again => continue,
                    Finish::Wrong => return Err(self.error()),
                }
            }
            let (open, frame) = self.next_frame().await?;
            let node = open.place.node;
            let (good, problem) = self.prove(frame).await;
            if let Some(asked) = self.asked_at.take().filter(|_| problem.is_none()) {
                let now = self.fetch.pace.clock().monotonic();
                self.fetch.pace.answered(now.saturating_sub(asked));
            }
            let ready = self.accept(node, good);
            match problem {
                None => self.open = Some(open),
                Some(error) => self.failed(node, error),
            }
            if ready.is_some() {
                self.passed_on = true;
                return Ok(ready);
            }
        }
    }

    /// The next frame, of the copy that is open or of the one that wins.
    async fn next_frame(&mut self) -> Result<(Open, Frame), FetchError> {
        let Some(mut open) = self.open.take() else {
            return self.contest(None).await;
        };
        // In the common case the frame comes in time: nothing is boxed, and nobody else is asked.
        let patience = self.patience().unwrap_or(self.fetch.stall);
        let frame = self.fetch.pace.clock().timeout(patience, open.read.frames.next()).await;
        match frame.map(frame_or_end) {
            Ok(Ok(frame)) => Ok((open, frame)),
            Ok(Err(error)) => {
                self.failed(open.place.node, error);
                self.contest(None).await
            }
            Err(_) if patience < self.fetch.stall => self.contest(Some(open)).await,
            Err(elapsed) => {
                self.failed(open.place.node, CopyError::Unreachable(elapsed.to_string()));
                self.contest(None).await
            }
        }
    }

    /// Waits for the end behind the last block: a connection whose answer was read to its end can be used again.
    async fn read_to_end(&mut self) {
        if let Some(mut open) = self.open.take() {
            let _ = self.fetch.pace.clock().timeout(END_BOUND, open.read.frames.next()).await;
        }
    }

    /// The blocks of `frame` up to the first bad one, and what is wrong with that one.
    async fn prove(&mut self, frame: Frame) -> (Bytes, Option<CopyError>) {
        let left = self.blocks.end() - self.position;
        let whole = frame.data.len() as u64 == left || frame.data.len().is_multiple_of(BLOCK_BYTES);
        let counted = frame.data.len().div_ceil(BLOCK_BYTES) == frame.block_crcs.len();
        if frame.data.is_empty() || frame.data.len() as u64 > left || !whole || !counted {
            let problem = "a frame that is not whole blocks with a checksum each".to_owned();
            return (Bytes::new(), Some(CopyError::Protocol(problem)));
        }
        let (chunk, position) = (self.fetch.location.chunk, self.position);
        let mut hasher = self.hasher.take();
        let proven = self.fetch.hashing.run(move || {
            let (good, bad) = good_prefix(chunk, position, &frame);
            if let Some(hasher) = &mut hasher {
                hasher.update(&good);
            }
            (good, bad, hasher)
        });
        match proven.await {
            Ok((good, bad, hasher)) => {
                self.hasher = hasher;
                (good, bad.map(|block| CopyError::Corrupt(format!("block {block}"))))
            }
            Err(error) => {
                // Without its hash the chunk cannot be proven: end the read instead of passing it on.
                self.untried.clear();
                self.looks = 0;
                (Bytes::new(), Some(CopyError::Unreachable(error.to_string())))
            }
        }
    }

    /// Takes proven blocks; gives what may be passed on now.
    fn accept(&mut self, node: NodeId, mut good: Bytes) -> Option<Run> {
        if good.is_empty() {
            return None;
        }
        if self.served_by.last() != Some(&node) {
            self.served_by.push(node);
        }
        let start = self.position;
        self.position += good.len() as u64;
        if self.hasher.is_some() && self.position == self.blocks.end() {
            let last_block = (self.position - 1) / BLOCK * BLOCK;
            let keep = usize::try_from(last_block - start).unwrap_or(good.len());
            let last = good.split_off(keep);
            let bytes = self.wanted(last_block.max(start), &last);
            self.held = (!bytes.is_empty()).then_some(Run { node, bytes });
        }
        let ready = self.wanted(start, &good);
        (!ready.is_empty()).then_some(Run { node, bytes: ready })
    }

    /// The part of `bytes`, which begin at `start` in the chunk, that is in the range.
    fn wanted(&self, start: u64, bytes: &Bytes) -> Bytes {
        let range = self.fetch.range;
        let within = |offset: u64| {
            let within = offset.saturating_sub(start);
            usize::try_from(within).unwrap_or(usize::MAX).min(bytes.len())
        };
        let (from, to) = (within(range.offset), within(range.end()));
        bytes.slice(from..to.max(from))
    }

    /// At the end of the blocks: is the chunk the right one?
    fn finish(&mut self) -> Finish {
        let hash = self.hasher.as_ref().map(ChunkHasher::finish);
        if hash.is_none_or(|hash| hash == self.fetch.location.hash) {
            self.hasher = None;
            return Finish::Done(self.held.take());
        }
        let problem = || CopyError::Corrupt("the chunk's hash does not match".to_owned());
        // With several nodes at it, nobody knows whose bytes are wrong.
        match self.served_by[..] {
            [node] => self.failed(node, problem()),
            _ => self.causes.extend(self.served_by.iter().map(|node| (*node, problem()))),
        }
        if self.passed_on {
            return Finish::Wrong;
        }
        self.open = None;
        self.held = None;
        self.served_by.clear();
        self.position = self.blocks.offset;
        self.hasher = Some(ChunkHasher::default());
        Finish::Again
    }

    /// No copy is left: asks where else the chunk is. Whether there are copies that were not known.
    async fn look_elsewhere(&mut self) -> bool {
        let Some(looks) = self.looks.checked_sub(1) else { return false };
        self.looks = looks;
        let found = self.fetch.elsewhere.places(self.fetch.location.chunk).await;
        let known = &mut self.fetch.location.places;
        for place in found {
            if known.iter().all(|known| known.node != place.node) {
                known.push(place.clone());
                self.untried.push_back((place, Self::TRIES));
            }
        }
        !self.untried.is_empty()
    }

    /// Notes what went wrong with a copy, and reports it when repair should know.
    fn failed(&mut self, node: NodeId, error: CopyError) {
        let chunk = self.fetch.location.chunk;
        tracing::warn!(%chunk, %node, %error, "copy cannot be read");
        if let Some(finding) = error.finding() {
            self.report(node, finding);
        }
        match error {
            CopyError::Unreachable(_) => self.fetch.pace.was_slow(node),
            CopyError::Refused(_) => {}
            _ => self.untried.retain(|(place, _)| place.node != node),
        }
        self.causes.push((node, error));
    }

    fn report(&self, node: NodeId, finding: CopyFinding) {
        let chunk = self.fetch.location.chunk;
        (self.fetch.report)(CopyReport { chunk, node, finding });
    }

    fn error(&mut self) -> FetchError {
        let causes = std::mem::take(&mut self.causes);
        FetchError { chunk: self.fetch.location.chunk, causes }
    }
}

/// How the end of the blocks turned out.
enum Finish {
    /// Proven; the block that was held back.
    Done(Option<Run>),
    /// Wrong, and nothing was passed on: from the start with the next copy.
    Again,
    /// Wrong, and part of it was passed on.
    Wrong,
}

/// The blocks before the first whose checksum does not match, and that block's number.
fn good_prefix(chunk: ChunkId, position: u64, frame: &Frame) -> (Bytes, Option<u64>) {
    let first = position / BLOCK;
    for ((block, bytes), crc) in
        (first..).zip(frame.data.chunks(BLOCK_BYTES)).zip(&frame.block_crcs)
    {
        let matches = u32::try_from(block).is_ok_and(|n| block_crc(chunk, n, bytes) == *crc);
        if !matches {
            let good = usize::try_from(block - first).unwrap_or(0) * BLOCK_BYTES;
            return (frame.data.slice(..good), Some(block));
        }
    }
    (frame.data.clone(), None)
}

/// What a copy sent, where a frame must come.
fn frame_or_end(frame: Option<Result<Frame, CopyError>>) -> Result<Frame, CopyError> {
    frame.unwrap_or_else(|| Err(CopyError::Protocol("the copy ended early".to_owned())))
}
