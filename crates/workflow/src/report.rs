//! How a run ended, and what went wrong on the way.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Cancelled;
use crate::output::{NoOutput, Output, Outputs};

/// A part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looks whether the job is to run.
    PreCheck,
    /// Does the work.
    Job,
    /// Takes back what the job did.
    Compensation,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreCheck => "pre-check",
            Self::Job => "job",
            Self::Compensation => "compensation",
        })
    }
}

/// Who cancelled a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelledBy {
    /// A pre-check or a job, by [`Cancelled`].
    Step,
    /// The caller, by the token.
    Caller,
    /// The bound on the whole run.
    Deadline,
}

impl fmt::Display for CancelledBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Step => "itself",
            Self::Caller => "the caller",
            Self::Deadline => "the deadline of the run",
        })
    }
}

/// What went wrong in a phase.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It answered an error, or a pre-check its reason to skip. Of a run that was resumed, errors from before are texts.
    Error(Arc<dyn Error + Send + Sync>),
    /// It panicked, with this message.
    Panic(String),
    /// It took longer than its bound.
    Elapsed(Duration),
    /// It was cut off.
    CutOff(CancelledBy),
    /// Its output cannot be kept.
    Output(String),
}

impl Fault {
    /// Why it cancels the run, if it does.
    pub(crate) fn cancels(&self) -> Option<CancelledBy> {
        match self {
            Self::CutOff(by) => Some(*by),
            Self::Error(error) => Cancelled::is_in(error.as_ref()).then_some(CancelledBy::Step),
            Self::Panic(_) | Self::Elapsed(_) | Self::Output(_) => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::Panic(message) => write!(f, "panicked: {message}"),
            Self::Elapsed(bound) => write!(f, "no end within {bound:?}"),
            Self::CutOff(by) => write!(f, "cut off by {by}"),
            Self::Output(why) => write!(f, "keep the output: {why}"),
        }
    }
}

/// What went wrong, and where.
#[derive(Debug, Clone)]
pub struct StepError {
    /// The step's name.
    pub step: String,
    /// Its part.
    pub phase: Phase,
    /// What it was.
    pub fault: Fault,
}

impl StepError {
    /// What the step answered, when that is an `E`.
    pub fn cause<E: Error + 'static>(&self) -> Option<&E> {
        match &self.fault {
            Fault::Error(error) => error.downcast_ref(),
            Fault::Panic(_) | Fault::Elapsed(_) | Fault::CutOff(_) | Fault::Output(_) => None,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, phase, fault } = self;
        write!(f, "{phase} of {step:?}: {fault}")
    }
}

impl Error for StepError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.fault {
            Fault::Error(error) => Some(error.as_ref()),
            Fault::Panic(_) | Fault::Elapsed(_) | Fault::CutOff(_) | Fault::Output(_) => None,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every step is done, or was skipped.
    Done,
    /// A step failed; those that had begun were compensated.
    Failed {
        /// Its name.
        step: String,
    },
    /// The run was cancelled; steps that had begun were compensated.
    Cancelled {
        /// The step that was cut off, or would have been next.
        step: String,
        /// By whom.
        by: CancelledBy,
    },
}

/// Why a run did not get through. Its source is what the step said.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// A step failed.
    #[error("step {step:?} failed")]
    Failed {
        /// Its name.
        step: String,
        /// What it failed with.
        source: Option<StepError>,
    },
    /// The run was cancelled.
    #[error("cancelled at step {step:?} by {by}")]
    Cancelled {
        /// The step that was cut off, or would have been next.
        step: String,
        /// By whom.
        by: CancelledBy,
        /// What the step said, if it was not between two steps.
        source: Option<StepError>,
    },
}

/// What became of one run. Nothing of it is shared with another run.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong, and why jobs were skipped, in order.
    pub errors: Vec<StepError>,
    pub(crate) outputs: Arc<Outputs>,
}

impl RunReport {
    /// What a phase of a step gave.
    ///
    /// # Errors
    /// [`NoOutput`].
    pub fn output<T: 'static>(&self, output: Output<T>) -> Result<&T, NoOutput> {
        self.outputs.get(output)
    }

    /// What the step said that ended the run before its end; nothing when it was cancelled between two steps.
    pub fn ended_by(&self) -> Option<&StepError> {
        let (Outcome::Failed { step: name } | Outcome::Cancelled { step: name, .. }) =
            &self.outcome
        else {
            return None;
        };
        let of_step =
            |error: &&StepError| error.step == *name && error.phase != Phase::Compensation;
        self.errors.iter().rfind(of_step)
    }

    /// Nothing when the run is done, else why it is not.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn result(&self) -> Result<(), RunError> {
        let source = self.ended_by().cloned();
        match self.outcome.clone() {
            Outcome::Done => Ok(()),
            Outcome::Failed { step } => Err(RunError::Failed { step, source }),
            Outcome::Cancelled { step, by } => Err(RunError::Cancelled { step, by, source }),
        }
    }

    /// Steps whose compensation failed: what they did is there still.
    pub fn not_undone(&self) -> impl Iterator<Item = &str> {
        let undone = self.errors.iter().filter(|error| error.phase == Phase::Compensation);
        undone.map(|error| error.step.as_str())
    }
}
