//! Calling nodes: one channel per address, kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::copies::{CopyReceipt, NodeMoment, Place};
use cairn_core::digest::ChunkHash;
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation};
use cairn_proto::v1::chunks_client::ChunksClient;
use cairn_proto::v1::{
    self, CopyChunkRequest, DeleteChunksRequest, ListStoredChunksRequest, StatChunkRequest,
};
use cairn_proto::{InvalidField, MAX_MESSAGE_BYTES, RemoteError, convert};
use cairn_runtime::{Clock, Dialer, Elapsed, InvalidAddress, PeerChannel};
use tonic::{Request, Status};

/// A node did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    #[error(transparent)]
    Silent(#[from] Elapsed),
    #[error(transparent)]
    Refused(#[from] RemoteError),
    #[error("the node's answer does not fit: {0}")]
    Answer(#[from] InvalidField),
    #[error("no node that can be asked has it")]
    NoSource,
}

/// What a node did with an order to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// How many of the chunks were there, and are gone.
    pub(crate) deleted: u64,
    /// Those that may have been written since the order was decided.
    pub(crate) kept: BTreeSet<ChunkId>,
}

/// Channels to nodes, each made when first used.
#[derive(Debug)]
pub(crate) struct Peers {
    dialer: Dialer,
    clock: Clock,
    bound: Duration,
    channels: Mutex<BTreeMap<String, PeerChannel>>,
}

impl Peers {
    pub(crate) fn new(dialer: Dialer, clock: Clock, bound: Duration) -> Self {
        Self { dialer, clock, bound, channels: Mutex::default() }
    }

    /// Checks that an address can be dialled.
    pub(crate) fn check(&self, address: &str) -> Result<(), InvalidAddress> {
        self.dialer.dial(address).map(drop)
    }

    /// The channel to `address`.
    pub(crate) fn channel(&self, address: &str) -> Result<PeerChannel, InvalidAddress> {
        let mut channels = self.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = self.dialer.dial(address)?;
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    fn client(&self, address: &str) -> Result<ChunksClient<PeerChannel>, InvalidAddress> {
        let client = ChunksClient::new(self.channel(address)?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    async fn bounded<T>(
        &self,
        address: &str,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Unreached> {
        self.within(self.bound, address, call).await
    }

    async fn within<T>(
        &self,
        bound: Duration,
        address: &str,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Unreached> {
        let answer = match self.clock.timeout(bound, call).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => RemoteError::from(status).into(),
            Err(elapsed) => elapsed.into(),
        };
        // Whoever is at the address next time is dialled anew.
        self.lock().remove(address);
        Err(answer)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PeerChannel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Erases up to 1000 chunks of a blob; true when there are more.
    pub(crate) async fn erase(&self, address: &str, blob: BlobId) -> Result<bool, Unreached> {
        let mut client = self.client(address)?;
        let request = DeleteChunksRequest {
            blob_id: convert::bytes(blob.as_bytes()),
            ..DeleteChunksRequest::default()
        };
        Ok(self.bounded(address, client.delete(request)).await?.more)
    }

    /// Deletes chunks, at most 1000. Those that were written after `as_of` are kept; without it they are gone for good.
    pub(crate) async fn delete(
        &self,
        address: &str,
        chunks: &[ChunkId],
        as_of: Option<NodeMoment>,
    ) -> Result<Deleted, Unreached> {
        let mut client = self.client(address)?;
        let request = DeleteChunksRequest {
            chunks: chunks.iter().map(|chunk| (*chunk).into()).collect(),
            not_after: as_of.map(Into::into),
            ..DeleteChunksRequest::default()
        };
        let answer = self.bounded(address, client.delete(request)).await?;
        let kept = answer.kept.into_iter().map(|chunk| convert::chunk_id(Some(chunk)));
        Ok(Deleted { deleted: answer.deleted, kept: kept.collect::<Result<_, _>>()? })
    }

    /// Has a node read all of a chunk and check it, within `bound`; its length and hash, and the disk that it lies on.
    pub(crate) async fn prove(
        &self,
        address: &str,
        chunk: ChunkId,
        bound: Duration,
    ) -> Result<(u64, ChunkHash, DiskIncarnation), Unreached> {
        let mut client = self.client(address)?;
        let message =
            StatChunkRequest { chunk: Some(chunk.into()), prove: true, ..Default::default() };
        let mut request = Request::new(message);
        request.set_timeout(bound);
        let answer = self.within(bound, address, client.stat(request)).await?;
        Ok((answer.length, convert::chunk_hash(&answer.hash)?, convert::disk(&answer.disk)?))
    }

    /// Has `target` fetch a chunk from `source` and make it durable, within `bound`.
    pub(crate) async fn copy(
        &self,
        target: &Place,
        source: &Place,
        chunk: ChunkId,
        (length, hash): (u64, ChunkHash),
        bound: Duration,
    ) -> Result<CopyReceipt, Unreached> {
        let mut client = self.client(&target.address)?;
        let mut request = Request::new(CopyChunkRequest {
            chunk: Some(chunk.into()),
            source: Some(source.clone().into()),
            length,
            hash: bytes::Bytes::copy_from_slice(&hash.0),
            grant: target.grant.clone(),
        });
        request.set_timeout(bound);
        let answer = self.within(bound, &target.address, client.copy(request)).await?;
        let (node, disk) = (convert::node_id(&answer.node_id)?, convert::disk(&answer.disk)?);
        if node != target.node {
            return Err(InvalidField::new("node_id", "another node answered").into());
        }
        Ok(CopyReceipt { node, disk })
    }

    /// A page of a node's inventory: chunks in order with their lengths, and whether there is more.
    pub(crate) async fn inventory(
        &self,
        address: &str,
        after: Option<ChunkId>,
    ) -> Result<(Vec<(ChunkId, u64)>, bool), Unreached> {
        let mut client = self.client(address)?;
        let request = ListStoredChunksRequest {
            after: after.map(Into::into),
            ..ListStoredChunksRequest::default()
        };
        let answer = self.bounded(address, client.list(request)).await?;
        let chunk = |stored: v1::StoredChunk| -> Result<_, InvalidField> {
            Ok((convert::chunk_id(stored.chunk)?, stored.length))
        };
        let chunks = answer.chunks.into_iter().map(chunk);
        Ok((chunks.collect::<Result<_, _>>()?, answer.more))
    }
}
