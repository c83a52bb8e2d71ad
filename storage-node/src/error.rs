//! What the store's refusals mean on the wire.

use cairn_chain::{DeleteError, ReadError, WriteError};
use cairn_proto::Reason;

pub(crate) fn of_write(error: &WriteError) -> Reason {
    match error {
        WriteError::NoRoom { .. } => Reason::NodeFull,
        WriteError::TooLarge { .. } | WriteError::Checksums(_) => Reason::InvalidField,
        WriteError::PastReserve { .. }
        | WriteError::BlockMismatch { .. }
        | WriteError::LengthMismatch { .. }
        | WriteError::Broken => Reason::BodyMismatch,
        WriteError::Conflict { .. } => Reason::ChunkConflict,
        WriteError::Erased { .. } => Reason::ChunkErased,
        WriteError::DiskFailed | WriteError::Disk { .. } | WriteError::Interrupted(_) => {
            Reason::StorageFailed
        }
        WriteError::TimedOut(_) => Reason::StorageFailed,
        WriteError::Backlog { .. } => Reason::Busy,
        WriteError::Closed => Reason::Stopping,
    }
}

pub(crate) fn of_read(error: &ReadError) -> Reason {
    match error {
        ReadError::NotFound { .. } => Reason::ChunkNotFound,
        ReadError::Corrupt { .. } => Reason::ChunkCorrupt,
        ReadError::Disk { .. } | ReadError::Interrupted(_) | ReadError::TimedOut(_) => {
            Reason::StorageFailed
        }
    }
}

pub(crate) fn of_delete(error: &DeleteError) -> Reason {
    match error {
        DeleteError::DiskFailed => Reason::StorageFailed,
        DeleteError::Disk { .. }
        | DeleteError::Interrupted(_)
        | DeleteError::TimedOut(_)
        | DeleteError::Tiers(_)
        | DeleteError::Disks(_) => Reason::OutcomeUnknown,
        DeleteError::Closed => Reason::Stopping,
    }
}
