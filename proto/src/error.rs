//! Errors on the wire: a gRPC code for everyone, an exact [`Reason`] for Cairn's own clients.

use prost::Message;
use tonic::{Code, Status};

use crate::convert::InvalidField;
pub use crate::v1::ErrorReason as Reason;
use crate::v1::{ErrorDetail, LaneRefusal};

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
        is_retryable(self.reason())
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
pub fn code(reason: Reason) -> Code {
    match reason {
        Reason::Unspecified => Code::Internal,
        Reason::InvalidField | Reason::FileTooLarge | Reason::BodyMismatch => Code::InvalidArgument,
        Reason::BucketNotFound
        | Reason::ObjectNotFound
        | Reason::UploadNotFound
        | Reason::ChunkNotFound
        | Reason::TenantNotFound
        | Reason::JobNotFound
        | Reason::NodeUnknown => Code::NotFound,
        Reason::ObjectExists
        | Reason::BucketExists
        | Reason::TenantExists
        | Reason::ChunkConflict => Code::AlreadyExists,
        Reason::PreconditionFailed
        | Reason::UploadAborted
        | Reason::UploadIncomplete
        | Reason::UploadCommitted
        | Reason::ForeignCatalog
        | Reason::BucketNotEmpty
        | Reason::BucketDeleting
        | Reason::TenantNotEmpty
        | Reason::NodeRemoved
        | Reason::NodeNeeded
        | Reason::JobRefuses
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

/// True when the same request can succeed later, unless the error itself knows better.
pub fn is_retryable(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Busy
            | Reason::Stopping
            | Reason::TooFewNodes
            | Reason::NodeFull
            | Reason::Unreachable
            | Reason::StorageFailed
            | Reason::OutcomeUnknown
    )
}

/// What whoever is refused for this reason can do next, for `docs/errors.md`. What a reason means stands in the proto.
pub fn next_step(reason: Reason) -> &'static str {
    const LATER: &str = "Try again later; when it lasts, tell the operator.";
    match reason {
        Reason::Unspecified => "Report it with the request id.",
        Reason::InvalidField => "Correct the field that the message names.",
        Reason::BucketNotFound => "Use a bucket that exists, or create it.",
        Reason::BucketExists => "Choose another name, or use the bucket as it is.",
        Reason::BucketNotEmpty => "Delete what is in it, or ask to delete it with its contents.",
        Reason::BucketDeleting => "Wait until it is gone, or use another name.",
        Reason::TenantNotFound => "For operators: create the tenant.",
        Reason::TenantExists => "For operators: choose another name, or use the tenant as it is.",
        Reason::TenantNotEmpty => "For operators: delete the tenant's buckets.",
        Reason::JobNotFound => "For operators: list the jobs.",
        Reason::JobRefuses => "For operators: list the jobs to see how it is with it.",
        Reason::ObjectNotFound => "List the bucket to see its names.",
        Reason::ObjectExists => "Choose another name, or replace the file.",
        Reason::PreconditionFailed => "Read the file again, then decide anew.",
        Reason::QuotaExceeded => "Delete something, or ask the operator for a higher limit.",
        Reason::FileTooLarge => "Store it in parts.",
        Reason::BodyMismatch => "Send the body as it is announced, whole.",
        Reason::UploadNotFound | Reason::UploadAborted | Reason::UploadIncomplete => {
            "Send the file again: it is another upload then."
        }
        Reason::TooFewNodes | Reason::Unreachable | Reason::StorageFailed => LATER,
        Reason::Busy => "Try again in a second.",
        Reason::Stopping => "Try again, at another gateway when there is one.",
        Reason::OutcomeUnknown => {
            "Look, or repeat it: a Put of the same content is safe to repeat."
        }
        Reason::UploadCommitted => "Between services: the upload stands as it was committed.",
        Reason::ChunkNotFound | Reason::ChunkCorrupt => {
            "Between services: another copy is read, and this one is reported."
        }
        Reason::ChunkConflict | Reason::ChunkErased | Reason::NodeFull => {
            "Between services: the copy is placed on another node."
        }
        Reason::NodeRemoved => {
            "For operators: start the node with empty folders, as a new one, or not at all."
        }
        Reason::NodeNeeded => {
            "For operators: drain the node, and remove it when nothing is left there."
        }
        Reason::NodeUnknown => "Between services: the node registers again.",
        Reason::ForeignCatalog => {
            "Between services: the operator points the node to its own master."
        }
    }
}

/// Longest text of a refusal, in bytes. It travels in a header, in which each byte may take three; a header that is too
/// long ends the connection with all calls on it. So a text that repeats what it was sent is cut.
const MAX_TEXT_BYTES: usize = 1024;
const CUT: &str = " …";

/// Makes a status that carries its reason. A text of more than 1 KiB is cut.
pub fn refuse(reason: Reason, retryable: bool, message: impl Into<String>) -> Status {
    let detail = ErrorDetail { reason: reason.into(), retryable };
    let mut message = message.into();
    if message.len() > MAX_TEXT_BYTES {
        message.truncate(message.floor_char_boundary(MAX_TEXT_BYTES - CUT.len()));
        message.push_str(CUT);
    }
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

impl From<LaneRefusal> for RemoteError {
    fn from(refusal: LaneRefusal) -> Self {
        let detail = refusal.detail.unwrap_or_default();
        let (reason, retryable) = (detail.reason(), detail.retryable);
        Self { code: code(reason), reason, retryable, message: refusal.message }
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
    fn a_text_that_no_header_could_carry_is_cut_at_a_letter() {
        let status = refuse(Reason::InvalidField, false, "ü".repeat(1 << 20));
        let text = status.message();
        assert!(text.len() <= MAX_TEXT_BYTES && text.len() > MAX_TEXT_BYTES - 8, "{}", text.len());
        assert!(text.starts_with("üü") && text.ends_with("ü …"));
        let whole = "a".repeat(MAX_TEXT_BYTES);
        assert_eq!(refuse(Reason::InvalidField, false, whole.clone()).message(), whole);
    }

    #[test]
    fn a_peer_that_does_not_answer_is_unreachable_and_worth_another_try() {
        let read = RemoteError::from(Status::unavailable("connection refused"));
        assert_eq!((read.reason, read.retryable), (Reason::Unreachable, true));
        let read = RemoteError::from(Status::unimplemented("no such method"));
        assert_eq!((read.reason, read.retryable), (Reason::Unspecified, false));
    }
}
