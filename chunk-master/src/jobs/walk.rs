//! A look at all jobs: which are due, how many there are of each kind, and which ended long ago.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cairn_kv::{Durability, Snapshot, Txn};

use crate::catalog::{Held, Job, JobKey, JobState, record};
use crate::config::millis;
use crate::error::{CatalogError, operation_error};
use crate::master::Master;

/// Jobs of one view.
const JOBS_PER_VIEW: usize = 64;
/// How long a job that has ended is shown.
const KEEP_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Most jobs that have ended and are shown; those go first that ended first.
const MOST_KEPT: usize = 1000;

operation_error! {
    /// Why jobs are not looked at.
    WalkError {
        Catalog(CatalogError),
    }
}

/// Where a look is.
#[derive(Debug, Default)]
pub(super) struct Walk {
    due: VecDeque<JobKey>,
    after: Option<JobKey>,
    over: bool,
    counts: BTreeMap<(&'static str, JobState), u64>,
    /// Those that have ended, by when.
    kept: BTreeSet<(u64, JobKey)>,
}

impl Walk {
    /// A look at nothing.
    pub(super) fn ended() -> Self {
        Self { over: true, ..Self::default() }
    }

    /// The next job that is to be run now; none at the end of the look.
    pub(super) async fn next_due(&mut self, master: &Master) -> Option<JobKey> {
        while self.due.is_empty() && !self.over {
            if let Err(error) = self.page(master).await {
                tracing::warn!(target: "cairn", %error, "the jobs cannot be looked at");
                self.over = true;
            }
        }
        self.due.pop_front()
    }

    async fn page(&mut self, master: &Master) -> Result<(), super::one::Stuck> {
        let after = self.after.clone();
        let jobs = master.kv.view(move |view| page(view, after.as_ref())).await?;
        let (steady_ms, wall_ms) = (master.time.steady_ms(), master.time.wall_ms());
        let mut stale = Vec::new();
        self.over = jobs.len() < JOBS_PER_VIEW;
        self.after = jobs.last().map(|(key, _)| key.clone());
        for (key, job) in jobs {
            *self.counts.entry((key.kind(), job.state)).or_default() += 1;
            if is_due(&key, &job, steady_ms) {
                self.due.push_back(key);
            } else if job.state.has_ended() {
                if job.updated_ms.saturating_add(millis(KEEP_FOR)) < wall_ms {
                    stale.push(key);
                } else {
                    self.kept.insert((job.updated_ms, key));
                }
                if self.kept.len() > MOST_KEPT {
                    stale.extend(self.kept.pop_first().map(|(_, key)| key));
                }
            }
        }
        if self.over {
            // Some stand, with or without a record.
            for kind in JobKey::STANDING.map(|key| key.kind()) {
                if !self.counts.keys().any(|(counted, _)| *counted == kind) {
                    self.counts.insert((kind, JobState::Running), 1);
                }
            }
            master.metrics.show_jobs(&self.counts);
        }
        if !stale.is_empty() {
            let forget = move |txn: &mut Txn<'_>| forget(txn, &stale);
            master.kv.transact(Durability::Buffered, forget).await?;
        }
        Ok(())
    }
}

/// Whether the job has something to do now.
fn is_due(key: &JobKey, job: &Job, steady_ms: u64) -> bool {
    let goes_on = matches!(job.state, JobState::Running | JobState::Cancelling);
    goes_on && job.retry_at_ms <= steady_ms && !key.stands()
}

/// A page of the jobs; none while the catalog may be older than what nodes hold.
fn page(read: &Snapshot<'_>, after: Option<&JobKey>) -> Result<Vec<(JobKey, Job)>, WalkError> {
    if record::get::<Held>(read, &())?.is_some() {
        return Ok(Vec::new());
    }
    let mut range = record::all::<Job>();
    if let Some(after) = after {
        range = range.after(record::key_of::<Job>(after));
    }
    Ok(record::scan(read, &range, JOBS_PER_VIEW)?)
}

fn forget(txn: &mut Txn<'_>, stale: &[JobKey]) -> Result<(), WalkError> {
    for key in stale {
        if record::get::<Job>(txn, key)?.is_some_and(|job| job.state.has_ended()) {
            record::delete::<Job>(txn, key)?;
        }
    }
    Ok(())
}
