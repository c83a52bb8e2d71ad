//! Job: what the master does for long in the background, how far it is, and what an operator wants of it.
//!
//! Key: kind, what it is about. So there is one job of a kind about one thing. Lifetime: from when it is asked for until some
//! days after its end, or until there is another one of its name. Those of repair and rebalance, which never end, are there once they were
//! paused.

use std::fmt;
use std::str::FromStr;

use cairn_core::ids::NodeId;
use cairn_core::names::{BucketName, TenantId};
use prost::Message;

use super::bucket::BucketKey;
use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Most characters of a problem that are kept.
const MAX_PROBLEM_CHARS: usize = 500;

/// Which job. In text: its name, for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum JobKey {
    /// Stands: chunks that are short of copies get new ones.
    Repair,
    /// Stands: copies are moved for their place alone.
    Rebalance,
    /// A bucket goes with all that is in it.
    DeleteBucket(BucketKey),
    /// A node is emptied.
    Drain(NodeId),
}

/// Bytes of the kinds in keys. Numbers are never used again.
const REPAIR: u8 = 1;
const DELETE_BUCKET: u8 = 2;
const DRAIN: u8 = 3;
const REBALANCE: u8 = 4;

impl JobKey {
    /// Those that never begin nor end.
    pub(crate) const STANDING: [Self; 2] = [Self::Repair, Self::Rebalance];

    pub(crate) fn stands(&self) -> bool {
        Self::STANDING.contains(self)
    }

    /// The first part of its name.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Rebalance => "rebalance",
            Self::DeleteBucket(_) => "delete-bucket",
            Self::Drain(_) => "drain",
        }
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repair | Self::Rebalance => f.write_str(self.kind()),
            Self::DeleteBucket(BucketKey { tenant, bucket }) => {
                write!(f, "{}/{tenant}/{bucket}", self.kind())
            }
            Self::Drain(node) => write!(f, "{}/{node}", self.kind()),
        }
    }
}

/// A text names no job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a job, such as delete-bucket/default/photos")]
pub(crate) struct NoJobName(String);

impl FromStr for JobKey {
    type Err = NoJobName;

    fn from_str(name: &str) -> Result<Self, NoJobName> {
        let wrong = || NoJobName(name.chars().take(100).collect());
        let parts: Vec<_> = name.split('/').collect();
        match parts.as_slice() {
            ["repair"] => Ok(Self::Repair),
            ["rebalance"] => Ok(Self::Rebalance),
            ["delete-bucket", tenant, bucket] => Ok(Self::DeleteBucket(BucketKey {
                tenant: TenantId::new(*tenant).map_err(|_| wrong())?,
                bucket: BucketName::new(*bucket).map_err(|_| wrong())?,
            })),
            ["drain", node] => node.parse().map(Self::Drain).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

/// How it is with a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum JobState {
    #[default]
    Running,
    /// An operator wants nothing done for now.
    Paused,
    /// An operator wants it to end; what it began is taken back.
    Cancelling,
    /// It ended so.
    Cancelled,
    Done,
    /// It failed too often in a row, and waits for an operator.
    Failed,
}

impl JobState {
    /// Nothing becomes of it any more.
    pub(crate) fn has_ended(self) -> bool {
        matches!(self, Self::Cancelled | Self::Done)
    }

    /// For metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// A job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) state: JobState,
    /// Tells it from earlier ones of its name.
    pub(crate) serial: u64,
    /// For people.
    pub(crate) created_ms: u64,
    /// When its state or its progress changed last, by the wall.
    pub(crate) updated_ms: u64,
    /// Failures since it got on last.
    pub(crate) failures: u32,
    /// It is not tried again before, in steady time.
    pub(crate) retry_at_ms: u64,
    /// What it failed with last; empty when it did not.
    pub(crate) problem: String,
    pub(crate) progress: Progress,
}

/// How far a job is. What is counted depends on its kind: files, or chunks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) done: u64,
    pub(crate) done_bytes: u64,
    /// What is left to do, where it is known.
    pub(crate) left: Option<Left>,
}

/// What is left to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl Progress {
    /// So much is left now: what was left before and is not any more is done.
    pub(crate) fn has_left(&mut self, left: Left) {
        if let Some(before) = self.left.replace(left) {
            self.done += before.count.saturating_sub(left.count);
            self.done_bytes += before.bytes.saturating_sub(left.bytes);
        }
    }
}

impl Job {
    /// A job that begins now, behind `earlier` of its name.
    pub(crate) fn new(now_ms: u64, earlier: Option<&Self>) -> Self {
        let serial = earlier.map_or(0, |earlier| earlier.serial + 1);
        Self { serial, created_ms: now_ms, updated_ms: now_ms, ..Self::default() }
    }

    /// Keeps what went wrong, cut to what a record may hold.
    pub(crate) fn has_problem(&mut self, problem: &impl ToString) {
        self.problem = problem.to_string().chars().take(MAX_PROBLEM_CHARS).collect();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum State {
    Unknown = 0,
    Running = 1,
    Paused = 2,
    Cancelling = 3,
    Cancelled = 4,
    Done = 5,
    Failed = 6,
}

#[derive(Message)]
struct Payload {
    #[prost(enumeration = "State", tag = "1")]
    state: i32,
    #[prost(uint64, tag = "2")]
    created_ms: u64,
    #[prost(uint64, tag = "3")]
    updated_ms: u64,
    #[prost(uint32, tag = "4")]
    failures: u32,
    #[prost(uint64, tag = "5")]
    retry_at_ms: u64,
    #[prost(string, tag = "6")]
    problem: String,
    #[prost(uint64, tag = "7")]
    done: u64,
    #[prost(uint64, tag = "8")]
    done_bytes: u64,
    #[prost(uint64, optional, tag = "9")]
    left: Option<u64>,
    #[prost(uint64, tag = "10")]
    left_bytes: u64,
    #[prost(uint64, tag = "11")]
    serial: u64,
}

impl Record for Job {
    type Key = JobKey;
    const TABLE: Table = Table::Job;

    fn write_key(key: &JobKey, parts: &mut KeyWriter) {
        match key {
            JobKey::Repair => parts.byte(REPAIR),
            JobKey::Rebalance => parts.byte(REBALANCE),
            JobKey::DeleteBucket(BucketKey { tenant, bucket }) => {
                parts.byte(DELETE_BUCKET).text(tenant.as_str()).text(bucket.as_str())
            }
            JobKey::Drain(node) => parts.byte(DRAIN).id(node.as_bytes()),
        };
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<JobKey, Malformed> {
        match parts.byte()? {
            REPAIR => Ok(JobKey::Repair),
            REBALANCE => Ok(JobKey::Rebalance),
            DELETE_BUCKET => Ok(JobKey::DeleteBucket(BucketKey {
                tenant: TenantId::new(parts.text()?)?,
                bucket: BucketName::new(parts.text()?)?,
            })),
            DRAIN => Ok(JobKey::Drain(NodeId::from_slice(&parts.id()?)?)),
            kind => Err(Malformed::new(format!("kind {kind} of a job is not known"))),
        }
    }

    fn to_payload(&self) -> Vec<u8> {
        let state = match self.state {
            JobState::Running => State::Running,
            JobState::Paused => State::Paused,
            JobState::Cancelling => State::Cancelling,
            JobState::Cancelled => State::Cancelled,
            JobState::Done => State::Done,
            JobState::Failed => State::Failed,
        };
        let Progress { done, done_bytes, left } = self.progress;
        Payload {
            state: state.into(),
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            failures: self.failures,
            retry_at_ms: self.retry_at_ms,
            problem: self.problem.clone(),
            done,
            done_bytes,
            left: left.map(|left| left.count),
            left_bytes: left.map_or(0, |left| left.bytes),
            serial: self.serial,
        }
        .encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let payload = Payload::decode(payload)?;
        let state = match payload.state() {
            State::Unknown => return Err(Malformed::new("the state is not known")),
            State::Running => JobState::Running,
            State::Paused => JobState::Paused,
            State::Cancelling => JobState::Cancelling,
            State::Cancelled => JobState::Cancelled,
            State::Done => JobState::Done,
            State::Failed => JobState::Failed,
        };
        let left = payload.left.map(|count| Left { count, bytes: payload.left_bytes });
        let (done, done_bytes) = (payload.done, payload.done_bytes);
        Ok(Self {
            state,
            serial: payload.serial,
            created_ms: payload.created_ms,
            updated_ms: payload.updated_ms,
            failures: payload.failures,
            retry_at_ms: payload.retry_at_ms,
            problem: payload.problem,
            progress: Progress { done, done_bytes, left },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::record::tests::round_trips;

    fn keys() -> [JobKey; 4] {
        let key = BucketKey { tenant: TenantId::standard(), bucket: BucketName::standard() };
        let node = NodeId::from_uuid(uuid::Uuid::from_u128(7));
        [JobKey::Repair, JobKey::Rebalance, JobKey::DeleteBucket(key), JobKey::Drain(node)]
    }

    #[test]
    fn jobs_round_trip() {
        let left = Some(Left { count: 5, bytes: 6 });
        let progress = Progress { done: 3, done_bytes: 4, left };
        let states = [
            JobState::Running,
            JobState::Paused,
            JobState::Cancelling,
            JobState::Cancelled,
            JobState::Done,
            JobState::Failed,
        ];
        for key in keys() {
            for state in states {
                let mut job = Job {
                    state,
                    failures: 1,
                    retry_at_ms: 2,
                    progress,
                    ..Job::new(9, Some(&Job::default()))
                };
                job.has_problem(&"no node");
                round_trips(&key, &job);
            }
            round_trips(&key, &Job::default());
        }
    }

    #[test]
    fn a_job_is_found_by_its_name_and_other_names_are_refused() {
        for key in keys() {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        for wrong in [
            "",
            "repair/",
            "rebalance/all",
            "delete-bucket/default",
            "delete-bucket/a/b/c",
            "drain/x",
        ] {
            assert!(wrong.parse::<JobKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_left_any_more_is_done() {
        let mut progress = Progress::default();
        for count in [10, 7, 8, 0] {
            progress.has_left(Left { count, bytes: 100 * count });
        }
        assert_eq!((progress.done, progress.done_bytes), (11, 1100));
    }
}
