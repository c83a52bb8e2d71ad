//! `cairn admin nodes`.

use cairn_proto::v1::{DiskStatus, ListNodesRequest, NodeDoubt, NodeInfo, NodeState, TierStatus};
use serde::Serialize;

use super::args::Show;
use super::{Operator, id};
use crate::client::error::ClientError;
use crate::human::{Side, Table, bytes_as};

#[derive(Serialize)]
struct Disk {
    disk: String,
    failed: bool,
    used_bytes: u64,
    capacity_bytes: u64,
    chunks: u64,
    damaged_chunks: u64,
}

#[derive(Serialize)]
struct Tier<'a> {
    tier: &'a str,
    degraded: bool,
    used_bytes: u64,
    capacity_bytes: u64,
    errors: u64,
    last_error: &'a str,
    waiting_chunks: u64,
}

#[derive(Serialize)]
struct Node<'a> {
    node: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    doubt: Option<&'static str>,
    zone: &'a str,
    address: &'a str,
    used_bytes: u64,
    capacity_bytes: u64,
    chunks: u64,
    disks: Vec<Disk>,
    tiers: Vec<Tier<'a>>,
}

fn disk(status: &DiskStatus) -> Disk {
    Disk {
        disk: id(&status.disk),
        failed: status.failed,
        used_bytes: status.used,
        capacity_bytes: status.capacity,
        chunks: status.chunks,
        damaged_chunks: status.damaged,
    }
}

impl Disk {
    /// What is to be looked at.
    fn state(&self) -> String {
        match (self.failed, self.damaged_chunks) {
            (true, _) => "failed".to_owned(),
            (false, 0) => "good".to_owned(),
            (false, damaged) => format!("{damaged} damaged"),
        }
    }
}

fn tier(status: &TierStatus) -> Tier<'_> {
    Tier {
        tier: &status.name,
        degraded: status.degraded,
        used_bytes: status.used,
        capacity_bytes: status.capacity,
        errors: status.errors,
        last_error: &status.last_error,
        waiting_chunks: status.waiting,
    }
}

impl Tier<'_> {
    /// What is to be looked at.
    fn state(&self) -> String {
        match (self.degraded, self.waiting_chunks) {
            (true, _) => "failing".to_owned(),
            (false, 0) => "good".to_owned(),
            (false, waiting) => format!("{waiting} to copy"),
        }
    }

    /// That it is a tier, and what is wrong with it.
    fn what(&self) -> String {
        if self.degraded { format!("tier: {}", self.last_error) } else { "tier".to_owned() }
    }
}

fn node(info: &NodeInfo) -> Node<'_> {
    let status = info.status.as_ref();
    let told = status.map(|status| (status.used, status.capacity, status.chunks));
    let (used_bytes, capacity_bytes, chunks) = told.unwrap_or_default();
    Node {
        node: id(&info.node_id),
        state: state(info.state()),
        doubt: doubt(info.doubt()),
        zone: &info.zone,
        address: &info.address,
        used_bytes,
        capacity_bytes,
        chunks,
        disks: status.map(|status| status.disks.iter().map(disk).collect()).unwrap_or_default(),
        tiers: status.map(|status| status.tiers.iter().map(tier).collect()).unwrap_or_default(),
    }
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Unspecified => "unknown",
        NodeState::Joining => "joining",
        NodeState::Up => "up",
        NodeState::Suspect => "suspect",
        NodeState::Down => "down",
        NodeState::Draining => "draining",
        NodeState::Removed => "removed",
    }
}

/// Why a node is suspect though it is heard.
fn doubt(doubt: NodeDoubt) -> Option<&'static str> {
    match doubt {
        NodeDoubt::Unspecified => None,
        NodeDoubt::Unsteady => Some("unsteady"),
        NodeDoubt::Unreached => Some("unreached"),
    }
}

impl Node<'_> {
    fn state(&self) -> String {
        match self.doubt {
            None => self.state.to_owned(),
            Some(doubt) => format!("{}, {doubt}", self.state),
        }
    }
}

pub(super) async fn run(operator: &Operator, show: &Show) -> Result<(), ClientError> {
    let mut calls = operator.calls.clone();
    let call = calls.list_nodes(ListNodesRequest {});
    let nodes = operator.answer("list nodes", call).await?.nodes;
    if show.json {
        return nodes.iter().try_for_each(|info| operator.output.json(&node(info)));
    }
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new(&[
        ("NODE", left),
        ("STATE", left),
        ("ZONE", left),
        ("ADDRESS", left),
        ("USED", right),
        ("CAPACITY", right),
        ("CHUNKS", right),
    ]);
    for info in &nodes {
        let node = node(info);
        table.row(vec![
            node.node.clone(),
            node.state(),
            node.zone.to_owned(),
            node.address.to_owned(),
            bytes_as(node.used_bytes, show.bytes),
            bytes_as(node.capacity_bytes, show.bytes),
            node.chunks.to_string(),
        ]);
        // One good disk says nothing that its node does not.
        let tells = node.disks.len() > 1 || node.disks.iter().any(|disk| disk.state() != "good");
        for disk in node.disks.iter().filter(|_| tells) {
            table.row(vec![
                format!("  {}", disk.disk),
                disk.state(),
                String::new(),
                "disk".to_owned(),
                bytes_as(disk.used_bytes, show.bytes),
                bytes_as(disk.capacity_bytes, show.bytes),
                disk.chunks.to_string(),
            ]);
        }
        for tier in &node.tiers {
            table.row(vec![
                format!("  {}", tier.tier),
                tier.state(),
                String::new(),
                tier.what(),
                bytes_as(tier.used_bytes, show.bytes),
                bytes_as(tier.capacity_bytes, show.bytes),
                String::new(),
            ]);
        }
    }
    operator.table(&table)
}
