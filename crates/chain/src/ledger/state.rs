//! What is in a ledger. Every change is one call, made under one short lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation};

use crate::store::{
    ChunkPage, DeleteError, DiskReport, ListChunks, StoredChunk, Usage, WriteError,
};

/// How many erased blobs are remembered; the oldest is forgotten first. An id is never used again, so forgetting one
/// only means that a late write of it is stored and swept later.
const ERASED_BLOBS: usize = 65_536;

/// Names an open write; never used again while the store is open.
pub(crate) type WriteId = u64;

/// What a store keeps in memory for each chunk.
pub(crate) trait Entry: Send + 'static {
    /// Bytes of the chunk.
    fn length(&self) -> u64;
    /// Bytes that the store spends on it.
    fn room(&self) -> u64;
    /// False for a chunk that is put aside: it counts as held, and is not listed.
    fn listed(&self) -> bool {
        true
    }
}

/// Whether the store takes changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Open,
    /// A sync failed: what is durable is not known.
    DiskFailed,
    Closed,
}

#[derive(Debug)]
struct OpenWrite {
    chunk: ChunkId,
    reserved: u64,
    erased: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct State<E> {
    disk: DiskIncarnation,
    capacity: u64,
    chunks: BTreeMap<ChunkId, E>,
    used: u64,
    /// Bytes that the store holds, where it is more than its chunks.
    held: u64,
    damaged: u64,
    reserved: u64,
    open_writes: BTreeMap<WriteId, OpenWrite>,
    next_write: WriteId,
    erased: ErasedBlobs,
    /// Chunks whose file is being named or removed, each by one task.
    claimed: BTreeSet<ChunkId>,
    condition: Condition,
}

impl<E: Entry> State<E> {
    /// Holds `chunks`, on `disk`.
    pub(crate) fn new(disk: DiskIncarnation, capacity: u64, chunks: BTreeMap<ChunkId, E>) -> Self {
        let (mut used, mut damaged) = (0, 0);
        for entry in chunks.values() {
            used += entry.room();
            damaged += u64::from(!entry.listed());
        }
        Self {
            disk,
            capacity,
            used,
            damaged,
            chunks,
            held: 0,
            reserved: 0,
            open_writes: BTreeMap::new(),
            next_write: 0,
            erased: ErasedBlobs::default(),
            claimed: BTreeSet::new(),
            condition: Condition::Open,
        }
    }

    /// The same with another capacity.
    pub(crate) fn with_capacity(self, capacity: u64) -> Self {
        Self { capacity, ..self }
    }

    /// Promises `wanted` bytes of room for a chunk.
    pub(crate) fn reserve(&mut self, chunk: ChunkId, wanted: u64) -> Result<WriteId, WriteError> {
        self.takes_writes()?;
        if self.erased.contains(chunk.blob) {
            return Err(WriteError::Erased { chunk });
        }
        let free = self.free();
        if wanted > free {
            return Err(WriteError::NoRoom { wanted, free });
        }
        let write = self.next_write;
        self.next_write += 1;
        self.reserved += wanted;
        let open = OpenWrite { chunk, reserved: wanted, erased: false };
        self.open_writes.insert(write, open);
        Ok(write)
    }

    /// Gives the promised room back, once; later calls find nothing to give.
    pub(crate) fn release(&mut self, write: WriteId) {
        if let Some(open) = self.open_writes.remove(&write) {
            self.reserved -= open.reserved;
        }
    }

    /// The chunk of `write` is durable: its room is used now, not promised. Gives what it takes the place of.
    pub(crate) fn settle(&mut self, write: WriteId, chunk: ChunkId, entry: E) -> Option<E> {
        self.release(write);
        self.put(chunk, entry)
    }

    /// Holds a chunk. Gives what it takes the place of.
    pub(crate) fn put(&mut self, chunk: ChunkId, entry: E) -> Option<E> {
        self.used += entry.room();
        self.damaged += u64::from(!entry.listed());
        let replaced = self.chunks.insert(chunk, entry);
        self.let_go(replaced)
    }

    fn let_go(&mut self, gone: Option<E>) -> Option<E> {
        if let Some(entry) = &gone {
            self.used -= entry.room();
            self.damaged -= u64::from(!entry.listed());
        }
        gone
    }

    /// Whether an open write may go on.
    pub(crate) fn may_continue(&self, write: WriteId) -> Result<(), WriteError> {
        self.takes_writes()?;
        match self.open_writes.get(&write) {
            Some(open) if open.erased => Err(WriteError::Erased { chunk: open.chunk }),
            Some(_) => Ok(()),
            None => Err(WriteError::Broken),
        }
    }

    /// Bytes that are neither held nor promised.
    pub(crate) fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used() + self.reserved)
    }

    pub(crate) fn takes_writes(&self) -> Result<(), WriteError> {
        match self.condition {
            Condition::Open => Ok(()),
            Condition::DiskFailed => Err(WriteError::DiskFailed),
            Condition::Closed => Err(WriteError::Closed),
        }
    }

    pub(crate) fn takes_deletes(&self) -> Result<(), DeleteError> {
        match self.condition {
            Condition::Open => Ok(()),
            Condition::DiskFailed => Err(DeleteError::DiskFailed),
            Condition::Closed => Err(DeleteError::Closed),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.condition == Condition::Closed
    }

    /// A sync failed. Tells whether that is news.
    pub(crate) fn disk_failed(&mut self) -> bool {
        let news = self.condition == Condition::Open;
        if news {
            self.condition = Condition::DiskFailed;
        }
        news
    }

    pub(crate) fn close(&mut self) {
        self.condition = Condition::Closed;
    }

    pub(crate) fn get(&self, chunk: ChunkId) -> Option<&E> {
        self.chunks.get(&chunk)
    }

    /// All chunks, in order.
    pub(crate) fn chunks(&self) -> &BTreeMap<ChunkId, E> {
        &self.chunks
    }

    /// The chunk is gone.
    pub(crate) fn remove(&mut self, chunk: ChunkId) -> Option<E> {
        let gone = self.chunks.remove(&chunk);
        self.let_go(gone)
    }

    /// Sets how many bytes the store holds, with what does not count any more and has not been given back.
    pub(crate) fn set_held(&mut self, bytes: u64) {
        self.held = bytes;
    }

    fn used(&self) -> u64 {
        self.used.max(self.held)
    }

    /// Claims all of `chunks` for one task, or none while another has one of them.
    pub(crate) fn try_claim(&mut self, chunks: &[ChunkId]) -> bool {
        let free = chunks.iter().all(|chunk| !self.claimed.contains(chunk));
        if free {
            self.claimed.extend(chunks);
        }
        free
    }

    /// Gives claims back.
    pub(crate) fn unclaim(&mut self, chunks: &[ChunkId]) {
        for chunk in chunks {
            self.claimed.remove(chunk);
        }
    }

    /// From now on nothing of `blob` is taken.
    pub(crate) fn mark_erased(&mut self, blob: BlobId) {
        self.erased.insert(blob);
        for open in self.open_writes.values_mut() {
            open.erased |= open.chunk.blob == blob;
        }
    }

    /// Claims up to `limit` chunks of a blob and tells whether there are more; `None` while another task works on
    /// one of its chunks, which may be about to appear.
    pub(crate) fn try_claim_blob(
        &mut self,
        blob: BlobId,
        limit: usize,
    ) -> Option<(Vec<ChunkId>, bool)> {
        if self.claimed.range(chunks_of(blob)).next().is_some() {
            return None;
        }
        let mut chunks = self.chunks.range(chunks_of(blob)).map(|(chunk, _)| *chunk);
        let claimed: Vec<_> = chunks.by_ref().take(limit).collect();
        let more = chunks.next().is_some();
        self.claimed.extend(&claimed);
        Some((claimed, more))
    }

    pub(crate) fn list(&self, list: &ListChunks) -> ChunkPage {
        let (first, last) = match list.blob {
            Some(blob) => (Bound::Included(ChunkId::new(blob, 0)), chunks_of(blob).1),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let from = match (list.after, first) {
            (Some(after), Bound::Included(first)) if after < first => Bound::Included(first),
            (Some(after), _) => Bound::Excluded(after),
            (None, first) => first,
        };
        // A cursor behind the blob's last chunk would make a range that ends before it begins.
        let past = |after: ChunkId| list.blob.is_some_and(|blob| after >= last_chunk(blob));
        let mut chunks = Vec::new();
        let mut more = false;
        if !list.after.is_some_and(past) {
            let mut rest = self.chunks.range((from, last)).filter(|(_, entry)| entry.listed());
            let entries = rest.by_ref().take(list.limit);
            chunks.extend(entries.map(|(&chunk, entry)| StoredChunk {
                chunk,
                length: entry.length(),
                disk: self.disk,
            }));
            more = rest.next().is_some();
        }
        ChunkPage { chunks, more }
    }

    pub(crate) fn usage(&self) -> Usage {
        // A failed disk takes nothing more: whoever places chunks sees that it is full.
        let failed = self.condition == Condition::DiskFailed;
        Usage {
            capacity: if failed { self.used() } else { self.capacity },
            used: self.used,
            reclaimable: self.used() - self.used,
            reserved: self.reserved,
            chunks: self.chunks.len() as u64 - self.damaged,
            damaged: self.damaged,
            open_writes: u32::try_from(self.open_writes.len()).unwrap_or(u32::MAX),
        }
    }

    /// The disk's life, and how full it is.
    pub(crate) fn report(&self) -> DiskReport {
        DiskReport {
            disk: self.disk,
            usage: self.usage(),
            failed: self.condition == Condition::DiskFailed,
        }
    }
}

const fn last_chunk(blob: BlobId) -> ChunkId {
    ChunkId::new(blob, u32::MAX)
}

fn chunks_of(blob: BlobId) -> (Bound<ChunkId>, Bound<ChunkId>) {
    let first = ChunkId::new(blob, 0);
    (Bound::Included(first), Bound::Included(last_chunk(blob)))
}

/// The blobs erased last.
#[derive(Debug, Default)]
struct ErasedBlobs {
    known: BTreeSet<BlobId>,
    by_age: VecDeque<BlobId>,
}

impl ErasedBlobs {
    fn insert(&mut self, blob: BlobId) {
        if !self.known.insert(blob) {
            return;
        }
        self.by_age.push_back(blob);
        if self.by_age.len() > ERASED_BLOBS
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn contains(&self, blob: BlobId) -> bool {
        self.known.contains(&blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: u32) -> BlobId {
        let mut bytes = [0; 16];
        bytes[12..].copy_from_slice(&n.to_be_bytes());
        BlobId::from_slice(&bytes).expect("16 bytes")
    }

    struct Bytes(u64);

    impl Entry for Bytes {
        fn length(&self) -> u64 {
            self.0
        }

        fn room(&self) -> u64 {
            self.0 + 10
        }
    }

    fn state(capacity: u64) -> State<Bytes> {
        let disk = DiskIncarnation::from_slice(&[1; 16]).expect("16 bytes");
        State::new(disk, capacity, BTreeMap::new())
    }

    #[test]
    fn room_is_given_back_exactly_once() {
        let mut state = state(110);
        let chunk = ChunkId::new(blob(1), 0);
        let write = state.reserve(chunk, 110).expect("room");
        assert!(matches!(state.reserve(chunk, 10), Err(WriteError::NoRoom { .. })));
        state.release(write);
        state.release(write);
        assert_eq!(state.free(), 110);
        let write = state.reserve(chunk, 110).expect("room");
        state.settle(write, chunk, Bytes(10));
        state.release(write);
        assert_eq!(state.usage().reserved, 0);
        assert_eq!(state.usage().used, 20);
        state.remove(chunk);
        state.remove(chunk);
        assert_eq!(state.usage(), Usage { capacity: 110, ..Usage::default() });
    }

    #[test]
    fn the_erased_blobs_that_are_remembered_are_the_last_ones() {
        let mut erased = ErasedBlobs::default();
        for n in 0..=ERASED_BLOBS as u32 {
            erased.insert(blob(n));
            erased.insert(blob(n));
        }
        assert!(!erased.contains(blob(0)));
        assert!(erased.contains(blob(1)));
        assert!(erased.contains(blob(ERASED_BLOBS as u32)));
    }

    #[test]
    fn a_cursor_outside_the_blob_is_no_panic() {
        let mut state = state(1 << 30);
        for n in 1..=3 {
            let chunk = ChunkId::new(blob(n), 0);
            let write = state.reserve(chunk, 11).expect("room");
            state.settle(write, chunk, Bytes(1));
        }
        let list = |after: Option<ChunkId>| {
            let list = ListChunks { after, blob: Some(blob(2)), limit: 10 };
            state.list(&list).chunks.len()
        };
        assert_eq!(list(None), 1);
        assert_eq!(list(Some(ChunkId::new(blob(1), 0))), 1);
        assert_eq!(list(Some(ChunkId::new(blob(2), 0))), 0);
        assert_eq!(list(Some(last_chunk(blob(2)))), 0);
        assert_eq!(list(Some(ChunkId::new(blob(3), 7))), 0);
    }
}
