//! The service `Admin`: what operators see and do.

mod audit;
pub(crate) mod chunks;
mod condemned;
mod fsck;
mod jobs;
mod meta;
mod nodes;
mod quota;
pub(crate) mod service;
mod tenants;
mod uploads;

use cairn_core::ids::ChunkId;
use cairn_core::names::{InvalidName, Principal, TenantId};
use cairn_proto::{InvalidField, v1};

/// Most entries of one answer.
const MAX_ENTRIES: usize = 1000;

/// Reads how many entries a page may have.
fn limit(limit: u32) -> Result<usize, InvalidField> {
    match limit as usize {
        0 => Ok(MAX_ENTRIES),
        limit if limit <= MAX_ENTRIES => Ok(limit),
        limit => {
            let problem = format!("{limit}: ask for at most {MAX_ENTRIES}");
            Err(InvalidField::new("limit", problem))
        }
    }
}

/// Reads a tenant; empty means the one of open mode.
fn tenant(field: &'static str, name: &str) -> Result<TenantId, InvalidField> {
    if name.is_empty() {
        return Ok(Principal::standard().tenant);
    }
    let wrong = |problem: InvalidName| InvalidField::new(field, problem.to_string());
    TenantId::new(name).map_err(wrong)
}

/// Reads after which chunk a page begins.
fn after(after: Option<v1::ChunkId>) -> Result<Option<ChunkId>, InvalidField> {
    after.map(ChunkId::try_from).transpose()
}
