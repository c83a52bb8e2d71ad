//! Node: what of a storage node outlives the master: liveness and fill are in memory only.
//!
//! Key: node. Lifetime: from the node's first registration on, for ever: one that was removed is known to be. The node says where it
//! is and which disks it has, the operator whether it belongs to the cluster.

use std::collections::BTreeSet;

use cairn_core::ids::{DiskIncarnation, NodeId};
use cairn_core::liveness::Membership;
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
    pub(crate) membership: Membership,
}

impl NodeRecord {
    /// New copies may be made there.
    pub(crate) fn takes_copies(&self) -> bool {
        self.membership == Membership::Member
    }

    /// Its word for a copy on this disk counts.
    pub(crate) fn vouches_for(&self, disk: DiskIncarnation) -> bool {
        self.membership != Membership::Removed && self.disks.contains(&disk)
    }
}

/// Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Belongs {
    Unknown = 0,
    Member = 1,
    Draining = 2,
    Removed = 3,
}

#[derive(Message)]
struct Payload {
    #[prost(bytes = "vec", repeated, tag = "1")]
    disks: Vec<Vec<u8>>,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(string, tag = "3")]
    zone: String,
    #[prost(enumeration = "Belongs", tag = "4")]
    belongs: i32,
}

impl Record for NodeRecord {
    type Key = NodeId;
    const TABLE: Table = Table::Node;
    /// 1 had one disk; 2 did not say whether it belongs to the cluster.
    const FORMAT: u8 = 3;

    fn write_key(key: &NodeId, parts: &mut KeyWriter) {
        parts.id(key.as_bytes());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<NodeId, Malformed> {
        Ok(NodeId::from_slice(&parts.id()?)?)
    }

    fn to_payload(&self) -> Vec<u8> {
        let belongs = match self.membership {
            Membership::Member => Belongs::Member,
            Membership::Draining => Belongs::Draining,
            Membership::Removed => Belongs::Removed,
        };
        Payload {
            disks: self.disks.iter().map(|disk| disk.as_bytes().to_vec()).collect(),
            address: self.address.clone(),
            zone: self.zone.to_string(),
            belongs: belongs.into(),
        }
        .encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let read = Payload::decode(payload)?;
        let membership = match read.belongs() {
            Belongs::Member => Membership::Member,
            Belongs::Draining => Membership::Draining,
            Belongs::Removed => Membership::Removed,
            Belongs::Unknown => return Err(Malformed::new("whether it belongs is not known")),
        };
        let disks = read.disks.iter().map(|disk| DiskIncarnation::from_slice(disk));
        Ok(Self {
            disks: disks.collect::<Result<_, _>>()?,
            address: read.address,
            zone: Zone::new(read.zone)?,
            membership,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn a_node_round_trips_however_it_belongs() {
        for membership in [Membership::Member, Membership::Draining, Membership::Removed] {
            let node = NodeRecord {
                disks: (2..5).map(|n| DiskIncarnation::from_uuid(Uuid::from_u128(n))).collect(),
                address: "http://node-1:7100".into(),
                zone: Zone::new("a").expect("a label"),
                membership,
            };
            round_trips(&NodeId::from_uuid(Uuid::from_u128(1)), &node);
        }
    }
}
