//! Node upload: which open uploads were given a node, so that whether it is needed takes no scan.
//!
//! Key: node, upload. Lifetime: from when the upload is given the node until it ends.

use cairn_core::ids::{NodeId, UploadId};

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Which upload was given which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeUploadKey {
    pub(crate) node: NodeId,
    pub(crate) upload: UploadId,
}

/// All is in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeUpload;

impl Record for NodeUpload {
    type Key = NodeUploadKey;
    const TABLE: Table = Table::NodeUpload;

    fn write_key(key: &NodeUploadKey, parts: &mut KeyWriter) {
        parts.id(key.node.as_bytes()).id(key.upload.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<NodeUploadKey, Malformed> {
        Ok(NodeUploadKey {
            node: NodeId::from_slice(&parts.id()?)?,
            upload: UploadId::from_slice(&parts.id()?)?,
        })
    }

    fn to_payload(&self) -> Vec<u8> {
        Vec::new()
    }

    fn from_payload(_: &[u8]) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_node_upload_round_trips() {
        let key = NodeUploadKey {
            node: NodeId::from_uuid(Uuid::from_u128(1)),
            upload: UploadId::from_uuid(Uuid::from_u128(2)),
        };
        round_trips(&key, &NodeUpload);
    }
}
