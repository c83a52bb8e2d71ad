//! Jobs: what takes long and is done in the background, so that an operator can see, pause and cancel it.
//!
//! ```text
//! record (catalog/job.rs)     Running ⇄ Paused        Running ─► Done
//!                             Running, Paused, Failed ─► Cancelling ─► Cancelled
//!                             Running ── failed too often ─► Failed ── resumed ─► Running
//!
//! look (duties) ─► due jobs ─► one run of steps each, under the job's name ─┬─► the end
//!                                 a job that waits, is paused, or whose ◄───┘
//!                                 master dies goes on at its step with a later look, here or elsewhere
//! ```
//!
//! A kind of job is a file: the function `workflow` gives its steps ([`steps`] says what they are given and may answer),
//! [`JobKey`] its name, and [`steps_of`] ties the two. Repair and rebalance have no steps: they stand (`repair/`), and only ask
//! whether they are paused.

pub(crate) mod ask;
mod delete_bucket;
pub(crate) mod drain;
mod one;
mod steps;
mod walk;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_kv::{Kv, Txn};
use cairn_runtime::Clock;
use cairn_workflow::{Coordinator, RunStore};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;

use self::steps::JobContext;
use self::walk::Walk;
use crate::catalog::{Job, JobKey, JobState, record};
use crate::error::CatalogError;
use crate::master::Master;

/// Jobs that run at a time.
const AT_ONCE: usize = 4;

/// The steps of a job; none of one that stands.
fn steps_of(key: &JobKey, clock: Clock) -> Option<Coordinator<JobContext, ()>> {
    match key {
        JobKey::Repair | JobKey::Rebalance => None,
        JobKey::DeleteBucket(bucket) => Some(delete_bucket::workflow(bucket, clock)),
        JobKey::Drain(node) => Some(drain::workflow(*node, clock)),
    }
}

/// Whether a job may be cancelled: what has taken its last step back is as if it had not been.
fn can_be_cancelled(key: &JobKey) -> bool {
    match key {
        // Two never end, and a bucket that is Deleting never comes back.
        JobKey::Repair | JobKey::Rebalance | JobKey::DeleteBucket(_) => false,
        // What was moved stays where it is, and is as good there.
        JobKey::Drain(_) => true,
    }
}

/// What this master knows of jobs; a restart begins anew.
#[derive(Debug)]
pub(crate) struct Jobs {
    runs: RunStore,
    at_work: Mutex<BTreeSet<JobKey>>,
    changed: Notify,
}

impl Jobs {
    pub(crate) fn new(kv: Kv) -> Self {
        let runs = RunStore::new(kv, vec![record::Table::JobRun as u8]);
        Self { runs, at_work: Mutex::default(), changed: Notify::new() }
    }

    /// To begin a job with, in the transaction that asks for it.
    pub(crate) fn beginning(&self, now_ms: u64) -> Begin {
        Begin { runs: self.runs.clone(), now_ms }
    }

    /// Something about jobs has changed: the next look is now.
    pub(crate) fn look_again(&self) {
        self.changed.notify_one();
    }

    fn at_work(&self) -> MutexGuard<'_, BTreeSet<JobKey>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job that nobody of this master works on.
    fn claim(&self, key: &JobKey) -> Option<Claim<'_>> {
        self.at_work().insert(key.clone()).then(|| Claim { jobs: self, key: key.clone() })
    }
}

/// A job that is worked on, for as long as this lives.
struct Claim<'a> {
    jobs: &'a Jobs,
    key: JobKey,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.jobs.at_work().remove(&self.key);
    }
}

/// Begins jobs.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    runs: RunStore,
    now_ms: u64,
}

impl Begin {
    /// A job begins, in the place of an earlier one of its name.
    pub(crate) fn begin(&self, txn: &mut Txn<'_>, key: &JobKey) -> Result<(), CatalogError> {
        let earlier = record::get::<Job>(txn, key)?;
        if let Some(earlier) = &earlier {
            self.runs.forget(txn, &run_of(key, earlier.serial))?;
        }
        Ok(record::put(txn, key, &Job::new(self.now_ms, earlier.as_ref()))?)
    }
}

/// The id of a job's run of steps.
fn run_of(key: &JobKey, serial: u64) -> String {
    format!("{key}@{serial}")
}

/// Runs the jobs that are due, until the master stops; while another master does the duties, none.
pub(crate) async fn run(master: &Arc<Master>) {
    let mut at_work = FuturesUnordered::new();
    let mut walk = Walk::default();
    let mut look_at = master.clock.monotonic();
    loop {
        let now = master.clock.monotonic();
        if now >= look_at {
            look_at = now + master.config.sweep_every;
            walk = Walk::default();
        }
        if !master.duties.are_mine(now) {
            // Another master goes on with them.
            at_work.clear();
            walk = Walk::ended();
        }
        while at_work.len() < AT_ONCE {
            let Some(key) = walk.next_due(master).await else { break };
            at_work.push(one::contained(master, key));
        }
        tokio::select! {
            biased;
            () = master.stop.cancelled() => return,
            Some(_) = at_work.next() => {}
            () = master.jobs.changed.notified() => look_at = now,
            () = master.clock.sleep(look_at.saturating_sub(now)) => {}
        }
    }
}

/// Lets the deletions of buckets get as far as they get now: the part of a sweep that jobs do. Gives how many ended.
pub(crate) async fn delete_buckets(master: &Arc<Master>) -> u64 {
    let mut walk = Walk::default();
    let mut ended = 0;
    while let Some(key) = walk.next_due(master).await {
        if matches!(key, JobKey::DeleteBucket(_)) {
            ended += u64::from(one::contained(master, key).await == Some(JobState::Done));
        }
    }
    ended
}
