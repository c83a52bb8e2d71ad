//! The operator: the admin service, and what the nodes themselves say.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::ids::{BlobId, ChunkId, NodeId};
use cairn_proto::v1::admin_client::AdminClient;
use cairn_proto::v1::chunks_client::ChunksClient;
use cairn_proto::v1::files_client::FilesClient;
use cairn_proto::v1::read_chunk_response::Part;
use cairn_proto::{RemoteError, convert, v1};
use cairn_runtime::{Dialer, PeerChannel};
use tonic::{Request, Response, Status};

use crate::cluster::{ADMIN_PORT, GATEWAY, GATEWAY_PORT, MASTER};
use crate::invariants::{Catalog, Named};
use crate::network::Network;

/// Something could not be asked.
#[derive(Debug)]
pub(crate) struct NoAnswer(String);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn no_answer<E: ToString>(asked: &'static str) -> impl FnOnce(E) -> NoAnswer {
    move |error| NoAnswer(format!("{asked}: {}", error.to_string()))
}

/// Longest wait for one answer.
const BOUND: Duration = Duration::from_secs(30);

/// Asks the admin service and the nodes, over the simulated network.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    admin: AdminClient<PeerChannel>,
    files: FilesClient<PeerChannel>,
    dialer: Dialer,
}

async fn ask<A>(
    asked: &'static str,
    call: impl Future<Output = Result<Response<A>, Status>>,
) -> Result<A, NoAnswer> {
    let answer = call.await.map_err(RemoteError::from).map_err(no_answer(asked))?;
    Ok(answer.into_inner())
}

fn bounded<Q>(message: Q) -> Request<Q> {
    let mut request = Request::new(message);
    request.set_timeout(BOUND);
    request
}

impl Operator {
    /// To be made on the client's host.
    pub(crate) fn new() -> Result<Self, NoAnswer> {
        let dialer = Network::default().dialer();
        let channel = |host: &str, port: u16| {
            let channel = dialer.dial(&format!("http://{host}:{port}"));
            channel.map_err(no_answer("dial"))
        };
        let admin = AdminClient::new(channel(MASTER, ADMIN_PORT)?);
        let files = FilesClient::new(channel(GATEWAY, GATEWAY_PORT)?);
        Ok(Self { admin, files, dialer })
    }

    pub(crate) async fn nodes(&self) -> Result<Vec<v1::NodeInfo>, NoAnswer> {
        let request = bounded(v1::ListNodesRequest {});
        Ok(ask("ListNodes", self.admin.clone().list_nodes(request)).await?.nodes)
    }

    /// Has a node emptied.
    pub(crate) async fn drain(&self, node_id: &Bytes) -> Result<(), NoAnswer> {
        let request = bounded(v1::DrainNodeRequest { node_id: node_id.clone() });
        ask("DrainNode", self.admin.clone().drain_node(request)).await.map(drop)
    }

    /// Lets a node back.
    pub(crate) async fn undrain(&self, node_id: &Bytes) -> Result<(), NoAnswer> {
        let request = bounded(v1::UndrainNodeRequest { node_id: node_id.clone() });
        ask("UndrainNode", self.admin.clone().undrain_node(request)).await.map(drop)
    }

    /// Whether nothing is left on a node that is drained.
    pub(crate) async fn is_empty(&self, node_id: &Bytes) -> Result<bool, NoAnswer> {
        let request = bounded(v1::GetNodeLeftRequest { node_id: node_id.clone() });
        let left = ask("GetNodeLeft", self.admin.clone().get_node_left(request)).await?.left;
        Ok(left.is_some_and(|left| left.safe_to_remove))
    }

    /// Removes a node that is drained.
    pub(crate) async fn remove(&self, node_id: &Bytes) -> Result<(), NoAnswer> {
        let request = bounded(v1::RemoveNodeRequest { node_id: node_id.clone() });
        ask("RemoveNode", self.admin.clone().remove_node(request)).await.map(drop)
    }

    pub(crate) async fn uploads(&self) -> Result<Vec<v1::OpenUpload>, NoAnswer> {
        let request = bounded(v1::ListUploadsRequest::default());
        Ok(ask("ListUploads", self.admin.clone().list_uploads(request)).await?.uploads)
    }

    /// The blob of the open upload of `key`.
    pub(crate) async fn blob_of(&self, key: &str) -> Option<BlobId> {
        let uploads = self.uploads().await.ok()?;
        let upload = uploads.into_iter().find(|upload| upload.key == key)?;
        convert::blob_id(&upload.blob_id).ok()
    }

    pub(crate) async fn accounts(&self) -> Result<Vec<v1::Account>, NoAnswer> {
        let request = bounded(v1::GetUsageRequest::default());
        Ok(ask("GetUsage", self.admin.clone().get_usage(request)).await?.accounts)
    }

    pub(crate) async fn sweep(&self) -> Result<v1::SweepResponse, NoAnswer> {
        ask("Sweep", self.admin.clone().sweep(Request::new(v1::SweepRequest {}))).await
    }

    /// All chunks that the catalog names.
    pub(crate) async fn catalog(&self) -> Result<Catalog, NoAnswer> {
        let mut catalog = Catalog::new();
        let mut after = None;
        loop {
            let request = bounded(v1::ListChunksRequest { after, limit: 0 });
            let page = ask("ListChunks", self.admin.clone().list_chunks(request)).await?;
            for chunk in page.chunks {
                let (id, named) = named(chunk)?;
                catalog.insert(id, named);
            }
            after = page.next_after;
            if after.is_none() {
                return Ok(catalog);
            }
        }
    }

    /// Chunks that the master calls short.
    pub(crate) async fn short_chunks(&self) -> Result<Vec<ChunkId>, NoAnswer> {
        let mut short = Vec::new();
        let mut after = None;
        loop {
            let request = bounded(v1::ListShortChunksRequest { after, limit: 0 });
            let mut admin = self.admin.clone();
            let page = ask("ListShortChunks", admin.list_short_chunks(request)).await?;
            for chunk in page.chunks {
                short.push(named(chunk)?.0);
            }
            after = page.next_after;
            if after.is_none() {
                return Ok(short);
            }
        }
    }

    /// The files that the gateway lists: key and length.
    pub(crate) async fn files(&self) -> Result<BTreeMap<String, u64>, NoAnswer> {
        let request = bounded(v1::ListFilesRequest::default());
        let page = ask("Files.List", self.files.clone().list(request)).await?;
        Ok(page.files.into_iter().map(|file| (file.key, file.length)).collect())
    }

    fn chunks(&self, address: &str) -> Result<ChunksClient<PeerChannel>, NoAnswer> {
        let channel = self.dialer.dial(address).map_err(no_answer("dial a node"))?;
        Ok(ChunksClient::new(channel).max_decoding_message_size(cairn_proto::MAX_MESSAGE_BYTES))
    }

    /// The chunks that a node holds, with their lengths.
    pub(crate) async fn inventory(
        &self,
        address: &str,
    ) -> Result<BTreeMap<ChunkId, u64>, NoAnswer> {
        let mut client = self.chunks(address)?;
        let mut held = BTreeMap::new();
        loop {
            let after = held.last_key_value().map(|(id, _): (&ChunkId, _)| (*id).into());
            let request = bounded(v1::ListStoredChunksRequest { after, ..Default::default() });
            let page = ask("Chunks.List", client.list(request)).await?;
            for stored in page.chunks {
                let id = convert::chunk_id(stored.chunk).map_err(no_answer("Chunks.List"))?;
                held.insert(id, stored.length);
            }
            if !page.more {
                return Ok(held);
            }
        }
    }

    /// Reads a copy from its node: what is wrong with it, or nothing.
    pub(crate) async fn prove(
        &self,
        address: &str,
        chunk: ChunkId,
    ) -> Result<Option<String>, NoAnswer> {
        let request = v1::ReadChunkRequest { chunk: Some(chunk.into()), ..Default::default() };
        let mut client = self.chunks(address)?;
        let mut parts = ask("Chunks.Read", client.read(bounded(request))).await?;
        let (mut announced, mut hasher) = (None, blake3::Hasher::new());
        while let Some(part) = parts.message().await.map_err(no_answer("Chunks.Read"))? {
            match part.part {
                Some(Part::Header(header)) => announced = Some(header.hash),
                Some(Part::Data(data)) => drop(hasher.update(&data.data)),
                None => {}
            }
        }
        let same = announced.is_some_and(|hash| hash == hasher.finalize().as_bytes()[..]);
        Ok((!same).then(|| "its bytes do not match its hash".to_owned()))
    }
}

/// Reads what the catalog says of a chunk.
pub(crate) fn named(chunk: v1::ChunkCopies) -> Result<(ChunkId, Named), NoAnswer> {
    let nodes = |ids: &[Bytes]| -> Result<Vec<NodeId>, NoAnswer> {
        ids.iter().map(|id| convert::node_id(id).map_err(no_answer("ListChunks"))).collect()
    };
    let (good, bad) = (nodes(&chunk.good)?, nodes(&chunk.bad)?);
    let id = convert::chunk_id(chunk.chunk).map_err(no_answer("ListChunks"))?;
    Ok((id, Named { length: chunk.length, wanted: chunk.wanted as usize, good, bad }))
}
