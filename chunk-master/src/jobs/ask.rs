//! What operators ask of jobs: to see, pause, resume and cancel them.

use cairn_core::liveness::Membership;
use cairn_kv::{Read, Txn};

use super::can_be_cancelled;
use crate::catalog::{Job, JobKey, JobState, record};
use crate::error::{CatalogError, JobNotFound, JobRefuses, operation_error};
use crate::nodes::{self, MembershipError};

operation_error! {
    /// Why a job is not as it was asked to be.
    AskError {
        Catalog(CatalogError),
        NotFound(JobNotFound),
        Refuses(JobRefuses),
        Membership(MembershipError),
    }
}

/// What is asked of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Pause,
    Resume,
    Cancel,
}

/// Does what is asked, as far as that is a change of state; the job as it is then. Asking twice is as asking once.
pub(crate) fn ask(
    txn: &mut Txn<'_>,
    key: &JobKey,
    what: Ask,
    now_ms: u64,
) -> Result<Job, AskError> {
    let mut job = get(txn, key)?.ok_or_else(|| JobNotFound(key.to_string()))?;
    let refuses = |why: &'static str| JobRefuses { job: key.to_string(), why };
    let state = match (what, job.state) {
        (Ask::Cancel, _) if !can_be_cancelled(key) => {
            return Err(refuses("cannot be cancelled; it can be paused").into());
        }
        (_, JobState::Done) => return Err(refuses("is done").into()),
        (_, JobState::Cancelled) => return Err(refuses("was cancelled").into()),
        (Ask::Cancel, _) => {
            if let JobKey::Drain(node) = key {
                nodes::set(txn, *node, Membership::Member)?;
            }
            JobState::Cancelling
        }
        (_, JobState::Cancelling) => return Err(refuses("is being cancelled").into()),
        (Ask::Pause, _) => JobState::Paused,
        (Ask::Resume, _) => JobState::Running,
    };
    if state != job.state {
        (job.state, job.updated_ms) = (state, now_ms);
        // Whoever asks has done something about what it failed with.
        (job.failures, job.retry_at_ms) = (0, 0);
        record::put(txn, key, &job)?;
    }
    Ok(job)
}

/// A job. Those that stand are there always.
fn get(read: &impl Read, key: &JobKey) -> Result<Option<Job>, CatalogError> {
    let job = record::get(read, key)?;
    Ok(job.or_else(|| key.stands().then(Job::default)))
}

/// Up to `limit` jobs behind `after`, and whether there are more. Those that stand come first.
pub(crate) fn page(
    read: &impl Read,
    after: Option<&JobKey>,
    limit: usize,
) -> Result<(Vec<(JobKey, Job)>, bool), AskError> {
    let mut jobs = Vec::new();
    let behind = |key: &JobKey| JobKey::STANDING.iter().position(|standing| standing == key);
    let shown = after.map_or(0, |after| behind(after).map_or(JobKey::STANDING.len(), |at| at + 1));
    for key in &JobKey::STANDING[shown..] {
        jobs.extend(get(read, key)?.map(|job| (key.clone(), job)));
    }
    let mut range = record::all::<Job>();
    if let Some(after) = after.filter(|after| !after.stands()) {
        range = range.after(record::key_of::<Job>(after));
    }
    let others = record::scan::<Job>(read, &range, limit + 1 + JobKey::STANDING.len())?;
    jobs.extend(others.into_iter().filter(|(key, _)| !key.stands()));
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    Ok((jobs, more))
}

/// Whether an operator has paused a job.
pub(crate) fn is_paused(read: &impl Read, key: &JobKey) -> Result<bool, CatalogError> {
    let job = record::get::<Job>(read, key)?;
    Ok(job.is_some_and(|job| job.state == JobState::Paused))
}
