//! Fields that both transports carry: the end of a write, and what a node's answer means for the copy.

use bytes::Bytes;
use cairn_core::copies::CopyReceipt;
use cairn_core::ids::NodeId;
use cairn_proto::{InvalidField, Reason, RemoteError, v1};
use cairn_replicas::{ChunkEnd, CopyError};

pub(crate) fn write_finish(end: &ChunkEnd) -> v1::WriteFinish {
    v1::WriteFinish {
        length: end.length,
        hash: Bytes::copy_from_slice(&end.hash.0),
        last_block_crc: end.last_block_crc,
    }
}

/// A receipt counts only from the node that was asked.
pub(crate) fn receipt(
    answer: v1::WriteChunkResponse,
    asked: NodeId,
) -> Result<CopyReceipt, CopyError> {
    let receipt = v1::CopyReceipt { node_id: answer.node_id, disk: answer.disk };
    let receipt: CopyReceipt = receipt.try_into().map_err(|error| protocol(&error))?;
    if receipt.node == asked {
        Ok(receipt)
    } else {
        Err(CopyError::Protocol(format!("node {} answers for it", receipt.node)))
    }
}

pub(crate) fn protocol(error: &InvalidField) -> CopyError {
    CopyError::Protocol(error.to_string())
}

pub(crate) fn copy_error(error: RemoteError) -> CopyError {
    match error.reason {
        Reason::ChunkNotFound => CopyError::Missing,
        Reason::ChunkCorrupt => CopyError::Corrupt(error.message),
        Reason::ChunkConflict => CopyError::Conflict,
        Reason::ChunkErased => CopyError::Erased,
        Reason::NodeFull => CopyError::Full,
        Reason::Unreachable => CopyError::Unreachable(error.message),
        _ if error.retryable => CopyError::Refused(error.message),
        _ => CopyError::Protocol(error.message),
    }
}
