//! A download as a model: it holds a read lease, and what it is promised it must get.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::copies::{ChunkLocation, CopyFinding, CopyReport};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_proto::v1::master_server::Master as _;
use cairn_proto::{Reason, convert, v1};

use super::gateway::{chunk_hash, content_of, is_absent, parts, sizes_of};
use super::truth;
use super::world::World;
use crate::history::Content;

/// Bytes that one page of the answer covers: few, so that files have several.
const PAGE_CHUNKS: u64 = 2;
/// How often a chunk that was erased where it should be is located again.
const LOOKS: u32 = 3;

/// A version that is being read.
struct Reading {
    world: Rc<World>,
    key: String,
    version: Bytes,
    content: Content,
    /// The master has promised the version until then.
    leased_until: Duration,
    strict: bool,
}

/// Reads a name: what it holds goes into the history, and every chunk of it must be what was written. `strict`: no
/// fault is on, so it must be read to its end.
pub(super) async fn get(world: Rc<World>, who: String, key: String, strict: bool) {
    let since = world.history.begin_read();
    let asked = world.clock.monotonic();
    let page = match locate(&world, &key, Bytes::new(), 0).await {
        Ok(page) => page,
        Err(Some(reason)) if is_absent(reason) => {
            return world.history.saw(&key, since, None);
        }
        Err(_) if strict => {
            return world.violation(format!("{key} cannot be located after all faults are over"));
        }
        Err(_) => return,
    };
    let object = page.object.clone().unwrap_or_default();
    let Some(content) = content_of(&object.root) else { return };
    world.history.saw(&key, since, Some(content));
    let leased_until = asked + Duration::from_millis(page.lease_ms);
    let version = object.version_id;
    let reading = Reading { world: Rc::clone(&world), key, version, content, leased_until, strict };
    let read = reading.run(page).await;
    world
        .note(&who, format_args!("GET {content} -> {}", if read { "whole" } else { "broken off" }));
}

async fn locate(
    world: &Rc<World>,
    name: &str,
    version: Bytes,
    offset: u64,
) -> Result<v1::LocateResponse, Option<Reason>> {
    let (bucket, key) = parts(name);
    let request = v1::LocateRequest {
        principal: None,
        bucket,
        key,
        version_id: version,
        offset,
        length: PAGE_CHUNKS * world.config.chunk_sizes.first(),
    };
    let locate = |master: cairn_chunk_master::MasterRpc, request| async move {
        master.locate(request).await
    };
    world.call_again("locate", request, locate).await.answer.map_err(|error| Some(error.reason))
}

impl Reading {
    /// Reads all chunks; false when it had to give up.
    async fn run(mut self, mut page: v1::LocateResponse) -> bool {
        let (mut at, length) = (0, self.content.length);
        while at < length {
            let chunks: Result<Vec<ChunkLocation>, _> =
                convert::each(std::mem::take(&mut page.chunks));
            let Some(chunks) = chunks.ok().filter(|chunks| !chunks.is_empty()) else {
                self.world
                    .violation(format!("half visible: {} has no chunks from {at} on", self.key));
                return false;
            };
            for chunk in chunks {
                if !self.read(chunk.clone()).await {
                    return false;
                }
                at = chunk.offset + chunk.length;
                self.dawdle().await;
            }
            if at < length && !self.go_on(&mut page, at).await {
                return false;
            }
        }
        true
    }

    fn is_leased(&self) -> bool {
        self.world.clock.monotonic() < self.leased_until
    }

    /// The client is slow: the lease is kept, as production's gateway does. A few are so slow that it ends.
    async fn dawdle(&mut self) {
        if self.strict || self.world.chance.below(3) > 0 {
            return;
        }
        for _ in 0..self.world.chance.below(6) {
            self.world
                .clock
                .sleep(Duration::from_millis(1000 + self.world.chance.below(3000)))
                .await;
            if self.world.chance.below(12) > 0 {
                let mut page = v1::LocateResponse::default();
                self.go_on(&mut page, 0).await;
            }
        }
    }

    /// Locates the version again, which extends the lease; false when it cannot go on.
    async fn go_on(&mut self, page: &mut v1::LocateResponse, at: u64) -> bool {
        let asked = self.world.clock.monotonic();
        match locate(&self.world, &self.key, self.version.clone(), at).await {
            Ok(next) => {
                self.leased_until = asked + Duration::from_millis(next.lease_ms);
                *page = next;
                true
            }
            Err(Some(Reason::ObjectNotFound)) if self.is_leased() || self.strict => {
                let Self { key, content, .. } = self;
                self.world.violation(format!("{content} of {key} was purged under its reader"));
                false
            }
            Err(_) => false,
        }
    }

    /// Reads a chunk from the first place that has it; false when none does. A copy may go while another one is there: then
    /// the chunk is located again.
    async fn read(&mut self, mut chunk: ChunkLocation) -> bool {
        for look in 1.. {
            let outcome = self.read_from(&chunk).await;
            match outcome {
                Found::Whole => return true,
                Found::Wrong => return false,
                Found::Erased if look < LOOKS => {}
                Found::Erased if self.is_leased() || self.strict => {
                    let (Self { key, content, .. }, chunk) = (&self, chunk.chunk);
                    let what = format!("{chunk} of {content} of {key} was erased under its reader");
                    self.world.violation(what);
                    return false;
                }
                Found::Nowhere | Found::Erased => {
                    if self.strict {
                        let (Self { key, content, .. }, index) = (&self, chunk.chunk.index);
                        self.world.violation(format!(
                            "an acknowledged byte is lost: {content} of {key} at chunk {index}"
                        ));
                    }
                    return false;
                }
            }
            let mut page = v1::LocateResponse::default();
            if !self.go_on(&mut page, chunk.offset).await {
                return false;
            }
            let located: Result<Vec<ChunkLocation>, _> = convert::each(page.chunks);
            let Some(again) = located.ok().and_then(|chunks| chunks.into_iter().next()) else {
                return false;
            };
            chunk = again;
        }
        false
    }

    async fn read_from(&self, chunk: &ChunkLocation) -> Found {
        let sizes = sizes_of(&self.world, self.content);
        let index = chunk.chunk.index;
        let (length, hash) =
            (sizes.length(index, self.content.length), chunk_hash(self.content, index));
        let mut places = chunk.places.clone();
        if !places.is_empty() && self.world.chance.below(4) == 0 {
            // The first one is slow.
            places.rotate_left(1);
        }
        let mut found = Found::Nowhere;
        for place in &places {
            let Some(node) = truth::node(&self.world, place.node) else { continue };
            match node.read(chunk.chunk).await {
                Ok(Some(stored)) if stored.proves(length, hash) => return Found::Whole,
                Ok(Some(stored)) if stored.is_damaged() => {
                    report(&self.world, chunk.chunk, node.id, CopyFinding::Corrupt).await;
                }
                Ok(Some(stored)) => {
                    let Self { key, content, .. } = self;
                    self.world.violation(format!(
                        "half visible: {content} of {key} has {stored:?} at {index}"
                    ));
                    return Found::Wrong;
                }
                Ok(None) => {
                    if node.has_erased(chunk.chunk) {
                        found = Found::Erased;
                    }
                    report(&self.world, chunk.chunk, node.id, CopyFinding::Missing).await;
                }
                Err(_) => {}
            }
        }
        found
    }
}

/// What a reader finds of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Whole,
    /// Another content.
    Wrong,
    /// No node that answers has it, and one was told to erase it.
    Erased,
    Nowhere,
}

/// Tells the master of a copy that is not there, or is not whole.
async fn report(world: &Rc<World>, chunk: ChunkId, node: NodeId, finding: CopyFinding) {
    let report = CopyReport { chunk, node, finding };
    let request = v1::ReportCopiesRequest { reports: vec![report.into()], ..Default::default() };
    let tell = |master: cairn_chunk_master::MasterRpc, request| async move {
        master.report_copies(request).await
    };
    let _told_by_the_next_reader_else = world.call("report", request, tell).await;
}

/// A node reads all that it holds, and tells of what is damaged.
pub(super) async fn scrub(world: Rc<World>, number: usize) {
    let node = world.nodes[number].clone();
    for (chunk, stored) in node.chunks() {
        if stored.is_damaged() {
            report(&world, chunk, node.id, CopyFinding::Corrupt).await;
        }
    }
}
