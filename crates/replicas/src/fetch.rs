//! Fetching a range of a chunk: copies in order, every block proven before it is passed on.
//!
//! A copy that fails, stalls or lies is left at the last good block and the next one goes on from there. When the whole
//! chunk is read, its last block is held back until the chunk's hash matches, so that wrong bytes never look like a
//! complete chunk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::copies::{ChunkLocation, CopyFinding, CopyReport, Place};
use cairn_core::digest::{BLOCK_BYTES, ChunkHasher, block_crc};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::range::ByteRange;
use cairn_runtime::{Blocking, Clock};
use futures_util::{Stream, StreamExt, stream};

use crate::replica::{CopyError, CopyRead, Frame, Replicas};

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

/// What is fetched, with what.
#[derive(Clone)]
pub struct Fetch {
    /// Where the chunk lies.
    pub location: ChunkLocation,
    /// The bytes wanted, within the chunk.
    pub range: ByteRange,
    /// Finds the nodes.
    pub replicas: Arc<dyn Replicas>,
    /// Is told of copies that are missing or wrong. Must not block.
    pub report: Arc<dyn Fn(CopyReport) + Send + Sync>,
    /// Longest wait for an answer, and between frames. Default of the gateway: 10 s.
    pub stall: Duration,
    /// Measures the wait.
    pub clock: Clock,
    /// Computes checksums and hashes.
    pub hashing: Blocking,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch")
            .field("location", &self.location)
            .field("range", &self.range)
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
    node: NodeId,
    read: CopyRead,
}

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
    /// Nodes that gave blocks since `position` was at the start.
    served_by: Vec<NodeId>,
    causes: Vec<(NodeId, CopyError)>,
}

impl Reading {
    /// A node that is merely away is asked once more, after all others.
    const TRIES: u8 = 2;

    fn new(fetch: Fetch) -> Self {
        let length = fetch.location.length;
        let blocks = fetch.range.aligned_to(BLOCK, length);
        let whole = blocks == ByteRange::whole(length);
        let places = fetch.location.places.iter().cloned();
        Self {
            blocks,
            position: blocks.offset,
            hasher: whole.then(ChunkHasher::default),
            held: None,
            passed_on: false,
            open: None,
            untried: places.map(|place| (place, Self::TRIES)).collect(),
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
            let Some(mut open) = self.open.take() else {
                self.open_next().await?;
                continue;
            };
            let frame = self.fetch.clock.timeout(self.fetch.stall, open.read.frames.next()).await;
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => Err(CopyError::Protocol("the copy ended early".to_owned())),
                Err(elapsed) => Err(CopyError::Unreachable(elapsed.to_string())),
            };
            let (good, problem) = match frame {
                Ok(frame) => self.prove(frame).await,
                Err(error) => (Bytes::new(), Some(error)),
            };
            let ready = self.accept(open.node, good);
            match problem {
                None => self.open = Some(open),
                Some(error) => self.failed(open.node, error),
            }
            if ready.is_some() {
                self.passed_on = true;
                return Ok(ready);
            }
        }
    }

    /// Waits for the end behind the last block: a connection whose answer was read to its end can be used again.
    async fn read_to_end(&mut self) {
        if let Some(mut open) = self.open.take() {
            let _ = self.fetch.clock.timeout(END_BOUND, open.read.frames.next()).await;
        }
    }

    /// Opens the next copy at the current block.
    async fn open_next(&mut self) -> Result<(), FetchError> {
        let Some((place, tries)) = self.untried.pop_front() else {
            return Err(self.error());
        };
        let node = place.node;
        let rest = ByteRange { offset: self.position, length: self.blocks.end() - self.position };
        let chunk = self.fetch.location.chunk;
        let opened = match self.fetch.replicas.at(&place) {
            Ok(replica) => {
                let read = replica.read(chunk, rest);
                let read = self.fetch.clock.timeout(self.fetch.stall, read).await;
                read.unwrap_or_else(|elapsed| Err(CopyError::Unreachable(elapsed.to_string())))
            }
            Err(error) => Err(error),
        };
        if tries > 1 {
            self.untried.push_back((place, tries - 1));
        }
        match opened.and_then(|read| self.check_header(read)) {
            Ok(read) => self.open = Some(Open { node, read }),
            Err(error) => self.failed(node, error),
        }
        Ok(())
    }

    fn check_header(&self, read: CopyRead) -> Result<CopyRead, CopyError> {
        let location = &self.fetch.location;
        if (read.length, read.hash) != (location.length, location.hash) {
            return Err(CopyError::Corrupt("length or hash are those of another chunk".to_owned()));
        }
        if read.offset != self.position {
            let problem = format!("begins at {} instead of {}", read.offset, self.position);
            return Err(CopyError::Protocol(problem));
        }
        Ok(read)
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

    /// Notes what went wrong with a copy, and reports it when repair should know.
    fn failed(&mut self, node: NodeId, error: CopyError) {
        let chunk = self.fetch.location.chunk;
        tracing::warn!(%chunk, %node, %error, "copy cannot be read");
        if let Some(finding) = error.finding() {
            self.report(node, finding);
        }
        if !matches!(error, CopyError::Unreachable(_)) {
            self.untried.retain(|(place, _)| place.node != node);
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    use super::*;
    use crate::double::{Behaviour, Doubles, chunk, hash, node, place};

    const LENGTH: usize = 5 * BLOCK_BYTES + 100;

    fn content() -> Bytes {
        (0..LENGTH).map(|i| (i % 249) as u8).collect()
    }

    type Outcome = (Vec<u8>, Option<FetchError>, Vec<CopyReport>);

    async fn fetched(doubles: &[(u128, Behaviour)], range: ByteRange) -> Outcome {
        fetched_of(&content(), doubles, range).await
    }

    async fn fetched_of(
        content: &Bytes,
        doubles: &[(u128, Behaviour)],
        range: ByteRange,
    ) -> Outcome {
        let reports = Arc::new(Mutex::new(Vec::new()));
        let reported = Arc::clone(&reports);
        let location = ChunkLocation {
            chunk: chunk(),
            offset: 0,
            length: content.len() as u64,
            hash: hash(content),
            places: doubles.iter().map(|(n, _)| place(*n)).collect(),
        };
        let stream = fetch(Fetch {
            location,
            range,
            replicas: Arc::new(Doubles::new(doubles).holding(content)),
            report: Arc::new(move |report| reported.lock().unwrap().push(report)),
            stall: Duration::from_secs(10),
            clock: Clock::system(),
            hashing: Blocking::inline(),
        });
        let mut stream = std::pin::pin!(stream);
        let mut bytes = Vec::new();
        let mut error = None;
        while let Some(item) = stream.next().await {
            match item {
                Ok(run) => bytes.extend_from_slice(&run.bytes),
                Err(e) => error = Some(e),
            }
        }
        let reports = reports.lock().unwrap().clone();
        (bytes, error, reports)
    }

    async fn whole(doubles: &[(u128, Behaviour)]) -> Outcome {
        fetched(doubles, ByteRange::whole(LENGTH as u64)).await
    }

    fn report(n: u128, finding: CopyFinding) -> CopyReport {
        CopyReport { chunk: chunk(), node: node(n), finding }
    }

    #[tokio::test]
    async fn the_first_copy_serves_when_it_is_healthy() {
        let healthy = [(1, Behaviour::Healthy), (2, Behaviour::Hangs)];
        assert_eq!(whole(&healthy).await, (content().to_vec(), None, vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_happens_to_the_first_copy_the_second_goes_on_at_the_right_block() {
        use Behaviour::{BreaksAfter, FailsRead, FlipsBlock, Hangs, WrongHeader};
        let away = || CopyError::Unreachable("gone".to_owned());
        for (behaviour, finding) in [
            (FailsRead(CopyError::Missing), Some(CopyFinding::Missing)),
            (FailsRead(away()), None),
            (BreaksAfter(0), None),
            (BreaksAfter(2), None),
            (FlipsBlock(0), Some(CopyFinding::Corrupt)),
            (FlipsBlock(3), Some(CopyFinding::Corrupt)),
            (FlipsBlock(5), Some(CopyFinding::Corrupt)),
            (WrongHeader, Some(CopyFinding::Corrupt)),
            (Hangs, None),
        ] {
            let (bytes, error, reports) =
                whole(&[(1, behaviour.clone()), (2, Behaviour::Healthy)]).await;
            assert_eq!(error, None, "{behaviour:?}");
            assert_eq!(bytes, content(), "{behaviour:?}");
            let expected: Vec<_> = finding.into_iter().map(|found| report(1, found)).collect();
            assert_eq!(reports, expected, "{behaviour:?}");
        }
    }

    #[tokio::test]
    async fn a_copy_that_lies_never_looks_like_a_complete_chunk() {
        let (bytes, error, reports) = whole(&[(1, Behaviour::Lies), (2, Behaviour::Healthy)]).await;
        assert!(error.is_some(), "bytes were passed on: the end must be an error");
        assert!(bytes.len() < LENGTH);
        assert_eq!(reports, [report(1, CopyFinding::Corrupt)]);
    }

    #[tokio::test]
    async fn without_a_good_copy_every_cause_is_told() {
        let (bytes, error, _) = whole(&[
            (1, Behaviour::FailsRead(CopyError::Missing)),
            (2, Behaviour::FailsRead(CopyError::Unreachable("gone".to_owned()))),
        ])
        .await;
        assert!(bytes.is_empty());
        let causes = error.expect("no copy is good").causes;
        let nodes: Vec<_> = causes.iter().map(|(node, _)| *node).collect();
        assert_eq!(nodes, [node(1), node(2), node(2)], "a node that is away is asked once more");
    }

    #[tokio::test]
    async fn a_range_within_a_chunk_of_few_blocks_is_cut_at_both_ends() {
        let end = LENGTH as u64;
        for (offset, length) in [(5, 6), (0, 1), (1, end - 2), (end - 1, 1), (70_000, end - 70_001)]
        {
            let range = ByteRange { offset, length };
            let (bytes, error, _) = fetched(&[(1, Behaviour::Healthy)], range).await;
            let expected = content().slice(offset as usize..range.end() as usize);
            assert_eq!((bytes, error), (expected.to_vec(), None), "{range:?}");
        }
        let (bytes, ..) = fetched_of(
            &content().slice(..1000),
            &[(1, Behaviour::Healthy)],
            ByteRange { offset: 5, length: 6 },
        )
        .await;
        assert_eq!(bytes, content().slice(5..11).to_vec(), "one block alone");
    }

    #[tokio::test]
    async fn an_empty_range_asks_nobody() {
        let range = ByteRange { offset: 3, length: 0 };
        assert_eq!(fetched(&[(1, Behaviour::Hangs)], range).await, (vec![], None, vec![]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_range_is_exact_over_a_failover(
            offset in 0..LENGTH, length in 0..LENGTH, frames in 0_usize..4, flipped in 0_usize..7,
        ) {
            let range = ByteRange::within(offset as u64, length as u64, LENGTH as u64);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
            let (bytes, error, _) = runtime.block_on(fetched(
                &[
                    (1, Behaviour::BreaksAfter(frames)),
                    (2, Behaviour::FlipsBlock(flipped)),
                    (3, Behaviour::Healthy),
                ],
                range,
            ));
            prop_assert_eq!(error, None);
            let end = usize::try_from(range.end())?;
            prop_assert_eq!(bytes, content().slice(offset..end).to_vec());
        }
    }
}
