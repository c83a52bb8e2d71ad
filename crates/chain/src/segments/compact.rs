//! Getting space back: what counts of a few segments is copied to a new one, then they are removed.
//!
//! ```text
//! choose ─► copy what counts, proven, at a set rate ─► seal, sync ─► each chunk, claimed: it is at its copy now,
//!                                                                    or its copy gets a tombstone ─► remove the old
//! ```
//!
//! Whatever step is the last before a crash: a copy without a seal is thrown away, and with one its sources are as good
//! as gone. A note is needed as long as there is the segment that it names, or an index file that does not know it.
//! Closing breaks the copying off; it begins anew after the next opening.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_runtime::Clock;

use super::checkpoint::Due;
use super::delete;
use super::format::{
    Description, MAX_SOURCES, PAGE_BYTES, RECORD_BYTES, Record, SMALL_BYTES, UNIT_BYTES, What,
    encode_table, no_chunk,
};
use super::reader::OpenRecord;
use super::scan::scan;
use super::shared::{Place, Shared, Undone, locked};
use super::store::SegmentStoreConfig;
use super::table::{OpenSegment, Segment};
use crate::checks::next_frame;
use crate::ledger::Entry;
use crate::store::ReadError;

/// Bytes that are copied in one job.
const STEP_BYTES: u64 = 1 << 20;
/// Below this part of the capacity free, space is got back from every segment that has some.
const SCARCE_PART: u64 = 10;
/// Where space is scarce, segments are compacted of which fewer than this many hundredths count.
const SCARCE_BELOW: u64 = 95;
/// Segments of less than a quarter of the usual size are put together when there are this many.
const MANY_SHORT: usize = 8;
/// A segment is left alone that would give back less than this.
const LEAST_GAIN: u64 = 64 << 10;
/// Wait after a compaction that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// How much compaction may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    below: u64,
    rate: u64,
}

impl Pace {
    pub(super) fn of(config: &SegmentStoreConfig) -> Self {
        Self { below: config.compact_below.into(), rate: config.compact_rate.max(1) }
    }
}

/// Keeps segments compact and the index file young, until the store is closed or dropped.
pub(super) fn upkeep(shared: &Arc<Shared>, pace: Pace) -> impl Future<Output = ()> + use<> {
    let (weak, notify) = (Arc::downgrade(shared), Arc::clone(&shared.upkeep));
    async move {
        let mut due = Due::default();
        loop {
            notify.notified().await;
            if keep_up(&weak, pace, &mut due).await.is_none() {
                return;
            }
        }
    }
}

/// Nothing when the store is closed or gone.
async fn keep_up(weak: &Weak<Shared>, pace: Pace, due: &mut Due) -> Option<()> {
    loop {
        let shared = weak.upgrade()?;
        let _open = shared.ledger.hold_open()?;
        if shared.state().takes_writes().is_err() {
            return Some(());
        }
        let Some(victims) = choose(&shared, pace) else {
            let (job, now) = (Arc::clone(&shared), *due);
            *due = shared.ledger.run(move || now.written(&job)).await.ok()?;
            return Some(());
        };
        let compacted = compact(&shared, &victims, pace).await;
        if let Err(error) = compacted {
            release(&shared, &victims);
            if let CompactError::Closing = error {
                return None;
            }
            tracing::warn!(target: "cairn", disk = %shared.incarnation, %error, "compact segments");
            let clock = shared.clock.clone();
            drop((_open, shared));
            clock.sleep(AFTER_FAILURE).await;
            return Some(());
        }
    }
}

/// Segments worth compacting together, marked as such; nothing when there are none.
fn choose(shared: &Shared, pace: Pace) -> Option<Vec<u32>> {
    let usage = shared.state().usage();
    let below = if usage.free() < usage.capacity / SCARCE_PART { SCARCE_BELOW } else { pace.below };
    let mut table = shared.table.lock();
    let is_short = |segment: &Segment| segment.body() < shared.segment_bytes / 4;
    let ready = |segment: &Segment| segment.is_complete() && !segment.compacting;
    let short = table.known().values().filter(|segment| ready(segment) && is_short(segment));
    let many_short = short.count() >= MANY_SHORT;
    let worth = |segment: &Segment| {
        let kept = segment.live + u64::from(segment.notes) * RECORD_BYTES as u64;
        let is_sparse = kept * 100 < segment.body() * below && segment.body() - kept >= LEAST_GAIN;
        kept == 0 || is_sparse || (many_short && is_short(segment))
    };
    let mut candidates: Vec<_> = table
        .known()
        .iter()
        .filter(|(_, segment)| ready(segment) && worth(segment))
        .map(|(number, segment)| (segment.live, *number, u64::from(segment.notes)))
        .collect();
    candidates.sort_unstable();
    let mut victims = Vec::new();
    let mut bytes = 0;
    for (live, number, notes) in candidates.into_iter().take(MAX_SOURCES) {
        bytes += live + notes * RECORD_BYTES as u64;
        if !victims.is_empty() && bytes > shared.segment_bytes {
            break;
        }
        victims.push(number);
    }
    for victim in &victims {
        table.update(*victim, |segment| segment.compacting = true);
    }
    (!victims.is_empty()).then_some(victims)
}

/// They may be chosen again.
fn release(shared: &Shared, victims: &[u32]) {
    let mut table = shared.table.lock();
    for victim in victims {
        table.update(*victim, |segment| segment.compacting = false);
    }
}

/// A record that is to be kept.
#[derive(Debug, Clone, Copy)]
struct Kept {
    segment: u32,
    at: u64,
    record: Record,
}

async fn compact(shared: &Arc<Shared>, victims: &[u32], pace: Pace) -> Result<(), CompactError> {
    let job = Arc::clone(shared);
    let sources = victims.to_vec();
    let kept = shared.ledger.run(move || job.kept(&sources)).await??;
    let bytes = kept.iter().map(|kept| kept.record.extent).sum::<u64>();
    if kept.is_empty() && !shared.are_noted(victims) {
        return remove(shared, victims).await;
    }
    let job = Arc::clone(shared);
    let sources = victims.to_vec();
    let segment = shared.ledger.run(move || job.make_segment(sources)).await??;
    let mut copy = Copy { segment: Arc::new(segment), end: 0, moved: Vec::new(), notes: 0 };
    let copied = copy_all(shared, &mut copy, kept, pace).await;
    if let Err(error) = copied {
        let (job, number) = (Arc::clone(shared), copy.segment.number);
        drop(shared.ledger.run(move || job.remove_segment(number)).await);
        return Err(error);
    }
    let number = copy.segment.number;
    let moved = relocate(shared, copy).await;
    remove(shared, victims).await?;
    tracing::debug!(target: "cairn", disk = %shared.incarnation, ?victims, into = number, moved, bytes, "segments compacted");
    Ok(())
}

/// Removes segments of which nothing counts, once nothing that must not count can come back.
async fn remove(shared: &Arc<Shared>, victims: &[u32]) -> Result<(), CompactError> {
    let (job, victims) = (Arc::clone(shared), victims.to_vec());
    let removal = move || -> Result<(), CompactError> {
        job.settle_undone().map_err(|error| CompactError::Undone(format!("{error:?}")))?;
        job.forget_quarantined(&victims);
        for victim in victims {
            job.remove_segment(victim)?;
        }
        Ok(())
    };
    shared.ledger.run(removal).await?
}

/// Segments were not compacted. They are as they were.
#[derive(Debug, thiserror::Error)]
enum CompactError {
    /// No failure: closing does not wait for copies.
    #[error("the store is closing")]
    Closing,
    #[error(transparent)]
    Disk(#[from] io::Error),
    #[error("read a chunk: {0}")]
    Read(#[from] ReadError),
    #[error("clear away what was not answered: {0}")]
    Undone(String),
    #[error(transparent)]
    Interrupted(#[from] cairn_runtime::BlockingError),
}

async fn copy_all(
    shared: &Arc<Shared>,
    copy: &mut Copy,
    kept: Vec<Kept>,
    pace: Pace,
) -> Result<(), CompactError> {
    copy.end = super::format::HEADER_BYTES;
    let mut rest = kept.into_iter().peekable();
    while rest.peek().is_some() {
        let mut step = Vec::new();
        let mut bytes = 0;
        while let Some(next) = rest.next_if(|_| bytes < STEP_BYTES) {
            bytes += next.record.extent;
            step.push(next);
        }
        let job = Arc::clone(shared);
        let mut part = copy.part();
        let (part, damaged) = shared
            .ledger
            .run(move || part.copy(&job, &step).map(|damaged| (part, damaged)))
            .await??;
        copy.join(part);
        for chunk in damaged {
            // It counts as missing from here on, and is not copied.
            drop(delete::quarantine(shared, chunk).await);
        }
        let pause = pause(&shared.clock, bytes, pace.rate);
        shared.closing.run_until_cancelled(pause).await.ok_or(CompactError::Closing)?;
    }
    let (job, segment, end) = (Arc::clone(shared), Arc::clone(&copy.segment), copy.end);
    shared.ledger.run(move || job.seal(&segment, end)).await??;
    copy.end += RECORD_BYTES as u64;
    Ok(())
}

async fn pause(clock: &Clock, bytes: u64, rate: u64) {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
    if nanoseconds == 0 {
        return tokio::task::yield_now().await;
    }
    clock.sleep(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))).await;
}

/// Lets the copies count, chunk by chunk; what was deleted or written again meanwhile gets a tombstone for its copy.
/// Tells how many count.
async fn relocate(shared: &Arc<Shared>, copy: Copy) -> usize {
    let Copy { segment, end, moved, notes } = copy;
    let number = segment.number;
    shared.table.lock().update(number, |segment| {
        segment.end = end;
        segment.notes = notes;
        segment.rolled = true;
        // Its sources are there until they are removed.
        segment.compacting = true;
    });
    let mut count = 0;
    for (chunk, old, new) in moved {
        let claim = shared.ledger.claim(vec![chunk]).await;
        let is_current = shared.state().get(chunk) == Some(&old);
        if is_current {
            let mut table = shared.table.lock();
            table.enliven(new.segment, new.room());
            table.deaden(old.segment, old.room());
            drop(table);
            shared.state().put(chunk, new);
            count += 1;
        } else {
            locked(&shared.undone).push(Undone { chunk, segment: number });
        }
        drop(claim);
    }
    shared.table.lock().update(number, |segment| segment.compacting = false);
    shared.account();
    count
}

impl Shared {
    /// What has to be kept of the records of `sources`. Blocks.
    fn kept(&self, sources: &[u32]) -> io::Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for &segment in sources {
            let file = self.files.get(segment)?;
            let salt = self.table.lock().known().get(&segment).map(|segment| segment.salt);
            let Some(salt) = salt else { continue };
            scan(&*file, &salt, |at, record| {
                if self.is_kept(segment, at, &record, sources) {
                    kept.push(Kept { segment, at, record });
                }
            })?;
        }
        Ok(kept)
    }

    fn is_kept(&self, segment: u32, at: u64, record: &Record, sources: &[u32]) -> bool {
        match record.what {
            What::Chunk(Description { length, .. }) => {
                self.state().get(record.chunk) == Some(&Place::new(segment, at, length))
            }
            What::Tombstone(named) | What::Quarantine(named) => {
                // An index file that does not know the note may still know the chunk.
                let is_indexed = record.sequence <= self.indexed.load(Ordering::Relaxed);
                let is_gone =
                    sources.contains(&named) || !self.table.lock().known().contains_key(&named);
                !(is_indexed && is_gone)
            }
            What::Seal => false,
        }
    }

    /// Whether notes in some of `victims` may be about others of them: all must go in one step.
    fn are_noted(&self, victims: &[u32]) -> bool {
        let table = self.table.lock();
        let noted = |victim| table.known().get(victim).is_some_and(|segment| segment.notes > 0);
        victims.len() > 1 && victims.iter().any(noted)
    }

    /// Says that the copies are complete, durably.
    fn seal(&self, segment: &OpenSegment, at: u64) -> io::Result<()> {
        let mut numbers = self.sequences.take(1)?;
        let record = Record {
            chunk: no_chunk(),
            extent: RECORD_BYTES as u64,
            sequence: numbers.next(),
            durable: numbers.durable,
            what: What::Seal,
        };
        // The copies first: what is sealed is whole.
        self.made_durable(|| segment.file.sync())?;
        segment.file.write_at(at, &record.encode(&segment.salt, at))?;
        self.made_durable(|| segment.file.sync())
    }

    /// Chunks in quarantine go with the segments that hold what is left of them.
    fn forget_quarantined(&self, victims: &[u32]) {
        let victims: BTreeSet<_> = victims.iter().collect();
        let mut state = self.state();
        if state.usage().damaged == 0 {
            return;
        }
        let gone: Vec<ChunkId> = state
            .chunks()
            .iter()
            .filter(|(_, place)| place.is_quarantined() && victims.contains(&place.segment))
            .map(|(chunk, _)| *chunk)
            .collect();
        for chunk in gone {
            state.remove(chunk);
        }
    }
}

/// The segment that is copied to.
#[derive(Debug)]
struct Copy {
    segment: Arc<OpenSegment>,
    end: u64,
    /// From where to where.
    moved: Vec<(ChunkId, Place, Place)>,
    notes: u32,
}

impl Copy {
    /// The same, with nothing moved yet: for a job.
    fn part(&self) -> Self {
        Self { segment: Arc::clone(&self.segment), end: self.end, moved: Vec::new(), notes: 0 }
    }

    fn join(&mut self, part: Self) {
        self.end = part.end;
        self.notes += part.notes;
        self.moved.extend(part.moved);
    }

    /// Copies some records; gives the chunks that turned out to be damaged. Blocks.
    fn copy(&mut self, shared: &Shared, kept: &[Kept]) -> Result<Vec<ChunkId>, CompactError> {
        let mut damaged = Vec::new();
        for kept in kept {
            let What::Chunk(description) = kept.record.what else {
                self.notes += 1;
                self.append(&kept.record, RECORD_BYTES as u64, &[])?;
                continue;
            };
            match self.chunk(shared, kept, description) {
                Err(CompactError::Read(ReadError::Corrupt { chunk, .. })) => damaged.push(chunk),
                other => other?,
            }
        }
        Ok(damaged)
    }

    fn chunk(
        &mut self,
        shared: &Shared,
        kept: &Kept,
        description: Description,
    ) -> Result<(), CompactError> {
        let Record { chunk, .. } = kept.record;
        let length = description.length;
        let old = Place::new(kept.segment, kept.at, length);
        let opened = OpenRecord::open(shared, chunk, old)?;
        if length > SMALL_BYTES {
            self.end = self.end.next_multiple_of(PAGE_BYTES);
        }
        let at = self.end;
        let extent = (description.data_at + length).next_multiple_of(UNIT_BYTES);
        let mut to = at + description.data_at;
        let mut rest = ByteRange::whole(length);
        while let Some((now, later)) = next_frame(rest) {
            let frame = opened.frame(now)?;
            self.segment.file.write_at(to, &frame.bytes)?;
            to += frame.bytes.len() as u64;
            rest = later;
        }
        let table = encode_table(&opened.table);
        self.append(&kept.record, extent, &[Bytes::from(table)])?;
        self.moved.push((chunk, old, Place::new(self.segment.number, at, length)));
        Ok(())
    }

    /// Writes a record at the end, as it was but for its extent.
    fn append(&mut self, record: &Record, extent: u64, tail: &[Bytes]) -> io::Result<()> {
        let record = Record { extent, ..*record };
        let mut bytes = record.encode(&self.segment.salt, self.end).to_vec();
        tail.iter().for_each(|tail| bytes.extend_from_slice(tail));
        self.segment.file.write_at(self.end, &bytes)?;
        self.end += extent;
        Ok(())
    }
}
