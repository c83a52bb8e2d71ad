//! Extend: more bytes reserved, more nodes handed out. Never shrinks what is reserved.

use cairn_core::chunking::{ChunkSizes, MAX_FILE_BYTES};
use cairn_core::ids::{BlobId, UploadId};
use cairn_core::names::Principal;
use cairn_core::quota::Amount;
use cairn_kv::Txn;

use super::{NotOpen, blob_of, find_open, give_nodes};
use crate::accounts::Accounts;
use crate::catalog::{Upload, record};
use crate::error::{
    CatalogError, LongerThanAnnounced, NotPlaced, PlacedOtherwise, QuotaExceeded, operation_error,
};
use crate::nodes::{Placed, Spread};

/// Chunks that an upload of unknown length likes to have reserved ahead of what it has received: as
/// many as a gateway writes at a time.
const CHUNKS_AHEAD: u64 = 3;

operation_error! {
    /// Why an upload gets no more.
    ExtendError {
        Catalog(CatalogError),
        NotOpen(NotOpen),
        Longer(LongerThanAnnounced),
        Quota(QuotaExceeded),
        Otherwise(PlacedOtherwise),
        Nodes(NotPlaced),
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Extend {
    pub(crate) upload: UploadId,
    pub(crate) principal: Principal,
    pub(crate) received: u64,
    pub(crate) lease_until_ms: u64,
}

/// What the upload has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extended {
    pub(crate) blob: BlobId,
    pub(crate) reserved: u64,
}

/// What an upload of unknown length that has `received` would like to have reserved.
pub(crate) fn wish(sizes: &ChunkSizes, received: u64) -> u64 {
    let chunk = sizes.index_at(received).map_or(sizes.large(), |index| sizes.capacity(index));
    received.saturating_add(CHUNKS_AHEAD * chunk).min(MAX_FILE_BYTES).max(received)
}

/// Reserves at least `received` and records the nodes in `placed` as handed out. How many copies are placed is the
/// caller's; `zones` that they were placed for must be the upload's.
pub(crate) fn extend(
    txn: &mut Txn<'_>,
    request: &Extend,
    zones: u32,
    placed: &Result<Placed, NotPlaced>,
) -> Result<Extended, ExtendError> {
    let mut upload = find_open(txn, request.upload, &request.principal)?;
    let mut blob = blob_of(txn, &upload)?;
    reserve(txn, &mut upload, &blob.sizes, request.received)?;
    let copies = blob.copies;
    let least = upload.least_copies;
    Spread { copies, zones, least }.must_be(Spread { copies, zones: upload.zones, least })?;
    let nodes = placed.clone()?.nodes;
    if !nodes.is_subset(&blob.nodes) {
        give_nodes(txn, request.upload, &mut blob, nodes)?;
        record::put(txn, &upload.blob, &blob)?;
    }
    upload.renew_lease(request.lease_until_ms);
    record::put(txn, &request.upload, &upload)?;
    Ok(Extended { blob: upload.blob, reserved: upload.reserved })
}

fn reserve(
    txn: &mut Txn<'_>,
    upload: &mut Upload,
    sizes: &ChunkSizes,
    received: u64,
) -> Result<(), ExtendError> {
    if let Some(announced) = upload.known_length {
        let longer = LongerThanAnnounced { received, announced };
        return if received > announced { Err(longer.into()) } else { Ok(()) };
    }
    let need = received.saturating_sub(upload.reserved);
    let wish = wish(sizes, received).saturating_sub(upload.reserved);
    if wish == 0 {
        return Ok(());
    }
    let mut accounts = Accounts::load(txn, &upload.principal, &upload.bucket)?;
    let more = accounts.ahead(need, wish);
    if more > 0 {
        accounts.reserve(Amount::bytes(more), Amount::object(upload.reserved))?;
        accounts.store(txn)?;
        upload.reserved += more;
    }
    Ok(())
}
