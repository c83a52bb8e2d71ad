//! What a chunk is short of.

use std::collections::BTreeSet;

use cairn_core::copies::Place;
use cairn_core::digest::ChunkHash;
use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::lifecycle::{BlobState, CopyState};
use cairn_kv::Read;

use crate::catalog::{Blob, Page, PageKey, record};
use crate::error::CatalogError;
use crate::nodes::{Directory, places};
use crate::object::locate::findings;

/// A chunk with fewer copies than it should have, of which at least one can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Short {
    pub(super) chunk: ChunkId,
    pub(super) length: u64,
    pub(super) hash: ChunkHash,
    /// Copies that it should have.
    pub(super) wanted: usize,
    /// Nodes whose copies count.
    pub(super) good: Vec<NodeId>,
    /// Nodes that are away, and are waited for.
    pub(super) awaited: Vec<NodeId>,
    /// Nodes whose copies do not count.
    pub(super) bad: Vec<NodeId>,
    /// Nodes that were told to delete a copy: they are not given the chunk again.
    pub(super) dropping: Vec<NodeId>,
    /// Where it can be copied from, best first.
    pub(super) sources: Vec<Place>,
}

/// What a repair has to do for a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// It needs nothing, or nothing can be done.
    Nothing,
    /// It has enough copies, and one more was begun that nobody finishes.
    Forget,
    Copy(Short),
}

/// What `chunk` needs. `awaited` nodes are away for less than
/// the time after which their copies are made anew.
pub(super) fn look(
    read: &impl Read,
    chunk: ChunkId,
    directory: &Directory,
    awaited: &BTreeSet<NodeId>,
) -> Result<Need, CatalogError> {
    let blob = record::get::<Blob>(read, &chunk.blob)?;
    let Some(blob) = blob.filter(|blob| blob.state == BlobState::Live) else {
        return Ok(Need::Nothing);
    };
    let page = record::get::<Page>(read, &PageKey::of(chunk.blob, chunk.index))?;
    let Some(entry) = page.and_then(|mut page| page.chunks.remove(&chunk.index)) else {
        return Ok(Need::Nothing);
    };
    let mut found_bad = findings(read, chunk.blob, chunk.index, chunk.index + 1)?;
    let found_bad = found_bad.remove(&chunk.index).unwrap_or_default();
    let mut short = Short {
        chunk,
        length: entry.length,
        hash: entry.hash,
        wanted: blob.copies as usize,
        good: Vec::new(),
        awaited: Vec::new(),
        bad: Vec::new(),
        dropping: Vec::new(),
        sources: Vec::new(),
    };
    let mut begun = false;
    for copy in &entry.copies {
        let view = directory.get(&copy.node);
        let kept = view.is_some_and(|view| view.record.disks.contains(&copy.disk))
            && !found_bad.contains(&copy.node);
        let serves = view.is_some_and(|view| view.state.serves_chunks());
        let of = match copy.state {
            CopyState::Dropping => &mut short.dropping,
            // What an earlier life of a master began: nobody goes on with it.
            CopyState::Copying => {
                begun = true;
                continue;
            }
            CopyState::Live if kept && serves => &mut short.good,
            CopyState::Live if kept && awaited.contains(&copy.node) => &mut short.awaited,
            CopyState::Live => &mut short.bad,
        };
        of.push(copy.node);
    }
    let enough = short.good.len() + short.awaited.len() >= short.wanted;
    if enough || short.good.is_empty() {
        return Ok(if enough && begun { Need::Forget } else { Need::Nothing });
    }
    let mut sources = places(directory, chunk, &entry, &found_bad);
    sources.retain(|place| short.good.contains(&place.node));
    Ok(Need::Copy(Short { sources, ..short }))
}
