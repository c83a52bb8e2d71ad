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

fn named(field: &'static str, name: &str) -> Result<JobKey, InvalidField> {
    name.parse().map_err(|wrong: NoJobName| InvalidField::new(field, wrong.to_string()))
}

fn tell(master: &Master, key: &JobKey, job: &Job) -> v1::Job {
    let (kind, tenant, bucket) = match key {
        JobKey::Repair => (v1::JobKind::Repair, String::new(), String::new()),
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
    };
    if *key == JobKey::Repair { of_repair(master, told) } else { told }
}

/// Repair writes no progress down: what this master knows of it is told.
fn of_repair(master: &Master, told: v1::Job) -> v1::Job {
    let (done, done_bytes) = master.metrics.repaired_so_far();
    let (waiting, at_work) = master.repairer.waiting();
    let mine = master.duties.are_mine(master.clock.monotonic());
    let left = mine.then_some((waiting + at_work) as u64);
    v1::Job { done, done_bytes, left, left_bytes: None, ..told }
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
