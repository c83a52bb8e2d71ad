//! AllocateChunks.

use cairn_core::chunking::MAX_FILE_BYTES;
use cairn_core::copies::ChunkWant;
use cairn_core::ids::BlobId;
use cairn_kv::{Durability, TransactError, Txn};
use cairn_proto::v1::{AllocateChunksRequest, AllocateChunksResponse};
use cairn_proto::{InvalidField, WireError, convert};
use tonic::Status;

use super::quota_wait::{MaybeQuota, QuotaWait};
use super::{MAX_CHANGES, caller, invalid, wants};
use crate::answer;
use crate::error::{FileTooLarge, PlacedOtherwise, QuotaExceeded};
use crate::master::Master;
use crate::nodes::Placement;
use crate::upload::extend::{Extend, ExtendError, extend};

impl MaybeQuota for ExtendError {
    fn quota(&self) -> Option<&QuotaExceeded> {
        match self {
            Self::Quota(quota) => Some(quota),
            Self::Catalog(_)
            | Self::NotOpen(_)
            | Self::Longer(_)
            | Self::Otherwise(_)
            | Self::Nodes(_) => None,
        }
    }
}

fn parse(
    master: &Master,
    request: AllocateChunksRequest,
) -> Result<(Extend, Vec<ChunkWant>), InvalidField> {
    let (principal, _) = caller(request.caller)?;
    let extend = Extend {
        upload: convert::upload_id(&request.upload_id)?,
        principal,
        received: request.received,
        lease_until_ms: master.lease_until_ms(),
    };
    Ok((extend, wants(request.wants)?))
}

pub(super) async fn allocate_chunks(
    master: &Master,
    request: AllocateChunksRequest,
) -> Result<AllocateChunksResponse, Status> {
    let least = match request.least_copies {
        0 => usize::MAX,
        least => least as usize,
    };
    let (request, wants) = parse(master, request).map_err(|field| invalid(&field))?;
    if request.received > MAX_FILE_BYTES {
        let (bytes, most) = (request.received, MAX_FILE_BYTES);
        return Err(FileTooLarge { bytes, most }.to_status());
    }
    // The blob is known only inside the transaction; to break ties between nodes any id will do.
    let spread = BlobId::from_uuid(master.entropy.uuid_v7(&master.clock));
    let (mut zones, mut changes) = (1, 0);
    let mut wait = QuotaWait::begin(master);
    loop {
        let placement = master.nodes.place_at_least(spread, &wants, least, zones);
        let placed = placement.as_ref().map(Placement::placed).map_err(|few| *few);
        let asked = request.clone();
        let closure = move |txn: &mut Txn<'_>| extend(txn, &asked, zones, &placed);
        let extended = master.kv.transact(Durability::Buffered, closure).await;
        match (extended, placement) {
            (Ok(extended), Ok(placement)) => {
                let placements = placement.keep();
                return Ok(AllocateChunksResponse {
                    reserved: extended.reserved,
                    placements: placements.into_iter().map(Into::into).collect(),
                });
            }
            (Err(TransactError::Rejected(ExtendError::Otherwise(PlacedOtherwise(counts)))), _)
                if changes < MAX_CHANGES =>
            {
                zones = counts.zones;
                changes += 1;
            }
            (Err(refused), placement) => {
                drop(placement);
                if !wait.before_retry(&refused).await {
                    if let TransactError::Rejected(ExtendError::Nodes(_)) = &refused {
                        master.metrics.placement_failed.inc();
                    }
                    return Err(answer::not_transacted(refused));
                }
            }
            (Ok(_), Err(few)) => return Err(few.to_status()),
        }
    }
}
