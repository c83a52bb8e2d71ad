//! The error channel: what went wrong in a tier, told to whoever wants to know, whether or not a caller was told too.
//!
//! Only errors come here, never successes. Each is logged and counted where it is reported; the channel is bounded and
//! never waited for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_core::ids::ChunkId;
use tokio::sync::mpsc;

use crate::store::{DeleteError, ReadError, WriteError};

/// What was tried on a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TierOp {
    /// Opening a writer.
    Begin,
    /// Taking bytes.
    Append,
    /// Making a chunk durable.
    Finish,
    /// Taking back what an unsuccessful write had left.
    Undo,
    /// Reading.
    Read,
    /// Asking for a chunk's length and hash.
    Stat,
    /// Listing.
    List,
    /// Deleting.
    Delete,
    /// Putting a damaged chunk aside.
    Quarantine,
    /// Copying to a tier that is written behind.
    Copy,
    /// Putting a chunk that was read further down into a tier before.
    Promote,
    /// Making room.
    Evict,
    /// Waiting for what is on its way.
    Flush,
    /// Closing.
    Close,
}

impl TierOp {
    /// As metrics and logs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Append => "append",
            Self::Finish => "finish",
            Self::Undo => "undo",
            Self::Read => "read",
            Self::Stat => "stat",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Quarantine => "quarantine",
            Self::Copy => "copy",
            Self::Promote => "promote",
            Self::Evict => "evict",
            Self::Flush => "flush",
            Self::Close => "close",
        }
    }
}

impl fmt::Display for TierOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What kind of failure it was: what one can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The tier is full.
    Full,
    /// The tier's copy does not match its checksums.
    Corrupt,
    /// The tier lacks what it should have.
    Missing,
    /// The tier did not answer in time.
    TimedOut,
    /// The tier, or the disk under it, failed.
    Failed,
    /// The tier refused the chunk for what it is.
    Refused,
    /// The tier is closed.
    Closed,
}

/// A failure of a tier, in a form that can be told twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    /// What kind it is.
    pub kind: FaultKind,
    /// For an operator.
    pub text: String,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, text: impl fmt::Display) -> Self {
        Self { kind, text: text.to_string() }
    }
}

impl From<&WriteError> for Fault {
    fn from(error: &WriteError) -> Self {
        let kind = match error {
            WriteError::NoRoom { .. } | WriteError::Backlog { .. } => FaultKind::Full,
            WriteError::TimedOut(_) => FaultKind::TimedOut,
            WriteError::Closed => FaultKind::Closed,
            error if error.blames_the_write() => FaultKind::Refused,
            _ => FaultKind::Failed,
        };
        Self::new(kind, error)
    }
}

impl From<&ReadError> for Fault {
    fn from(error: &ReadError) -> Self {
        let kind = match error {
            ReadError::NotFound { .. } => FaultKind::Missing,
            ReadError::Corrupt { .. } => FaultKind::Corrupt,
            ReadError::Disk { .. } | ReadError::Interrupted(_) => FaultKind::Failed,
            ReadError::TimedOut(_) => FaultKind::TimedOut,
        };
        Self::new(kind, error)
    }
}

impl From<&DeleteError> for Fault {
    fn from(error: &DeleteError) -> Self {
        let kind = match error {
            DeleteError::TimedOut(_) => FaultKind::TimedOut,
            DeleteError::Closed => FaultKind::Closed,
            DeleteError::DiskFailed
            | DeleteError::Disk { .. }
            | DeleteError::Interrupted(_)
            | DeleteError::Tiers(_)
            | DeleteError::Disks(_) => FaultKind::Failed,
        };
        Self::new(kind, error)
    }
}

/// Something went wrong in a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierError {
    /// The tier's name.
    pub tier: Arc<str>,
    /// What was tried.
    pub op: TierOp,
    /// The chunk, where it was one.
    pub chunk: Option<ChunkId>,
    /// What happened.
    pub error: Fault,
}

/// Where errors of tiers are reported. Cheap to clone; clones report to the same channel.
#[derive(Debug, Clone)]
pub struct TierErrors(Arc<Channel>);

#[derive(Debug)]
struct Channel {
    sender: Option<mpsc::Sender<TierError>>,
    reported: AtomicU64,
    lost: AtomicU64,
}

impl TierErrors {
    /// A channel that holds `bound` errors until they are received; what comes while it is full is logged and counted
    /// only.
    pub fn channel(bound: usize) -> (Self, mpsc::Receiver<TierError>) {
        let (sender, receiver) = mpsc::channel(bound.max(1));
        (Self::to(Some(sender)), receiver)
    }

    /// Errors are logged and counted only.
    pub fn logged_only() -> Self {
        Self::to(None)
    }

    fn to(sender: Option<mpsc::Sender<TierError>>) -> Self {
        let channel = Channel { sender, reported: AtomicU64::new(0), lost: AtomicU64::new(0) };
        Self(Arc::new(channel))
    }

    /// Errors so far.
    pub fn reported(&self) -> u64 {
        self.0.reported.load(Ordering::Relaxed)
    }

    /// Errors that the channel had no place for.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Logs, counts and passes on.
    pub fn report(&self, error: TierError) {
        let TierError { tier, op, chunk, error: fault } = &error;
        match chunk {
            Some(chunk) => {
                tracing::warn!(target: "cairn", %tier, %op, %chunk, error = %fault, "a tier failed");
            }
            None => tracing::warn!(target: "cairn", %tier, %op, error = %fault, "a tier failed"),
        }
        self.0.reported.fetch_add(1, Ordering::Relaxed);
        if let Some(sender) = &self.0.sender
            && sender.try_send(error).is_err()
        {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
