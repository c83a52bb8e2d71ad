//! CommitUpload.

use cairn_core::object::VersionId;
use cairn_kv::Txn;
use cairn_proto::v1::{CommitUploadRequest, CommitUploadResponse};
use cairn_proto::{InvalidField, convert};
use tonic::Status;

use super::{caller, invalid, receipts};
use crate::config::SeededBug;
use crate::master::Master;
use crate::upload::commit::{Commit, commit};

fn parse(master: &Master, request: CommitUploadRequest) -> Result<Commit, InvalidField> {
    let (principal, _) = caller(request.caller)?;
    Ok(Commit {
        upload: convert::upload_id(&request.upload_id)?,
        principal,
        receipts: receipts(request.receipts)?,
        length: request.length,
        sha256: convert::sha256(&request.sha256)?,
        root: convert::root(&request.root)?,
        blob: convert::blob_id(&request.blob_id)?,
        version: VersionId::from_uuid(master.entropy.uuid_v7(&master.clock)),
        // Without a journal it is the store's own.
        meta_copies: master.config.meta_copies.max(1),
        committed_ms: master.time.wall_ms(),
        moment: master.moment(),
        finished_ms: master.time.steady_ms(),
        faults: master.config.faults(),
    })
}

pub(super) async fn commit_upload(
    master: &Master,
    request: CommitUploadRequest,
) -> Result<CommitUploadResponse, Status> {
    let request = parse(master, request).map_err(|field| invalid(&field))?;
    let (upload, version) = (request.upload, request.version);
    let closure = move |txn: &mut Txn<'_>| commit(txn, &request);
    let durability = master.acknowledged(SeededBug::BufferedCommit);
    let committed = master.transact(durability, closure).await?;
    // A repeat has the version of the commit that was.
    if committed.object.version == version {
        master.metrics.committed.inc();
        master.gave_back();
        tracing::info!(target: "cairn", %upload, %version, length = committed.object.length,
            replaced = committed.replaced, "upload committed");
    }
    Ok(CommitUploadResponse {
        object: Some((&committed.object).into()),
        replaced: committed.replaced,
        durability: Some(committed.durability.into()),
    })
}
