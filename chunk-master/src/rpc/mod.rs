//! The service `Master`, one file per call: wire to domain, one transaction, domain to wire.

mod abort_upload;
mod allocate_chunks;
mod begin_upload;
mod buckets;
mod commit_upload;
mod confirm_chunks;
mod delete_object;
mod heartbeat;
mod list_objects;
mod locate;
mod pending_uploads;
mod quota_wait;
mod register_node;
mod renew_upload;
mod report_copies;
pub(crate) mod service;
mod stat_object;
mod watch_nodes;

use cairn_core::chunking::MAX_CHUNKS;
use cairn_core::copies::{ChunkReceipt, ChunkWant};
use cairn_core::names::Principal;
use cairn_proto::{InvalidField, WireError, convert, v1};
use tonic::Status;

use crate::catalog::{BucketKey, DeletionKey};
use crate::nodes::{DiskView, Fullness, NodeView, Report, TierView};

/// Most chunks placed by one call.
const MAX_PLACED: usize = 16;
/// Most times that nodes are chosen again because the bucket's policy is another one.
const MAX_CHANGES: usize = 4;
/// Most receipts and reports of one call.
const MAX_RECEIPTS: usize = 256;
/// Most copies of one chunk, and most nodes named as holders or failed.
const MAX_COPIES: usize = 8;
/// Most nodes that an upload can report as failed for one chunk.
const MAX_NODES_NAMED: usize = 64;

fn invalid(field: &InvalidField) -> Status {
    field.to_status()
}

/// Reads who calls, and the call's idempotency key.
fn caller(caller: Option<v1::Caller>) -> Result<(Principal, Option<DeletionKey>), InvalidField> {
    let v1::Caller { principal, idempotency_key } = caller.unwrap_or_default();
    let key = if idempotency_key.is_empty() {
        None
    } else {
        let wrong = |_| InvalidField::new("caller.idempotency_key", "send 16 bytes, or none");
        Some(DeletionKey(idempotency_key[..].try_into().map_err(wrong)?))
    };
    Ok((convert::principal(principal)?, key))
}

/// Reads a bucket of the caller's tenant.
fn bucket_key(principal: &Principal, bucket: &str) -> Result<BucketKey, InvalidField> {
    Ok(BucketKey { tenant: principal.tenant.clone(), bucket: convert::bucket(bucket)? })
}

/// Reads receipts: bounded in number, in copies, and naming each node once.
fn receipts(list: Vec<v1::ChunkReceipt>) -> Result<Vec<ChunkReceipt>, InvalidField> {
    let list = convert::at_most("receipts", MAX_RECEIPTS, list)?;
    let receipts: Vec<ChunkReceipt> = convert::each(list)?;
    for receipt in &receipts {
        let nodes: std::collections::BTreeSet<_> = receipt.copies.iter().map(|c| c.node).collect();
        if receipt.copies.len() > MAX_COPIES || nodes.len() < receipt.copies.len() {
            let problem = format!("name 1 to {MAX_COPIES} different nodes");
            return Err(InvalidField::new("receipts.copies", problem));
        }
        if receipt.index >= MAX_CHUNKS {
            let problem = format!("{}: chunks are below {MAX_CHUNKS}", receipt.index);
            return Err(InvalidField::new("receipts.index", problem));
        }
    }
    Ok(receipts)
}

/// Reads wants: bounded in number, copies and nodes named.
fn wants(list: Vec<v1::ChunkWant>) -> Result<Vec<ChunkWant>, InvalidField> {
    let list = convert::at_most("wants", MAX_PLACED, list)?;
    let wants: Vec<ChunkWant> = convert::each(list)?;
    for want in &wants {
        if want.index >= MAX_CHUNKS {
            let problem = format!("{}: chunks are below {MAX_CHUNKS}", want.index);
            return Err(InvalidField::new("wants.index", problem));
        }
        if !(1..=MAX_COPIES).contains(&want.copies) {
            let problem = format!("{}: ask for 1 to {MAX_COPIES}", want.copies);
            return Err(InvalidField::new("wants.copies", problem));
        }
        if want.holders.len() > MAX_NODES_NAMED || want.failed.len() > MAX_NODES_NAMED {
            let problem = format!("name at most {MAX_NODES_NAMED} nodes");
            return Err(InvalidField::new("wants.holders", problem));
        }
        if want.length == 0 || want.length > cairn_core::chunking::LARGE_CHUNK_BYTES {
            let problem = format!("{}: no chunk has this length", want.length);
            return Err(InvalidField::new("wants.length", problem));
        }
    }
    Ok(wants)
}

/// Reads a condition: bounded, since an upload keeps it.
fn condition(
    condition: Option<v1::WriteCondition>,
) -> Result<cairn_core::object::WriteCondition, InvalidField> {
    const MAX_TAGS: usize = 64;
    const MAX_TAG_BYTES: usize = 256;
    let condition = condition.unwrap_or_default();
    for (field, tags) in [
        ("condition.if_match", &condition.if_match),
        ("condition.if_none_match", &condition.if_none_match),
    ] {
        let long = tags.iter().any(|tag| tag.len() > MAX_TAG_BYTES);
        if tags.len() > MAX_TAGS || long {
            let problem = format!("send at most {MAX_TAGS} tags of {MAX_TAG_BYTES} bytes");
            return Err(InvalidField::new(field, problem));
        }
    }
    Ok(condition.into())
}

/// Most disks of a node.
const MAX_DISKS: usize = 64;
/// Most tiers of a node.
const MAX_TIERS: usize = 64;
/// Most bytes of a tier's name.
const MAX_TIER_NAME: usize = 256;
/// Most bytes of what a tier's last error was.
const MAX_TIER_ERROR: usize = 1024;

/// Reads how a node is.
fn report(status: Option<v1::NodeStatus>) -> Result<Report, InvalidField> {
    let v1::NodeStatus { capacity, used, chunks, open_writes, disks, tiers, moment } =
        convert::required("status", status)?;
    let named = disks.len();
    if !(1..=MAX_DISKS).contains(&named) {
        let problem = format!("{named}: name 1 to {MAX_DISKS}");
        return Err(InvalidField::new("status.disks", problem));
    }
    let disk = |status: v1::DiskStatus| {
        let v1::DiskStatus { disk, capacity, used, chunks, damaged, failed } = status;
        let disk = convert::disk(&disk)?;
        Ok(DiskView { disk, capacity, used, chunks, damaged, failed })
    };
    let fullness = Fullness { capacity, used, chunks, open_writes };
    let disks = disks.into_iter().map(disk).collect::<Result<_, _>>()?;
    let tiers = convert::at_most("status.tiers", MAX_TIERS, tiers)?;
    let tiers = tiers.into_iter().map(tier).collect::<Result<_, _>>()?;
    let moment = moment.map(TryInto::try_into).transpose()?;
    let report = Report { fullness, disks, tiers, moment };
    if report.incarnations().len() < named {
        return Err(InvalidField::new("status.disks", "name each disk once"));
    }
    Ok(report)
}

fn tier(status: v1::TierStatus) -> Result<TierView, InvalidField> {
    let v1::TierStatus { name, capacity, used, degraded, errors, last_error, waiting } = status;
    if !(1..=MAX_TIER_NAME).contains(&name.len()) {
        let problem = format!("a name has 1 to {MAX_TIER_NAME} bytes");
        return Err(InvalidField::new("status.tiers.name", problem));
    }
    if last_error.len() > MAX_TIER_ERROR {
        let problem = format!("send at most {MAX_TIER_ERROR} bytes");
        return Err(InvalidField::new("status.tiers.last_error", problem));
    }
    Ok(TierView { name, capacity, used, degraded, errors, last_error, waiting })
}

/// Tells of a node.
pub(crate) fn node_info(view: &NodeView) -> v1::NodeInfo {
    let Fullness { capacity, used, chunks, open_writes } = view.fullness();
    let disk = |disk: &DiskView| {
        let DiskView { disk, capacity, used, chunks, damaged, failed } = *disk;
        let disk = convert::bytes(disk.as_bytes());
        v1::DiskStatus { disk, capacity, used, chunks, damaged, failed }
    };
    let disks = view.report.disks.iter().map(disk).collect();
    let tier = |tier: TierView| {
        let TierView { name, capacity, used, degraded, errors, last_error, waiting } = tier;
        v1::TierStatus { name, capacity, used, degraded, errors, last_error, waiting }
    };
    let tiers = view.report.tiers.iter().cloned().map(tier).collect();
    v1::NodeInfo {
        node_id: convert::bytes(view.node.as_bytes()),
        address: view.record.address.clone(),
        zone: view.record.zone.to_string(),
        state: v1::NodeState::from(view.state).into(),
        doubt: view.doubt.map(v1::NodeDoubt::from).unwrap_or_default().into(),
        status: Some(v1::NodeStatus {
            capacity,
            used,
            chunks,
            open_writes,
            disks,
            tiers,
            moment: view.report.moment.map(Into::into),
        }),
    }
}
