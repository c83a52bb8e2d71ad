//! Two replicas, a fast one before a sure one: save, get, delete from the first, get again.
//!
//! ```sh
//! cargo run -p cairn-replicas --example four_steps
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::copies::{ChunkLocation, CopyReport};
use cairn_core::digest::ChunkHasher;
use cairn_core::ids::{BlobId, ChunkId, NodeId};
use cairn_core::range::ByteRange;
use cairn_replicas::{
    ChunkBuffer, DeleteStrategy, Fetch, MemoryReplica, NowhereElse, Pace, PaceBounds, ReadStrategy,
    Replica, Rule, Save, SaveBounds, SaveRule, Units, delete, fetch, save_or_undo,
};
use cairn_runtime::{Blocking, Clock, Entropy};
use futures_util::StreamExt;
use uuid::Uuid;

type Failure = Box<dyn Error + Send + Sync>;

/// What the four steps show, a line for each.
pub(crate) async fn four_steps() -> Result<Vec<String>, Failure> {
    let names = [1, 2].map(|n| NodeId::from_uuid(Uuid::from_u128(n)));
    let [fast, sure] = names.map(MemoryReplica::new);
    let unit = |unit: &MemoryReplica| Arc::new(unit.clone()) as Arc<dyn Replica>;
    let units = Units::new(names.into_iter().zip([unit(&fast), unit(&sure)]), &names)?;
    let chunk = ChunkId::new(BlobId::from_uuid(Uuid::from_u128(3)), 0);
    let clock = Clock::system();
    let mut seen = Vec::new();

    // Save: to the standard order, one after another. What fails is undone.
    let content = Bytes::from_static(b"hello");
    let mut buffer = ChunkBuffer::new(chunk);
    let source = buffer.reader();
    buffer.push(content.clone());
    let mut hasher = ChunkHasher::default();
    hasher.update(&content);
    let end = buffer.end(hasher.finish());
    let erase = |node: NodeId| {
        std::future::ready(if node == names[0] { fast.delete(chunk) } else { sure.delete(chunk) })
    };
    let asked = Save {
        chunk,
        reserve: end.length,
        targets: units.targets(None)?,
        least: 2,
        strategy: <dyn SaveRule>::standard("sequential")?,
        source,
        replicas: Arc::new(units.clone()),
        replace: NowhereElse,
        bounds: SaveBounds::default(),
        clock: clock.clone(),
    };
    let saved = save_or_undo(asked, erase).await.map_err(|error| error.to_string())?;
    seen.push(format!("saved: {} copies", saved.copies.len()));

    // Get: the first one serves.
    let pace = Pace::new(PaceBounds::default(), clock, Entropy::seeded(1), |_| {});
    let reading = Fetch {
        location: ChunkLocation {
            chunk,
            offset: 0,
            length: end.length,
            hash: end.hash,
            places: units.targets(None)?.places().to_vec(),
        },
        range: ByteRange::whole(end.length),
        elsewhere: Arc::new(NowhereElse),
        strategy: Arc::new(ReadStrategy::Ordered),
        replicas: Arc::new(units.clone()),
        report: Arc::new(|report: CopyReport| tracing::info!(?report, "a copy to repair")),
        stall: Duration::from_secs(1),
        pace,
        hashing: Blocking::inline(),
    };
    seen.push(format!("got: {}", text(reading.clone()).await?));

    // Delete from the first one; twice does no harm.
    for _ in 0..2 {
        let gone = delete(&names[..1], &DeleteStrategy::Sequential, erase).await.gone;
        seen.push(format!("deleted: {} of 1", gone.len()));
    }

    // Get again: what the first one misses, the second one has.
    seen.push(format!("got: {}", text(reading).await?));
    seen.push(format!("first: {}, second: {}", fast.has(chunk), sure.has(chunk)));
    Ok(seen)
}

/// The bytes of a read, and which replica they came from.
async fn text(reading: Fetch) -> Result<String, Failure> {
    let mut runs = std::pin::pin!(fetch(reading));
    let mut text = String::new();
    while let Some(run) = runs.next().await {
        let run = run?;
        text += &String::from_utf8(run.bytes.to_vec())?;
        text += if run.node.as_bytes()[15] == 1 { ", from the first" } else { ", from the second" };
    }
    Ok(text)
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "this is what a sample is for")]
#[allow(dead_code, reason = "the test that plays the steps has no use for it")]
async fn main() -> Result<(), Failure> {
    for line in four_steps().await? {
        println!("{line}");
    }
    Ok(())
}
