//! What the steps of a job are given, and what they answer.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use cairn_kv::{TransactError, Txn, ViewError};
use cairn_workflow::{BoxError, Builder};
use tokio::sync::Notify;

use crate::catalog::{Job, JobKey, Left, record};
use crate::error::CatalogError;
use crate::master::Master;

/// What a step works with. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct JobContext {
    pub(super) master: Arc<Master>,
    pub(super) key: JobKey,
    pub(super) serial: u64,
    /// Rings when the job can get no further for now.
    pub(super) later: Arc<Notify>,
}

/// How a step that had no trouble ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// The next step is next.
    Done,
    /// It waits for something else to happen: it is run again with the next look at the jobs.
    Later,
}

/// Why a step broke off.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Nothing is wrong with the job: the step is run again with the next look.
    passes: bool,
    error: BoxError,
}

impl<E: Debug + Display + Send + Sync + 'static> From<TransactError<E>> for Trouble {
    fn from(error: TransactError<E>) -> Self {
        let passes = !matches!(error, TransactError::Rejected(_) | TransactError::Panicked { .. });
        Self { passes, error: error.to_string().into() }
    }
}

impl<E: Debug + Display + Send + Sync + 'static> From<ViewError<E>> for Trouble {
    fn from(error: ViewError<E>) -> Self {
        let passes = !matches!(error, ViewError::Rejected(_) | ViewError::Panicked { .. });
        Self { passes, error: error.to_string().into() }
    }
}

/// Adds a step without a compensation. It may be cut off anywhere and run again.
pub(super) fn step<F, Fut>(steps: &mut Builder<JobContext, ()>, name: &'static str, work: F)
where
    F: Fn(JobContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Pace, Trouble>> + Send + 'static,
{
    let job = move |step: cairn_workflow::StepContext<JobContext, ()>| {
        let job = JobContext::clone(step.context());
        let ended = work(job.clone());
        async move {
            match ended.await {
                Ok(Pace::Done) => return Ok(()),
                Ok(Pace::Later) => {}
                Err(Trouble { passes: true, error }) => {
                    tracing::debug!(target: "cairn", job = %job.key, step = name, %error, "a job waits");
                }
                Err(Trouble { passes: false, error }) => return Err(error),
            }
            job.later.notify_one();
            std::future::pending().await
        }
    };
    steps.step(name).job(job).add();
}

/// Writes down how far a job is, in the transaction that gets it there.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    key: JobKey,
    serial: u64,
    now_ms: u64,
}

impl JobContext {
    /// To write progress down with.
    pub(super) fn progress(&self) -> Noted {
        Noted { key: self.key.clone(), serial: self.serial, now_ms: self.master.time.wall_ms() }
    }
}

impl Noted {
    /// So much is left now. What was left before is done; who gets on has not failed.
    pub(super) fn has_left(&self, txn: &mut Txn<'_>, left: Left) -> Result<(), CatalogError> {
        let job = record::get::<Job>(txn, &self.key)?;
        let Some(mut job) = job.filter(|job| job.serial == self.serial) else { return Ok(()) };
        if job.progress.left != Some(left) {
            job.progress.has_left(left);
            job.updated_ms = self.now_ms;
            job.failures = 0;
            record::put(txn, &self.key, &job)?;
        }
        Ok(())
    }
}
