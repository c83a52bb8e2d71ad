//! How a transaction that came to nothing is told to the caller, and what of it to the operator.

use cairn_kv::{TransactError, ViewError};
use cairn_proto::error::refuse;
use cairn_proto::{Reason, WireError};
use tonic::Status;

/// A transaction did not happen, or may have happened.
pub(crate) fn not_transacted<E: WireError>(error: TransactError<E>) -> Status {
    match error {
        TransactError::Rejected(refused) => rejected(&refused),
        TransactError::Panicked { message } => panicked(&message),
        TransactError::Storage(cause) => {
            tracing::error!(target: "cairn", %cause, "the catalog cannot be read");
            storage_failed()
        }
        TransactError::MayHaveHappened(cause) => {
            tracing::error!(target: "cairn", %cause, "a commit of the catalog failed");
            let text = "the catalog failed while it wrote: the call may have had its effect";
            refuse(Reason::OutcomeUnknown, true, text)
        }
        TransactError::Busy { queue } => busy(queue),
        TransactError::Closed(_) => stopping(),
    }
}

/// A view has no result.
pub(crate) fn not_viewed<E: WireError>(error: ViewError<E>) -> Status {
    match error {
        ViewError::Rejected(refused) => rejected(&refused),
        ViewError::Panicked { message } => panicked(&message),
        ViewError::Storage(cause) => {
            tracing::error!(target: "cairn", %cause, "the catalog cannot be read");
            storage_failed()
        }
        ViewError::Busy { queue } => busy(queue),
        ViewError::Closed(_) => stopping(),
    }
}

fn rejected(refused: &impl WireError) -> Status {
    if refused.reason() == Reason::Unspecified {
        tracing::error!(target: "cairn", error = %refused, "the catalog contradicts itself");
    }
    refused.to_status()
}

fn panicked(message: &str) -> Status {
    tracing::error!(target: "cairn", message, "a transaction panicked");
    refuse(Reason::Unspecified, false, "internal error: tell the operator, with the request id")
}

fn storage_failed() -> Status {
    refuse(Reason::StorageFailed, true, "the catalog cannot be reached: try again later")
}

fn busy(queue: &str) -> Status {
    refuse(Reason::Busy, true, format!("the {queue} queue is full: try again later"))
}

/// The master takes no more calls.
pub(crate) fn stopping() -> Status {
    refuse(Reason::Stopping, true, "the chunk master is stopping: try again")
}
