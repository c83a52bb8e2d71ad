//! WatchNodes: all nodes, then every change of identity or state. How full a node is travels along, but is
//! no reason to send.

use std::pin::Pin;
use std::sync::Arc;

use cairn_proto::v1::WatchNodesResponse;
use futures_util::{Stream, StreamExt, stream};
use tokio_stream::wrappers::BroadcastStream;
use tonic::Status;

use super::node_info;
use crate::master::Master;
use crate::nodes::NodeView;

type Watched = Pin<Box<dyn Stream<Item = Result<WatchNodesResponse, Status>> + Send>>;

fn message<'a>(nodes: impl IntoIterator<Item = &'a NodeView>) -> WatchNodesResponse {
    WatchNodesResponse { nodes: nodes.into_iter().map(node_info).collect() }
}

/// The stream ends when the master stops.
pub(super) fn watch_nodes(master: &Arc<Master>) -> Watched {
    let (all, changes) = master.nodes.watch();
    let first = stream::iter([Ok(message(all.values()))]);
    let stop = master.stop.clone().cancelled_owned();
    let master = Arc::clone(master);
    let changes = BroadcastStream::new(changes).map(move |change| {
        Ok(match change {
            Ok(nodes) => message(&nodes),
            // Too slow for single changes: the whole again.
            Err(_lagged) => message(master.nodes.directory().values()),
        })
    });
    Box::pin(first.chain(changes).take_until(stop))
}
