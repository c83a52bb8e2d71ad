//! Locate.

use cairn_core::copies::ChunkLocation;
use cairn_kv::{Durability, Snapshot, Txn};
use cairn_proto::v1::{LocateRequest, LocateResponse};
use cairn_proto::{InvalidField, convert};
use tonic::Status;

use super::{bucket_key, invalid};
use crate::config::millis;
use crate::master::Master;
use crate::nodes::places;
use crate::object::locate::{Locate, Located, LocatedPage, locate as locate_chunks};
use crate::object::reads::{self, Lasts};

fn parse(request: LocateRequest) -> Result<Locate, InvalidField> {
    let principal = convert::principal(request.principal)?;
    let version = if request.version_id.is_empty() {
        None
    } else {
        Some(convert::version_id(&request.version_id)?)
    };
    Ok(Locate {
        bucket: bucket_key(&principal, &request.bucket)?,
        key: convert::key(request.key)?,
        version,
        offset: request.offset,
        length: request.length,
    })
}

/// Looks the version up with a lease on it; the lease's milliseconds.
async fn leased(master: &Master, request: Locate) -> Result<(LocatedPage, u64), Status> {
    // From before the look: the lease of what has a name begins there.
    let lasts =
        Lasts { now_ms: master.time.steady_ms(), lease_ms: millis(master.config.read_lease) };
    let asked = request.clone();
    let page = master.view(move |view: &Snapshot<'_>| locate_chunks(view, &asked)).await?;
    if !page.condemned {
        return Ok((page, lasts.lease_ms));
    }
    let hold = move |txn: &mut Txn<'_>| reads::hold(txn, &request, lasts);
    // Readers do not wait for the journal: a catalog that comes from it erases nothing by itself, whatever leases it lacks.
    master.transact_locally(Durability::Synced, hold).await
}

pub(super) async fn locate(
    master: &Master,
    request: LocateRequest,
) -> Result<LocateResponse, Status> {
    let request = parse(request).map_err(|field| invalid(&field))?;
    let (page, lease_ms) = leased(master, request).await?;
    let directory = master.nodes.directory();
    let location = |located: Located| ChunkLocation {
        chunk: located.chunk,
        offset: located.offset,
        length: located.entry.length,
        hash: located.entry.hash,
        places: places(&directory, located.chunk, &located.entry, &located.found_bad),
    };
    let chunks = page.chunks.into_iter().map(|located| location(located).into());
    Ok(LocateResponse {
        object: Some((&page.object).into()),
        chunks: chunks.collect(),
        next_offset: page.next_offset,
        lease_ms,
        read: page.read.map(|read| read.to_string()).unwrap_or_default(),
    })
}
