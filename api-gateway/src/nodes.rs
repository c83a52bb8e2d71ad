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
