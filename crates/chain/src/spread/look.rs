//! What the disks hold, taken together.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_core::ids::ChunkId;
use futures_util::future::{self, BoxFuture};

use super::member::Member;
use crate::store::{ChunkPage, ChunkStore, ListChunks, ReadError, StoredChunk, Usage};

/// Asks disk by disk, up to one that has the chunk. "Not found" means that every disk said so; else a failure is answered.
pub(super) async fn first_that_has<T>(
    members: &[Arc<Member>],
    chunk: ChunkId,
    ask: impl for<'a> Fn(&'a dyn ChunkStore) -> BoxFuture<'a, Result<T, ReadError>>,
) -> Result<T, ReadError> {
    let mut answer = ReadError::NotFound { chunk };
    for member in members {
        match ask(&*member.store).await {
            Ok(found) => return Ok(found),
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => answer = error,
        }
    }
    Err(answer)
}

/// See [`crate::ChunkStore::list`].
pub(super) async fn list(
    members: &[Arc<Member>],
    list: ListChunks,
) -> Result<ChunkPage, ReadError> {
    let pages = members.iter().map(|member| async {
        let page = member.store.list(list).await;
        page.inspect_err(|error| {
            tracing::warn!(target: "cairn", disk = member.name, %error, "a disk cannot be listed");
        })
    });
    let pages: Result<Vec<_>, _> = future::join_all(pages).await.into_iter().collect();
    Ok(merged(pages?, &list))
}

/// One page of the pages that disks gave to `list`. Of a chunk that two of them have, the first counts.
fn merged(pages: Vec<ChunkPage>, list: &ListChunks) -> ChunkPage {
    // A disk whose page is not its last has told nothing of what follows the page's end.
    let end = |page: &ChunkPage| page.chunks.last().map(|held| held.chunk).or(list.after);
    let told_to = pages.iter().filter(|page| page.more).map(end).min();
    let is_told = |chunk: ChunkId| told_to.is_none_or(|to| Some(chunk) <= to);
    let mut more = pages.iter().any(|page| page.more);
    let mut all: BTreeMap<ChunkId, StoredChunk> = BTreeMap::new();
    for held in pages.into_iter().flat_map(|page| page.chunks) {
        all.entry(held.chunk).or_insert(held);
    }
    let count = all.len();
    let told = all.into_values().take_while(|held| is_told(held.chunk));
    let chunks: Vec<_> = told.take(list.limit).collect();
    more |= chunks.len() < count;
    ChunkPage { chunks, more }
}

/// All disks together.
pub(super) fn usage(members: &[Arc<Member>]) -> Usage {
    let usages = members.iter().map(|member| member.store.usage());
    usages.fold(Usage::default(), |all, one| Usage {
        capacity: all.capacity.saturating_add(one.capacity),
        used: all.used.saturating_add(one.used),
        reclaimable: all.reclaimable.saturating_add(one.reclaimable),
        reserved: all.reserved.saturating_add(one.reserved),
        chunks: all.chunks.saturating_add(one.chunks),
        damaged: all.damaged.saturating_add(one.damaged),
        open_writes: all.open_writes.saturating_add(one.open_writes),
    })
}

#[cfg(test)]
mod tests {
    use cairn_core::ids::{BlobId, DiskIncarnation};
    use proptest::prelude::*;

    use super::*;

    fn held(n: u32, disk: u8) -> StoredChunk {
        let blob = BlobId::from_slice(&[1; 16]).expect("16 bytes");
        let disk = DiskIncarnation::from_slice(&[disk; 16]).expect("16 bytes");
        StoredChunk { chunk: ChunkId::new(blob, n), length: 1, disk }
    }

    /// What a disk with `chunks` answers; one that is `lazy` gives less than it was asked for.
    fn page(chunks: &[StoredChunk], list: &ListChunks, lazy: usize) -> ChunkPage {
        let after = chunks.iter().filter(|held| list.after.is_none_or(|after| held.chunk > after));
        let limit = list.limit.saturating_sub(lazy).max(1);
        let all: Vec<_> = after.copied().collect();
        ChunkPage { more: all.len() > limit, chunks: all.into_iter().take(limit).collect() }
    }

    proptest! {
        #[test]
        fn pages_of_all_disks_are_all_chunks_each_once_in_order(
            disks in proptest::collection::vec(
                (proptest::collection::btree_set(0..40_u32, 0..20), 0..3_usize), 0..4),
            limit in 1..9_usize,
        ) {
            let stored: Vec<Vec<_>> = (0..)
                .zip(&disks)
                .map(|(disk, (chunks, _))| chunks.iter().map(|n| held(*n, disk)).collect())
                .collect();
            let mut expected = BTreeMap::new();
            for held in stored.iter().flatten() {
                expected.entry(held.chunk).or_insert(*held);
            }
            let (mut after, mut seen) = (None, Vec::new());
            loop {
                let list = ListChunks { after, blob: None, limit };
                let pages = stored.iter().zip(&disks);
                let pages = pages.map(|(chunks, (_, lazy))| page(chunks, &list, *lazy));
                let page = merged(pages.collect(), &list);
                prop_assert!(page.chunks.len() <= limit);
                prop_assert!(!page.more || !page.chunks.is_empty(), "it goes on and on");
                seen.extend(page.chunks);
                after = seen.last().map(|held| held.chunk);
                if !page.more {
                    break;
                }
            }
            prop_assert_eq!(seen, expected.into_values().collect::<Vec<_>>());
        }
    }
}
