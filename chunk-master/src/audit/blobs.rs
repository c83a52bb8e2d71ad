//! Uploads, blobs and manifests, with their indexes.

use std::collections::BTreeSet;

use cairn_core::ids::{BlobId, ChunkIndex, UploadId};
use cairn_core::lifecycle::{BlobState, CopyState};
use cairn_kv::Read;

use super::difference::{Found, Kind, Mend, REPORT, RESTORE};
use super::judge::Judged;
use crate::catalog::{
    Alarm, AlarmKey, Blob, Bucket, ChunkEntry, Deletion, Finding, FindingKey, Finished, NodePage,
    NodePageKey, NodeRecord, NodeUpload, NodeUploadKey, PAGE_CHUNKS, Page, PageKey, Pending,
    PendingKey, PurgeQueued, Subject, Upload, record,
};
use crate::error::CatalogError;

/// An open upload writes an open blob, for a bucket that is there, and has no end yet.
impl Judged for Upload {
    fn judge(
        &self,
        id: &UploadId,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let blob: Option<Blob> = record::get(read, &self.blob)?;
        if blob.as_ref().is_none_or(|blob| blob.state != BlobState::Open) {
            let what = format!("upload {id} writes blob {}, which is not open", self.blob);
            found.contradiction(what, RESTORE);
        }
        let bucket = crate::bucket::key_of(&self.principal, &self.bucket);
        if record::get::<Bucket>(read, &bucket)?.is_none() {
            let what = format!("upload {id} is for bucket {}, and there is none", self.bucket);
            found.contradiction(what, RESTORE);
        }
        if record::get::<Finished>(read, id)?.is_some() {
            found.contradiction(format!("upload {id} is open, and has ended"), REPORT);
        }
        let key = PendingKey::of(*id, self);
        if record::get::<Pending>(read, &key)?.is_none() {
            found.index(&key, &Pending, format!("upload {id} is open, and its key does not tell"));
        }
        for node in blob.into_iter().flat_map(|blob| blob.nodes) {
            let key = NodeUploadKey { node, upload: *id };
            if record::get::<NodeUpload>(read, &key)?.is_none() {
                let what =
                    format!("upload {id} was given node {node}, and its index does not tell");
                found.index(&key, &NodeUpload, what);
            }
        }
        Ok(())
    }
}

impl Judged for Pending {
    fn judge(
        &self,
        key: &PendingKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let upload = record::get::<Upload>(read, &key.upload)?;
        if upload.is_none_or(|upload| PendingKey::of(key.upload, &upload) != *key) {
            let what = format!("{:?} tells of upload {}, which is not open", key.key, key.upload);
            found.dangling::<Self>(key, what);
        }
        Ok(())
    }
}

impl Judged for NodeUpload {
    fn judge(
        &self,
        key: &NodeUploadKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let upload = record::get::<Upload>(read, &key.upload)?;
        let blob = match upload {
            Some(upload) => record::get::<Blob>(read, &upload.blob)?,
            None => None,
        };
        if !blob.is_some_and(|blob| blob.nodes.contains(&key.node)) {
            let NodeUploadKey { node, upload } = key;
            let what =
                format!("the index of node {node} names upload {upload}, which was not given it");
            found.dangling::<Self>(key, what);
        }
        Ok(())
    }
}

impl Judged for Alarm {
    fn judge(
        &self,
        key: &AlarmKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let there = match key.subject {
            Subject::Upload(id) => {
                record::get::<Upload>(read, &id)?.is_some()
                    || record::get::<Finished>(read, &id)?.is_some()
            }
            Subject::Deletion(call) => record::get::<Deletion>(read, &call)?.is_some(),
        };
        if !there {
            let what = format!("an alarm is set for {:?}, and there is none", key.subject);
            found.dangling::<Self>(key, what);
        }
        Ok(())
    }
}

/// A blob's state fits its references and the purge queue, and its manifest reaches its end.
impl Judged for Blob {
    fn judge(&self, id: &BlobId, read: &impl Read, found: &mut Found) -> Result<(), CatalogError> {
        let fits = match self.state {
            BlobState::Live => self.current_refs > 0,
            BlobState::Condemned => self.current_refs == 0 && self.condemned_refs > 0,
            BlobState::Open | BlobState::Purging => self.current_refs + self.condemned_refs == 0,
        };
        if !fits {
            let (current, condemned) = (self.current_refs, self.condemned_refs);
            let what = format!(
                "blob {id} is {:?} with {current} current and {condemned} condemned references",
                self.state
            );
            found.contradiction(what, REPORT);
        }
        let queued = record::get::<PurgeQueued>(read, id)?.is_some();
        if self.state == BlobState::Purging && !queued {
            found.index(id, &PurgeQueued, format!("blob {id} is to be erased, and not queued"));
        }
        if matches!(self.state, BlobState::Live | BlobState::Condemned) {
            let last = self.sizes.count(self.length).map(|count| count.checked_sub(1));
            let there = match last {
                None => false,
                Some(None) => true,
                Some(Some(last)) => record::get::<Page>(read, &PageKey::of(*id, last))?.is_some(),
            };
            if !there {
                let what = format!(
                    "half visible: the manifest of blob {id} of {} bytes ends early",
                    self.length
                );
                found.contradiction(what, RESTORE);
            }
        }
        Ok(())
    }
}

impl Judged for PurgeQueued {
    fn judge(&self, id: &BlobId, read: &impl Read, found: &mut Found) -> Result<(), CatalogError> {
        let blob: Option<Blob> = record::get(read, id)?;
        if blob.is_none_or(|blob| blob.state != BlobState::Purging) {
            let what = format!("blob {id} is queued to be erased, and is not to be");
            found.dangling::<Self>(id, what);
        }
        Ok(())
    }
}

/// A page has a blob and, when that is whole, every chunk with all its copies; each node on it is in the index, and has
/// the disks that gave the receipts.
impl Judged for Page {
    fn judge(
        &self,
        key: &PageKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let Some(blob) = record::get::<Blob>(read, &key.blob)? else {
            found.dangling::<Self>(key, format!("a page is left of blob {}", key.blob));
            return Ok(());
        };
        let whole = matches!(blob.state, BlobState::Live | BlobState::Condemned);
        if whole {
            self.judge_whole(key, &blob, read, found)?;
        }
        let copies = || self.chunks.values().flat_map(|entry| &entry.copies);
        let live = |copy: &&crate::catalog::Copy| copy.state == CopyState::Live;
        let nodes: BTreeSet<_> = copies().map(|copy| copy.node).collect();
        let PageKey { blob: id, page } = key;
        for node in nodes {
            let named = NodePageKey { node, page: *key };
            if record::get::<NodePage>(read, &named)?.is_none() {
                let what =
                    format!("page {page} of blob {id} names node {node}, and its index does not");
                found.index(&named, &NodePage, what);
            }
            let record = record::get::<NodeRecord>(read, &node)?;
            let disks = record.map(|record| record.disks).unwrap_or_default();
            let lost =
                |copy: &&crate::catalog::Copy| copy.node == node && !disks.contains(&copy.disk);
            let gone = copies().filter(live).filter(lost).count();
            if whole && gone > 0 {
                let what = format!(
                    "{gone} chunks on page {page} of blob {id} were on a disk that node {node} has no more"
                );
                found.add(Kind::ReplacedDisk, what, Mend::Leave(SHORT));
            }
        }
        Ok(())
    }
}

const SHORT: &str = "left: cairn admin short lists them";

impl Page {
    fn judge_whole(
        &self,
        key: &PageKey,
        blob: &Blob,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let PageKey { blob: id, page } = *key;
        if let Some(page) = page.checked_sub(1)
            && record::get::<Self>(read, &PageKey { page, ..*key })?.is_none()
        {
            let what = format!("half visible: the manifest of blob {id} has no page {page}");
            found.contradiction(what, RESTORE);
        }
        let end = blob.sizes.count(blob.length).unwrap_or(0);
        let first = page.saturating_mul(PAGE_CHUNKS);
        let expected = first..end.min(first.saturating_add(PAGE_CHUNKS));
        if !self.chunks.keys().copied().eq(expected.clone()) {
            let what =
                format!("half visible: page {page} of blob {id} has not chunks {expected:?}");
            found.contradiction(what, RESTORE);
        }
        for (index, entry) in &self.chunks {
            if !fits(blob, *index, entry) {
                let length = blob.length;
                let what = format!(
                    "half visible: chunk {index} of blob {id} of {length} bytes is {entry:?}"
                );
                found.contradiction(what, RESTORE);
            }
        }
        Ok(())
    }
}

/// The chunk has its length, and all its copies on different nodes that were handed out.
fn fits(blob: &Blob, index: ChunkIndex, entry: &ChunkEntry) -> bool {
    let nodes: BTreeSet<_> = entry.copies.iter().map(|copy| copy.node).collect();
    let live = entry.copies.iter().filter(|copy| copy.state == CopyState::Live).count();
    entry.length == blob.sizes.length(index, blob.length)
        && live >= blob.copies as usize
        && nodes.len() == entry.copies.len()
        && nodes.is_subset(&blob.nodes)
}

impl Judged for NodePage {
    fn judge(
        &self,
        key: &NodePageKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let page: Option<Page> = record::get(read, &key.page)?;
        let names = |entry: &ChunkEntry| entry.copies.iter().any(|copy| copy.node == key.node);
        if !page.is_some_and(|page| page.chunks.values().any(names)) {
            let PageKey { blob, page } = key.page;
            let what = format!(
                "the index of node {} names page {page} of blob {blob}, which does not name it",
                key.node
            );
            found.dangling::<Self>(key, what);
        }
        Ok(())
    }
}

/// A finding is of a copy that is named; while a blob is being erased its findings go after its pages.
impl Judged for Finding {
    fn judge(
        &self,
        key: &FindingKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let blob: Option<Blob> = record::get(read, &key.chunk.blob)?;
        if blob.is_some_and(|blob| blob.state == BlobState::Purging) {
            return Ok(());
        }
        let page: Option<Page> = record::get(read, &PageKey::of(key.chunk.blob, key.chunk.index))?;
        let entry = page.and_then(|mut page| page.chunks.remove(&key.chunk.index));
        if !entry.is_some_and(|entry| entry.copies.iter().any(|copy| copy.node == key.node)) {
            let what = format!("{} on {} was found bad, and is not named", key.chunk, key.node);
            found.dangling::<Self>(key, what);
        }
        Ok(())
    }
}
