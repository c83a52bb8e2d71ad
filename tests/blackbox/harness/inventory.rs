//! What the nodes hold, beside what the catalog says that they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use cairn_proto::v1::chunks_client::ChunksClient;
use cairn_proto::v1::{ChunkCopies, ChunkId, ListStoredChunksRequest, StoredChunk};

use super::admin::channel;
use super::{Parts, eventually, hex};

/// A chunk, for people: blob and position.
pub(crate) type ChunkName = (String, u32);
/// The chunks of each node, by where the node is reached.
type Holdings = BTreeMap<String, BTreeSet<ChunkName>>;

pub(crate) fn chunk_name(chunk: Option<&ChunkId>) -> ChunkName {
    let chunk = chunk.expect("a chunk has an id");
    (hex(&chunk.blob_id), chunk.index)
}

async fn held_by(node: SocketAddr) -> BTreeSet<ChunkName> {
    let mut client = ChunksClient::new(channel(node).await);
    let mut held: Vec<StoredChunk> = Vec::new();
    loop {
        let request = ListStoredChunksRequest {
            after: held.last().and_then(|last| last.chunk.clone()),
            limit: 500,
            blob_id: Default::default(),
        };
        let page = client.list(request).await.expect("Chunks.List");
        let page = page.into_inner();
        held.extend(page.chunks);
        if !page.more {
            break;
        }
    }
    held.iter().map(|stored| chunk_name(stored.chunk.as_ref())).collect()
}

fn named_by(catalog: &[ChunkCopies], addresses: &BTreeMap<Vec<u8>, String>) -> Holdings {
    let none = |address: &String| (address.clone(), BTreeSet::new());
    let mut named: Holdings = addresses.values().map(none).collect();
    for copies in catalog {
        for node in copies.good.iter().chain(&copies.bad) {
            // A node that does not run cannot be asked.
            let holds = addresses.get(node.as_ref()).and_then(|address| named.get_mut(address));
            if let Some(holds) = holds {
                holds.insert(chunk_name(copies.chunk.as_ref()));
            }
        }
    }
    named
}

fn difference(named: &Holdings, held: &Holdings) -> Option<String> {
    let mut lines = Vec::new();
    for (node, named) in named {
        let held = &held[node];
        let lost: Vec<_> = named.difference(held).take(3).collect();
        let orphans: Vec<_> = held.difference(named).take(3).collect();
        if !lost.is_empty() || !orphans.is_empty() {
            let (named, held) = (named.len(), held.len());
            lines.push(format!(
                "{node}: {named} named, {held} held, lost {lost:?}, orphans {orphans:?}"
            ));
        }
    }
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// After the sweep every node holds exactly what the catalog names, and the number of those copies.
pub(crate) async fn assert_nodes_hold_what_the_catalog_names(parts: &Parts) -> usize {
    let mut admin = parts.edge.admin().await;
    eventually(90, "the nodes hold what the catalog names", async || {
        admin.sweep().await;
        let running = parts.node_addresses();
        let mut held = Holdings::new();
        for node in &running {
            held.insert(node.to_string(), held_by(*node).await);
        }
        let address = |reached: &str| reached.trim_start_matches("http://").to_owned();
        let nodes = admin.nodes().await;
        let addresses: BTreeMap<Vec<u8>, String> = nodes
            .iter()
            .map(|node| (node.node_id.to_vec(), address(&node.address)))
            .filter(|(_, address)| held.contains_key(address))
            .collect();
        let named = named_by(&admin.chunks().await, &addresses);
        match difference(&named, &held) {
            Some(difference) => Err(difference),
            None => Ok(held.values().map(BTreeSet::len).sum()),
        }
    })
    .await
}
