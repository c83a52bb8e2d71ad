//! What can go wrong with an upload.

use std::time::Duration;

use cairn_core::chunking::InvalidChunking;
use cairn_proto::error::is_retryable;
use cairn_proto::{InvalidField, Reason, RemoteError, WireError};

use crate::budget::BudgetExhausted;

/// The body ended in another way than by its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body broke off: {0}")]
pub struct BodyError(pub String);

/// Why nothing was stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UploadError {
    /// The master refused, or could not be reached.
    #[error(transparent)]
    Master(#[from] RemoteError),
    /// The master answered with a field that does not fit.
    #[error("read the master's answer: {0}")]
    Answer(#[from] InvalidField),
    /// The client broke off.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The client sent nothing for too long.
    #[error("no byte of the body arrived for {0:?}: send it again")]
    Idle(Duration),
    /// The body has another length than announced.
    #[error("the body has {received} bytes where {announced} were announced: nothing is stored")]
    Length {
        /// Bytes announced.
        announced: u64,
        /// Bytes received, at least.
        received: u64,
    },
    /// The body has another digest than announced.
    #[error("the body's sha-256 is not the one announced in Repr-Digest: nothing is stored")]
    Digest,
    /// The file is larger than a file may be.
    #[error("the file is larger than 50 TiB: store it in parts")]
    TooLarge,
    /// The file cannot be cut as it was asked.
    #[error("chunking: {0}")]
    Chunking(#[from] InvalidChunking),
    /// Too much is in flight.
    #[error("{0}: try again")]
    Budget(#[from] BudgetExhausted),
    /// A chunk could not be written to enough nodes.
    #[error("too few storage nodes took chunk {index}: try again. {problem}")]
    Copies {
        /// The chunk's position.
        index: u32,
        /// What went wrong, for the operator.
        problem: String,
    },
    /// More copies are asked for than the file has.
    #[error("write: a quorum of {quorum}: the bucket keeps {copies} copies")]
    Quorum {
        /// Asked for.
        quorum: usize,
        /// Copies of each chunk.
        copies: usize,
    },
    /// The gateway takes no new work.
    #[error("this gateway is stopping: use another one, or try again")]
    Stopping,
    /// A task of the gateway ended early: a defect.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl WireError for UploadError {
    fn reason(&self) -> Reason {
        match self {
            Self::Master(error) => error.reason,
            Self::Body(_) | Self::Idle(_) | Self::Length { .. } | Self::Digest => {
                Reason::BodyMismatch
            }
            Self::Chunking(_) | Self::Quorum { .. } => Reason::InvalidField,
            Self::TooLarge => Reason::FileTooLarge,
            Self::Budget(_) => Reason::Busy,
            Self::Copies { .. } => Reason::TooFewNodes,
            Self::Stopping => Reason::Stopping,
            Self::Answer(_) | Self::Internal(_) => Reason::Unspecified,
        }
    }

    /// What is over for an upload is not over for the file: sent again, it is another upload.
    fn is_retryable(&self) -> bool {
        let reason = self.reason();
        let lost = matches!(
            reason,
            Reason::UploadNotFound | Reason::UploadAborted | Reason::UploadIncomplete
        );
        lost || is_retryable(reason)
    }

    fn client_message(&self) -> String {
        match self {
            Self::Copies { index, .. } => {
                format!("too few storage nodes took chunk {index} of the file: try again")
            }
            Self::Answer(_) | Self::Internal(_) => {
                "internal error: report it with the request id".to_owned()
            }
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_proto::error::refuse;

    use super::*;

    #[test]
    fn a_lost_upload_is_worth_sending_again() {
        let from_master = |reason| UploadError::from(RemoteError::from(refuse(reason, false, "")));
        assert!(from_master(Reason::UploadAborted).is_retryable());
        assert!(from_master(Reason::Busy).is_retryable());
        assert!(!from_master(Reason::QuotaExceeded).is_retryable());
    }
}
