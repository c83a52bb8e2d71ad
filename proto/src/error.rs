//! Errors on the wire: a gRPC code for everyone, an exact [`Reason`] for Cairn's own clients.

use prost::Message;
use tonic::{Code, Status};

use crate::convert::InvalidField;
use crate::v1::ErrorDetail;
pub use crate::v1::ErrorReason as Reason;

/// Implemented by each operation's error, beside its variants.
pub trait WireError: std::error::Error {
    /// Why, exactly.
    fn reason(&self) -> Reason;

    /// The text for the client: what happened and what it can do. No secrets, no paths of the host.
    fn client_message(&self) -> String {
        self.to_string()
    }

    /// True when the same request can succeed later.
    fn is_retryable(&self) -> bool {
        matches!(
            self.reason(),
            Reason::Busy
                | Reason::Stopping
                | Reason::TooFewNodes
                | Reason::NodeFull
                | Reason::Unreachable
                | Reason::StorageFailed
                | Reason::OutcomeUnknown
        )
    }

    /// The form in which it travels.
    fn to_status(&self) -> Status {
        refuse(self.reason(), self.is_retryable(), self.client_message())
    }
}

impl WireError for InvalidField {
    fn reason(&self) -> Reason {
        Reason::InvalidField
    }
}

/// The gRPC code of a reason: the only place where the two meet.
fn code(reason: Reason) -> Code {
    match reason {
        Reason::Unspecified => Code::Internal,
        Reason::InvalidField | Reason::FileTooLarge | Reason::BodyMismatch => Code::InvalidArgument,
        Reason::BucketNotFound
        | Reason::ObjectNotFound
        | Reason::UploadNotFound
        | Reason::ChunkNotFound
        | Reason::NodeUnknown => Code::NotFound,
        Reason::ObjectExists | Reason::ChunkConflict => Code::AlreadyExists,
        Reason::PreconditionFailed
        | Reason::UploadAborted
        | Reason::UploadIncomplete
        | Reason::UploadCommitted
        | Reason::ForeignCatalog
        | Reason::ChunkErased => Code::FailedPrecondition,
        Reason::QuotaExceeded | Reason::NodeFull => Code::ResourceExhausted,
        Reason::TooFewNodes
        | Reason::Busy
        | Reason::Stopping
        | Reason::StorageFailed
        | Reason::Unreachable => Code::Unavailable,
        Reason::ChunkCorrupt => Code::DataLoss,
        Reason::OutcomeUnknown => Code::Unknown,
    }
}

/// Makes a status that carries its reason.
pub fn refuse(reason: Reason, retryable: bool, message: impl Into<String>) -> Status {
    let detail = ErrorDetail { reason: reason.into(), retryable };
    Status::with_details(code(reason), message, detail.encode_to_vec().into())
}

/// An error that another service answered with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    /// The gRPC code.
    pub code: Code,
    /// Why, exactly. [`Reason::Unreachable`] when the service did not answer itself.
    pub reason: Reason,
    /// True when the same request can succeed later.
    pub retryable: bool,
    /// The text for the client.
    pub message: String,
}

impl From<Status> for RemoteError {
    fn from(status: Status) -> Self {
        let detail = ErrorDetail::decode(status.details()).ok();
        let stated = detail.filter(|detail| detail.reason() != Reason::Unspecified);
        // Without our detail the answer is the transport's: the peer is gone, slow or not one of ours.
        let from_transport = matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded
        );
        let (reason, retryable) = match stated {
            Some(detail) => (detail.reason(), detail.retryable),
            None if from_transport => (Reason::Unreachable, true),
            None => (Reason::Unspecified, false),
        };
        Self { code: status.code(), reason, retryable, message: status.message().to_owned() }
    }
}

impl WireError for RemoteError {
    fn reason(&self) -> Reason {
        self.reason
    }

    fn is_retryable(&self) -> bool {
        self.retryable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_the_wire() {
        let status = refuse(Reason::QuotaExceeded, false, "full");
        let read = RemoteError::from(status);
        assert_eq!(read.reason, Reason::QuotaExceeded);
        assert_eq!(read.code, Code::ResourceExhausted);
        assert!(!read.retryable);
    }

    #[test]
    fn a_peer_that_does_not_answer_is_unreachable_and_worth_another_try() {
        let read = RemoteError::from(Status::unavailable("connection refused"));
        assert_eq!((read.reason, read.retryable), (Reason::Unreachable, true));
        let read = RemoteError::from(Status::unimplemented("no such method"));
        assert_eq!((read.reason, read.retryable), (Reason::Unspecified, false));
    }
}
