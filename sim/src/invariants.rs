//! What must hold when all faults are over and the sweep has nothing left to do. Each check gives the violations that
//! it finds, as sentences.

use std::collections::{BTreeMap, BTreeSet};

use cairn_core::ids::{ChunkId, NodeId};
use cairn_proto::{convert, v1};

use crate::client::Client;
use crate::history::History;
use crate::operator::{NoAnswer, Operator};

/// A chunk as the catalog names it.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) length: u64,
    pub(crate) wanted: usize,
    pub(crate) good: Vec<NodeId>,
    pub(crate) bad: Vec<NodeId>,
}

pub(crate) type Catalog = BTreeMap<ChunkId, Named>;

/// What one node holds.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) address: String,
    pub(crate) chunks: BTreeMap<ChunkId, u64>,
}

pub(crate) type Inventories = BTreeMap<NodeId, Inventory>;

/// Checks everything.
pub(crate) async fn check(operator: &Operator, reader: &Client, history: &History) -> Vec<String> {
    let files = acknowledged_files_read_back_whole(operator, reader, history).await;
    let cluster = cluster_is_consistent(operator).await;
    let unanswered = |error: NoAnswer| vec![format!("after healing: {error}")];
    let mut violations = files.unwrap_or_else(unanswered);
    violations.extend(cluster.unwrap_or_else(unanswered));
    violations
}

/// Reads every name that was ever written; the history judges what is seen. The list shows the same names.
async fn acknowledged_files_read_back_whole(
    operator: &Operator,
    reader: &Client,
    history: &History,
) -> Result<Vec<String>, NoAnswer> {
    let mut violations = Vec::new();
    let listed = operator.files().await?;
    for key in history.keys() {
        if !reader.get(&key).await {
            violations.push(format!("{key} cannot be read after healing"));
        }
    }
    for key in listed.keys().filter(|key| !history.keys().contains(key)) {
        violations.push(format!("{key} is listed, and nobody wrote it"));
    }
    Ok(violations)
}

async fn cluster_is_consistent(operator: &Operator) -> Result<Vec<String>, NoAnswer> {
    let catalog = operator.catalog().await?;
    let inventories = inventories(operator).await?;
    let short = operator.short_chunks().await?.into_iter().collect();
    let mut violations = accounts_match_the_files(operator).await?;
    violations.extend(copies_agree(&catalog, &inventories, &short));
    violations.extend(copies_are_intact(operator, &inventories).await?);
    Ok(violations)
}

/// The catalog and the nodes agree about every copy.
pub(crate) fn copies_agree(
    catalog: &Catalog,
    inventories: &Inventories,
    short: &BTreeSet<ChunkId>,
) -> Vec<String> {
    let mut violations = named_copies_are_there(catalog, inventories);
    violations.extend(nothing_else_is_there(catalog, inventories));
    violations.extend(short_chunks_are_reported(short, catalog, inventories));
    violations
}

async fn inventories(operator: &Operator) -> Result<Inventories, NoAnswer> {
    let mut inventories = Inventories::new();
    for node in operator.nodes().await? {
        let chunks = operator.inventory(&node.address).await?;
        if let Ok(id) = convert::node_id(&node.node_id) {
            inventories.insert(id, Inventory { address: node.address, chunks });
        }
    }
    Ok(inventories)
}

/// Nothing is reserved, nothing is condemned any more, and what is used is what is there.
async fn accounts_match_the_files(operator: &Operator) -> Result<Vec<String>, NoAnswer> {
    let files = operator.files().await?;
    let (bytes, objects) = (files.values().sum::<u64>(), files.len() as u64);
    let mut violations = Vec::new();
    let accounts = operator.accounts().await?;
    for account in &accounts {
        let whose = whose(account);
        let (used_bytes, used_objects) = (account.used_bytes, account.used_objects);
        if (used_bytes, used_objects) != (bytes, objects) {
            violations.push(format!(
                "{whose} uses {used_bytes} bytes in {used_objects} objects, the files have \
                 {bytes} in {objects}"
            ));
        }
    }
    violations.extend(nothing_is_held_back(&accounts));
    Ok(violations)
}

/// At rest nothing is reserved, and nothing is condemned any more.
pub(crate) fn nothing_is_held_back(accounts: &[v1::Account]) -> Vec<String> {
    let mut violations = Vec::new();
    for account in accounts {
        let whose = whose(account);
        if account.reserved_bytes != 0 || account.reserved_objects != 0 {
            violations.push(format!(
                "{whose} has {} bytes and {} objects reserved that no upload holds",
                account.reserved_bytes, account.reserved_objects
            ));
        }
        if account.condemned_bytes != 0 || account.condemned_objects != 0 {
            let condemned = account.condemned_bytes;
            violations.push(format!("{whose} has {condemned} bytes condemned that are purged"));
        }
    }
    violations
}

fn whose(account: &v1::Account) -> String {
    let scope = account.scope.clone().unwrap_or_default();
    format!("account {:?} {}", scope.kind(), scope.name)
}

/// Every copy that counts is on its node.
fn named_copies_are_there(catalog: &Catalog, inventories: &Inventories) -> Vec<String> {
    let mut violations = Vec::new();
    for (chunk, named) in catalog {
        for node in &named.good {
            let held = inventories.get(node).and_then(|inventory| inventory.chunks.get(chunk));
            if held != Some(&named.length) {
                violations.push(format!(
                    "chunk {chunk} of {} bytes should be on {}, which has {held:?}",
                    named.length,
                    name(inventories, *node)
                ));
            }
        }
    }
    violations
}

/// A node holds no copy that the catalog does not name.
fn nothing_else_is_there(catalog: &Catalog, inventories: &Inventories) -> Vec<String> {
    let mut violations = Vec::new();
    for (node, inventory) in inventories {
        for chunk in inventory.chunks.keys() {
            let named = catalog.get(chunk);
            let here = named.is_some_and(|n| n.good.contains(node) || n.bad.contains(node));
            if !here {
                let why = if named.is_some() { "a copy that" } else { "a chunk that" };
                let address = &inventory.address;
                violations
                    .push(format!("{address} holds {chunk}, {why} the catalog does not name"));
            }
        }
    }
    violations
}

/// A chunk with fewer copies than wanted is in the list of short ones.
fn short_chunks_are_reported(
    reported: &BTreeSet<ChunkId>,
    catalog: &Catalog,
    inventories: &Inventories,
) -> Vec<String> {
    let mut violations = Vec::new();
    for (chunk, named) in catalog {
        let holds = |node: &&NodeId| {
            inventories.get(*node).is_some_and(|inventory| inventory.chunks.contains_key(chunk))
        };
        let good = named.good.iter().filter(holds).count();
        if good < named.wanted && !reported.contains(chunk) {
            let wanted = named.wanted;
            violations
                .push(format!("chunk {chunk} has {good} of {wanted} copies and is not reported"));
        }
    }
    violations
}

/// Every copy has the bytes of its hash.
async fn copies_are_intact(
    operator: &Operator,
    inventories: &Inventories,
) -> Result<Vec<String>, NoAnswer> {
    let mut violations = Vec::new();
    for inventory in inventories.values() {
        for chunk in inventory.chunks.keys() {
            if let Some(problem) = operator.prove(&inventory.address, *chunk).await? {
                violations.push(format!("{chunk} on {}: {problem}", inventory.address));
            }
        }
    }
    Ok(violations)
}

fn name(inventories: &Inventories, node: NodeId) -> String {
    let address = inventories.get(&node).map(|inventory| inventory.address.clone());
    address.unwrap_or_else(|| node.to_string())
}
