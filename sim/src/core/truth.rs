//! What is so, whatever anybody knows: which named copies are whole on their nodes.

use cairn_core::ids::{ChunkId, NodeId};
use cairn_proto::v1;
use cairn_proto::v1::admin_server::Admin as _;
use tonic::Request;

use super::node::Node;
use super::world::World;
use crate::invariants::Catalog;
use crate::operator::named;

/// All chunks that the catalog names.
pub(super) async fn catalog(world: &World) -> Result<Catalog, String> {
    let master = world.master().ok_or("there is no master")?;
    let (mut catalog, mut after) = (Catalog::new(), None);
    loop {
        let request = Request::new(v1::ListChunksRequest { after, limit: 0 });
        let page = master.admin().list_chunks(request).await;
        let page = page.map_err(|status| status.message().to_owned())?.into_inner();
        for chunk in page.chunks {
            let (id, named) = named(chunk).map_err(|error| error.to_string())?;
            catalog.insert(id, named);
        }
        after = page.next_after;
        if after.is_none() {
            return Ok(catalog);
        }
    }
}

/// The chunks that the catalog calls short, with the copies that each misses.
pub(super) async fn short(world: &World) -> Result<Catalog, String> {
    let master = world.master().ok_or("there is no master")?;
    let request = Request::new(v1::ListShortChunksRequest::default());
    let page = master.admin().list_short_chunks(request).await;
    let page = page.map_err(|status| status.message().to_owned())?.into_inner();
    page.chunks.into_iter().map(|chunk| named(chunk).map_err(|error| error.to_string())).collect()
}

pub(super) fn node(world: &World, id: NodeId) -> Option<&Node> {
    world.nodes.iter().find(|node| node.id == id)
}

/// Whether every chunk, of uploads and of deleted files as well, has all its copies, so that one of each can be lost: then the
/// chunks with the nodes that have them.
pub(super) async fn all_is_whole(world: &World) -> Option<Vec<(ChunkId, Vec<NodeId>)>> {
    if world.nodes.iter().any(|node| !node.is_known()) {
        return None;
    }
    let mut whole = Vec::new();
    for (chunk, named) in catalog(world).await.ok()? {
        let has =
            |id: &NodeId| node(world, *id).is_some_and(|node| node.has_good(chunk, named.length));
        let good: Vec<_> = named.good.iter().copied().filter(has).collect();
        if good.len() < named.wanted {
            return None;
        }
        whole.push((chunk, good));
    }
    Some(whole)
}
