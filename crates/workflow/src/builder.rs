//! Putting a workflow together.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_runtime::Clock;

use crate::coordinator::Coordinator;
use crate::output::{Output, Storable};
use crate::report::Phase;
use crate::step::{NewStep, Step};

/// The most steps of a workflow.
pub const MAX_STEPS: usize = 32;
/// The longest name of a step, in bytes.
pub const MAX_NAME_BYTES: usize = 100;

/// How long things may take. `Duration::MAX` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// A run, without its compensation. One that is resumed has as long again.
    pub run: Duration,
    /// A pre-check, and a job.
    pub step: Duration,
    /// A compensation, which runs also when the bounds above were reached.
    pub compensation: Duration,
}

/// Why steps are no workflow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// There is nothing to do.
    #[error("a workflow without steps")]
    Empty,
    /// There are more than [`MAX_STEPS`].
    #[error("{0} steps, at most {MAX_STEPS}")]
    TooManySteps(usize),
    /// Two steps are called the same.
    #[error("two steps are called {0:?}")]
    DuplicateName(String),
    /// A name is longer than [`MAX_NAME_BYTES`].
    #[error("a name of {0} bytes, at most {MAX_NAME_BYTES}")]
    LongName(usize),
}

/// Tells the outputs of one workflow from those of another.
static WORKFLOWS: AtomicU64 = AtomicU64::new(0);

/// Collects steps. `C` is what callers give their steps to work with, `I` what a run is about, `S` where outputs are
/// [kept](crate::Keeping).
pub struct Builder<C, I, S = Storable> {
    workflow: u64,
    name: String,
    clock: Clock,
    bounds: Bounds,
    steps: Vec<Step<C, I>>,
    keeps: PhantomData<fn() -> S>,
}

impl<C, I, S> Builder<C, I, S> {
    /// `name` is what the log calls the workflow, and what tells the stored runs of one from those of another.
    pub(crate) fn new(name: &str, clock: Clock, bounds: Bounds) -> Self {
        let workflow = WORKFLOWS.fetch_add(1, Ordering::Relaxed);
        Self {
            workflow,
            name: name.to_owned(),
            clock,
            bounds,
            steps: Vec::new(),
            keeps: PhantomData,
        }
    }

    /// Begins the next step. A blank name becomes `#` and the step's place, from 0.
    pub fn step(&mut self, name: &str) -> NewStep<'_, C, I, S> {
        let name = match name.trim() {
            "" => format!("#{}", self.steps.len()),
            name => name.to_owned(),
        };
        NewStep::new(self, &name)
    }

    pub(crate) fn next_output<T>(&self, phase: Phase) -> Output<T> {
        Output::new(self.workflow, self.steps.len(), phase)
    }

    pub(crate) fn push(&mut self, step: Step<C, I>) {
        self.steps.push(step);
    }

    /// The workflow, whose steps do not change any more.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Coordinator<C, I, S>, BuildError> {
        let Self { workflow, name, clock, bounds, steps, keeps } = self;
        if steps.is_empty() {
            return Err(BuildError::Empty);
        }
        if steps.len() > MAX_STEPS {
            return Err(BuildError::TooManySteps(steps.len()));
        }
        let names = [&name].into_iter().chain(steps.iter().map(|step| &step.name));
        if let Some(long) = names.map(String::len).find(|len| *len > MAX_NAME_BYTES) {
            return Err(BuildError::LongName(long));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = steps.iter().find(|step| !seen.insert(&step.name)) {
            return Err(BuildError::DuplicateName(twice.name.clone()));
        }
        Ok(Coordinator { workflow, name, clock, bounds, steps: Arc::from(steps), keeps })
    }
}

impl<C, I, S> fmt::Debug for Builder<C, I, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("steps", &self.steps.len())
            .finish_non_exhaustive()
    }
}
