//! `cairn node inspect | verify | rebuild-index`: a look at a node's folder while the node is stopped.

use std::path::Path;
use std::sync::Arc;

use cairn_chain::{
    ChunkStore, ListChunks, OpenError, ReadError, RealDisk, SegmentStore, SegmentStoreConfig,
    SegmentStoreSeams,
};
use cairn_core::digest::ChunkHasher;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use futures_util::StreamExt;
use serde::Serialize;

use crate::args::{Folder, NodeFolder};
use crate::client::args::Telling;
use crate::client::block_on;
use crate::client::error::{ClientError, Kind};
use crate::client::output::Output;
use crate::human::{self, Side, Table};

/// Chunks listed at a time.
const PAGE: usize = 1000;
/// Threads that read the disk.
const THREADS: usize = 2;

pub(crate) fn run(command: &NodeFolder) -> Result<(), ClientError> {
    block_on(async {
        match command {
            NodeFolder::Inspect(folder) => inspect(folder).await,
            NodeFolder::Verify(folder) => verify(folder).await,
            NodeFolder::RebuildIndex(folder) => rebuild_index(folder).await,
        }
    })
}

fn output(folder: &Folder) -> Output {
    Output::new(Telling { quiet: true, json: folder.json })
}

async fn open(doing: &str, folder: &Path) -> Result<SegmentStore, ClientError> {
    let failed = |error: &dyn ToString| ClientError::failed(doing, error.to_string());
    if !folder.join("store").is_file() {
        let problem = format!("{} is not the folder of a storage node", folder.display());
        return Err(ClientError::new(Kind::NotFound, doing, problem));
    }
    let disk = RealDisk::open(folder).map_err(|error| failed(&error))?;
    let seams = SegmentStoreSeams {
        disk: Arc::new(disk),
        blocking: Blocking::threads("cairn-disk", THREADS).map_err(|error| failed(&error))?,
        spawner: Spawner::current(),
        entropy: Entropy::from_system().map_err(|error| failed(&error))?,
        clock: Clock::system(),
    };
    let config = SegmentStoreConfig::default();
    SegmentStore::open(config, seams).await.map_err(|error| match error {
        OpenError::Locked => failed(&error).advise("the node must be stopped"),
        error => failed(&error),
    })
}

#[derive(Serialize)]
struct Segment {
    segment: String,
    bytes: u64,
    live: u64,
    notes: u32,
}

#[derive(Serialize)]
struct Summary {
    disk: String,
    chunks: u64,
    damaged: u64,
    used: u64,
    reclaimable: u64,
    capacity: u64,
    segments: usize,
}

async fn inspect(folder: &Folder) -> Result<(), ClientError> {
    let doing = format!("inspect {}", folder.folder.display());
    let store = open(&doing, &folder.folder).await?;
    let out = output(folder);
    let survey = store.survey();
    let mut table = Table::new(&[
        ("SEGMENT", Side::Left),
        ("BYTES", Side::Right),
        ("LIVE", Side::Right),
        ("NOTES", Side::Right),
    ]);
    for segment in &survey {
        let name = format!("{:08x}", segment.number);
        if folder.json {
            let (bytes, live, notes) = (segment.bytes, segment.live, segment.notes);
            out.json(&Segment { segment: name, bytes, live, notes })?;
        } else {
            let percent = segment.live * 100 / segment.bytes.max(1);
            let (bytes, live) = (human::bytes(segment.bytes), format!("{percent} %"));
            table.row(vec![name, bytes, live, segment.notes.to_string()]);
        }
    }
    let usage = store.usage();
    let disk = store.disks().first().map(|disk| disk.disk.to_string()).unwrap_or_default();
    if folder.json {
        return out.json(&Summary {
            disk,
            chunks: usage.chunks,
            damaged: usage.damaged,
            used: usage.used,
            reclaimable: usage.reclaimable,
            capacity: usage.capacity,
            segments: survey.len(),
        });
    }
    table.lines().iter().try_for_each(|line| out.line(line))?;
    out.line(&format!("disk         {disk}"))?;
    out.line(&format!("chunks       {}", usage.chunks))?;
    out.line(&format!("damaged      {}", usage.damaged))?;
    out.line(&format!("used         {}", human::bytes(usage.used)))?;
    out.line(&format!("reclaimable  {}", human::bytes(usage.reclaimable)))
}

#[derive(Serialize)]
struct Damaged<'a> {
    chunk: String,
    problem: &'a str,
}

#[derive(Serialize, Default)]
struct Verified {
    chunks: u64,
    bytes: u64,
    damaged: u64,
    in_quarantine: u64,
}

async fn verify(folder: &Folder) -> Result<(), ClientError> {
    let doing = format!("verify {}", folder.folder.display());
    let store = open(&doing, &folder.folder).await?;
    let out = output(folder);
    let mut sum = Verified { in_quarantine: store.usage().damaged, ..Verified::default() };
    let mut after = None;
    loop {
        let list = ListChunks { after, blob: None, limit: PAGE };
        let page = store.list(list).await.map_err(|error| ClientError::failed(&doing, error))?;
        for held in &page.chunks {
            after = Some(held.chunk);
            sum.chunks += 1;
            sum.bytes += held.length;
            let Some(problem) = problem(&store, held.chunk).await else { continue };
            sum.damaged += 1;
            let (chunk, text) = (held.chunk.to_string(), format!("{}: {problem}", held.chunk));
            match folder.json {
                true => out.json(&Damaged { chunk, problem: &problem })?,
                false => out.line(&text)?,
            }
        }
        if !page.more {
            break;
        }
    }
    match folder.json {
        true => out.json(&sum)?,
        false => {
            let bytes = human::bytes(sum.bytes);
            let Verified { chunks, damaged, in_quarantine, .. } = sum;
            out.line(&format!(
                "{chunks} chunks, {bytes} read: {damaged} damaged, {in_quarantine} in quarantine"
            ))?;
        }
    }
    match sum.damaged {
        0 => Ok(()),
        damaged => {
            let problem = format!("{damaged} chunks are damaged");
            let advice =
                "start the node: reads and the scrub put them aside, and other copies serve";
            Err(ClientError::new(Kind::Mismatch, doing, problem).advise(advice))
        }
    }
}

/// What is wrong with a chunk, if anything.
async fn problem(store: &SegmentStore, chunk: ChunkId) -> Option<String> {
    match hash_matches(store, chunk).await {
        Ok(true) => None,
        Ok(false) => Some("its blocks are intact, and its hash does not match".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

async fn hash_matches(store: &SegmentStore, chunk: ChunkId) -> Result<bool, ReadError> {
    let whole = ByteRange { offset: 0, length: u64::MAX };
    let mut reader = store.read(chunk, whole).await?;
    let mut hasher = ChunkHasher::default();
    while let Some(frame) = reader.frames.next().await {
        hasher.update(&frame?.bytes);
    }
    Ok(hasher.finish() == reader.header.hash)
}

#[derive(Serialize)]
struct Rebuilt {
    chunks: u64,
    segments: usize,
}

async fn rebuild_index(folder: &Folder) -> Result<(), ClientError> {
    let doing = format!("rebuild the index of {}", folder.folder.display());
    // Opened first: this tells whether the folder is free, and what the index said.
    let store = open(&doing, &folder.folder).await?;
    let before = store.usage().chunks;
    store.close().await;
    drop(store);
    let disk =
        RealDisk::open(&folder.folder).map_err(|error| ClientError::failed(&doing, error))?;
    SegmentStore::forget_index(&disk).map_err(|error| ClientError::failed(&doing, error))?;
    let store = open(&doing, &folder.folder).await?;
    let rebuilt = Rebuilt { chunks: store.usage().chunks, segments: store.survey().len() };
    store.close().await;
    let out = output(folder);
    let Rebuilt { chunks, segments } = rebuilt;
    match folder.json {
        true => out.json(&rebuilt)?,
        false => out.line(&format!("{chunks} chunks in {segments} segments; before: {before}"))?,
    }
    Ok(())
}
