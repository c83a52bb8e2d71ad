//! Locate: which chunks hold a range of a version, page by page.

use std::collections::{BTreeMap, BTreeSet};

use cairn_core::ids::{BlobId, ChunkId, ChunkIndex, NodeId};
use cairn_core::names::ObjectKey;
use cairn_core::object::{ObjectInfo, VersionId};
use cairn_core::range::ByteRange;
use cairn_core::strategy::ReadStrategy;
use cairn_kv::Read;

use super::head::{self, LookupError};
use crate::bucket;
use crate::catalog::{
    Blob, BucketKey, ChunkEntry, Extent, Finding, PAGE_CHUNKS, Page, PageKey, Version, VersionKey,
    VersionState, finding, record,
};
use crate::error::CatalogError;

/// Most chunks of one answer.
pub(crate) const MAX_CHUNKS_LOCATED: usize = 128;
/// Most findings read for one page of chunks; a reader that meets a bad copy beyond them asks the next.
const MAX_FINDINGS: usize = 1024;

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Locate {
    pub(crate) bucket: BucketKey,
    pub(crate) key: ObjectKey,
    /// A version to go on reading, though it may be condemned by now.
    pub(crate) version: Option<VersionId>,
    pub(crate) offset: u64,
    /// 0 for all.
    pub(crate) length: u64,
}

/// A chunk with what the catalog knows of its copies.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub(crate) chunk: ChunkId,
    /// Where it begins in the object.
    pub(crate) offset: u64,
    pub(crate) entry: ChunkEntry,
    /// Nodes whose copy was found missing or wrong.
    pub(crate) found_bad: BTreeSet<NodeId>,
}

/// A page of the answer.
#[derive(Debug, Clone)]
pub(crate) struct LocatedPage {
    pub(crate) object: ObjectInfo,
    /// It has no name any more: a lease on it must be written down.
    pub(crate) condemned: bool,
    pub(crate) chunks: Vec<Located>,
    pub(crate) next_offset: Option<u64>,
    /// How the bucket wants copies to be read.
    pub(crate) read: Option<ReadStrategy>,
}

/// Finds the chunks that touch the range, from its beginning, as many as one answer holds.
pub(crate) fn locate(read: &impl Read, request: &Locate) -> Result<LocatedPage, LookupError> {
    let version = find_version(read, request)?;
    let total = version.info.length;
    let length = if request.length == 0 { u64::MAX } else { request.length };
    let range = ByteRange::within(request.offset, length, total);
    let mut chunks = Vec::new();
    let mut begins = 0;
    for extent in &version.extents {
        let ends = begins + extent.length;
        if begins < range.end() && range.offset < ends && !range.is_empty() {
            let from = range.offset.max(begins) - begins + extent.offset;
            let to = range.end().min(ends) - begins + extent.offset;
            locate_in_blob(read, extent, begins, from..to, &mut chunks)?;
        }
        begins = ends;
    }
    let reached =
        chunks.last().map_or(range.end(), |last: &Located| last.offset + last.entry.length);
    Ok(LocatedPage {
        condemned: version.state != VersionState::Current,
        object: version.info,
        chunks,
        next_offset: (reached < range.end()).then_some(reached),
        read: bucket::live(read, &request.bucket).map_err(LookupError::from)?.policy.read,
    })
}

fn find_version(read: &impl Read, request: &Locate) -> Result<Version, LookupError> {
    let Some(version) = request.version else {
        return head::version(read, &request.bucket, &request.key);
    };
    bucket::live(read, &request.bucket).map_err(LookupError::from)?;
    let key = VersionKey { tenant: request.bucket.tenant.clone(), version };
    let found = record::get::<Version>(read, &key)?.filter(|version| {
        version.info.bucket == request.bucket.bucket && version.info.key == request.key
    });
    found.ok_or_else(|| head::absent(&request.bucket, &request.key).into())
}

/// Adds the chunks of one extent that touch `range`, which is in the blob's bytes, while there is room.
fn locate_in_blob(
    read: &impl Read,
    extent: &Extent,
    begins: u64,
    range: std::ops::Range<u64>,
    chunks: &mut Vec<Located>,
) -> Result<(), CatalogError> {
    let room = MAX_CHUNKS_LOCATED - chunks.len();
    if room == 0 {
        return Ok(());
    }
    let blob: Blob = record::must_get(read, &extent.blob)?;
    let Some(first) = blob.sizes.index_at(range.start) else {
        return Ok(());
    };
    let end = blob.sizes.count(range.end).unwrap_or(first);
    let end = end.min(first + ChunkIndex::try_from(room).unwrap_or(0));
    let mut bad = findings(read, extent.blob, first, end)?;
    let pages = first / PAGE_CHUNKS..end.div_ceil(PAGE_CHUNKS);
    for page in pages {
        let key = PageKey { blob: extent.blob, page };
        let page: Page = record::must_get(read, &key)?;
        for (index, entry) in page.chunks.into_iter().filter(|(i, _)| (first..end).contains(i)) {
            let offset = (begins + blob.sizes.offset(index)).saturating_sub(extent.offset);
            chunks.push(Located {
                chunk: ChunkId::new(extent.blob, index),
                offset,
                entry,
                found_bad: bad.remove(&index).unwrap_or_default(),
            });
        }
    }
    Ok(())
}

/// Copies of chunks `first..end` that were found bad.
pub(crate) fn findings(
    read: &impl Read,
    blob: BlobId,
    first: ChunkIndex,
    end: ChunkIndex,
) -> Result<BTreeMap<ChunkIndex, BTreeSet<NodeId>>, CatalogError> {
    let range = finding::on_chunks(blob, first, end);
    let mut bad: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (key, _) in record::scan::<Finding>(read, &range, MAX_FINDINGS)? {
        bad.entry(key.chunk.index).or_default().insert(key.node);
    }
    Ok(bad)
}
