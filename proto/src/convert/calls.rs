//! What gateways say of their calls to nodes, and what comes of it.

use cairn_core::doubt::{Calls, Doubt};
use cairn_core::ids::{GatewayId, NodeId};

use super::{InvalidField, Read, bytes, fit, node_id};
use crate::v1;

/// Reads a gateway id.
///
/// # Errors
/// [`InvalidField`] when there are not exactly 16 bytes.
pub fn gateway_id(bytes: &[u8]) -> Read<GatewayId> {
    fit("gateway_id", GatewayId::from_slice(bytes))
}

impl From<Doubt> for v1::NodeDoubt {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Unsteady => Self::Unsteady,
            Doubt::Unreached => Self::Unreached,
        }
    }
}

/// A gateway's calls to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeCalls {
    /// The node.
    pub node: NodeId,
    /// The calls.
    pub calls: Calls,
}

impl TryFrom<v1::NodeCalls> for NodeCalls {
    type Error = InvalidField;

    fn try_from(told: v1::NodeCalls) -> Read<Self> {
        let v1::NodeCalls { node_id: node, reached, unreached } = told;
        Ok(Self { node: node_id(&node)?, calls: Calls { reached, unreached } })
    }
}

impl From<NodeCalls> for v1::NodeCalls {
    fn from(told: NodeCalls) -> Self {
        let NodeCalls { node, calls: Calls { reached, unreached } } = told;
        Self { node_id: bytes(node.as_bytes()), reached, unreached }
    }
}
