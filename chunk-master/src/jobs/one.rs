//! One job, from where it stands to its end, or until it waits.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use cairn_kv::{Durability, Snapshot, TransactError, Txn, ViewError};
use cairn_workflow::{Caller, Outcome, RunReport, RunStore, StoreError};
use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::steps::JobContext;
use super::walk::WalkError;
use super::{run_of, steps_of};
use crate::catalog::{Job, JobKey, JobState, record};
use crate::config::millis;
use crate::error::{CatalogError, operation_error};
use crate::master::Master;

/// Pause between two looks whether a job that runs is to go on.
const WATCH: Duration = Duration::from_secs(1);
/// Pause after a first failure; it doubles with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// After so many failures in a row a job waits for an operator: after nine minutes of pauses.
const MOST_FAILURES: u32 = 10;

operation_error! {
    /// Why it is not known how it is with a job.
    OneError {
        Catalog(CatalogError),
    }
}

/// Why a job got no further this time. It goes on with the next look.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stuck {
    #[error("look at the jobs: {0}")]
    Walk(#[from] ViewError<WalkError>),
    #[error("forget what ended long ago: {0}")]
    Forget(#[from] TransactError<WalkError>),
    #[error("read the job: {0}")]
    View(#[from] ViewError<OneError>),
    #[error("write how the job ended: {0}")]
    Transact(#[from] TransactError<OneError>),
    #[error("go on with its steps: {0}")]
    Run(#[from] StoreError),
}

/// Works on a job, if nobody of this master does; the state in which it left it.
pub(super) async fn contained(master: &Arc<Master>, key: JobKey) -> Option<JobState> {
    let _claim = master.jobs.claim(&key)?;
    match AssertUnwindSafe(advance(master, &key)).catch_unwind().await {
        Ok(Ok(state)) => state,
        Ok(Err(error)) => {
            tracing::warn!(target: "cairn", job = %key, %error, "a job got no further");
            None
        }
        Err(_) => {
            tracing::error!(target: "cairn", job = %key, "a job panicked outside its steps");
            None
        }
    }
}

async fn advance(master: &Arc<Master>, key: &JobKey) -> Result<Option<JobState>, Stuck> {
    let Some(job) = load(master, key).await? else { return Ok(None) };
    let Some(workflow) = steps_of(key, master.clock.clone()) else { return Ok(None) };
    let cancel = CancellationToken::new();
    match job.state {
        JobState::Running => {}
        JobState::Cancelling => cancel.cancel(),
        JobState::Paused | JobState::Cancelled | JobState::Done | JobState::Failed => {
            return Ok(None);
        }
    }
    let later = Arc::new(Notify::new());
    let context = JobContext {
        master: Arc::clone(master),
        key: key.clone(),
        serial: job.serial,
        later: Arc::clone(&later),
    };
    let caller = Caller { context: Arc::new(context), cancel: cancel.clone() };
    let id = run_of(key, job.serial);
    let ended = tokio::select! {
        biased;
        ended = workflow.start(&master.jobs.runs, &id, &caller, ()) => ended,
        () = later.notified() => return Ok(None),
        () = is_stopped(master, key, job.serial, &cancel) => return Ok(None),
    };
    let how = match ended {
        Ok(report) => Some(report),
        // Another version of this program, or a damaged disk: steps are idempotent, so they begin anew.
        Err(error @ (StoreError::AnotherWorkflow { .. } | StoreError::Damaged { .. })) => {
            tracing::warn!(target: "cairn", job = %key, %error, "the steps of a job begin anew");
            None
        }
        Err(error) => return Err(error.into()),
    };
    let end = End::of(master, key, job.serial, how.as_ref());
    let runs = master.jobs.runs.clone();
    let settle = move |txn: &mut Txn<'_>| settle(txn, &runs, &end);
    let state = master.kv.transact(Durability::Synced, settle).await?;
    tracing::info!(target: "cairn", job = %key, ?state, "the steps of a job ended");
    Ok(state)
}

async fn load(master: &Master, key: &JobKey) -> Result<Option<Job>, ViewError<OneError>> {
    let key = key.clone();
    let read = move |view: &Snapshot<'_>| -> Result<Option<Job>, OneError> {
        Ok(record::get(view, &key)?)
    };
    master.kv.view(read).await
}

/// Waits until the job is to be left alone: an operator has paused it, or it is in other hands. Cancels it when an operator has.
async fn is_stopped(master: &Master, key: &JobKey, serial: u64, cancel: &CancellationToken) {
    loop {
        master.clock.sleep(WATCH).await;
        let job = match load(master, key).await {
            Ok(job) => job.filter(|job| job.serial == serial),
            Err(_) => continue,
        };
        match job.map(|job| job.state) {
            Some(JobState::Running) => {}
            Some(JobState::Cancelling) => cancel.cancel(),
            _ => return,
        }
    }
}

/// How the steps of a job ended.
#[derive(Debug)]
struct End {
    key: JobKey,
    serial: u64,
    /// None when they begin anew.
    outcome: Option<Outcome>,
    problem: String,
    wall_ms: u64,
    steady_ms: u64,
}

impl End {
    fn of(master: &Master, key: &JobKey, serial: u64, report: Option<&RunReport>) -> Self {
        let said = report.and_then(|report| report.errors.first());
        Self {
            key: key.clone(),
            serial,
            outcome: report.map(|report| report.outcome.clone()),
            problem: said.map(ToString::to_string).unwrap_or_default(),
            wall_ms: master.time.wall_ms(),
            steady_ms: master.time.steady_ms(),
        }
    }
}

/// Writes down how the steps ended, and forgets their run; the state of the job then.
fn settle(txn: &mut Txn<'_>, runs: &RunStore, end: &End) -> Result<Option<JobState>, OneError> {
    let job = record::get::<Job>(txn, &end.key)?;
    let Some(mut job) = job.filter(|job| job.serial == end.serial) else { return Ok(None) };
    runs.forget(txn, &run_of(&end.key, end.serial))?;
    match (&end.outcome, job.state) {
        (None, _) => {}
        (Some(Outcome::Done), _) => job.state = JobState::Done,
        (Some(_), JobState::Cancelling) => job.state = JobState::Cancelled,
        (Some(_), _) => {
            job.failures += 1;
            job.has_problem(&end.problem);
            job.retry_at_ms = end.steady_ms.saturating_add(pause_ms(job.failures));
            if job.failures >= MOST_FAILURES && job.state == JobState::Running {
                job.state = JobState::Failed;
            }
        }
    }
    job.updated_ms = end.wall_ms;
    record::put(txn, &end.key, &job)?;
    Ok(Some(job.state))
}

/// How long a job rests after so many failures in a row.
fn pause_ms(failures: u32) -> u64 {
    millis(FIRST_PAUSE) << failures.saturating_sub(1).min(MOST_FAILURES)
}

#[cfg(test)]
mod tests {
    use cairn_kv::Kv;
    use cairn_workflow::CancelledBy;

    use super::*;

    const JOB: JobKey = JobKey::Repair;

    /// What becomes of a job whose steps end so.
    async fn after(job: &Job, outcome: Option<Outcome>) -> Job {
        let kv = Kv::memory();
        let runs = RunStore::new(kv.clone(), "runs/");
        let (serial, problem) = (job.serial, "broken".to_owned());
        let end = End { key: JOB, serial, outcome, problem, wall_ms: 9, steady_ms: 100 };
        let job = job.clone();
        let closure = move |txn: &mut Txn<'_>| -> Result<Job, OneError> {
            record::put(txn, &JOB, &job)?;
            settle(txn, &runs, &end)?;
            Ok(record::must_get(txn, &JOB)?)
        };
        kv.transact(Durability::Synced, closure).await.expect("settled")
    }

    fn failed() -> Option<Outcome> {
        Some(Outcome::Failed { step: "remove".to_owned() })
    }

    #[tokio::test]
    async fn a_job_that_fails_is_tried_again_later_and_later_until_it_waits_for_an_operator() {
        let mut job = Job::new(1, None);
        for (failures, pause) in (1..MOST_FAILURES).zip([1, 2, 4, 8, 16, 32, 64, 128, 256]) {
            job = after(&job, failed()).await;
            assert_eq!((job.state, job.failures), (JobState::Running, failures));
            assert_eq!((job.retry_at_ms, &*job.problem), (100 + 1000 * pause, "broken"));
        }
        assert_eq!(after(&job, failed()).await.state, JobState::Failed);
        let paused = Job { state: JobState::Paused, ..job };
        assert_eq!(after(&paused, failed()).await.state, JobState::Paused);
    }

    #[tokio::test]
    async fn a_job_that_is_being_cancelled_is_cancelled_once_its_steps_have_ended() {
        let job = Job { state: JobState::Cancelling, ..Job::new(1, None) };
        let by = CancelledBy::Caller;
        let cancelled = Some(Outcome::Cancelled { step: "remove".to_owned(), by });
        assert_eq!(after(&job, cancelled).await.state, JobState::Cancelled);
        assert_eq!(after(&job, failed()).await.state, JobState::Cancelled);
        assert_eq!(after(&job, Some(Outcome::Done)).await.state, JobState::Done);
        assert_eq!(after(&job, None).await.state, JobState::Cancelling, "its steps begin anew");
    }
}
