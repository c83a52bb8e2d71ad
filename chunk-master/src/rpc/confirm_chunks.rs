//! ConfirmChunks.

use cairn_kv::{Durability, Txn};
use cairn_proto::v1::{ConfirmChunksRequest, ConfirmChunksResponse, RefusedCopy};
use cairn_proto::{InvalidField, convert};
use tonic::Status;

use super::{caller, invalid, receipts};
use crate::master::Master;
use crate::upload::confirm::{Confirm, Refused, confirm};
use crate::upload::late::confirm_late;

fn parse(master: &Master, request: ConfirmChunksRequest) -> Result<Confirm, InvalidField> {
    let (principal, _) = caller(request.caller)?;
    Ok(Confirm {
        upload: convert::upload_id(&request.upload_id)?,
        principal,
        receipts: receipts(request.receipts)?,
        lease_until_ms: master.lease_until_ms(),
        blob: convert::blob_id(&request.blob_id)?,
    })
}

pub(super) async fn confirm_chunks(
    master: &Master,
    request: ConfirmChunksRequest,
) -> Result<ConfirmChunksResponse, Status> {
    let late = request.late;
    let request = parse(master, request).map_err(|field| invalid(&field))?;
    let refused = if late {
        // As the end of a repair: who counts a chunk as whole must find it so after a crash.
        let closure = move |txn: &mut Txn<'_>| confirm_late(txn, &request);
        master.transact(Durability::Synced, closure).await?
    } else {
        let closure = move |txn: &mut Txn<'_>| confirm(txn, &request);
        master.transact(Durability::Buffered, closure).await?
    };
    let refused = refused.into_iter().map(|Refused { index, node }| RefusedCopy {
        index,
        node_id: convert::bytes(node.as_bytes()),
    });
    Ok(ConfirmChunksResponse { refused: refused.collect() })
}
