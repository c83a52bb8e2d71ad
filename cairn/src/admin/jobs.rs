//! `cairn admin jobs`.

use std::time::{Duration, UNIX_EPOCH};

use cairn_proto::v1::{
    CancelJobRequest, Job, JobState, ListJobsRequest, PauseJobRequest, ResumeJobRequest,
};
use serde::Serialize;

use super::Operator;
use super::args::{AskJob, Jobs, Show, WithJob};
use crate::client::error::{ClientError, Kind};
use crate::human::{Side, Table, bytes_as};

/// A job as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    job: &'a str,
    state: &'static str,
    created_ms: u64,
    updated_ms: u64,
    done: u64,
    done_bytes: u64,
    left: Option<u64>,
    left_bytes: Option<u64>,
    seconds_left: Option<u64>,
    problem: &'a str,
}

fn state(state: JobState) -> &'static str {
    match state {
        JobState::Unspecified => "unknown",
        JobState::Running => "running",
        JobState::Paused => "paused",
        JobState::Cancelling => "cancelling",
        JobState::Cancelled => "cancelled",
        JobState::Done => "done",
        JobState::Failed => "failed",
    }
}

fn line(job: &Job) -> Line<'_> {
    Line {
        job: &job.name,
        state: state(job.state()),
        created_ms: job.created_ms,
        updated_ms: job.updated_ms,
        done: job.done,
        done_bytes: job.done_bytes,
        left: job.left,
        left_bytes: job.left_bytes,
        seconds_left: job.seconds_left,
        problem: &job.problem,
    }
}

pub(super) async fn run(operator: &Operator, args: &Jobs) -> Result<(), ClientError> {
    match &args.what {
        None => list(operator, &args.show).await,
        Some(WithJob::List(show)) => list(operator, show).await,
        Some(WithJob::Pause(ask)) => {
            let request = PauseJobRequest { job: ask.job.clone() };
            let mut calls = operator.calls.clone();
            let answer = operator.answer("pause a job", calls.pause_job(request)).await?;
            tell(operator, ask, answer.job)
        }
        Some(WithJob::Resume(ask)) => {
            let request = ResumeJobRequest { job: ask.job.clone() };
            let mut calls = operator.calls.clone();
            let answer = operator.answer("resume a job", calls.resume_job(request)).await?;
            tell(operator, ask, answer.job)
        }
        Some(WithJob::Cancel(ask)) => {
            let request = CancelJobRequest { job: ask.job.clone() };
            let mut calls = operator.calls.clone();
            let answer = operator.answer("cancel a job", calls.cancel_job(request)).await?;
            tell(operator, ask, answer.job)
        }
    }
}

fn tell(operator: &Operator, ask: &AskJob, job: Option<Job>) -> Result<(), ClientError> {
    let none = || ClientError::new(Kind::NotFound, "change a job", "the answer names no job");
    let job = job.ok_or_else(none)?;
    if ask.json {
        return operator.output.json(&line(&job));
    }
    operator.output.line(&format!("{} is {}", job.name, state(job.state())))
}

async fn list(operator: &Operator, show: &Show) -> Result<(), ClientError> {
    let jobs = all(operator).await?;
    if show.json {
        return jobs.iter().try_for_each(|job| operator.output.json(&line(job)));
    }
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new(&[
        ("JOB", left),
        ("STATE", left),
        ("SINCE", left),
        ("DONE", right),
        ("BYTES", right),
        ("LEFT", right),
        ("BYTES", right),
        ("TIME LEFT", right),
        ("PROBLEM", left),
    ]);
    for job in &jobs {
        let unknown = || "–".to_owned();
        table.row(vec![
            job.name.clone(),
            state(job.state()).to_owned(),
            time(job.created_ms),
            job.done.to_string(),
            bytes_as(job.done_bytes, show.bytes),
            job.left.map_or_else(unknown, |left| left.to_string()),
            job.left_bytes.map_or_else(unknown, |left| bytes_as(left, show.bytes)),
            job.seconds_left.map_or_else(unknown, takes),
            job.problem.clone(),
        ]);
    }
    operator.table(&table)
}

/// A point in time as people read it, in UTC. What stands has no beginning.
fn time(ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).filter(|_| ms > 0);
    time.map_or_else(|| "–".to_owned(), |t| humantime::format_rfc3339_seconds(t).to_string())
}

/// A time as people read it: its two largest parts.
fn takes(seconds: u64) -> String {
    let shown = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    shown.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

async fn all(operator: &Operator) -> Result<Vec<Job>, ClientError> {
    let mut jobs: Vec<Job> = Vec::new();
    loop {
        let after = jobs.last().map(|last| last.name.clone()).unwrap_or_default();
        let mut calls = operator.calls.clone();
        let call = calls.list_jobs(ListJobsRequest { after, limit: 0 });
        let page = operator.answer("list jobs", call).await?;
        let ended = !page.more || page.jobs.is_empty();
        jobs.extend(page.jobs);
        if ended {
            return Ok(jobs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_utc_and_none_is_none() {
        assert_eq!(time(0), "–");
        assert_eq!(time(1_000), "1970-01-01T00:00:01Z");
    }

    #[test]
    fn a_time_that_is_left_is_told_by_its_two_largest_parts() {
        for (seconds, told) in [(0, "0s"), (59, "59s"), (3_725, "1h 2m"), (90_061, "1day 1h")] {
            assert_eq!(takes(seconds), told);
        }
    }
}
