//! What each node holds beside what the manifests name on it.
//!
//! ```text
//! a page of the inventory ─► verdicts on what it shows             orphan, stray
//!           │             └► what the node's manifest pages name   missing, wrong length
//!           └── read again before anything is called a difference; then the catalog is asked once more
//! ```
//!
//! The catalog is read after the inventory: a copy that was named after it was listed shows in the second listing, and
//! one that was erased meanwhile is not named in the second look at the catalog.

use std::collections::{BTreeMap, BTreeSet};

use cairn_core::copies::{CopyFinding, CopyReport};
use cairn_core::ids::{ChunkId, DiskIncarnation, NodeId};
use cairn_core::lifecycle::{BlobState, CopyState};
use cairn_kv::{Durability, Read, Snapshot, Txn};

use super::{FsckError, Outcome, Step, StepError, Told, Unchecked, Walk};
use crate::audit::Kind;
use crate::catalog::{
    Blob, Finding, FindingKey, Held, NodePage, NodePageKey, PAGE_CHUNKS, Page, PageKey, record,
};
use crate::error::CatalogError;
use crate::nodes::NodeView;
use crate::object::report::{ReportError, report};
use crate::sweep::orphans::{Verdict, delete, verdicts};

/// Manifest pages of one view, and so at most 512 copies that are compared in one step.
const PAGES_PER_STEP: usize = 4;
/// Pages of an inventory that one second look reads: of 1000 chunks, a few are enough for what one step compares.
const PAGES_PER_LOOK: usize = 64;

/// A page of an inventory.
type Stored = BTreeMap<ChunkId, u64>;

/// Why a node is not compared any further.
enum Stop {
    /// It cannot be asked.
    Unchecked(String),
    Failed(FsckError),
}

impl From<FsckError> for Stop {
    fn from(error: FsckError) -> Self {
        Self::Failed(error)
    }
}

pub(super) async fn walk(walk: &mut Walk<'_>) -> Result<(), FsckError> {
    for node in walk.master.nodes.directory().into_values() {
        let why = match compare(walk, &node).await {
            Ok(()) => continue,
            Err(Stop::Unchecked(why)) => why,
            Err(Stop::Failed(error)) => match error.damage() {
                Some(damage) => damage,
                None => return Err(error),
            },
        };
        let what = format!("node {} ({})", node.node, node.record.address);
        let unchecked = vec![Unchecked { what, why, node: Some(node.node) }];
        walk.tell(Step { unchecked, ..Step::default() }).await?;
    }
    Ok(())
}

/// Compares one node, page of its inventory by page.
async fn compare(walk: &mut Walk<'_>, node: &NodeView) -> Result<(), Stop> {
    if !node.state.serves_chunks() {
        return Err(Stop::Unchecked(format!("it is {:?}", node.state)));
    }
    let mut after = None;
    loop {
        let (stored, more) = inventory(walk, node, after).await?;
        let until = stored.last_key_value().map(|(last, _)| *last).filter(|_| more);
        let span = Span { after, until };
        walk.copies += stored.len() as u64;
        let differences = unclaimed(walk, node, span, &stored).await?;
        tell(walk, node, differences).await?;
        named(walk, node, span, &stored).await?;
        // A node that does not move on is not asked for ever.
        match until {
            Some(until) if after.is_none_or(|after| until > after) => after = Some(until),
            _ => return Ok(()),
        }
    }
}

async fn tell(walk: &mut Walk<'_>, node: &NodeView, differences: Vec<Told>) -> Result<(), Stop> {
    let at = format!("node {}", node.node);
    Ok(walk.tell(Step { at, differences, ..Step::default() }).await?)
}

/// The chunks after one and up to another; all from there on when that is absent.
#[derive(Debug, Clone, Copy)]
struct Span {
    after: Option<ChunkId>,
    until: Option<ChunkId>,
}

impl Span {
    fn has(self, chunk: ChunkId) -> bool {
        self.after.is_none_or(|after| chunk > after)
            && self.until.is_none_or(|until| chunk <= until)
    }
}

/// A page of the inventory, of the disks that the catalog knows.
async fn inventory(
    walk: &Walk<'_>,
    node: &NodeView,
    after: Option<ChunkId>,
) -> Result<(Stored, bool), Stop> {
    let answer = walk.master.peers.inventory(&node.record.address, after).await;
    let (chunks, more) = answer.map_err(|error| Stop::Unchecked(error.to_string()))?;
    let now = walk.master.nodes.directory();
    if now.get(&node.node).is_none_or(|now| now.record.disks != node.record.disks) {
        return Err(Stop::Unchecked("its disks changed meanwhile".to_owned()));
    }
    Ok((chunks.into_iter().collect(), more))
}

/// What the node holds now of `suspects`, which are in order after `after`.
async fn again(
    walk: &Walk<'_>,
    node: &NodeView,
    mut after: Option<ChunkId>,
    suspects: &BTreeSet<ChunkId>,
) -> Result<Stored, Stop> {
    let mut held = Stored::new();
    for _ in 0..PAGES_PER_LOOK {
        let (stored, more) = inventory(walk, node, after).await?;
        let last = stored.last_key_value().map(|(last, _)| *last);
        held.extend(stored.into_iter().filter(|(chunk, _)| suspects.contains(chunk)));
        if !more || last >= suspects.last().copied() {
            return Ok(held);
        }
        after = last;
    }
    Err(Stop::Unchecked("its inventory changes faster than it can be read".to_owned()))
}

/// Chunks that nobody has a claim on, still there at a second look. Deleted by a repair, by the rule of the sweep.
async fn unclaimed(
    walk: &Walk<'_>,
    node: &NodeView,
    span: Span,
    stored: &Stored,
) -> Result<Vec<Told>, Stop> {
    let (holder, chunks) = (node.node, stored.keys().copied().collect::<Vec<_>>());
    let closure = move |view: &Snapshot<'_>| -> Result<_, StepError> {
        let held_back = record::get::<Held>(view, &())?.is_some();
        Ok((verdicts(view, holder, &chunks)?, held_back))
    };
    let (judged, held_back) = walk.master.kv.view(closure).await.map_err(FsckError::from)?;
    let bad: BTreeMap<_, _> = judged
        .into_iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Orphan | Verdict::Stray))
        .collect();
    if bad.is_empty() {
        return Ok(Vec::new());
    }
    let held = again(walk, node, span.after, &bad.keys().copied().collect()).await?;
    let there: Vec<_> = bad.into_iter().filter(|(chunk, _)| held.contains_key(chunk)).collect();
    let (mut outcome, mut action) = (Outcome::Would, "delete it there");
    let mut ordered = Vec::new();
    if walk.repair && held_back {
        (outcome, action) = (
            Outcome::Refused,
            "left: the catalog was restored and may be older than the nodes; release the sweep first",
        );
    } else if walk.repair && !there.is_empty() {
        let deleted = delete(walk.master, node, there.clone()).await;
        (outcome, action) = match deleted.map_err(FsckError::from)? {
            Ok(done) => {
                ordered = done.ordered;
                (
                    Outcome::Left,
                    "left: the chunk is short of copies, none of them was proven yet, or this one was named meanwhile",
                )
            }
            Err(_) => {
                (Outcome::Refused, "left: the node did not delete it; the sweep will try again")
            }
        };
    }
    let told = |(chunk, verdict): (ChunkId, Verdict)| {
        let (kind, why) = match verdict {
            Verdict::Stray => (Kind::Stray, "and its manifest does not name it"),
            _ => (Kind::Orphan, "and no blob has it"),
        };
        let what = format!("chunk {chunk} is on {}, {why}", node.record.address);
        let (outcome, action) = match ordered.contains(&chunk) {
            true => (Outcome::Mended, "deleted it there"),
            false => (outcome, action),
        };
        Told { kind, what, outcome, action, node: Some(holder), chunk: Some(chunk) }
    };
    Ok(there.into_iter().map(told).collect())
}

/// A copy that a manifest names on the node.
#[derive(Debug, Clone, Copy)]
struct Named {
    /// Bytes that it is to have.
    length: u64,
    /// It was found bad before.
    found: bool,
}

/// Compares what manifests name in `span` with what was listed.
async fn named(
    walk: &mut Walk<'_>,
    node: &NodeView,
    span: Span,
    stored: &Stored,
) -> Result<(), Stop> {
    let mut from = span.after.map(|after| PageKey::of(after.blob, after.index));
    loop {
        let (holder, at) = (node.node, from);
        let disks = node.record.disks.clone();
        let look = move |view: &Snapshot<'_>| -> Result<_, StepError> {
            Ok(names(view, holder, &disks, span, at)?)
        };
        let (names, next) = walk.master.kv.view(look.clone()).await.map_err(FsckError::from)?;
        let suspects: BTreeSet<_> = names
            .iter()
            .filter(|(chunk, named)| stored.get(chunk) != Some(&named.length))
            .map(|(chunk, _)| *chunk)
            .collect();
        if !suspects.is_empty() {
            let held = again(walk, node, span.after, &suspects).await?;
            let (mut still, _) = walk.master.kv.view(look).await.map_err(FsckError::from)?;
            still.retain(|chunk, named| {
                suspects.contains(chunk) && held.get(chunk) != Some(&named.length)
            });
            let differences = bad(walk, node, &still, &held).await?;
            tell(walk, node, differences).await?;
        }
        match next {
            Some(next) => from = Some(next),
            None => return Ok(()),
        }
    }
}

type Names = BTreeMap<ChunkId, Named>;

/// Copies of whole blobs that are named on one of the `disks` of a node, from a page of a manifest on, and where to go on. One view.
fn names(
    read: &impl Read,
    node: NodeId,
    disks: &BTreeSet<DiskIncarnation>,
    span: Span,
    from: Option<PageKey>,
) -> Result<(Names, Option<PageKey>), CatalogError> {
    let range = match from {
        None => record::prefixed::<NodePage>(|parts| {
            parts.id(node.as_bytes());
        }),
        Some(page) => {
            record::starting_at::<NodePage>(record::key_of::<NodePage>(&NodePageKey { node, page }))
        }
    };
    let mut pages = record::scan::<NodePage>(read, &range, PAGES_PER_STEP + 1)?;
    pages.retain(|(key, _)| key.node == node);
    let mut names = Names::new();
    for (NodePageKey { page: key, .. }, _) in pages.iter().take(PAGES_PER_STEP) {
        let first = ChunkId::new(key.blob, key.page.saturating_mul(PAGE_CHUNKS));
        if span.until.is_some_and(|until| first > until) {
            return Ok((names, None));
        }
        let blob: Option<Blob> = record::get(read, &key.blob)?;
        let whole = |blob: Blob| matches!(blob.state, BlobState::Live | BlobState::Condemned);
        if !blob.is_some_and(whole) {
            continue;
        }
        let page: Page = record::get(read, key)?.unwrap_or_default();
        for (index, entry) in page.chunks {
            let chunk = ChunkId::new(key.blob, index);
            let mut live = entry.copies.iter().filter(|copy| copy.state == CopyState::Live);
            let here = live.any(|copy| copy.node == node && disks.contains(&copy.disk));
            if here && span.has(chunk) {
                let found = record::get::<Finding>(read, &FindingKey { chunk, node })?.is_some();
                names.insert(chunk, Named { length: entry.length, found });
            }
        }
    }
    let next = pages.get(PAGES_PER_STEP).map(|(key, _)| key.page);
    Ok((names, next))
}

impl Named {
    /// What a reader would find of it, which is not whole. On which of its disks a node has a chunk is its own matter: tiers
    /// let go of chunks that a later one keeps.
    fn finding(held: Option<&u64>) -> CopyFinding {
        match held {
            None => CopyFinding::Missing,
            Some(_) => CopyFinding::Corrupt,
        }
    }

    /// What is told of it.
    fn told(&self, chunk: ChunkId, address: &str, held: Option<&u64>) -> (Kind, String) {
        let length = self.length;
        match held {
            None => (
                Kind::MissingCopy,
                format!("chunk {chunk} is not on {address}, which is to have {length} bytes of it"),
            ),
            Some(held) => (
                Kind::WrongLength,
                format!("chunk {chunk} has {held} bytes on {address}, and is to have {length}"),
            ),
        }
    }
}

/// Tells of copies that are missing or have a wrong length; a repair records as found bad what cannot be
/// read.
async fn bad(
    walk: &Walk<'_>,
    node: &NodeView,
    names: &Names,
    held: &Stored,
) -> Result<Vec<Told>, Stop> {
    let reports: Vec<_> = names
        .iter()
        .filter(|(_, named)| !named.found)
        .map(|(&chunk, _)| {
            let finding = Named::finding(held.get(&chunk));
            CopyReport { chunk, node: node.node, finding }
        })
        .collect();
    if walk.repair && !reports.is_empty() {
        let closure = move |txn: &mut Txn<'_>| -> Result<usize, StepError> {
            report(txn, &reports).map_err(|ReportError::Catalog(error)| error.into())
        };
        let recorded = walk.master.kv.transact(Durability::Synced, closure).await;
        recorded.map_err(FsckError::from)?;
    }
    let told = |(chunk, named): (&ChunkId, &Named)| {
        let (kind, what) = named.told(*chunk, &node.record.address, held.get(chunk));
        let (outcome, action) = match (named.found, walk.repair) {
            (true, _) => (Outcome::Left, "left: recorded before, cairn admin short lists it"),
            (false, true) => (Outcome::Left, "recorded: cairn admin short lists it"),
            (false, false) => (Outcome::Would, "record it, so that cairn admin short lists it"),
        };
        Told { kind, what, outcome, action, node: Some(node.node), chunk: Some(*chunk) }
    };
    Ok(names.iter().map(told).collect())
}
