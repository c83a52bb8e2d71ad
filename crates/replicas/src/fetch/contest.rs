//! Who serves: copies are asked for the frame at the current block until one has it.
//!
//! ```text
//! ordered   one ──✗─► the next ──✗─► …
//! race      all ──► the first good frame wins, the others are dropped
//! hedged    one ── takes longer than answers do ──► one more ── twice as long ──► one more …; the first good frame wins
//! ```
//!
//! The winner streams on alone, and those that lost are there when it fails. A copy asked holds one frame at most.

use std::time::Duration;

use cairn_core::copies::Place;
use cairn_core::ids::NodeId;
use cairn_core::range::ByteRange;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::{FetchError, Open, Reading, frame_or_end};
use crate::pace::ReadEvent;
use crate::replica::{CopyError, CopyRead, Frame};

/// Who says nothing for so long is silent, and not merely late: another copy is asked whatever the allowance says, since while readers wait
/// nothing is earned.
const SILENT: Duration = Duration::from_secs(1);

/// A copy that was asked and has not answered.
struct Asked {
    place: Place,
    /// How often it may still fail, this time included; 0 when that is kept with those to be tried.
    tries: u8,
    /// When; nothing for a copy that goes on.
    at: Option<Duration>,
    /// Asked because the one before it took long.
    hedge: bool,
}

type Answer = (NodeId, Result<(CopyRead, Frame), CopyError>);

/// A contest: who was asked, and their answers to come.
#[derive(Default)]
struct Contest {
    asked: Vec<Asked>,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
}

impl Contest {
    fn has(&self, node: NodeId) -> bool {
        self.asked.iter().any(|asked| asked.place.node == node)
    }

    fn over(&mut self, node: NodeId) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.place.node == node)?;
        Some(self.asked.remove(at))
    }
}

impl Reading {
    /// How long a copy is waited for before another is asked as well; nothing when none will be.
    pub(super) fn patience(&self) -> Option<Duration> {
        let hedged = self.fetch.strategy.hedges() && !self.untried.is_empty();
        hedged.then(|| self.fetch.pace.delay()).filter(|delay| *delay < self.fetch.stall)
    }

    /// Asks copies, as the strategy says, and waits for a frame that is good in its first block. `late` is a copy that
    /// serves already, and takes long for its next frame.
    pub(super) async fn contest(
        &mut self,
        late: Option<Open>,
    ) -> Result<(Open, Frame), FetchError> {
        let mut contest = Contest::default();
        let (mut at_once, mut hedge) = (self.at_once(), false);
        let (mut patience, mut waited) = (self.patience(), Duration::ZERO);
        if let Some(late) = late {
            self.wait_on(&mut contest, late);
            patience = patience.map(|_| Duration::ZERO);
        }
        loop {
            while contest.asked.len() < at_once
                && self.ask_next(&mut contest, std::mem::take(&mut hedge))
            {}
            let bound = patience.unwrap_or(Duration::MAX);
            match self.fetch.pace.clock().timeout(bound, contest.answers.next()).await {
                Ok(None) if self.look_elsewhere().await => patience = self.patience(),
                Ok(None) => return Err(self.error()),
                Ok(Some((node, answer))) => {
                    if let Some(won) = self.judge(&mut contest, node, answer) {
                        return Ok(won);
                    }
                }
                Err(_) => {
                    waited += bound;
                    hedge = self.may_hedge(&contest, waited);
                    at_once += usize::from(hedge);
                    // The one that was asked beside it may be as silent: nodes die together.
                    let longer = bound.max(self.fetch.pace.delay()).saturating_mul(2);
                    patience = self.others(&contest).then_some(longer.min(SILENT));
                }
            }
        }
    }

    /// Copies that are asked at a time, as long as no one takes long.
    fn at_once(&self) -> usize {
        self.fetch.strategy.at_once(self.fetch.location.places.len()).max(1)
    }

    /// Whether another copy is asked now, beside those that were waited for so long.
    fn may_hedge(&self, contest: &Contest, waited: Duration) -> bool {
        if waited < SILENT {
            return self.others(contest) && self.fetch.pace.may_hedge();
        }
        if self.others(contest) {
            self.fetch.pace.count(ReadEvent::Hedged);
        }
        self.others(contest)
    }

    /// Whether there are copies that are not being asked.
    fn others(&self, contest: &Contest) -> bool {
        self.untried.iter().any(|(place, _)| !contest.has(place.node))
    }

    /// Asks the best copy that is not being asked, perhaps because another one takes long; false when there is none.
    fn ask_next(&mut self, contest: &mut Contest, hedge: bool) -> bool {
        let best = self.untried.iter().position(|(place, _)| !contest.has(place.node));
        let Some((place, tries)) = best.and_then(|best| self.untried.remove(best)) else {
            return false;
        };
        let again = tries < Self::TRIES;
        let pause = again.then(|| self.fetch.pace.pause_to_repeat(&mut self.backoff));
        let Some(pause) = pause.unwrap_or(Some(Duration::ZERO)) else {
            return true;
        };
        contest.answers.push(self.ask(&place, pause));
        let at = Some(self.fetch.pace.clock().monotonic() + pause);
        contest.asked.push(Asked { place, tries, at, hedge });
        true
    }

    /// Opens a copy at the current block and waits for its first frame.
    fn ask(&self, place: &Place, pause: Duration) -> BoxFuture<'static, Answer> {
        let (node, position) = (place.node, self.position);
        let rest = ByteRange { offset: position, length: self.blocks.end() - position };
        let (chunk, stall) = (self.fetch.location.chunk, self.fetch.stall);
        let expected = (self.fetch.location.length, self.fetch.location.hash);
        let clock = self.fetch.pace.clock().clone();
        let replica = self.fetch.replicas.at(place);
        Box::pin(async move {
            let first = async {
                if !pause.is_zero() {
                    clock.sleep(pause).await;
                }
                let mut read = replica?.read(chunk, rest).await?;
                if (read.length, read.hash) != expected {
                    let problem = "length or hash are those of another chunk".to_owned();
                    return Err(CopyError::Corrupt(problem));
                }
                if read.offset != position {
                    let problem = format!("begins at {} instead of {position}", read.offset);
                    return Err(CopyError::Protocol(problem));
                }
                let frame = frame_or_end(read.frames.next().await)?;
                Ok((read, frame))
            };
            let first = clock.timeout(pause.saturating_add(stall), first).await;
            let silent =
                |elapsed: cairn_runtime::Elapsed| Err(CopyError::Unreachable(elapsed.to_string()));
            (node, first.unwrap_or_else(silent))
        })
    }

    /// Goes on waiting for the next frame of a copy that serves.
    fn wait_on(&self, contest: &mut Contest, late: Open) {
        let Open { place, mut read } = late;
        let (node, stall) = (place.node, self.fetch.stall);
        let clock = self.fetch.pace.clock().clone();
        contest.asked.push(Asked { place, tries: 0, at: None, hedge: false });
        contest.answers.push(Box::pin(async move {
            let frame = match clock.timeout(stall, read.frames.next()).await {
                Ok(frame) => frame_or_end(frame),
                Err(elapsed) => Err(CopyError::Unreachable(elapsed.to_string())),
            };
            (node, frame.map(|frame| (read, frame)))
        }));
    }

    /// Looks at an answer. One with a good first block wins; the others keep their tries.
    fn judge(
        &mut self,
        contest: &mut Contest,
        node: NodeId,
        answer: Result<(CopyRead, Frame), CopyError>,
    ) -> Option<(Open, Frame)> {
        let asked = contest.over(node)?;
        match answer {
            Err(error) => {
                let away = matches!(error, CopyError::Unreachable(_) | CopyError::Refused(_));
                self.failed(node, error);
                if away && asked.tries > 1 {
                    self.untried.push_back((asked.place, asked.tries - 1));
                }
                None
            }
            Ok((read, frame)) => {
                let Asked { place, tries, at, hedge } = asked;
                if hedge {
                    self.overtook(contest, at);
                }
                let losers = contest.asked.drain(..).filter(|loser| loser.tries > 0);
                for Asked { place, tries, .. } in losers.collect::<Vec<_>>().into_iter().rev() {
                    self.untried.push_front((place, tries));
                }
                if tries > 1 {
                    self.untried.push_back((place.clone(), tries - 1));
                }
                self.asked_at = at;
                Some((Open { place, read }, frame))
            }
        }
    }

    /// A copy asked `at` this time was faster than those that were asked before it.
    fn overtook(&self, contest: &Contest, at: Option<Duration>) {
        self.fetch.pace.count(ReadEvent::HedgeWon);
        let delay = self.fetch.pace.delay();
        let long_before = |asked: &&Asked| match (asked.at, at) {
            (Some(asked), Some(at)) => asked.saturating_add(delay) <= at,
            (asked, _) => asked.is_none(),
        };
        for slow in contest.asked.iter().filter(long_before) {
            self.fetch.pace.was_slow(slow.place.node);
        }
    }
}
