//! Node page: which manifest pages name a node, so that repair and drain need no scan.
//!
//! Key: node, blob, page. Lifetime: from the first receipt of the node on the page until the blob is
//! erased.

use cairn_core::ids::{BlobId, NodeId};

use super::key::{KeyReader, KeyWriter};
use super::page::PageKey;
use super::record::{Malformed, Record, Table};

/// Which page names which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodePageKey {
    pub(crate) node: NodeId,
    pub(crate) page: PageKey,
}

/// All is in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodePage;

impl Record for NodePage {
    type Key = NodePageKey;
    const TABLE: Table = Table::NodePage;

    fn write_key(key: &NodePageKey, parts: &mut KeyWriter) {
        parts.id(key.node.as_bytes()).id(key.page.blob.as_bytes()).u32(key.page.page);
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<NodePageKey, Malformed> {
        Ok(NodePageKey {
            node: NodeId::from_slice(&parts.id()?)?,
            page: PageKey { blob: BlobId::from_slice(&parts.id()?)?, page: parts.u32()? },
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
    fn a_node_page_round_trips() {
        let key = NodePageKey {
            node: NodeId::from_uuid(Uuid::from_u128(1)),
            page: PageKey::of(BlobId::from_uuid(Uuid::from_u128(2)), 300),
        };
        round_trips(&key, &NodePage);
    }
}
