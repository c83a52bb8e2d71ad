//! Deleting and putting aside: a durable note that a record does not count, before anything of it is given back.

use std::sync::Arc;

use cairn_core::ids::ChunkId;

use super::commit::{Kill, Work};
use super::reader;
use super::shared::{Place, Shared};
use crate::ledger::{Claim, Entry};
use crate::store::{DeleteError, ReadError};

/// Deletes claimed chunks; tells how many were there.
pub(super) async fn delete(shared: &Arc<Shared>, claim: Claim<Place>) -> Result<u64, DeleteError> {
    let victims = victims(shared, &claim);
    if victims.is_empty() {
        return Ok(0);
    }
    let listed = victims.iter().filter(|(_, place)| place.listed()).count();
    let kill = Kill { victims, quarantine: false, claim: Some(claim) };
    shared.commit(Work::Kill(kill)).await?;
    Ok(listed as u64)
}

/// Where the claimed chunks are, each once.
fn victims(shared: &Shared, claim: &Claim<Place>) -> Vec<(ChunkId, Place)> {
    let state = shared.state();
    let found = |chunk: &ChunkId| Some((*chunk, *state.get(*chunk)?));
    let mut victims: Vec<_> = claim.chunks().iter().filter_map(found).collect();
    victims.sort_unstable_by_key(|(chunk, _)| *chunk);
    victims.dedup_by_key(|(chunk, _)| *chunk);
    victims
}

/// Puts a chunk aside, if it is damaged; see [`crate::ChunkStore::quarantine`].
pub(super) async fn quarantine(shared: &Arc<Shared>, chunk: ChunkId) -> Result<bool, DeleteError> {
    shared.state().takes_deletes()?;
    let claim = shared.ledger.claim(vec![chunk]).await;
    let damage = match reader::prove(shared, chunk).await {
        Ok(_) | Err(ReadError::NotFound { .. }) => return Ok(false),
        Err(ReadError::Corrupt { damage, .. }) => damage,
        Err(ReadError::Disk { doing, source }) => return Err(DeleteError::Disk { doing, source }),
        Err(ReadError::Interrupted(error)) => return Err(error.into()),
    };
    let victims = victims(shared, &claim);
    let kill = Kill { victims, quarantine: true, claim: Some(claim) };
    shared.commit(Work::Kill(kill)).await?;
    tracing::error!(target: "cairn", %chunk, %damage, "not an intact chunk: put aside");
    Ok(true)
}
