//! A chunk on its way to the client: a task of its own reads it, a few frames ahead.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cairn_replicas::Run;
use cairn_runtime::{Clock, Spawner};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::DownloadError;
use crate::budget::Share;

/// Frames of one chunk that may wait for the client; with the one in hand this is what a share of the budget covers.
pub(super) const FRAMES_AHEAD: usize = 3;

/// What is handed over: bytes, or why there are no more.
pub(super) type Handed = Result<Run, DownloadError>;

/// How the client of a download takes what is read, of all its chunks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Taking {
    taken: Arc<Taken>,
    clock: Clock,
    idle: Duration,
}

#[derive(Default)]
struct Taken {
    runs: AtomicU64,
    /// The client took nothing for too long.
    stopped: AtomicBool,
}

impl Taking {
    /// A client that may take nothing for as long as `idle`.
    pub(super) fn new(clock: Clock, idle: Duration) -> Self {
        Self { taken: Arc::default(), clock, idle }
    }

    /// Hands over; false when the reader is gone, or its client has taken nothing of any chunk for too long.
    async fn hand_over(&self, to: &mpsc::Sender<Handed>, what: Handed) -> bool {
        let mut send = pin!(to.send(what));
        loop {
            let before = self.taken.runs.load(Ordering::Relaxed);
            match self.clock.timeout(self.idle, send.as_mut()).await {
                Ok(sent) => return sent.is_ok(),
                // A chunk that was read ahead waits for as long as the one before it is taken.
                Err(_) if self.taken.runs.load(Ordering::Relaxed) != before => {}
                Err(_) => {
                    self.taken.stopped.store(true, Ordering::Relaxed);
                    return false;
                }
            }
        }
    }
}

/// A chunk that is being read. Dropped, the read ends.
pub(super) struct Ahead {
    runs: mpsc::Receiver<Handed>,
    /// Bytes that were not handed over yet.
    left: u64,
    taking: Taking,
}

impl Ahead {
    /// Begins to read `length` bytes, in memory that they have a share of.
    pub(super) fn begin(
        spawner: &Spawner,
        taking: &Taking,
        share: Share,
        length: u64,
        runs: impl Stream<Item = Handed> + Send + 'static,
    ) -> Self {
        let (sender, ahead) = mpsc::channel(FRAMES_AHEAD);
        let (taking, taker) = (taking.clone(), taking.clone());
        spawner.spawn(async move {
            let _share = share;
            pass_on(runs, length, &sender, &taking).await;
        });
        Self { runs: ahead, left: length, taking: taker }
    }

    /// The next bytes; nothing when all were handed over.
    ///
    /// # Errors
    /// What ended the read, and [`DownloadError::ClientIdle`].
    pub(super) async fn next(&mut self) -> Result<Option<Run>, DownloadError> {
        let Some(handed) = self.runs.recv().await else {
            return match self.left {
                0 => Ok(None),
                _ if self.taking.taken.stopped.load(Ordering::Relaxed) => {
                    Err(DownloadError::ClientIdle(self.taking.idle))
                }
                _ => Err(DownloadError::Internal("the read of a chunk ended early")),
            };
        };
        let run = handed?;
        self.left = self.left.saturating_sub(run.bytes.len() as u64);
        self.taking.taken.runs.fetch_add(1, Ordering::Relaxed);
        Ok(Some(run))
    }
}

async fn pass_on(
    runs: impl Stream<Item = Handed>,
    mut left: u64,
    to: &mpsc::Sender<Handed>,
    taking: &Taking,
) {
    let mut runs = pin!(runs);
    loop {
        let handed = tokio::select! {
            biased;
            // A reader that is gone waits for no node. When all bytes are there, the answer is read to its end.
            () = to.closed(), if left > 0 => return,
            handed = runs.next() => handed,
        };
        let Some(handed) = handed else { return };
        if let Ok(run) = &handed {
            left = left.saturating_sub(run.bytes.len() as u64);
        }
        if !taking.hand_over(to, handed).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cairn_core::ids::NodeId;
    use futures_util::stream;
    use uuid::Uuid;

    use super::*;
    use crate::budget::Budget;
    use crate::metrics::BudgetMetrics;

    const IDLE: Duration = Duration::from_secs(60);

    fn run(byte: u8) -> Run {
        Run { node: NodeId::from_uuid(Uuid::nil()), bytes: Bytes::from(vec![byte; 10]) }
    }

    /// Two chunks of so many frames, the second read ahead of the first.
    async fn two_chunks(clock: &Clock, frames: u8) -> [Ahead; 2] {
        let taking = Taking::new(clock.clone(), IDLE);
        let budget = Budget::new(1 << 20, clock.clone(), BudgetMetrics::default());
        let begin = async |base: u8| {
            let share = budget.take(1, IDLE).await.expect("it is free");
            let runs = stream::iter((0..frames).map(move |nth| Ok(run(base + nth))));
            Ahead::begin(&Spawner::current(), &taking, share, u64::from(frames) * 10, runs)
        };
        [begin(0).await, begin(100).await]
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_slow_gets_every_byte_however_long_a_chunk_waits_for_the_one_before() {
        let clock = Clock::system();
        let mut got = Vec::new();
        for mut chunk in two_chunks(&clock, 9).await {
            while let Some(run) = chunk.next().await.expect("it goes on") {
                got.push(run.bytes[0]);
                clock.sleep(IDLE / 2).await;
            }
        }
        assert_eq!(got, (0..9).chain(100..109).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_for_too_long_is_told_and_no_byte_is_left_out() {
        let clock = Clock::system();
        let [mut first, mut second] = two_chunks(&clock, 9).await;
        assert!(first.next().await.expect("it goes on").is_some());
        clock.sleep(IDLE * 3).await;
        for chunk in [&mut first, &mut second] {
            let ended = loop {
                match chunk.next().await {
                    Ok(Some(_)) => {}
                    ended => break ended,
                }
            };
            assert!(matches!(ended, Err(DownloadError::ClientIdle(IDLE))), "{ended:?}");
        }
    }

    #[tokio::test]
    async fn a_read_that_ends_early_is_no_end_of_the_chunk() {
        let taking = Taking::new(Clock::system(), IDLE);
        let budget = Budget::new(1 << 20, Clock::system(), BudgetMetrics::default());
        let share = budget.take(1, IDLE).await.expect("it is free");
        let runs = stream::iter([Ok(run(0))]);
        let mut ahead = Ahead::begin(&Spawner::current(), &taking, share, 11, runs);
        assert!(ahead.next().await.expect("the first").is_some());
        assert!(matches!(ahead.next().await, Err(DownloadError::Internal(_))));
    }
}
