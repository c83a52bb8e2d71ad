//! ListJobs, PauseJob, ResumeJob and CancelJob.

use cairn_core::liveness::Membership;
use cairn_kv::{Durability, Snapshot, Txn};
use cairn_proto::v1::{ListJobsRequest, ListJobsResponse};
use cairn_proto::{InvalidField, WireError, v1};
use tonic::Status;

use super::limit;
use crate::catalog::{Job, JobKey, JobState, NoJobName};
use crate::jobs::ask::{self, Ask};
use crate::master::Master;
use crate::repair::progress::{self, Purpose};

fn named(field: &'static str, name: &str) -> Result<JobKey, InvalidField> {
    name.parse().map_err(|wrong: NoJobName| InvalidField::new(field, wrong.to_string()))
}

fn tell(master: &Master, key: &JobKey, job: &Job) -> v1::Job {
    let (kind, tenant, bucket) = match key {
        JobKey::Repair => (v1::JobKind::Repair, String::new(), String::new()),
        JobKey::Rebalance => (v1::JobKind::Rebalance, String::new(), String::new()),
        JobKey::DeleteBucket(key) => {
            (v1::JobKind::DeleteBucket, key.tenant.to_string(), key.bucket.to_string())
        }
        JobKey::Drain(_) => (v1::JobKind::Drain, String::new(), String::new()),
    };
    let state = match job.state {
        JobState::Running => v1::JobState::Running,
        JobState::Paused => v1::JobState::Paused,
        JobState::Cancelling => v1::JobState::Cancelling,
        JobState::Cancelled => v1::JobState::Cancelled,
        JobState::Done => v1::JobState::Done,
        JobState::Failed => v1::JobState::Failed,
    };
    let told = v1::Job {
        name: key.to_string(),
        kind: kind.into(),
        state: state.into(),
        tenant,
        bucket,
        created_ms: job.created_ms,
        updated_ms: job.updated_ms,
        problem: job.problem.clone(),
        done: job.progress.done,
        done_bytes: job.progress.done_bytes,
        left: job.progress.left.map(|left| left.count),
        left_bytes: job.progress.left.map(|left| left.bytes),
        seconds_left: None,
    };
    let told = match key {
        JobKey::Repair => of_standing(master, Purpose::Repair, told),
        JobKey::Rebalance => of_standing(master, Purpose::Rebalance, told),
        JobKey::DeleteBucket(_) | JobKey::Drain(_) => told,
    };
    let seconds_left = seconds_left(master, key, &told).filter(|_| job.state == JobState::Running);
    v1::Job { seconds_left, ..told }
}

/// Jobs that stand write no progress down: what this master knows of them is told.
fn of_standing(master: &Master, purpose: Purpose, told: v1::Job) -> v1::Job {
    let (done, done_bytes) = master.metrics.repaired_so_far(purpose);
    let left = progress::left(master, purpose);
    let (left, left_bytes) = (left.map(|left| left.count), left.map(|left| left.bytes));
    v1::Job { done, done_bytes, left, left_bytes, ..told }
}

/// How long a job that makes copies takes, where that can be told.
fn seconds_left(master: &Master, key: &JobKey, told: &v1::Job) -> Option<u64> {
    let (purpose, bytes) = match key {
        JobKey::Repair => (Purpose::Repair, told.left_bytes?),
        JobKey::Rebalance => (Purpose::Rebalance, told.left_bytes?),
        // All drains share one pace, and what is left on a node with much is not counted to its end.
        JobKey::Drain(_) => {
            let all = progress::left(master, Purpose::Drain)?.bytes;
            (Purpose::Drain, told.left_bytes?.max(all))
        }
        JobKey::DeleteBucket(_) => return None,
    };
    Some(progress::time_left(master, purpose, bytes)?.as_secs())
}

pub(super) async fn list_jobs(
    master: &Master,
    request: ListJobsRequest,
) -> Result<ListJobsResponse, Status> {
    let parse = |request: &ListJobsRequest| {
        let after = Some(request.after.as_str()).filter(|after| !after.is_empty());
        let after = after.map(|after| named("after", after)).transpose()?;
        Ok::<_, InvalidField>((after, limit(request.limit)?))
    };
    let (after, limit) = parse(&request).map_err(|field| field.to_status())?;
    let closure = move |view: &Snapshot<'_>| ask::page(view, after.as_ref(), limit);
    let (jobs, more) = master.view(closure).await?;
    let jobs = jobs.iter().map(|(key, job)| tell(master, key, job)).collect();
    Ok(ListJobsResponse { jobs, more })
}

/// Asks something of a job; the job as it is then.
pub(super) async fn ask_of(master: &Master, name: &str, what: Ask) -> Result<v1::Job, Status> {
    let key = named("job", name).map_err(|field| field.to_status())?;
    let (of, now_ms) = (key.clone(), master.time.wall_ms());
    let closure = move |txn: &mut Txn<'_>| ask::ask(txn, &of, what, now_ms);
    let job = master.transact(Durability::Synced, closure).await?;
    master.jobs.look_again();
    if let (JobKey::Drain(node), Ask::Cancel) = (&key, what) {
        master.nodes.belongs(*node, Membership::Member);
    }
    tracing::info!(target: "cairn", job = %key, ?what, state = ?job.state, "a job was changed");
    Ok(tell(master, &key, &job))
}
