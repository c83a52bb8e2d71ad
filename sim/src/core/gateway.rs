//! A gateway as a model: the calls that production's makes, in the same order, with contents in the place of bytes.
//!
//! ```text
//! put    begin ─► write to nodes ─► (failed: allocate, write again) ─► confirm ─► commit      else abort
//! get    locate ─► read every chunk from one of its places, and locate again before the lease ends
//! ```

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use cairn_core::chunking::{ChunkSizes, Chunking, Parts};
use cairn_core::copies::{ChunkPlacement, ChunkReceipt, ChunkWant, CopyReceipt, Place};
use cairn_core::digest::{ChunkHash, FileRoot};
use cairn_core::ids::{BlobId, ChunkId, NodeId, UploadId};
use cairn_proto::v1::master_server::Master as _;
use cairn_proto::{Reason, RemoteError, convert, v1};

use super::tasks::turns;
use super::world::{Answered, World};
use crate::history::{Content, Told};
use crate::linear::object::When;

/// Chunks placed by a begin: fewer than some files have.
const PLACED: u32 = 2;
/// How often a copy is placed anew.
const REPLACEMENTS: u32 = 3;

/// How a content is asked to be cut.
pub(super) fn chunking_of(content: Content) -> Chunking {
    let parts = u32::try_from(1 + content.seed % 7).unwrap_or(1);
    let asked = content.seed % 4 == 3;
    Parts::new(parts).ok().filter(|_| asked).map_or(Chunking::Standard, Chunking::Equal)
}

/// The sizes of its chunks.
pub(super) fn sizes_of(world: &World, content: Content) -> ChunkSizes {
    let standard = world.config.chunk_sizes;
    chunking_of(content).sizes(standard, Some(content.length)).unwrap_or(standard)
}

/// The hash of a chunk of a content.
pub(super) fn chunk_hash(content: Content, index: u32) -> ChunkHash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&content.seed.to_be_bytes());
    hash[8..16].copy_from_slice(&content.length.to_be_bytes());
    hash[16..20].copy_from_slice(&index.to_be_bytes());
    ChunkHash(hash)
}

/// The root of a content: what it says can be read back.
fn root(content: Content) -> FileRoot {
    FileRoot(chunk_hash(content, u32::MAX).0)
}

/// The content of a root that [`root`] made.
pub(super) fn content_of(root: &[u8]) -> Option<Content> {
    let number = |at: usize| Some(u64::from_be_bytes(root.get(at..at + 8)?.try_into().ok()?));
    Some(Content { seed: number(0)?, length: number(8)? })
}

/// The entity tag that the master gives a content.
fn etag(content: Content) -> String {
    root(content).to_string()[..32].to_owned()
}

/// The bucket and the key of a name.
pub(super) fn parts(name: &str) -> (String, String) {
    let (bucket, key) = name.split_once('/').unwrap_or(("default", name));
    (bucket.to_owned(), key.to_owned())
}

fn condition(when: When) -> v1::WriteCondition {
    match when {
        When::Always | When::Anyway => v1::WriteCondition::default(),
        When::Absent => v1::WriteCondition { must_not_exist: true, ..Default::default() },
        When::Is(content) => {
            v1::WriteCondition { if_match: vec![etag(content)], ..Default::default() }
        }
    }
}

/// A file to store.
#[derive(Debug, Clone)]
pub(super) struct Put {
    /// Bucket and key.
    pub(super) name: String,
    pub(super) content: Content,
    pub(super) when: When,
    /// Whether the length is announced.
    pub(super) announced: bool,
}

/// Why an upload comes to no version, and what its client is told.
struct Ended(Told);

impl Ended {
    /// Of an error before the commit: nothing can have happened.
    fn before_commit(error: &RemoteError) -> Self {
        Self(if by_condition(error) { Told::Refused } else { Told::Declined })
    }
}

fn by_condition(error: &RemoteError) -> bool {
    matches!(error.reason, Reason::ObjectExists | Reason::PreconditionFailed)
}

/// An open upload, as its gateway knows it.
struct Session {
    world: Rc<World>,
    put: Put,
    upload: UploadId,
    blob: BlobId,
    sizes: ChunkSizes,
    copies: usize,
    reserved: u64,
    placed: Vec<ChunkPlacement>,
    receipts: Vec<ChunkReceipt>,
}

fn caller() -> Option<v1::Caller> {
    Some(v1::Caller::default())
}

/// Stores a file, and tells the history what came of it.
pub(super) async fn put(world: Rc<World>, who: String, mut put: Put) {
    // Equal parts need the length.
    put.announced |= chunking_of(put.content) != Chunking::Standard;
    let Put { name, content, when, announced } = put.clone();
    world.note(&who, format_args!("PUT {name} {content}, {when:?}, announced: {announced}"));
    let ticket = world.history.begin_write(&name, Some(content), when);
    let upload = UploadId::from_uuid(world.chance.uuid_v7(&world.clock));
    let told = match store(&world, put, upload).await {
        Ok(()) => Told::Acknowledged,
        Err(Ended(told)) => {
            // The client has its answer before the upload is given up.
            world.history.told(&ticket, told);
            world.note(&who, format_args!("PUT {name} {content} -> {told:?}"));
            abort(&world, upload).await;
            return;
        }
    };
    world.history.told(&ticket, told);
    world.note(&who, format_args!("PUT {name} {content} -> {told:?}"));
}

async fn store(world: &Rc<World>, put: Put, upload: UploadId) -> Result<(), Ended> {
    let mut session = begin(world, put, upload).await?;
    let content = session.put.content;
    let count = session.sizes.count(content.length).unwrap_or(0);
    for index in 0..count {
        session.save(index).await?;
        if session.world.chance.below(3) == 0 {
            session.confirm().await?;
        }
        if session.world.chance.below(4) == 0 {
            session.renew().await;
        }
    }
    session.commit().await
}

async fn begin(world: &Rc<World>, put: Put, upload: UploadId) -> Result<Session, Ended> {
    let Put { name, content, when, announced } = put.clone();
    let (bucket, key) = parts(&name);
    let request = v1::BeginUploadRequest {
        caller: caller(),
        upload_id: convert::bytes(upload.as_bytes()),
        bucket,
        key,
        length: announced.then_some(content.length),
        received: if announced { 0 } else { content.length.min(world.config.chunk_sizes.first()) },
        condition: Some(condition(when)),
        meta: None,
        place_chunks: PLACED,
        chunking: convert::chunking_rule(chunking_of(content)),
        ..Default::default()
    };
    let begin = |master: cairn_chunk_master::MasterRpc, request| async move {
        master.begin_upload(request).await
    };
    let begun = world.call_again("begin", request, begin).await.answer;
    let begun = begun.map_err(|error| Ended::before_commit(&error))?;
    let wrong = |_| Ended(Told::Declined);
    let sizes = convert::required("chunk_sizes", begun.chunk_sizes).and_then(ChunkSizes::try_from);
    Ok(Session {
        world: Rc::clone(world),
        put,
        upload,
        blob: convert::blob_id(&begun.blob_id).map_err(wrong)?,
        sizes: sizes.map_err(wrong)?,
        copies: begun.copies as usize,
        reserved: begun.reserved,
        placed: convert::each(begun.placements).map_err(wrong)?,
        receipts: Vec::new(),
    })
}

async fn abort(world: &Rc<World>, upload: UploadId) {
    let request =
        v1::AbortUploadRequest { caller: caller(), upload_id: convert::bytes(upload.as_bytes()) };
    let abort = |master: cairn_chunk_master::MasterRpc, request| async move {
        master.abort_upload(request).await
    };
    let _the_sweeper_does_it_else = world.call_again("abort", request, abort).await;
}

impl Session {
    fn upload_id(&self) -> Bytes {
        convert::bytes(self.upload.as_bytes())
    }

    /// Writes one chunk to as many nodes as it needs.
    async fn save(&mut self, index: u32) -> Result<(), Ended> {
        let content = self.put.content;
        let length = self.sizes.length(index, content.length);
        let end = self.sizes.offset(index) + length;
        let mut want = ChunkWant {
            index,
            length,
            copies: self.copies,
            holders: Vec::new(),
            failed: Vec::new(),
        };
        let mut places = match self.placed.iter().find(|placed| placed.index == index) {
            Some(placed) if self.put.announced || end <= self.reserved => placed.places.clone(),
            _ => self.allocate(end, want.clone()).await?,
        };
        let mut copies = Vec::new();
        for attempt in 0..=REPLACEMENTS {
            let (held, failed) = self.write_to(places, index, length).await;
            copies.extend(held);
            if copies.len() >= self.copies {
                self.receipts.push(ChunkReceipt {
                    index,
                    length,
                    hash: chunk_hash(content, index),
                    copies,
                });
                return Ok(());
            }
            if attempt == REPLACEMENTS {
                break;
            }
            want.failed.extend(failed);
            want.holders = copies.iter().map(|copy: &CopyReceipt| copy.node).collect();
            want.copies = self.copies - copies.len();
            places = self.allocate(0, want.clone()).await?;
        }
        Err(Ended(Told::Declined))
    }

    /// Writes one copy after the other: the receipts, and the nodes that failed.
    async fn write_to(
        &self,
        places: Vec<Place>,
        index: u32,
        length: u64,
    ) -> (Vec<CopyReceipt>, Vec<NodeId>) {
        let (mut held, mut failed) = (Vec::new(), Vec::new());
        let chunk = ChunkId::new(self.blob, index);
        let hash = chunk_hash(self.put.content, index);
        for place in places {
            let node = self.world.nodes.iter().find(|node| node.address == place.address);
            let Some(node) = node else { continue };
            match node.write(chunk, length, hash).await {
                Ok(disk) => held.push(CopyReceipt { node: place.node, disk }),
                Err(_) => failed.push(place.node),
            }
        }
        (held, failed)
    }

    async fn allocate(&mut self, received: u64, want: ChunkWant) -> Result<Vec<Place>, Ended> {
        let request = v1::AllocateChunksRequest {
            caller: caller(),
            upload_id: self.upload_id(),
            received: if self.put.announced { 0 } else { received },
            wants: vec![want.into()],
            ..Default::default()
        };
        let allocate = |master: cairn_chunk_master::MasterRpc, request| async move {
            master.allocate_chunks(request).await
        };
        let answer = self.world.call_again("allocate", request, allocate).await.answer;
        let answer = answer.map_err(|error| Ended::before_commit(&error))?;
        self.reserved = self.reserved.max(answer.reserved);
        let placements: Result<Vec<ChunkPlacement>, _> = convert::each(answer.placements);
        let first = placements.ok().and_then(|placements| placements.into_iter().next());
        Ok(first.map(|placement| placement.places).unwrap_or_default())
    }

    /// Hands receipts to the master; a copy that does not count ends the upload.
    async fn confirm(&mut self) -> Result<(), Ended> {
        let receipts = std::mem::take(&mut self.receipts);
        if receipts.is_empty() {
            return Ok(());
        }
        let request = v1::ConfirmChunksRequest {
            caller: caller(),
            upload_id: self.upload_id(),
            receipts: receipts.into_iter().map(Into::into).collect(),
            blob_id: convert::bytes(self.blob.as_bytes()),
            late: false,
        };
        let confirm = |master: cairn_chunk_master::MasterRpc, request| async move {
            master.confirm_chunks(request).await
        };
        match self.world.call_again("confirm", request, confirm).await.answer {
            Ok(answer) if answer.refused.is_empty() => Ok(()),
            Ok(_) => Err(Ended(Told::Declined)),
            Err(error) => Err(Ended::before_commit(&error)),
        }
    }

    async fn renew(&self) {
        let request = v1::RenewUploadRequest { caller: caller(), upload_id: self.upload_id() };
        let renew = |master: cairn_chunk_master::MasterRpc, request| async move {
            master.renew_upload(request).await
        };
        let _tried_again_later = self.world.call("renew", request, renew).await;
    }

    async fn commit(mut self) -> Result<(), Ended> {
        let content = self.put.content;
        let receipts = std::mem::take(&mut self.receipts);
        let request = v1::CommitUploadRequest {
            caller: caller(),
            upload_id: self.upload_id(),
            receipts: receipts.into_iter().map(Into::into).collect(),
            length: content.length,
            sha256: Bytes::new(),
            root: Bytes::copy_from_slice(&root(content).0),
            blob_id: convert::bytes(self.blob.as_bytes()),
        };
        let commit = |master: cairn_chunk_master::MasterRpc, request| async move {
            master.commit_upload(request).await
        };
        let Answered { answer, stray } = self.world.call_again("commit", request, commit).await;
        answer.map(drop).map_err(|error| Ended(told_of_commit(&error, stray)))
    }
}

/// What a client is told when a commit is answered with an error.
fn told_of_commit(error: &RemoteError, stray: bool) -> Told {
    match error.reason {
        Reason::Unreachable
        | Reason::Busy
        | Reason::OutcomeUnknown
        | Reason::StorageFailed
        | Reason::Stopping => Told::Unknown,
        // Final, whatever is still under way.
        Reason::UploadAborted => Told::Declined,
        // A refused commit leaves its upload open until the abort, so that a copy of it that comes late may still
        // commit. HTTP/2 over TCP repeats no message; this network does.
        _ if stray => Told::Unknown,
        _ if by_condition(error) => Told::Refused,
        _ => Told::Declined,
    }
}

/// Deletes a file, and tells the history what came of it. Not repeated by itself, as production's gateway does.
pub(super) async fn delete(world: Rc<World>, who: String, name: String, when: When) {
    world.note(&who, format_args!("DELETE {name}, {when:?}"));
    let ticket = world.history.begin_write(&name, None, when);
    let (bucket, key) = parts(&name);
    let call = world.chance.uuid_v7(&world.clock);
    let request = v1::DeleteObjectRequest {
        // The network repeats: the key lets the master know a repeat.
        caller: Some(v1::Caller {
            principal: None,
            idempotency_key: convert::bytes(call.as_bytes()),
        }),
        bucket,
        key,
        condition: Some(condition(when)),
    };
    let delete = |master: cairn_chunk_master::MasterRpc, request| async move {
        master.delete_object(request).await
    };
    let Answered { answer, stray } = world.call("delete", request, delete).await;
    let told = match answer {
        Ok(_) => Told::Acknowledged,
        // A copy that is still under way may find something.
        Err(_) if stray => Told::Unknown,
        Err(error) => match error.reason {
            Reason::ObjectNotFound => Told::Refused,
            _ if by_condition(&error) => Told::Refused,
            Reason::Unreachable | Reason::OutcomeUnknown | Reason::Stopping => Told::Unknown,
            _ => Told::Declined,
        },
    };
    world.history.told(&ticket, told);
    world.note(&who, format_args!("DELETE {name} -> {told:?}"));
}

/// The name holds nothing, or its bucket is not there.
pub(super) fn is_absent(reason: Reason) -> bool {
    matches!(reason, Reason::ObjectNotFound | Reason::BucketNotFound)
}

/// Asks what a name holds.
pub(super) async fn head(world: Rc<World>, name: String) {
    let since = world.history.begin_read();
    let (bucket, key) = parts(&name);
    let request = v1::StatObjectRequest { principal: None, bucket, key };
    let stat = |master: cairn_chunk_master::MasterRpc, request| async move {
        master.stat_object(request).await
    };
    match world.call_again("stat", request, stat).await.answer {
        Ok(answer) => {
            let root = answer.object.map(|object| object.root).unwrap_or_default();
            world.history.saw(&name, since, content_of(&root));
        }
        Err(error) if is_absent(error.reason) => world.history.saw(&name, since, None),
        Err(_) => {}
    }
}

/// Lists all names of a bucket, a page at a time. A page is one moment; what it promises is told for each name that it
/// covers. A bucket that is not there has no names.
pub(super) async fn list(world: Rc<World>, bucket: &'static str, limit: u32) {
    let mut after = String::new();
    loop {
        let since = world.history.begin_read();
        let request = v1::ListObjectsRequest {
            bucket: bucket.to_owned(),
            after: after.clone(),
            limit,
            ..Default::default()
        };
        let list = |master: cairn_chunk_master::MasterRpc, request| async move {
            master.list_objects(request).await
        };
        let page = match world.call_again("list", request, list).await.answer {
            Ok(page) => page,
            Err(error) if is_absent(error.reason) => v1::ListObjectsResponse::default(),
            Err(_) => return,
        };
        let mut listed = BTreeSet::new();
        for entry in page.entries {
            let Some(v1::list_entry::Entry::Object(object)) = entry.entry else { continue };
            let name = format!("{bucket}/{}", object.key);
            world.history.saw(&name, since, content_of(&object.root));
            listed.insert(name);
        }
        let covered = |name: &String| {
            let (of, key) = parts(name);
            let reached = page.next_after.as_ref().is_none_or(|last| key <= *last);
            of == bucket && key > after && reached
        };
        for name in world.history.keys().into_iter().filter(covered) {
            if !listed.contains(&name) {
                world.history.saw(&name, since, None);
            }
        }
        match page.next_after {
            Some(next) if next > after => after = next,
            Some(next) => return world.violation(format!("a list does not move on from {next}")),
            None => return,
        }
        turns(world.chance.below(3)).await;
    }
}
