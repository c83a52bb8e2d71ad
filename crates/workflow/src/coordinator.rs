//! Workflows as their callers see them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use cairn_runtime::Clock;
use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::builder::{Bounds, Builder};
use crate::output::{InMemory, Outputs, Storable, Value};
use crate::record::Header;
use crate::report::RunReport;
use crate::run::{NotStored, Progress, Run};
use crate::step::Step;
use crate::store::{Log, MAX_INPUT_BYTES, RunStore, StoreError};

/// On whose behalf runs are.
#[derive(Debug)]
pub struct Caller<C> {
    /// What steps are given to work with.
    pub context: Arc<C>,
    /// Cancels the runs of this caller.
    pub cancel: CancellationToken,
}

impl<C> Caller<C> {
    /// A caller who never cancels.
    pub fn new(context: Arc<C>) -> Self {
        Self { context, cancel: CancellationToken::new() }
    }
}

impl<C> Clone for Caller<C> {
    fn clone(&self) -> Self {
        Self { context: Arc::clone(&self.context), cancel: self.cancel.clone() }
    }
}

/// Steps one after another. Cheap to clone; runs know nothing of each other.
pub struct Coordinator<C, I, S = Storable> {
    pub(crate) workflow: u64,
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) bounds: Bounds,
    pub(crate) steps: Arc<[Step<C, I>]>,
    pub(crate) keeps: PhantomData<fn() -> S>,
}

impl<C, I, S> Clone for Coordinator<C, I, S> {
    fn clone(&self) -> Self {
        Self {
            workflow: self.workflow,
            name: self.name.clone(),
            clock: self.clock.clone(),
            bounds: self.bounds,
            steps: Arc::clone(&self.steps),
            keeps: PhantomData,
        }
    }
}

impl<C, I, S> fmt::Debug for Coordinator<C, I, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<_> = self.steps.iter().map(|step| &step.name).collect();
        f.debug_struct("Coordinator")
            .field("name", &self.name)
            .field("steps", &steps)
            .finish_non_exhaustive()
    }
}

impl<C, I> Coordinator<C, I> {
    /// Begins a workflow. `name` is what the log calls it, and what tells its stored runs from those of others.
    pub fn builder(name: &str, clock: Clock, bounds: Bounds) -> Builder<C, I> {
        Builder::new(name, clock, bounds)
    }
}

impl<C, I> Coordinator<C, I, InMemory> {
    /// Begins a workflow whose runs are never stored, so that its outputs may be of any type.
    pub fn in_memory(name: &str, clock: Clock, bounds: Bounds) -> Builder<C, I, InMemory> {
        Builder::new(name, clock, bounds)
    }
}

impl<C, I, S> Coordinator<C, I, S> {
    /// Nothing is done yet.
    fn progress(&self) -> Progress {
        Progress::new(Outputs::new(self.workflow, self.steps.len()))
    }

    /// Runs the steps. Nothing is stored: a run whose future is dropped ends where it is, and nothing takes back what it
    /// did.
    pub async fn run(&self, caller: &Caller<C>, input: I) -> RunReport {
        self.run_shared(caller, Arc::new(input)).await
    }

    async fn run_shared(&self, caller: &Caller<C>, input: Arc<I>) -> RunReport {
        let run = Run::new(self, caller, input, self.progress(), NotStored);
        let Ok(report) = run.finish().await;
        report
    }

    /// Runs the steps for each input, up to `workers` at a time (at least one), and gives reports as runs end. What fails for
    /// one input is nothing to the others.
    ///
    /// The runs go on while the stream is asked for its next item; no more are begun than are asked for. With the stream,
    /// its runs are dropped, as in [`Self::run`]. Where that must leave nothing half done, give runs ids and
    /// [`Self::start`] them.
    pub fn run_concurrent<Inputs>(
        &self,
        caller: &Caller<C>,
        inputs: Inputs,
        workers: usize,
    ) -> impl Stream<Item = (Arc<I>, RunReport)>
    where
        Inputs: Stream<Item = I>,
    {
        let one = move |input: I| async move {
            let input = Arc::new(input);
            let report = self.run_shared(caller, Arc::clone(&input)).await;
            (input, report)
        };
        inputs.map(one).buffer_unordered(workers.max(1))
    }
}

impl<C, I: Value> Coordinator<C, I> {
    /// Runs the steps, and stores before and after each one how far the run is: whoever calls this or [`Self::resume`]
    /// again, here or elsewhere, after the future was dropped or its process died, goes on there. Of a run that was begun already
    /// the stored input counts; one that has ended gives its report again.
    ///
    /// The step that was running is run again, with its pre-check. Steps that were done are not.
    ///
    /// # Errors
    /// [`StoreError`]. The run has not ended then; what was stored holds.
    pub async fn start(
        &self,
        store: &RunStore,
        id: &str,
        caller: &Caller<C>,
        input: I,
    ) -> Result<RunReport, StoreError> {
        if let Some(report) = self.try_resume(store, id, caller).await? {
            return Ok(report);
        }
        let log = Log::begin(store, id, self.header(&input)?);
        let run = Run::new(self, caller, Arc::new(input), self.progress(), log);
        run.begin().await?.finish().await
    }

    fn header(&self, input: &I) -> Result<Header, StoreError> {
        let input = serde_json::to_string(input).map_err(StoreError::Input)?;
        if input.len() > MAX_INPUT_BYTES {
            return Err(StoreError::LongInput { len: input.len() });
        }
        let steps = self.steps.iter().map(|step| step.name.clone()).collect();
        Ok(Header { workflow: self.name.clone(), steps, input })
    }

    /// Goes on with a run that was [started](Self::start).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn resume(
        &self,
        store: &RunStore,
        id: &str,
        caller: &Caller<C>,
    ) -> Result<RunReport, StoreError> {
        self.try_resume(store, id, caller).await?.ok_or(StoreError::NotFound(id.to_owned()))
    }

    async fn try_resume(
        &self,
        store: &RunStore,
        id: &str,
        caller: &Caller<C>,
    ) -> Result<Option<RunReport>, StoreError> {
        let Some((log, stored)) = Log::find(store, id).await? else { return Ok(None) };
        let names = self.steps.iter().map(|step| &step.name);
        if log.header.workflow != self.name || !log.header.steps.iter().eq(names) {
            return Err(StoreError::AnotherWorkflow {
                id: id.to_owned(),
                workflow: log.header.workflow,
            });
        }
        let input = serde_json::from_str(&log.header.input).map_err(StoreError::Input)?;
        let progress = stored.into_progress(self.progress(), &self.steps);
        let progress = progress.map_err(|why| StoreError::damaged(id, &why))?;
        let run = Run::new(self, caller, Arc::new(input), progress, log);
        Ok(Some(run.finish().await?))
    }
}
