//! BeginUpload.

use cairn_core::bucket::BucketPolicy;
use cairn_core::chunking::{ChunkSizes, MAX_FILE_BYTES};
use cairn_core::copies::ChunkWant;
use cairn_core::ids::{BlobId, ChunkIndex};
use cairn_kv::{Durability, TransactError, Txn};
use cairn_proto::v1::{BeginUploadRequest, BeginUploadResponse};
use cairn_proto::{InvalidField, WireError, convert};
use tonic::Status;

use super::quota_wait::{MaybeQuota, QuotaWait};
use super::{MAX_CHANGES, MAX_PLACED, caller, condition, invalid};
use crate::answer;
use crate::config::millis;
use crate::error::{FileTooLarge, PlacedOtherwise, QuotaExceeded};
use crate::master::Master;
use crate::nodes::{Placement, Spread};
use crate::upload::begin::{Begin, BeginError, Begun, begin};
use crate::upload::extend::wish;

impl MaybeQuota for BeginError {
    fn quota(&self) -> Option<&QuotaExceeded> {
        match self {
            Self::Quota(quota) => Some(quota),
            Self::Catalog(_)
            | Self::Bucket(_)
            | Self::Otherwise(_)
            | Self::Condition(_)
            | Self::Nodes(_)
            | Self::Least(_)
            | Self::IdTaken(_)
            | Self::Aborted(_)
            | Self::Committed(_) => None,
        }
    }
}

/// Checks the request, and how many chunks to place with the answer.
fn parse(
    master: &Master,
    request: BeginUploadRequest,
) -> Result<(Begin, ChunkIndex), InvalidField> {
    let (principal, _) = caller(request.caller)?;
    let place = request.place_chunks;
    if place as usize > MAX_PLACED {
        let problem = format!("{place}: ask for at most {MAX_PLACED}");
        return Err(InvalidField::new("place_chunks", problem));
    }
    let chunking = convert::chunking(request.chunking)?;
    let sizes = chunking.sizes(master.config.chunk_sizes, request.length);
    let sizes = sizes.map_err(|error| InvalidField::new("chunking", error.to_string()))?;
    let begin = Begin {
        upload: convert::upload_id(&request.upload_id)?,
        blob: BlobId::from_uuid(master.entropy.uuid_v7(&master.clock)),
        principal,
        bucket: convert::bucket(&request.bucket)?,
        key: convert::key(request.key)?,
        length: request.length,
        received: request.received,
        wish: wish(&sizes, request.received),
        condition: condition(request.condition)?,
        meta: convert::meta(request.meta)?,
        sizes,
        defaults: master.defaults(),
        asked: convert::asked_durability(request.durability)?,
        write: convert::strategy("write", &request.write)?,
        lease_until_ms: master.lease_until_ms(),
    };
    Ok((begin, place))
}

/// The first chunks, with the most that each can have.
fn wants(
    sizes: &ChunkSizes,
    length: Option<u64>,
    place: ChunkIndex,
    copies: u32,
) -> Vec<ChunkWant> {
    let count = length.and_then(|bytes| sizes.count(bytes)).unwrap_or(place);
    let want = |index| ChunkWant {
        index,
        length: length.map_or(sizes.capacity(index), |bytes| sizes.length(index, bytes)),
        copies: copies as usize,
        holders: Vec::new(),
        failed: Vec::new(),
    };
    (0..count.min(place)).map(want).collect()
}

pub(super) async fn begin_upload(
    master: &Master,
    request: BeginUploadRequest,
) -> Result<BeginUploadResponse, Status> {
    let (request, place) = parse(master, request).map_err(|field| invalid(&field))?;
    let bytes = request.length.unwrap_or(request.received);
    if bytes > MAX_FILE_BYTES || request.sizes.count(bytes).is_none() {
        let most = MAX_FILE_BYTES;
        return Err(FileTooLarge { bytes, most }.to_status());
    }
    // Where the bucket says something else, the transaction tells, and nodes are chosen again.
    let copies = request.defaults.copies;
    let all = Spread { copies, zones: 1, least: copies };
    let mut spread = request.spread(&BucketPolicy::default()).unwrap_or(all);
    let mut changes = 0;
    let mut wait = QuotaWait::begin(master);
    loop {
        let wants = wants(&request.sizes, request.length, place, spread.copies);
        let least = spread.least as usize;
        let placement = master.nodes.place_at_least(request.blob, &wants, least, spread.zones);
        let placed = placement.as_ref().map(Placement::placed).map_err(|few| *few);
        let asked = request.clone();
        let closure = move |txn: &mut Txn<'_>| begin(txn, &asked, spread, &placed);
        let begun = master.kv.transact(Durability::Buffered, closure).await;
        match (begun, placement) {
            (Ok(begun), Ok(placement)) => {
                if !begun.repeated {
                    master.metrics.begun.inc();
                }
                tracing::debug!(target: "cairn", upload = %request.upload, blob = %begun.blob,
                    reserved = begun.reserved, "upload begun");
                return Ok(answer(master, &begun, placement.keep()));
            }
            (Err(TransactError::Rejected(BeginError::Otherwise(PlacedOtherwise(counts)))), _)
                if changes < MAX_CHANGES =>
            {
                spread = counts;
                changes += 1;
            }
            (Err(refused), placement) => {
                drop(placement);
                if !wait.before_retry(&refused).await {
                    return Err(not_begun(master, refused));
                }
            }
            (Ok(_), Err(few)) => return Err(few.to_status()),
        }
    }
}

fn not_begun(master: &Master, refused: TransactError<BeginError>) -> Status {
    if let TransactError::Rejected(BeginError::Nodes(_)) = &refused {
        master.metrics.placement_failed.inc();
    }
    answer::not_transacted(refused)
}

fn answer(
    master: &Master,
    begun: &Begun,
    placements: Vec<cairn_core::copies::ChunkPlacement>,
) -> BeginUploadResponse {
    BeginUploadResponse {
        blob_id: convert::bytes(begun.blob.as_bytes()),
        chunk_sizes: Some(begun.sizes.into()),
        reserved: begun.reserved,
        placements: placements.into_iter().map(Into::into).collect(),
        copies: begun.copies,
        lease_ms: millis(master.config.lease),
        without_sha256: !begun.sha256,
        least_copies: begun.least_copies,
        write: begun.write.map(|write| write.to_string()).unwrap_or_default(),
    }
}
