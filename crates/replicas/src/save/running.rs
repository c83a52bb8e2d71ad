//! A save at work.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cairn_core::copies::{ChunkWant, CopyReceipt, Place};
use cairn_core::ids::NodeId;
use cairn_runtime::Clock;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::{NotSaved, Replace, Save, SaveError, Saved};
use crate::buffer::BufferReader;
use crate::replica::CopyError;

/// What can wake a save.
enum Event<E> {
    /// A copy is durable, or has failed.
    Written(usize, NodeId, Result<Durable, CopyError>),
    /// Another place for the copy of this rank was found, or not.
    Replaced(usize, Result<Vec<Place>, E>),
}

/// A copy that is durable, and how long that took from the end of the bytes.
type Durable = (CopyReceipt, Duration);

/// A save under way: what runs, what has not begun, and how it stands.
pub(super) struct Running<R: Replace> {
    save: Arc<Save<R>>,
    books: Books,
    /// Ranks that were not begun yet.
    waiting: VecDeque<usize>,
    /// Ranks whose copy failed, and for which another place is to be asked for.
    homeless: VecDeque<usize>,
    /// Another place is being asked for.
    asking: bool,
    events: FuturesUnordered<BoxFuture<'static, Event<R::Error>>>,
}

/// Who holds the chunk, who failed, who is at it.
struct Books {
    placed: Vec<NodeId>,
    receipts: Vec<(usize, Durable)>,
    failures: Vec<(NodeId, CopyError)>,
    /// Copies that may still come to be, with those that have.
    possible: usize,
}

impl Books {
    fn failed(&mut self, node: NodeId, error: CopyError) {
        self.placed.retain(|placed| *placed != node);
        self.failures.push((node, error));
    }
}

fn in_order(mut receipts: Vec<(usize, Durable)>) -> (Vec<CopyReceipt>, Vec<Duration>) {
    receipts.sort_unstable_by_key(|(rank, _)| *rank);
    receipts.into_iter().map(|(_, durable)| durable).unzip()
}

type Outcome<R> = Result<Saved<R>, Box<SaveError<<R as Replace>::Error>>>;

impl<R: Replace + 'static> Running<R> {
    /// Begins the first copies.
    pub(super) fn begin(save: Save<R>) -> Result<Self, Box<SaveError<R::Error>>> {
        let targets = save.targets.places();
        let (placed, possible) = (save.targets.nodes(), targets.len());
        let books = Books { placed, receipts: Vec::new(), failures: Vec::new(), possible };
        let (enough, at_once) = (save.strategy.enough(possible), save.strategy.at_once(possible));
        let mut running = Self {
            books,
            waiting: (0..possible).collect(),
            homeless: VecDeque::new(),
            asking: false,
            events: FuturesUnordered::new(),
            save: Arc::new(save),
        };
        if enough > possible {
            return Err(running.error(NotSaved::Quorum { quorum: enough, places: possible }));
        }
        for _ in 0..at_once.clamp(1, possible) {
            running.begin_next()?;
        }
        Ok(running)
    }

    /// Copies that must be durable before the save is answered.
    fn enough(&self) -> usize {
        let places = self.save.targets.places().len();
        self.save.strategy.enough(places).clamp(1, self.books.possible.max(1))
    }

    /// Copies below which it is not worth going on.
    fn least(&self) -> usize {
        let places = self.save.targets.places().len();
        self.save.strategy.least(places, self.save.least).clamp(1, places)
    }

    /// Runs until there are enough copies, or there can be no more.
    pub(super) async fn until_enough(mut self) -> Outcome<R> {
        while self.books.receipts.len() < self.enough() {
            let Some(event) = self.events.next().await else {
                return Err(self.error(NotSaved::Failed));
            };
            self.take(event)?;
        }
        let (copies, took) = in_order(std::mem::take(&mut self.books.receipts));
        let failures = std::mem::take(&mut self.books.failures);
        Ok(Saved { copies, took, failures, late: Late::of(self) })
    }

    /// Begins the next copy that waits. What was broken off is not begun.
    fn begin_next(&mut self) -> Result<(), Box<SaveError<R::Error>>> {
        if self.save.source.is_broken() {
            return Err(self.error(NotSaved::Cancelled));
        }
        if let Some(rank) = self.waiting.pop_front() {
            let place = self.save.targets.places()[rank].clone();
            self.events.push(write(&self.save, rank, &place));
        }
        Ok(())
    }

    fn take(&mut self, event: Event<R::Error>) -> Result<(), Box<SaveError<R::Error>>> {
        match event {
            Event::Written(rank, _, Ok(durable)) => {
                self.books.receipts.push((rank, durable));
                // One after another: this one's turn is over. All at once: nobody waits.
                self.begin_next()
            }
            Event::Written(rank, node, Err(error)) => self.failed(rank, node, error),
            Event::Replaced(rank, answer) => {
                self.asking = false;
                self.replaced(rank, answer)?;
                self.ask_for_place();
                Ok(())
            }
        }
    }

    /// The copy of this rank goes elsewhere, or there is nowhere else.
    fn replaced(
        &mut self,
        rank: usize,
        answer: Result<Vec<Place>, R::Error>,
    ) -> Result<(), Box<SaveError<R::Error>>> {
        let places = match answer {
            Ok(places) => places,
            Err(error) => return self.given_up(NotSaved::NoPlace(error)),
        };
        // Each copy is on a node of its own, whatever the answer says.
        let free = |place: &&Place| !self.books.placed.contains(&place.node);
        let Some(place) = places.iter().find(free) else {
            return self.given_up(NotSaved::Failed);
        };
        self.books.placed.push(place.node);
        self.events.push(write(&self.save, rank, place));
        Ok(())
    }

    /// Asks for another place for the next copy that has none. One at a time, since each must know where the one before goes: two
    /// that were asked for at once could be the same.
    fn ask_for_place(&mut self) {
        let next = if self.asking { None } else { self.homeless.pop_front() };
        let Some(rank) = next else { return };
        self.asking = true;
        let (save, want) = (Arc::clone(&self.save), self.want());
        let replace = async move { Event::Replaced(rank, save.replace.replace(want).await) };
        self.events.push(Box::pin(replace));
    }

    /// A copy has failed: another place is asked for, where that can help.
    fn failed(
        &mut self,
        rank: usize,
        node: NodeId,
        error: CopyError,
    ) -> Result<(), Box<SaveError<R::Error>>> {
        tracing::warn!(chunk = %self.save.chunk, %node, %error, "copy failed");
        let broken = error == CopyError::SourceBroken;
        let hopeless = error == CopyError::Erased;
        self.books.failed(node, error);
        if broken {
            return Err(self.error(NotSaved::Cancelled));
        }
        if hopeless || !self.save.strategy.replaces() {
            return Err(self.error(NotSaved::Failed));
        }
        if self.books.failures.len() > self.save.bounds.replacements {
            return self.given_up(NotSaved::Failed);
        }
        self.homeless.push_back(rank);
        self.ask_for_place();
        Ok(())
    }

    /// One copy will not come to be: the save ends when too few are left.
    fn given_up(&mut self, cause: NotSaved<R::Error>) -> Result<(), Box<SaveError<R::Error>>> {
        self.books.possible -= 1;
        if self.books.possible < self.least() { Err(self.error(cause)) } else { self.begin_next() }
    }

    fn want(&self) -> ChunkWant {
        ChunkWant {
            index: self.save.chunk.index,
            length: self.save.reserve,
            copies: 1,
            holders: self.books.placed.clone(),
            failed: self.books.failures.iter().map(|(node, _)| *node).collect(),
        }
    }

    fn error(&mut self, cause: NotSaved<R::Error>) -> Box<SaveError<R::Error>> {
        let (saved, _) = in_order(std::mem::take(&mut self.books.receipts));
        let failures = std::mem::take(&mut self.books.failures);
        Box::new(SaveError { saved, failures, cause })
    }
}

/// Copies beyond the quorum that are still being written. Dropped, they are broken off.
pub struct Late<R: Replace> {
    running: Option<Running<R>>,
    ends: Duration,
}

impl<R: Replace> fmt::Debug for Late<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Late").field("running", &self.running.is_some()).finish_non_exhaustive()
    }
}

impl<R: Replace + 'static> Late<R> {
    fn of(running: Running<R>) -> Self {
        let ends = running.save.clock.monotonic() + running.save.bounds.late;
        let runs = !running.events.is_empty() || !running.waiting.is_empty();
        Self { running: runs.then_some(running), ends }
    }

    /// Whether nothing is being written.
    pub fn is_empty(&self) -> bool {
        self.running.is_none()
    }

    /// The next copy that is durable; nothing when there will be none, or when the bound is reached. Nobody asks for other
    /// places any more: the chunk is saved.
    pub async fn next(&mut self) -> Option<CopyReceipt> {
        let running = self.running.as_mut()?;
        let clock = running.save.clock.clone();
        while let Some(left) = self.ends.checked_sub(clock.monotonic()) {
            match clock.timeout(left, running.events.next()).await {
                Ok(Some(Event::Written(_, _, Ok((receipt, _))))) => {
                    // Where the source is broken off there is none to begin.
                    let _ = running.begin_next();
                    return Some(receipt);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.running = None;
        None
    }
}

fn write<R: Replace + 'static>(
    save: &Arc<Save<R>>,
    rank: usize,
    place: &Place,
) -> BoxFuture<'static, Event<R::Error>> {
    let (save, place) = (Arc::clone(save), place.clone());
    Box::pin(async move {
        let written = match save.replicas.at(&place) {
            Ok(replica) => {
                let write = replica.write(save.chunk, save.reserve, save.source.rewound());
                bounded(write, &save.source, save.bounds.receipt, &save.clock).await
            }
            Err(error) => Err(error),
        };
        Event::Written(rank, place.node, written)
    })
}

/// Waits for `write`; from the end of the chunk's bytes on, at most `bound`.
async fn bounded(
    mut write: BoxFuture<'static, Result<CopyReceipt, CopyError>>,
    source: &BufferReader,
    bound: Duration,
    clock: &Clock,
) -> Result<Durable, CopyError> {
    tokio::select! {
        biased;
        written = &mut write => return written.map(|receipt| (receipt, Duration::ZERO)),
        _ = source.ended() => {}
    }
    let ended = clock.monotonic();
    match clock.timeout(bound, write).await {
        Ok(written) => written.map(|receipt| (receipt, clock.monotonic().saturating_sub(ended))),
        Err(elapsed) => Err(CopyError::Unreachable(elapsed.to_string())),
    }
}
