//! The storage nodes as the gateway knows them: fed by the master's watch, one channel per address, closed when a node
//! is Down or gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::copies::Place;
use cairn_core::ids::NodeId;
use cairn_core::liveness::NodeState;
use cairn_proto::{RemoteError, convert, v1};
use cairn_replicas::{CopyError, Replica, Replicas};
use cairn_runtime::{Clock, Dialer, Drained, Phase, RequestId};
use cairn_transport::{Peer, Transport};

use crate::master::{CallContext, Master};
use crate::reach::Reach;

/// Pause before the watch is opened again after it broke.
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// All channels to nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    dialer: Dialer,
    transport: Transport,
    reach: Reach,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    peers: BTreeMap<String, Peer>,
    addresses: BTreeMap<NodeId, String>,
    up: usize,
    states: BTreeMap<NodeId, NodeState>,
}

impl Nodes {
    /// Knows no node yet.
    pub(crate) fn new(dialer: Dialer, transport: Transport, reach: Reach) -> Self {
        Self { dialer, transport, reach, known: Arc::default() }
    }

    /// Nodes that take chunks, as last heard from the master.
    pub(crate) fn up(&self) -> usize {
        self.lock().up
    }

    /// The nodes, for calls on behalf of `context`.
    pub(crate) fn for_request(&self, context: &CallContext) -> NodesForRequest {
        NodesForRequest { nodes: self.clone(), request_id: context.request_id.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the master's watch until the gateway stops.
    pub(crate) async fn follow(self, master: Master, clock: Clock, mut drained: Drained) {
        let mut reached = true;
        loop {
            let followed = tokio::select! {
                biased;
                () = drained.reached(Phase::Stopped) => return,
                followed = self.follow_once(&master) => followed,
            };
            match followed {
                Ok(()) => reached = true,
                // Once for each time that the master is away.
                Err(error) if reached => {
                    reached = false;
                    tracing::warn!(target: "cairn", %error, "the master cannot be reached: nodes are not watched");
                }
                Err(error) => tracing::debug!(%error, "nodes are not watched"),
            }
            clock.sleep(WATCH_PAUSE).await;
        }
    }

    /// Follows one watch until it breaks.
    async fn follow_once(&self, master: &Master) -> Result<(), RemoteError> {
        let mut watch = master.watch_nodes().await?;
        while let Ok(Some(event)) = watch.message().await {
            for node in event.nodes {
                self.learn(&node);
            }
        }
        Ok(())
    }

    fn learn(&self, node: &v1::NodeInfo) {
        let id = convert::node_id(&node.node_id);
        let state = convert::node_state(node.state());
        let (Ok(id), Ok(state)) = (id, state) else {
            tracing::warn!(?node, "the master tells of a node that cannot be read");
            return;
        };
        tracing::debug!(node = %id, ?state, address = node.address, "node");
        let mut known = self.lock();
        let moved = known.addresses.insert(id, node.address.clone());
        if let Some(old) = moved.filter(|old| *old != node.address) {
            known.peers.remove(&old);
        }
        if !state.serves_chunks() {
            known.peers.remove(&node.address);
        }
        known.states.insert(id, state);
        known.up = known.states.values().filter(|state| state.takes_chunks()).count();
    }

    fn peer(&self, address: &str) -> Result<Peer, CopyError> {
        let mut known = self.lock();
        if let Some(peer) = known.peers.get(address) {
            return Ok(peer.clone());
        }
        let peer = Peer::dial(&*self.dialer, self.transport, address)
            .map_err(|error| CopyError::Unreachable(error.to_string()))?;
        known.peers.insert(address.to_owned(), peer.clone());
        Ok(peer)
    }
}

/// The nodes, called on behalf of one request: its id goes along with each call.
#[derive(Debug, Clone)]
pub(crate) struct NodesForRequest {
    nodes: Nodes,
    request_id: RequestId,
}

impl Replicas for NodesForRequest {
    fn at(&self, place: &Place) -> Result<Arc<dyn Replica>, CopyError> {
        let replica = self.nodes.peer(&place.address)?.replica(place, &self.request_id);
        Ok(self.nodes.reach.watched(place.node, replica))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cairn_runtime::NetworkDial;
    use uuid::Uuid;

    use super::*;

    const HERE: &str = "http://127.0.0.1:1";
    const ELSEWHERE: &str = "http://127.0.0.1:2";

    fn nodes() -> Nodes {
        let reach = Reach::new(Clock::system());
        Nodes::new(Arc::new(NetworkDial::tcp(1)), Transport::Lane, reach)
    }

    /// The master tells of the one node.
    fn told(nodes: &Nodes, address: &str, state: v1::NodeState) {
        nodes.learn(&v1::NodeInfo {
            node_id: Bytes::copy_from_slice(Uuid::from_u128(1).as_bytes()),
            address: address.to_owned(),
            state: state.into(),
            ..Default::default()
        });
    }

    /// Calls the node at an address; the addresses to which there are channels then.
    fn called(nodes: &Nodes, address: &str) -> Vec<String> {
        drop(nodes.peer(address).expect("an address"));
        channels(nodes)
    }

    fn channels(nodes: &Nodes) -> Vec<String> {
        nodes.lock().peers.keys().cloned().collect()
    }

    #[tokio::test]
    async fn a_node_has_one_channel_which_goes_when_the_node_is_down_and_comes_with_a_call() {
        let nodes = nodes();
        told(&nodes, HERE, v1::NodeState::Up);
        assert!(channels(&nodes).is_empty(), "nobody has called it");
        for _ in 0..2 {
            assert_eq!(called(&nodes, HERE), [HERE]);
        }
        told(&nodes, HERE, v1::NodeState::Suspect);
        assert_eq!((channels(&nodes), nodes.up()), (vec![HERE.to_owned()], 0));
        told(&nodes, HERE, v1::NodeState::Down);
        assert!(channels(&nodes).is_empty());
        told(&nodes, HERE, v1::NodeState::Up);
        assert_eq!(called(&nodes, HERE), [HERE]);
        assert_eq!(nodes.up(), 1);
    }

    #[tokio::test]
    async fn the_channel_of_a_node_that_moved_or_was_removed_goes() {
        let nodes = nodes();
        told(&nodes, HERE, v1::NodeState::Up);
        assert_eq!(called(&nodes, HERE), [HERE]);
        told(&nodes, ELSEWHERE, v1::NodeState::Up);
        assert!(channels(&nodes).is_empty());
        assert_eq!(called(&nodes, ELSEWHERE), [ELSEWHERE]);
        told(&nodes, ELSEWHERE, v1::NodeState::Draining);
        assert_eq!(channels(&nodes), [ELSEWHERE], "it is read from while it is emptied");
        told(&nodes, ELSEWHERE, v1::NodeState::Removed);
        assert!(channels(&nodes).is_empty());
    }
}
