//! Saving a chunk: all copies in parallel from one buffer, a failed one placed anew.

use std::future::Future;
use std::time::Duration;

use cairn_core::copies::{ChunkWant, CopyReceipt, Place};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_runtime::Clock;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::buffer::BufferReader;
use crate::replica::{CopyError, Replicas};

/// Bounds on saving one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveBounds {
    /// Copies that may be placed anew before the chunk is given up. Default 6.
    pub replacements: usize,
    /// Time for a receipt, counted from the end of the chunk's bytes. Longer bears slower disks; shorter
    /// notices a hung node sooner. Default 20 s.
    pub receipt: Duration,
}

impl Default for SaveBounds {
    fn default() -> Self {
        Self { replacements: 6, receipt: Duration::from_secs(20) }
    }
}

/// Finds other places for copies that failed.
pub trait Replace: Send + Sync {
    /// Why no other place was found.
    type Error: Send;

    /// Places for `want`, none of them among its holders or failed nodes.
    fn replace(
        &self,
        want: ChunkWant,
    ) -> impl Future<Output = Result<Vec<Place>, Self::Error>> + Send;
}

/// A chunk with all its copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The copies, in order of placement.
    pub copies: Vec<CopyReceipt>,
    /// Copies that failed and were replaced.
    pub failures: Vec<(NodeId, CopyError)>,
}

/// The chunk does not have the copies asked for.
#[derive(Debug, thiserror::Error)]
#[error("{} copies of the chunk are durable, {} failed", saved.len(), failures.len())]
pub struct SaveError<E> {
    /// Copies that are durable nevertheless.
    pub saved: Vec<CopyReceipt>,
    /// What went wrong, in order.
    pub failures: Vec<(NodeId, CopyError)>,
    /// Why no other place was found, when that was asked.
    pub no_replacement: Option<E>,
}

/// What is written and where to.
#[derive(Debug, Clone)]
pub struct SaveChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// The most it can have, reserved on each node.
    pub reserve: u64,
    /// Where the copies go; as many as are wanted.
    pub places: Vec<Place>,
}

/// What can wake a save.
enum Event<E> {
    /// A copy is durable, or has failed.
    Written(usize, NodeId, Result<CopyReceipt, CopyError>),
    /// Another place for the copy of this rank was found, or not.
    Replaced(usize, Result<Vec<Place>, E>),
}

/// Writes a copy to each place and waits for all. A copy that fails is given to another node, as often as `bounds`
/// allow.
///
/// # Errors
/// [`SaveError`] when a copy cannot be placed again; copies that still run are dropped then.
pub async fn save<R: Replace>(
    save: SaveChunk,
    source: &BufferReader,
    replicas: &dyn Replicas,
    replace: &R,
    bounds: SaveBounds,
    clock: &Clock,
) -> Result<Saved, SaveError<R::Error>> {
    let saving = Saving { save: &save, source, replicas, replace, bounds, clock };
    let mut books = Books::new(&save.places);
    let mut running: FuturesUnordered<BoxFuture<'_, Event<R::Error>>> =
        save.places.iter().enumerate().map(|(rank, place)| saving.write(rank, place)).collect();
    while let Some(event) = running.next().await {
        match event {
            Event::Written(rank, _, Ok(receipt)) => books.receipts.push((rank, receipt)),
            Event::Written(rank, node, Err(error)) => {
                tracing::warn!(chunk = %save.chunk, %node, %error, "copy failed");
                let hopeless = matches!(error, CopyError::SourceBroken | CopyError::Erased);
                books.failed(node, error);
                if hopeless || books.failures.len() > bounds.replacements {
                    return Err(books.error(None));
                }
                running.push(saving.replace(rank, books.want(&save)));
            }
            Event::Replaced(rank, Ok(places)) => match places.first() {
                Some(place) => {
                    books.placed.push(place.node);
                    running.push(saving.write(rank, place));
                }
                None => return Err(books.error(None)),
            },
            Event::Replaced(_, Err(error)) => return Err(books.error(Some(error))),
        }
    }
    Ok(Saved { copies: in_order(books.receipts), failures: books.failures })
}

/// Who holds the chunk, who failed, who is at it.
struct Books {
    placed: Vec<NodeId>,
    receipts: Vec<(usize, CopyReceipt)>,
    failures: Vec<(NodeId, CopyError)>,
}

impl Books {
    fn new(places: &[Place]) -> Self {
        let placed = places.iter().map(|place| place.node).collect();
        Self { placed, receipts: Vec::with_capacity(places.len()), failures: Vec::new() }
    }

    fn failed(&mut self, node: NodeId, error: CopyError) {
        self.placed.retain(|placed| *placed != node);
        self.failures.push((node, error));
    }

    fn want(&self, save: &SaveChunk) -> ChunkWant {
        ChunkWant {
            index: save.chunk.index,
            length: save.reserve,
            copies: 1,
            holders: self.placed.clone(),
            failed: self.failures.iter().map(|(node, _)| *node).collect(),
        }
    }

    fn error<E>(self, no_replacement: Option<E>) -> SaveError<E> {
        let Self { receipts, failures, .. } = self;
        SaveError { saved: in_order(receipts), failures, no_replacement }
    }
}

fn in_order(mut receipts: Vec<(usize, CopyReceipt)>) -> Vec<CopyReceipt> {
    receipts.sort_unstable_by_key(|(rank, _)| *rank);
    receipts.into_iter().map(|(_, receipt)| receipt).collect()
}

/// What the steps of one save share.
struct Saving<'a, R> {
    save: &'a SaveChunk,
    source: &'a BufferReader,
    replicas: &'a dyn Replicas,
    replace: &'a R,
    bounds: SaveBounds,
    clock: &'a Clock,
}

impl<'a, R: Replace> Saving<'a, R> {
    fn write(&self, rank: usize, place: &Place) -> BoxFuture<'a, Event<R::Error>> {
        let (node, bound, clock) = (place.node, self.bounds.receipt, self.clock);
        let (chunk, reserve, source) = (self.save.chunk, self.save.reserve, self.source);
        let replica = self.replicas.at(place);
        Box::pin(async move {
            let written = match replica {
                Ok(replica) => {
                    let write = replica.write(chunk, reserve, source.rewound());
                    bounded(write, source, bound, clock).await
                }
                Err(error) => Err(error),
            };
            Event::Written(rank, node, written)
        })
    }

    fn replace(&self, rank: usize, want: ChunkWant) -> BoxFuture<'a, Event<R::Error>> {
        let replace = self.replace;
        Box::pin(async move { Event::Replaced(rank, replace.replace(want).await) })
    }
}

/// Waits for `write`; from the end of the chunk's bytes on, at most `bound`.
async fn bounded(
    mut write: BoxFuture<'static, Result<CopyReceipt, CopyError>>,
    source: &BufferReader,
    bound: Duration,
    clock: &Clock,
) -> Result<CopyReceipt, CopyError> {
    tokio::select! {
        biased;
        written = &mut write => return written,
        _ = source.ended() => {}
    }
    clock
        .timeout(bound, write)
        .await
        .unwrap_or_else(|elapsed| Err(CopyError::Unreachable(elapsed.to_string())))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use cairn_core::digest::ChunkHasher;

    use super::*;
    use crate::buffer::ChunkBuffer;
    use crate::double::{Behaviour, Doubles, chunk, node, place};

    /// Gives out nodes in order, and keeps what was asked.
    struct Spares(Mutex<(Vec<u128>, Vec<ChunkWant>)>);

    impl Spares {
        fn new(nodes: &[u128]) -> Self {
            Self(Mutex::new((nodes.to_vec(), Vec::new())))
        }

        fn asked(&self) -> Vec<ChunkWant> {
            self.0.lock().unwrap().1.clone()
        }
    }

    impl Replace for Spares {
        type Error = &'static str;

        async fn replace(&self, want: ChunkWant) -> Result<Vec<Place>, &'static str> {
            let mut spares = self.0.lock().unwrap();
            spares.1.push(want);
            if spares.0.is_empty() { Err("none left") } else { Ok(vec![place(spares.0.remove(0))]) }
        }
    }

    fn whole(bytes: &'static [u8]) -> BufferReader {
        let mut buffer = ChunkBuffer::new(chunk());
        let reader = buffer.reader();
        buffer.push(Bytes::from_static(bytes));
        let mut hasher = ChunkHasher::default();
        hasher.update(bytes);
        buffer.end(hasher.finish());
        reader
    }

    async fn saved(
        doubles: &Doubles,
        places: &[u128],
        spares: &Spares,
    ) -> Result<Saved, SaveError<&'static str>> {
        let places = places.iter().map(|n| place(*n)).collect();
        let chunk = SaveChunk { chunk: chunk(), reserve: 100, places };
        let bounds = SaveBounds::default();
        save(chunk, &whole(b"hello"), doubles, spares, bounds, &Clock::system()).await
    }

    fn nodes(saved: &Saved) -> Vec<NodeId> {
        saved.copies.iter().map(|copy| copy.node).collect()
    }

    #[tokio::test]
    async fn every_place_gets_the_whole_chunk_and_receipts_keep_the_order_of_placement() {
        let doubles = Doubles::new(&[(2, Behaviour::Healthy), (1, Behaviour::Healthy)]);
        let saved = saved(&doubles, &[2, 1], &Spares::new(&[])).await.expect("both are healthy");
        assert_eq!(nodes(&saved), [node(2), node(1)]);
        assert_eq!(doubles.stored(1), Some(Bytes::from_static(b"hello")));
        assert_eq!(doubles.stored(2), Some(Bytes::from_static(b"hello")));
    }

    #[tokio::test]
    async fn a_copy_that_fails_is_placed_anew_and_written_from_the_start() {
        let doubles = Doubles::new(&[
            (1, Behaviour::FailsWrite(CopyError::Unreachable("gone".into()))),
            (2, Behaviour::Healthy),
            (3, Behaviour::FailsWrite(CopyError::Full)),
            (4, Behaviour::Healthy),
        ]);
        let spares = Spares::new(&[3, 4]);
        let saved = saved(&doubles, &[1, 2], &spares).await.expect("node 4 takes it");
        assert_eq!(nodes(&saved), [node(4), node(2)]);
        assert_eq!(doubles.stored(4), Some(Bytes::from_static(b"hello")));
        let asked = spares.asked();
        assert_eq!(asked[1].holders, [node(2)]);
        assert_eq!(asked[1].failed, [node(1), node(3)]);
    }

    #[tokio::test]
    async fn without_another_place_the_chunk_fails_and_says_what_is_durable() {
        let doubles =
            Doubles::new(&[(1, Behaviour::FailsWrite(CopyError::Full)), (2, Behaviour::Healthy)]);
        let error = saved(&doubles, &[2, 1], &Spares::new(&[])).await.expect_err("one is full");
        assert_eq!(error.no_replacement, Some("none left"));
        assert_eq!(error.failures, [(node(1), CopyError::Full)]);
    }

    #[tokio::test]
    async fn replacements_are_bounded() {
        let numbers: Vec<u128> = (1..=20).collect();
        let failing: Vec<_> =
            numbers.iter().map(|n| (*n, Behaviour::FailsWrite(CopyError::Full))).collect();
        let doubles = Doubles::new(&failing);
        let spares = Spares::new(&numbers[1..]);
        let error = saved(&doubles, &[1], &spares).await.expect_err("all are full");
        assert_eq!(error.failures.len(), SaveBounds::default().replacements + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_hangs_after_the_last_byte_is_replaced() {
        let doubles = Doubles::new(&[(1, Behaviour::Hangs), (2, Behaviour::Healthy)]);
        let saved = saved(&doubles, &[1], &Spares::new(&[2])).await.expect("node 2 takes it");
        assert_eq!(nodes(&saved), [node(2)]);
    }

    #[tokio::test]
    async fn a_chunk_whose_writer_goes_away_is_not_placed_anew() {
        let doubles = Doubles::new(&[(1, Behaviour::Healthy)]);
        let buffer = ChunkBuffer::new(chunk());
        let reader = buffer.reader();
        drop(buffer);
        let spares = Spares::new(&[2]);
        let places = vec![place(1)];
        let chunk = SaveChunk { chunk: chunk(), reserve: 100, places };
        let bounds = SaveBounds::default();
        let error = save(chunk, &reader, &doubles, &spares, bounds, &Clock::system()).await;
        assert_eq!(error.expect_err("broken").failures[0].1, CopyError::SourceBroken);
        assert!(spares.asked().is_empty());
        assert_eq!(doubles.stored(1), None);
    }
}
