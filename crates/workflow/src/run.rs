//! One run, from where it stands to its end.
//!
//! ```text
//!             go       ┌───── done ─────┐
//! pre-check ──────► job ──► …           ├─► next step … ─► Done
//!     └── skip ─────────────────────────┘
//!     │ cancelled, or no answer │ failed, cancelled, cut off
//!     └──────────┬──────────────┘
//!                ▼
//!         compensations of all steps whose jobs began, last first ─► Failed, Cancelled
//! ```
//!
//! What is stored is stored before each job, and after each step and compensation.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tracing::Instrument;

use crate::coordinator::{Caller, Coordinator};
use crate::error::Check;
use crate::output::{Codec, Kept, Outputs};
use crate::report::{CancelledBy, Fault, Outcome, Phase, RunReport, StepError};
use crate::step::{Step, StepContext, Work};

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Before this step.
    At(usize),
    /// Before the compensation of this step; those before it are next, then it ends.
    Undoing(usize, Outcome),
    /// At its end.
    Ended(Outcome),
}

/// How far a run is: all that a store has to keep of it.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) stage: Stage,
    /// Steps whose job began, by place.
    pub(crate) begun: Vec<bool>,
    pub(crate) errors: Vec<StepError>,
    pub(crate) outputs: Arc<Outputs>,
}

impl Progress {
    pub(crate) fn new(outputs: Outputs) -> Self {
        let begun = vec![false; outputs.steps()];
        Self { stage: Stage::At(0), begun, errors: Vec::new(), outputs: Arc::new(outputs) }
    }
}

/// Where a run writes how far it is.
pub(crate) trait Keep {
    type Error;

    /// The id under which it does so.
    fn id(&self) -> Option<Arc<str>>;

    fn save(&mut self, progress: &Progress)
    -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Nowhere.
pub(crate) struct NotStored;

impl Keep for NotStored {
    type Error = Infallible;

    fn id(&self) -> Option<Arc<str>> {
        None
    }

    async fn save(&mut self, _: &Progress) -> Result<(), Infallible> {
        Ok(())
    }
}

pub(crate) struct Run<'a, C, I, S, K> {
    workflow: &'a Coordinator<C, I, S>,
    caller: &'a Caller<C>,
    input: Arc<I>,
    progress: Progress,
    log: K,
    /// When the bound on the run is reached, on the monotonic clock.
    ends: Duration,
}

impl<'a, C, I, S, K: Keep> Run<'a, C, I, S, K> {
    pub(crate) fn new(
        workflow: &'a Coordinator<C, I, S>,
        caller: &'a Caller<C>,
        input: Arc<I>,
        progress: Progress,
        log: K,
    ) -> Self {
        let ends = workflow.clock.monotonic().saturating_add(workflow.bounds.run);
        Self { workflow, caller, input, progress, log, ends }
    }

    /// Writes down that there is such a run.
    pub(crate) async fn begin(mut self) -> Result<Self, K::Error> {
        self.log.save(&self.progress).await?;
        Ok(self)
    }

    pub(crate) async fn finish(mut self) -> Result<RunReport, K::Error> {
        loop {
            self.progress.stage = match self.progress.stage.clone() {
                Stage::At(step) => self.forward(step).await?,
                Stage::Undoing(at, outcome) => self.undo(at, outcome).await,
                Stage::Ended(outcome) => {
                    let Progress { errors, outputs, .. } = self.progress;
                    return Ok(RunReport { outcome, errors, outputs });
                }
            };
            self.log.save(&self.progress).await?;
        }
    }

    /// Takes one step; where the run stands then.
    async fn forward(&mut self, at: usize) -> Result<Stage, K::Error> {
        let steps = Arc::clone(&self.workflow.steps);
        let Some(step) = steps.get(at) else { return Ok(Stage::Ended(Outcome::Done)) };
        if let Some(by) = self.cancelled() {
            return Ok(self.end(Outcome::Cancelled { step: step.name.clone(), by }));
        }
        match self.check(at, step).await {
            Ok(true) => {}
            Ok(false) => return Ok(self.behind(at)),
            Err(fault) => return Ok(self.fail(step, Phase::PreCheck, fault)),
        }
        // A step without a pre-check that is begun again stands where it was saved.
        if !self.progress.begun[at] || step.check.is_some() {
            self.progress.begun[at] = true;
            self.log.save(&self.progress).await?;
        }
        let made = self.phase(step, Phase::Job, &step.job).await;
        let kept = made.and_then(|made| self.keep(at, Phase::Job, made, step.made));
        Ok(match kept {
            Ok(()) => self.behind(at),
            Err(fault) => self.fail(step, Phase::Job, fault),
        })
    }

    /// Whether the job is to run. A fault is one that ends the run.
    async fn check(&mut self, at: usize, step: &Step<C, I>) -> Result<bool, Fault> {
        let Some(check) = &step.check else { return Ok(true) };
        match self.phase(step, Phase::PreCheck, check).await {
            Ok(Check::Go(output)) => {
                self.keep(at, Phase::PreCheck, output, step.checked).map(|()| true)
            }
            Ok(Check::Skip(output, reason)) => {
                self.keep(at, Phase::PreCheck, output, step.checked)?;
                self.note(step, Phase::PreCheck, Fault::Error(Arc::from(reason)));
                Ok(false)
            }
            Err(fault @ Fault::Error(_)) if fault.cancels().is_none() => {
                self.note(step, Phase::PreCheck, fault);
                Ok(false)
            }
            Err(fault) => Err(fault),
        }
    }

    /// The step is over.
    fn behind(&self, step: usize) -> Stage {
        let next = step + 1;
        if next < self.workflow.steps.len() { Stage::At(next) } else { Stage::Ended(Outcome::Done) }
    }

    fn fail(&mut self, step: &Step<C, I>, phase: Phase, fault: Fault) -> Stage {
        let name = step.name.clone();
        let outcome = match fault.cancels() {
            Some(by) => Outcome::Cancelled { step: name, by },
            None => Outcome::Failed { step: name },
        };
        self.note(step, phase, fault);
        self.end(outcome)
    }

    fn end(&self, outcome: Outcome) -> Stage {
        self.still_to_undo(self.workflow.steps.len(), outcome)
    }

    fn still_to_undo(&self, below: usize, outcome: Outcome) -> Stage {
        let begun = self.progress.begun.iter().zip(self.workflow.steps.iter()).take(below);
        let undoes = |(begun, step): (&bool, &Step<C, I>)| *begun && step.compensation.is_some();
        match begun.map(undoes).rposition(|undoes| undoes) {
            Some(last) => Stage::Undoing(last, outcome),
            None => Stage::Ended(outcome),
        }
    }

    /// Compensates one step. What fails is noted, and the others go on.
    async fn undo(&mut self, at: usize, outcome: Outcome) -> Stage {
        let steps = Arc::clone(&self.workflow.steps);
        if let Some((step, undo)) =
            steps.get(at).and_then(|step| Some((step, step.compensation.as_ref()?)))
        {
            let bound = self.workflow.bounds.compensation;
            if let Err(fault) = self.guarded(step, Phase::Compensation, undo, bound).await {
                self.note(step, Phase::Compensation, fault);
            }
        }
        self.still_to_undo(at, outcome)
    }

    fn cancelled(&self) -> Option<CancelledBy> {
        if self.caller.cancel.is_cancelled() {
            return Some(CancelledBy::Caller);
        }
        (self.workflow.clock.monotonic() >= self.ends).then_some(CancelledBy::Deadline)
    }

    /// Runs a phase until it answers, or the run is cancelled.
    async fn phase<T>(
        &self,
        step: &Step<C, I>,
        phase: Phase,
        work: &Work<C, I, T>,
    ) -> Result<T, Fault> {
        let Coordinator { clock, bounds, .. } = self.workflow;
        let left = self.ends.saturating_sub(clock.monotonic());
        tokio::select! {
            biased;
            () = self.caller.cancel.cancelled() => Err(Fault::CutOff(CancelledBy::Caller)),
            () = clock.sleep(left) => Err(Fault::CutOff(CancelledBy::Deadline)),
            answer = self.guarded(step, phase, work, step.bound.unwrap_or(bounds.step)) => answer,
        }
    }

    /// Runs a phase within its bound; a panic stays here.
    async fn guarded<T>(
        &self,
        step: &Step<C, I>,
        phase: Phase,
        work: &Work<C, I, T>,
        bound: Duration,
    ) -> Result<T, Fault> {
        let given = StepContext {
            context: Arc::clone(&self.caller.context),
            input: Arc::clone(&self.input),
            outputs: Arc::clone(&self.progress.outputs),
            run: self.log.id(),
        };
        let name = &self.workflow.name;
        let span = tracing::debug_span!("step", workflow = %name, step = %step.name, %phase);
        // The function may panic as well as its future.
        let contained = AssertUnwindSafe(async { work(given).await }).catch_unwind();
        match self.workflow.clock.timeout(bound, contained.instrument(span)).await {
            Ok(Ok(answer)) => answer.map_err(|error| Fault::Error(Arc::from(error))),
            Ok(Err(panic)) => Err(Fault::Panic(message(panic.as_ref()))),
            Err(_) => Err(Fault::Elapsed(bound)),
        }
    }

    fn keep(
        &mut self,
        step: usize,
        phase: Phase,
        output: Kept,
        codec: Option<Codec>,
    ) -> Result<(), Fault> {
        let kept = Arc::make_mut(&mut self.progress.outputs).keep(step, phase, output, codec);
        kept.map_err(|error| Fault::Output(error.to_string()))
    }

    fn note(&mut self, step: &Step<C, I>, phase: Phase, fault: Fault) {
        self.progress.errors.push(StepError { step: step.name.clone(), phase, fault });
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}
