//! The gateway's view of one open upload: its calls to the master, in domain types.

use std::collections::BTreeMap;

use cairn_core::chunking::ChunkSizes;
use cairn_core::copies::{ChunkPlacement, ChunkReceipt, ChunkWant, Place};
use cairn_core::ids::{BlobId, UploadId};
use cairn_core::strategy::SaveStrategy;
use cairn_proto::v1::master_client::MasterClient;
use cairn_proto::{Reason, RemoteError, WireError, convert, v1};
use cairn_replicas::Replace;
use cairn_runtime::PeerChannel;

use super::error::UploadError;
use super::hash::FileDigests;
use super::{NewFile, StoredFile};
use crate::master::{CallContext, Master};

/// The generated client of the master.
type Client = MasterClient<PeerChannel>;

/// Chunks placed by one call.
pub(super) const PLACED_AT_ONCE: u32 = 4;

/// Names an upload in calls to the master. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) upload: UploadId,
    pub(super) context: CallContext,
    pub(super) master: Master,
}

/// What the master answered to the begin.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) blob: BlobId,
    pub(super) sizes: ChunkSizes,
    /// The upload may write up to this offset.
    pub(super) reserved: u64,
    pub(super) placements: Vec<ChunkPlacement>,
    pub(super) copies: usize,
    /// Copies of each chunk with which the commit is taken.
    pub(super) least_copies: usize,
    /// How the bucket wants copies to be written.
    pub(super) write: Option<SaveStrategy>,
    /// Whether the bucket wants the SHA-256 of the file.
    pub(super) sha256: bool,
    pub(super) lease: std::time::Duration,
}

impl Session {
    fn upload_id(&self) -> bytes::Bytes {
        convert::bytes(self.upload.as_bytes())
    }

    /// Opens the upload; `received` are the bytes in hand when the length is not known.
    pub(super) async fn begin(
        &self,
        file: &NewFile,
        length: Option<u64>,
        received: u64,
    ) -> Result<Begun, UploadError> {
        let request = v1::BeginUploadRequest {
            caller: Some(self.context.caller()),
            upload_id: self.upload_id(),
            bucket: file.bucket.to_string(),
            key: file.key.to_string(),
            length,
            received,
            condition: Some(file.condition.clone().into()),
            meta: Some((&file.meta).into()),
            place_chunks: PLACED_AT_ONCE,
            chunking: convert::chunking_rule(file.chunking),
            durability: Some(file.durability.into()),
            write: file.write.map(|write| write.to_string()).unwrap_or_default(),
        };
        let begin = |mut client: Client, request| async move { client.begin_upload(request).await };
        let answer: v1::BeginUploadResponse =
            self.master.call(&self.context, request, begin).await?;
        Ok(Begun {
            blob: convert::blob_id(&answer.blob_id)?,
            sizes: convert::required("chunk_sizes", answer.chunk_sizes)?.try_into()?,
            reserved: answer.reserved,
            placements: convert::each(answer.placements)?,
            copies: answer.copies as usize,
            least_copies: match answer.least_copies {
                0 => answer.copies as usize,
                least => least as usize,
            },
            write: convert::strategy("write", &answer.write)?,
            sha256: !answer.without_sha256,
            lease: std::time::Duration::from_millis(answer.lease_ms),
        })
    }

    /// Reserves at least `received` bytes and places the wanted chunks, each in `least_copies` places at least.
    pub(super) async fn allocate(
        &self,
        received: u64,
        wants: Vec<ChunkWant>,
        least_copies: usize,
    ) -> Result<(u64, Vec<ChunkPlacement>), UploadError> {
        let request = v1::AllocateChunksRequest {
            caller: Some(self.context.caller()),
            upload_id: self.upload_id(),
            received,
            wants: wants.into_iter().map(Into::into).collect(),
            least_copies: u32::try_from(least_copies).unwrap_or(u32::MAX),
        };
        let allocate =
            |mut client: Client, request| async move { client.allocate_chunks(request).await };
        let answer = self.master.call(&self.context, request, allocate).await?;
        Ok((answer.reserved, convert::each(answer.placements)?))
    }

    /// Hands receipts of a committed upload to the master; copies that are not wanted any more do not matter.
    pub(super) async fn confirm_late(
        &self,
        blob: BlobId,
        receipt: ChunkReceipt,
    ) -> Result<(), RemoteError> {
        let request = v1::ConfirmChunksRequest {
            caller: Some(self.context.caller()),
            upload_id: self.upload_id(),
            receipts: vec![receipt.into()],
            blob_id: convert::bytes(blob.as_bytes()),
            late: true,
        };
        let confirm =
            |mut client: Client, request| async move { client.confirm_chunks(request).await };
        self.master.call(&self.context, request, confirm).await.map(|_| ())
    }

    /// Hands receipts to the master; a copy that does not count fails the upload.
    pub(super) async fn confirm(
        &self,
        blob: BlobId,
        receipts: Vec<ChunkReceipt>,
    ) -> Result<(), UploadError> {
        let request = v1::ConfirmChunksRequest {
            caller: Some(self.context.caller()),
            upload_id: self.upload_id(),
            receipts: receipts.into_iter().map(Into::into).collect(),
            blob_id: convert::bytes(blob.as_bytes()),
            late: false,
        };
        let confirm =
            |mut client: Client, request| async move { client.confirm_chunks(request).await };
        let answer = self.master.call(&self.context, request, confirm).await?;
        match answer.refused.first() {
            None => Ok(()),
            Some(refused) => Err(UploadError::Copies {
                index: refused.index,
                problem: "the receipt of a copy was refused: its node or disk was replaced".into(),
            }),
        }
    }

    /// Makes the upload a version.
    pub(super) async fn commit(
        &self,
        blob: BlobId,
        receipts: Vec<ChunkReceipt>,
        length: u64,
        digests: FileDigests,
    ) -> Result<StoredFile, UploadError> {
        let sha256 = digests.sha256.map(|sha256| bytes::Bytes::copy_from_slice(&sha256.0));
        let request = v1::CommitUploadRequest {
            caller: Some(self.context.caller()),
            upload_id: self.upload_id(),
            receipts: receipts.into_iter().map(Into::into).collect(),
            length,
            sha256: sha256.unwrap_or_default(),
            root: bytes::Bytes::copy_from_slice(&digests.root.0),
            blob_id: convert::bytes(blob.as_bytes()),
        };
        let commit =
            |mut client: Client, request| async move { client.commit_upload(request).await };
        let answer = self.master.call(&self.context, request, commit).await?;
        Ok(StoredFile {
            object: convert::object(answer.object)?,
            replaced: answer.replaced,
            durability: convert::required("durability", answer.durability)?.into(),
            nodes: BTreeMap::new(),
        })
    }

    /// Extends the lease.
    pub(super) async fn renew(&self) -> Result<(), RemoteError> {
        let caller = Some(self.context.caller());
        let request = v1::RenewUploadRequest { caller, upload_id: self.upload_id() };
        let renew = |mut client: Client, request| async move { client.renew_upload(request).await };
        self.master.call(&self.context, request, renew).await.map(|_| ())
    }

    /// Gives the upload up. One that the master does not know is given up already.
    pub(super) async fn abort(&self) -> Result<(), RemoteError> {
        let caller = Some(self.context.caller());
        let request = v1::AbortUploadRequest { caller, upload_id: self.upload_id() };
        let abort = |mut client: Client, request| async move { client.abort_upload(request).await };
        match self.master.call(&self.context, request, abort).await {
            Ok(_) => Ok(()),
            Err(error) if error.reason() == Reason::UploadNotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Replacements of failed copies come from the master, within what is reserved.
impl Replace for Session {
    type Error = UploadError;

    async fn replace(&self, want: ChunkWant) -> Result<Vec<Place>, UploadError> {
        let (_, placements) = self.allocate(0, vec![want], 1).await?;
        Ok(placements.into_iter().next().map(|placement| placement.places).unwrap_or_default())
    }
}
