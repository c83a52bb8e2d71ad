//! Blobs: their states follow from who has them, and their manifests are whole.

use std::collections::BTreeSet;

use cairn_core::ids::BlobId;
use cairn_core::lifecycle::BlobState;

use super::Records;
use crate::catalog::{Blob, NodePageKey, PageKey, Version, VersionState};

pub(super) fn check(records: &Records, contradictions: &mut Vec<String>) {
    for (id, blob) in &records.blobs {
        states(records, *id, blob, contradictions);
        if matches!(blob.state, BlobState::Live | BlobState::Condemned) {
            whole(records, *id, blob, contradictions);
        }
    }
    for (key, version) in &records.versions {
        if version.extents.iter().map(|extent| extent.length).sum::<u64>() != version.info.length {
            contradictions
                .push(format!("version {} is longer or shorter than its extents", key.version));
        }
        for extent in
            version.extents.iter().filter(|extent| !records.blobs.contains_key(&extent.blob))
        {
            contradictions.push(format!(
                "version {} names blob {}, and there is none",
                key.version, extent.blob
            ));
        }
    }
    for (id, upload) in
        records.uploads.iter().filter(|(_, upload)| !records.blobs.contains_key(&upload.blob))
    {
        contradictions.push(format!("upload {id} writes blob {}, and there is none", upload.blob));
    }
    index(records, contradictions);
}

/// The state is the one that follows from uploads, versions and the purge queue.
fn states(records: &Records, id: BlobId, blob: &Blob, contradictions: &mut Vec<String>) {
    let has = |version: &&Version| version.extents.iter().any(|extent| extent.blob == id);
    let versions: Vec<_> =
        records.versions.iter().map(|(_, version)| version).filter(has).collect();
    let current = versions.iter().filter(|version| version.state == VersionState::Current).count();
    let condemned = versions.len() - current;
    let uploads = records.uploads.iter().filter(|(_, upload)| upload.blob == id).count();
    let queued = records.purging.iter().any(|(queued, _)| *queued == id);
    let expected = match (uploads, current, condemned, queued) {
        (1, 0, 0, false) => Some(BlobState::Open),
        (0, 1.., _, false) => Some(BlobState::Live),
        (0, 0, 1.., false) => Some(BlobState::Condemned),
        (0, 0, 0, true) => Some(BlobState::Purging),
        _ => None,
    };
    let refs = (blob.current_refs as usize, blob.condemned_refs as usize);
    if expected != Some(blob.state) || refs != (current, condemned) {
        contradictions.push(format!(
            "blob {id} is {:?} with references {refs:?}: it has {uploads} uploads, {current} current and \
             {condemned} condemned versions, queued to be erased: {queued}",
            blob.state
        ));
    }
}

/// The manifest names every chunk, each with all its copies on nodes that were handed out.
fn whole(records: &Records, id: BlobId, blob: &Blob, contradictions: &mut Vec<String>) {
    let pages =
        records.pages.range(PageKey { blob: id, page: 0 }..=PageKey { blob: id, page: u32::MAX });
    let mut chunks = 0;
    for (index, entry) in pages.flat_map(|(_, page)| &page.chunks) {
        let expected = blob.sizes.length(*index, blob.length);
        let nodes: BTreeSet<_> = entry.copies.iter().map(|copy| copy.node).collect();
        let placed = nodes.is_subset(&blob.nodes) && nodes.len() == entry.copies.len();
        if *index != chunks
            || entry.length != expected
            || nodes.len() < blob.copies as usize
            || !placed
        {
            contradictions.push(format!(
                "half visible: chunk {index} of blob {id} of {} bytes is {entry:?}",
                blob.length
            ));
        }
        chunks += 1;
    }
    if blob.sizes.count(blob.length) != Some(chunks) {
        contradictions
            .push(format!("half visible: blob {id} of {} bytes has {chunks} chunks", blob.length));
    }
}

/// Pages have a blob, findings a copy, and the index of nodes names the pages that name them.
fn index(records: &Records, contradictions: &mut Vec<String>) {
    for (key, _) in records.purging.iter().filter(|(id, _)| !records.blobs.contains_key(id)) {
        contradictions.push(format!("blob {key} waits to be erased, and there is none"));
    }
    let mut named = BTreeSet::new();
    for (key, page) in &records.pages {
        if !records.blobs.contains_key(&key.blob) {
            contradictions.push(format!("a page is left of blob {}", key.blob));
        }
        let copies = page.chunks.values().flat_map(|entry| &entry.copies);
        named.extend(copies.map(|copy| (copy.node, *key)));
    }
    let indexed: BTreeSet<_> =
        records.node_pages.iter().map(|(NodePageKey { node, page }, _)| (*node, *page)).collect();
    for (node, page) in named.symmetric_difference(&indexed) {
        contradictions.push(format!("page {page:?} and the index of node {node} do not agree"));
    }
    for (key, _) in &records.findings {
        let page = records.pages.get(&PageKey::of(key.chunk.blob, key.chunk.index));
        let entry = page.and_then(|page| page.chunks.get(&key.chunk.index));
        if !entry.is_some_and(|entry| entry.copies.iter().any(|copy| copy.node == key.node)) {
            contradictions
                .push(format!("{} on {} was found bad, and is not named", key.chunk, key.node));
        }
    }
}
