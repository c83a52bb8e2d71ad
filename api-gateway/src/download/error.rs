//! What can go wrong with a download.

use std::time::Duration;

use cairn_proto::{InvalidField, Reason, RemoteError, WireError};
use cairn_replicas::FetchError;

use crate::budget::BudgetExhausted;

/// Why a file, or the rest of it, cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DownloadError {
    /// The master refused, or could not be reached.
    #[error(transparent)]
    Master(#[from] RemoteError),
    /// The master answered with what does not fit.
    #[error("read the master's answer: {0}")]
    Answer(#[from] InvalidField),
    /// A chunk has no copy that can be read now.
    #[error("read a chunk: {0}")]
    Chunk(#[from] FetchError),
    /// Too much is in flight.
    #[error("{0}: try again")]
    Budget(#[from] BudgetExhausted),
    /// Too many wait.
    #[error("too many reads wait for uploads: try again")]
    Waiting,
    /// The client takes nothing.
    #[error("the client took no byte for {0:?}")]
    ClientIdle(Duration),
    /// The chunks that the master told of do not make up the range.
    #[error("the chunks located leave a gap at {offset}")]
    Gap {
        /// Where, in bytes from the start of the file.
        offset: u64,
    },
    /// A task of the gateway ended early: a defect.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl WireError for DownloadError {
    fn reason(&self) -> Reason {
        match self {
            Self::Master(error) => error.reason,
            Self::Chunk(_) => Reason::Unreachable,
            Self::Budget(_) | Self::Waiting => Reason::Busy,
            Self::ClientIdle(_) => Reason::BodyMismatch,
            Self::Answer(_) | Self::Gap { .. } | Self::Internal(_) => Reason::Unspecified,
        }
    }

    fn client_message(&self) -> String {
        match self {
            Self::Chunk(_) => {
                "no storage node can serve a part of the file right now: try again".to_owned()
            }
            Self::Answer(_) | Self::Gap { .. } | Self::Internal(_) => {
                "internal error: report it with the request id".to_owned()
            }
            other => other.to_string(),
        }
    }
}
