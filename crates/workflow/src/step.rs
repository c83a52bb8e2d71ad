//! Steps: what they are given, and how they are put together.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::builder::Builder;
use crate::error::{BoxError, Check};
use crate::output::{Codec, Keeping, Kept, NoOutput, Output, Outputs, StepOutputs, Storable};
use crate::report::Phase;

/// What a phase of a step has to work with. It belongs to one run.
pub struct StepContext<C, I> {
    pub(crate) context: Arc<C>,
    pub(crate) input: Arc<I>,
    pub(crate) outputs: Arc<Outputs>,
    pub(crate) run: Option<Arc<str>>,
}

impl<C, I> StepContext<C, I> {
    /// What the caller gave for its steps to work with: clients, a store, settings.
    pub fn context(&self) -> &Arc<C> {
        &self.context
    }

    /// What this run is about.
    pub fn input(&self) -> &I {
        &self.input
    }

    /// What a phase gave in this run.
    ///
    /// # Errors
    /// [`NoOutput`].
    pub fn output<T: 'static>(&self, output: Output<T>) -> Result<&T, NoOutput> {
        self.outputs.get(output)
    }

    /// The run's id, if it is stored: the same one when it is resumed.
    pub fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }
}

impl<C, I> fmt::Debug for StepContext<C, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepContext").field("run", &self.run).finish_non_exhaustive()
    }
}

/// A phase without its types.
pub(crate) type Work<C, I, T> =
    Box<dyn Fn(StepContext<C, I>) -> BoxFuture<'static, Result<T, BoxError>> + Send + Sync>;

/// A step as a run sees it.
pub(crate) struct Step<C, I> {
    pub(crate) name: String,
    pub(crate) bound: Option<Duration>,
    pub(crate) check: Option<Work<C, I, Check<Kept>>>,
    pub(crate) job: Work<C, I, Kept>,
    pub(crate) compensation: Option<Work<C, I, ()>>,
    /// The stored forms of its outputs, when they have any.
    pub(crate) checked: Option<Codec>,
    pub(crate) made: Option<Codec>,
}

/// A step that has no job yet.
#[must_use = "a step is part of the workflow once it is added"]
pub struct NewStep<'b, C, I, S = Storable, P = ()> {
    builder: &'b mut Builder<C, I, S>,
    name: String,
    check: Option<Work<C, I, Check<Kept>>>,
    gives: PhantomData<fn() -> P>,
}

impl<'b, C, I, S> NewStep<'b, C, I, S> {
    pub(crate) fn new(builder: &'b mut Builder<C, I, S>, name: &str) -> Self {
        Self { builder, name: name.to_owned(), check: None, gives: PhantomData }
    }

    /// Looks whether the job is to run. Without a pre-check it always does.
    ///
    /// An error skips the job as [`Check::Skip`] does, and keeps no output; one that comes from
    /// [`Cancelled`](crate::Cancelled) ends the run. A pre-check that panics or takes too long fails the step.
    pub fn pre_check<P, F, Fut>(self, check: F) -> NewStep<'b, C, I, S, P>
    where
        S: Keeping<P>,
        P: Send + Sync + 'static,
        F: Fn(StepContext<C, I>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Check<P>, BoxError>> + Send + 'static,
    {
        let keep =
            |found: Result<Check<P>, BoxError>| Ok(found?.map(|output| Arc::new(output) as Kept));
        let check: Work<C, I, Check<Kept>> = Box::new(move |step| check(step).map(keep).boxed());
        let Self { builder, name, .. } = self;
        NewStep { builder, name, check: Some(check), gives: PhantomData }
    }
}

impl<'b, C, I, S: Keeping<P>, P> NewStep<'b, C, I, S, P> {
    /// Names what the pre-check gives, for this step's own job and compensation.
    pub fn checked(&self) -> Output<P> {
        self.builder.next_output(Phase::PreCheck)
    }

    /// Does the work. It may be run again after it was cut off anywhere, so it must be idempotent.
    ///
    /// An error ends the run: as cancelled when it comes from [`Cancelled`](crate::Cancelled), else as failed.
    pub fn job<J, F, Fut>(self, job: F) -> StepWithJob<'b, C, I, S, P, J>
    where
        S: Keeping<J>,
        J: Send + Sync + 'static,
        F: Fn(StepContext<C, I>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<J, BoxError>> + Send + 'static,
    {
        let keep = |made: Result<J, BoxError>| Ok(Arc::new(made?) as Kept);
        let step = Step {
            name: self.name,
            bound: None,
            check: self.check,
            job: Box::new(move |step| job(step).map(keep).boxed()),
            compensation: None,
            checked: <S as Keeping<P>>::codec(),
            made: <S as Keeping<J>>::codec(),
        };
        StepWithJob { builder: self.builder, step, gives: PhantomData }
    }
}

impl<C, I, S, P> fmt::Debug for NewStep<'_, C, I, S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewStep").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A step that can be added.
#[must_use = "a step is part of the workflow once it is added"]
pub struct StepWithJob<'b, C, I, S, P, J> {
    builder: &'b mut Builder<C, I, S>,
    step: Step<C, I>,
    gives: PhantomData<fn() -> (P, J)>,
}

impl<C, I, S, P, J> StepWithJob<'_, C, I, S, P, J> {
    /// Names what the job gives, for this step's own compensation.
    pub fn made(&self) -> Output<J> {
        self.builder.next_output(Phase::Job)
    }

    /// Takes back what the job did, when the run fails or is cancelled. It runs for every step whose job began, last step
    /// first: also when the job failed or was cut off, so it must bear that nothing was done, and that it is run again.
    pub fn compensate<F, Fut>(mut self, compensation: F) -> Self
    where
        F: Fn(StepContext<C, I>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.step.compensation = Some(Box::new(move |step| compensation(step).boxed()));
        self
    }

    /// How long the pre-check and the job may take, each, in the place of [`Bounds::step`](crate::Bounds::step).
    pub fn within(mut self, bound: Duration) -> Self {
        self.step.bound = Some(bound);
        self
    }

    /// Adds the step behind those that were added before.
    pub fn add(self) -> StepOutputs<P, J> {
        let checked = self.builder.next_output(Phase::PreCheck);
        let made = self.builder.next_output(Phase::Job);
        self.builder.push(self.step);
        StepOutputs { checked, made }
    }
}

impl<C, I, S, P, J> fmt::Debug for StepWithJob<'_, C, I, S, P, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepWithJob").field("name", &self.step.name).finish_non_exhaustive()
    }
}
