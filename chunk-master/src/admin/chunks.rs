//! ListShortChunks and ListChunks: scans over the manifest pages, in chunk order.

use std::collections::BTreeSet;

use cairn_core::ids::{BlobId, ChunkId, NodeId};
use cairn_core::lifecycle::BlobState;
use cairn_core::mend::{SeenCopy, Standing, Urgency};
use cairn_kv::{Read, Snapshot};
use cairn_proto::v1::{
    self, ListChunksRequest, ListChunksResponse, ListShortChunksRequest, ListShortChunksResponse,
};
use cairn_proto::{WireError, convert};
use tonic::Status;

use super::{after, limit};
use crate::catalog::{Blob, ChunkEntry, Left, PAGE_CHUNKS, Page, PageKey, record};
use crate::error::{CatalogError, operation_error};
use crate::master::Master;
use crate::object::locate::findings;
use crate::repair::{Around, Sight, is_kept};

operation_error! {
    /// Why chunks are not listed.
    ChunksError {
        Catalog(CatalogError),
    }
}

/// Pages read by one call, however few of their chunks are shown.
const PAGES_PER_CALL: usize = 256;
/// Pages read by one step.
const PAGES_PER_STEP: usize = 16;

/// Which chunks are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    /// Those of all blobs that are not being erased.
    All,
    /// Those of live blobs with fewer good copies than wanted.
    Short,
    /// Those that a repair has something to do for, also of blobs that may come back.
    Unsettled,
}

/// A chunk with its copies judged.
#[derive(Debug)]
struct Judged {
    chunk: ChunkId,
    length: u64,
    wanted: u32,
    good: Vec<NodeId>,
    bad: Vec<NodeId>,
    /// Its blob is part of a version.
    live: bool,
    /// How urgent it is to do something for it.
    urgency: Option<Urgency>,
    /// Copies that are to be made.
    missing: u64,
}

impl Judged {
    fn of(
        chunk: ChunkId,
        entry: &ChunkEntry,
        blob: &Blob,
        sight: &Sight<'_>,
        found_bad: &BTreeSet<NodeId>,
    ) -> Self {
        let copies = sight.see(&entry.copies, found_bad);
        let wanted = blob.copies as usize;
        let named = copies.iter().filter(|copy| copy.standing != Standing::Begun);
        let (good, bad): (Vec<_>, Vec<_>) = named.partition(|copy| copy.is_readable());
        let nodes = |copies: Vec<&SeenCopy>| copies.iter().map(|copy| copy.node).collect();
        let mend = sight.mend(&copies, wanted);
        Self {
            chunk,
            length: entry.length,
            wanted: blob.copies,
            good: nodes(good),
            bad: nodes(bad),
            live: blob.state == BlobState::Live,
            urgency: mend.urgency(&copies, wanted),
            missing: mend.copies(&copies, wanted) as u64,
        }
    }

    fn is_short(&self) -> bool {
        self.live && self.good.len() < self.wanted as usize
    }
}

/// A walk over the pages, bounded.
struct Walk<'a, R> {
    read: &'a R,
    sight: Sight<'a>,
    show: Show,
    after: Option<ChunkId>,
    limit: usize,
    found: Vec<Judged>,
    /// The blob of the page before: its pages follow one another.
    blob: Option<(BlobId, Blob)>,
}

impl<R: Read> Walk<'_, R> {
    /// Walks; where the next page of the answer begins.
    fn run(&mut self) -> Result<Option<ChunkId>, CatalogError> {
        let mut range = record::all::<Page>();
        if let Some(after) = self.after {
            // The page of `after` itself may hold more chunks.
            let page = PageKey::of(after.blob, after.index);
            range = record::starting_at::<Page>(record::key_of::<Page>(&page));
        }
        let mut read = 0;
        while read < PAGES_PER_CALL {
            let pages = record::scan::<Page>(self.read, &range, PAGES_PER_STEP)?;
            let ends = pages.len() < PAGES_PER_STEP;
            read += pages.len();
            for (key, page) in pages {
                range = range.after(record::key_of::<Page>(&key));
                if let Some(full_at) = self.page(key, page)? {
                    return Ok(Some(full_at));
                }
                let last = key.page * PAGE_CHUNKS + (PAGE_CHUNKS - 1);
                self.after = Some(ChunkId::new(key.blob, last));
            }
            if ends {
                return Ok(None);
            }
        }
        Ok(self.after)
    }

    /// Adds the chunks of a page; the last one added when there is no room for more.
    fn page(&mut self, key: PageKey, page: Page) -> Result<Option<ChunkId>, CatalogError> {
        let Some(blob) = self.blob(key.blob)? else {
            return Ok(None);
        };
        let first = key.page * PAGE_CHUNKS;
        let bad = findings(self.read, key.blob, first, first + PAGE_CHUNKS)?;
        let none = BTreeSet::new();
        for (index, entry) in page.chunks {
            let chunk = ChunkId::new(key.blob, index);
            if self.after.is_some_and(|after| chunk <= after) {
                continue;
            }
            let found_bad = bad.get(&index).unwrap_or(&none);
            let judged = Judged::of(chunk, &entry, &blob, &self.sight, found_bad);
            let shown = match self.show {
                Show::All => true,
                Show::Short => judged.is_short(),
                Show::Unsettled => judged.is_short() || judged.urgency.is_some(),
            };
            if shown {
                self.found.push(judged);
            }
            if self.found.len() >= self.limit {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// The blob of a page; `None` when its chunks are not shown.
    fn blob(&mut self, id: BlobId) -> Result<Option<Blob>, CatalogError> {
        if self.blob.as_ref().is_none_or(|(known, _)| *known != id) {
            self.blob = Some((id, record::must_get(self.read, &id)?));
        }
        let shown = |blob: &&Blob| match self.show {
            Show::All => blob.state != BlobState::Purging,
            Show::Short => blob.state == BlobState::Live,
            Show::Unsettled => is_kept(blob),
        };
        Ok(self.blob.as_ref().map(|(_, blob)| blob).filter(shown).cloned())
    }
}

fn tell(judged: &Judged) -> v1::ChunkCopies {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|n| convert::bytes(n.as_bytes())).collect();
    v1::ChunkCopies {
        chunk: Some(judged.chunk.into()),
        length: judged.length,
        wanted: judged.wanted,
        good: nodes(&judged.good),
        bad: nodes(&judged.bad),
    }
}

/// A chunk that a repair has something to do for, or that is short of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnsettledChunk {
    pub(crate) chunk: ChunkId,
    /// It is part of a version and has fewer copies that can be read than wanted.
    pub(crate) short: bool,
    /// Copies that can be read.
    pub(crate) good: usize,
    /// How urgent it is to do something, when something can be done.
    pub(crate) urgency: Option<Urgency>,
    /// Copies that are to be made, and their bytes.
    pub(crate) missing: Left,
}

/// Unsettled chunks found by one step.
const COUNTED_PER_STEP: usize = 4096;

/// The unsettled chunks after `after`, a bounded part; where the next part begins.
pub(crate) fn unsettled_chunks(
    read: &impl Read,
    around: &Around,
    after: Option<ChunkId>,
) -> Result<(Vec<UnsettledChunk>, Option<ChunkId>), CatalogError> {
    let (show, limit) = (Show::Unsettled, COUNTED_PER_STEP);
    let sight = around.with_drains(read)?;
    let mut walk = Walk { read, sight, show, after, limit, found: Vec::new(), blob: None };
    let next = walk.run()?;
    let unsettled = |judged: &Judged| UnsettledChunk {
        chunk: judged.chunk,
        short: judged.is_short(),
        good: judged.good.len(),
        urgency: judged.urgency,
        missing: Left { count: judged.missing, bytes: judged.missing * judged.length },
    };
    Ok((walk.found.iter().map(unsettled).collect(), next))
}

async fn walk(
    master: &Master,
    show: Show,
    request: (Option<v1::ChunkId>, u32),
) -> Result<(Vec<v1::ChunkCopies>, Option<v1::ChunkId>), Status> {
    let after = after(request.0).map_err(|field| field.to_status())?;
    let limit = limit(request.1).map_err(|field| field.to_status())?;
    let around = Around::now(master);
    let closure = move |view: &Snapshot<'_>| -> Result<_, ChunksError> {
        let sight = around.with_drains(view)?;
        let mut walk =
            Walk { read: view, sight, show, after, limit, found: Vec::new(), blob: None };
        let next = walk.run()?;
        Ok((walk.found, next))
    };
    let (found, next) = master.view(closure).await?;
    Ok((found.iter().map(tell).collect(), next.map(Into::into)))
}

pub(super) async fn list_short_chunks(
    master: &Master,
    request: ListShortChunksRequest,
) -> Result<ListShortChunksResponse, Status> {
    let (chunks, next_after) = walk(master, Show::Short, (request.after, request.limit)).await?;
    Ok(ListShortChunksResponse { chunks, next_after })
}

pub(super) async fn list_chunks(
    master: &Master,
    request: ListChunksRequest,
) -> Result<ListChunksResponse, Status> {
    let (chunks, next_after) = walk(master, Show::All, (request.after, request.limit)).await?;
    Ok(ListChunksResponse { chunks, next_after })
}
