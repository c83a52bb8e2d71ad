//! Node: what of a storage node outlives the master: liveness and fill are in memory only.
//!
//! Key: node. Lifetime: from the node's first registration on; one that has other disks replaces the record.

use std::collections::BTreeSet;

use cairn_core::ids::{DiskIncarnation, NodeId};
use cairn_core::names::Zone;
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// A storage node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeRecord {
    /// Receipts of these count.
    pub(crate) disks: BTreeSet<DiskIncarnation>,
    pub(crate) address: String,
    pub(crate) zone: Zone,
}

#[derive(Message)]
struct Payload {
    #[prost(bytes = "vec", repeated, tag = "1")]
    disks: Vec<Vec<u8>>,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(string, tag = "3")]
    zone: String,
}

impl Record for NodeRecord {
    type Key = NodeId;
    const TABLE: Table = Table::Node;
    /// 1 had one disk.
    const FORMAT: u8 = 2;

    fn write_key(key: &NodeId, parts: &mut KeyWriter) {
        parts.id(key.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<NodeId, Malformed> {
        Ok(NodeId::from_slice(&parts.id()?)?)
    }

    fn to_payload(&self) -> Vec<u8> {
        Payload {
            disks: self.disks.iter().map(|disk| disk.as_bytes().to_vec()).collect(),
            address: self.address.clone(),
            zone: self.zone.to_string(),
        }
        .encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let read = Payload::decode(payload)?;
        let disks = read.disks.iter().map(|disk| DiskIncarnation::from_slice(disk));
        Ok(Self {
            disks: disks.collect::<Result<_, _>>()?,
            address: read.address,
            zone: Zone::new(read.zone)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_node_round_trips() {
        let node = NodeRecord {
            disks: (2..5).map(|n| DiskIncarnation::from_uuid(Uuid::from_u128(n))).collect(),
            address: "http://node-1:7100".into(),
            zone: Zone::new("a").expect("a label"),
        };
        round_trips(&NodeId::from_uuid(Uuid::from_u128(1)), &node);
    }
}
