//! Making records durable: those who wait share a write and a sync.
//!
//! ```text
//! writers, deletions ─► queue of a lane ─► job: take a batch ─► write ─► sync ─► ledger, table ─► answers
//!                                            └── again, until the queue is empty
//! ```
//!
//! There are two lanes, so that a small chunk does not wait until megabytes of large ones are on the disk. Whoever finds
//! a lane without a job starts one; it outlives whoever started it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cairn_core::digest::{ChunkHash, plain_crc};
use cairn_core::ids::ChunkId;
use cairn_runtime::BlockingError;
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::format::{
    Description, PAGE_BYTES, RECORD_BYTES, Record, UNIT_BYTES, What, data_at, record_bytes,
};
use super::sequence::Numbers;
use super::shared::{Place, Shared, Undone, locked};
use super::table::OpenSegment;
use super::writer::Extent;
use crate::disk::DiskFile;
use crate::ledger::{Claim, Entry, Reservation};
use crate::store::{DeleteError, WriteError};

/// A batch takes no further record once it has this many bytes.
const BATCH_BYTES: u64 = 4 << 20;

/// With this many records that are to be undone nothing is written before their tombstones are: where a disk refuses
/// writes for hours, each of them would leave one more.
const MOST_UNDONE: usize = 1024;

/// A chunk to be made durable.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) chunk: ChunkId,
    pub(super) length: u64,
    pub(super) hash: ChunkHash,
    pub(super) table: Vec<u8>,
    pub(super) data: Data,
    pub(super) claim: Claim<Place>,
    pub(super) reservation: Reservation<Place>,
}

/// The bytes of a chunk.
#[derive(Debug)]
pub(super) enum Data {
    /// All of them, to be written.
    Whole(Vec<Bytes>),
    /// They are in an extent.
    Extent(Extent),
}

/// Records that are not to count any more.
#[derive(Debug)]
pub(super) struct Kill {
    pub(super) victims: Vec<(ChunkId, Place)>,
    /// Put aside rather than deleted.
    pub(super) quarantine: bool,
    /// The right to it, unless the caller keeps it.
    pub(super) claim: Option<Claim<Place>>,
}

#[derive(Debug)]
pub(super) enum Work {
    Put(Put),
    Kill(Kill),
}

/// What did not become durable, and why.
#[derive(Debug, Clone)]
pub(super) enum CommitError {
    NoRoom { wanted: u64, free: u64 },
    Disk { doing: &'static str, kind: io::ErrorKind, said: String },
    DiskFailed,
    Closed,
    Interrupted,
}

impl From<WriteError> for CommitError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NoRoom { wanted, free } => Self::NoRoom { wanted, free },
            WriteError::Disk { doing, source } => {
                Self::Disk { doing, kind: source.kind(), said: source.to_string() }
            }
            WriteError::Closed => Self::Closed,
            _ => Self::DiskFailed,
        }
    }
}

impl From<CommitError> for WriteError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NoRoom { wanted, free } => Self::NoRoom { wanted, free },
            CommitError::Disk { doing, kind, said } => {
                Self::Disk { doing, source: io::Error::new(kind, said) }
            }
            CommitError::DiskFailed => Self::DiskFailed,
            CommitError::Closed => Self::Closed,
            CommitError::Interrupted => Self::Interrupted(BlockingError::Panicked),
        }
    }
}

impl From<CommitError> for DeleteError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NoRoom { .. } => {
                let source = io::ErrorKind::StorageFull.into();
                Self::Disk { doing: "write a tombstone", source }
            }
            CommitError::Disk { doing, kind, said } => {
                Self::Disk { doing, source: io::Error::new(kind, said) }
            }
            CommitError::DiskFailed => Self::DiskFailed,
            CommitError::Closed => Self::Closed,
            CommitError::Interrupted => Self::Interrupted(BlockingError::Panicked),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lane {
    queue: Mutex<Queue>,
    /// The segment that batches and extents are put into; taken by jobs only.
    open: Mutex<Option<Arc<OpenSegment>>>,
}

/// Bounded by the claims on chunks and the room promised: each commit holds one of them.
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Commit>,
    running: bool,
}

#[derive(Debug)]
struct Commit {
    work: Work,
    done: oneshot::Sender<Result<(), CommitError>>,
    /// The store stays open until this is answered.
    _open: TaskTrackerToken,
}

/// Which lane.
#[derive(Debug, Clone, Copy)]
pub(super) enum Size {
    Small,
    Large,
}

impl Shared {
    pub(super) fn lane(&self, size: Size) -> &Lane {
        match size {
            Size::Small => &self.small,
            Size::Large => &self.large,
        }
    }

    /// Makes work durable, together with what others ask for meanwhile. It is done even if the caller goes away.
    pub(super) async fn commit(self: &Arc<Self>, work: Work) -> Result<(), CommitError> {
        let size = match &work {
            Work::Put(Put { data: Data::Extent(_), .. }) => Size::Large,
            Work::Put(_) | Work::Kill(_) => Size::Small,
        };
        let open = self.ledger.hold_open().ok_or(CommitError::Closed)?;
        let (done, answer) = oneshot::channel();
        if self.lane(size).enqueue(Commit { work, done, _open: open }) {
            let shared = Arc::clone(self);
            let job = async move {
                let worker = Arc::clone(&shared);
                // A panic was told to those who wait.
                let _ = shared.ledger.run(move || work_off(&worker, size)).await;
            };
            drop(self.spawner.spawn(job));
        }
        answer.await.map_err(|_| CommitError::Interrupted)?
    }

    /// The lane's segment, with room for `bytes` that `allocate` finds in it; a new segment when it has none. Blocks.
    fn place(
        &self,
        lane: &Lane,
        allocate: impl Fn(u32) -> Option<u64>,
    ) -> io::Result<(Arc<OpenSegment>, u64)> {
        let mut open = locked(&lane.open);
        if let Some(segment) = open.as_ref() {
            if let Some(at) = allocate(segment.number) {
                return Ok((Arc::clone(segment), at));
            }
            self.upkeep.notify_one();
        }
        let segment = Arc::new(self.make_segment(Vec::new())?);
        let at = allocate(segment.number).ok_or(io::ErrorKind::StorageFull)?;
        *open = Some(Arc::clone(&segment));
        Ok((segment, at))
    }

    /// An extent of `bytes` for a large chunk. Blocks.
    pub(super) fn place_extent(&self, bytes: u64) -> io::Result<(Arc<OpenSegment>, u64)> {
        let target = self.segment_bytes;
        self.place(&self.large, |number| self.table.lock().allocate_extent(number, bytes, target))
    }

    /// Leaves the lanes' segments as they are: what comes later goes to new ones.
    pub(super) fn roll(&self) {
        for lane in [&self.small, &self.large] {
            if let Some(segment) = locked(&lane.open).take() {
                self.table.lock().roll(segment.number);
            }
        }
    }

    /// Writes the tombstones of what must not count, now. Blocks.
    pub(super) fn settle_undone(&self) -> Result<(), CommitError> {
        if locked(&self.undone).is_empty() {
            return Ok(());
        }
        self.state().takes_writes()?;
        Batch::of(self, Vec::new()).write(self, Size::Small).map(|batch| batch.publish(self))
    }

    /// Keeps what is to be undone bounded. Blocks.
    fn settle_many_undone(&self) -> Result<(), CommitError> {
        let many = locked(&self.undone).len() >= MOST_UNDONE;
        if many { self.settle_undone() } else { Ok(()) }
    }
}

impl Lane {
    /// Tells whether a job has to be started.
    fn enqueue(&self, commit: Commit) -> bool {
        let mut queue = locked(&self.queue);
        queue.waiting.push(commit);
        !std::mem::replace(&mut queue.running, true)
    }

    /// What is committed next; nothing ends the job.
    fn take(&self) -> Option<Vec<Commit>> {
        let mut queue = locked(&self.queue);
        let mut bytes = 0;
        let mut count = 0;
        for commit in &queue.waiting {
            if bytes > BATCH_BYTES {
                break;
            }
            bytes += commit.work.bytes();
            count += 1;
        }
        if count == 0 {
            queue.running = false;
            return None;
        }
        Some(queue.waiting.drain(..count).collect())
    }
}

impl Work {
    /// Bytes that it adds to a batch.
    fn bytes(&self) -> u64 {
        match self {
            Self::Put(Put { data: Data::Whole(_), length, .. }) => record_bytes(*length),
            Self::Put(_) => 0,
            Self::Kill(kill) => kill.victims.len() as u64 * RECORD_BYTES as u64,
        }
    }
}

/// After a panic, those who wait are told, and the next one starts a job again.
struct Running<'a>(&'a Lane);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = locked(&self.0.queue);
            queue.waiting.clear();
            queue.running = false;
        }
    }
}

fn work_off(shared: &Shared, size: Size) {
    let lane = shared.lane(size);
    let _running = Running(lane);
    while let Some(commits) = lane.take() {
        let takes_writes = shared.state().takes_writes().map_err(CommitError::from);
        if let Err(error) = takes_writes.and_then(|()| shared.settle_many_undone()) {
            commits.into_iter().for_each(|commit| drop(commit.done.send(Err(error.clone()))));
            continue;
        }
        let (work, waiting): (Vec<_>, Vec<_>) =
            commits.into_iter().map(|commit| (commit.work, (commit.done, commit._open))).unzip();
        let written = Batch::of(shared, work).write(shared, size);
        let result = written.map(|batch| batch.publish(shared));
        for (done, open) in waiting {
            drop(done.send(result.clone()));
            drop(open);
        }
    }
}

/// Records that become durable together.
#[derive(Debug)]
struct Batch {
    undone: Vec<Undone>,
    work: Vec<Work>,
}

/// A batch that is durable.
#[derive(Debug)]
struct Written<'a> {
    work: Vec<Work>,
    /// Where the records of the puts are, in their order.
    places: Vec<Place>,
    /// The segment of the batch's own records, and how many of them are about others.
    notes: Option<(u32, u32)>,
    /// Open until the records count: an index file that says it knows them does.
    _numbers: Numbers<'a>,
}

impl Batch {
    fn of(shared: &Shared, work: Vec<Work>) -> Self {
        Self { undone: std::mem::take(&mut *locked(&shared.undone)), work }
    }

    /// Writes and syncs all records. After a failure none of them counts.
    fn write(mut self, shared: &Shared, size: Size) -> Result<Written<'_>, CommitError> {
        let numbers = shared.sequences.take(self.records());
        let mut numbers = numbers.map_err(|source| {
            let error = WriteError::Disk { doing: "number records", source };
            self.undo(shared, error)
        })?;
        let mut own = OwnRecords::default();
        for undone in &self.undone {
            own.note(undone.chunk, What::Tombstone(undone.segment));
        }
        for work in &self.work {
            own.add(work);
        }
        let written = own.write(shared, size, &mut numbers).and_then(|base| {
            let places = self.places(base.as_ref(), &own, shared, &mut numbers)?;
            Ok((base, places))
        });
        let (base, places) = written.map_err(|error| self.undo(shared, error))?;
        self.sync(shared, base.as_ref().map(|(segment, _)| segment))?;
        let notes = base.map(|(segment, _)| (segment.number, own.notes));
        Ok(Written { work: self.work, places, notes, _numbers: numbers })
    }

    fn records(&self) -> u64 {
        let of_work = |work: &Work| match work {
            Work::Put(_) => 1,
            Work::Kill(kill) => kill.victims.len(),
        };
        (self.undone.len() + self.work.iter().map(of_work).sum::<usize>()) as u64
    }

    /// Writes the records of extents; gives the places of all puts.
    fn places(
        &mut self,
        base: Option<&(Arc<OpenSegment>, u64)>,
        own: &OwnRecords,
        shared: &Shared,
        numbers: &mut Numbers<'_>,
    ) -> Result<Vec<Place>, WriteError> {
        let mut offsets = own.chunks.iter();
        let mut places = Vec::new();
        for work in &mut self.work {
            let Work::Put(put) = work else {
                continue;
            };
            let (table, length) = (&put.table, put.length);
            places.push(match &mut put.data {
                Data::Whole(_) => {
                    let (segment, at) = base.ok_or(WriteError::Broken)?;
                    let offset = offsets.next().ok_or(WriteError::Broken)?;
                    Place::new(segment.number, at + offset, length)
                }
                Data::Extent(extent) => {
                    let kept = extent.shorten(length);
                    let what = description(length, put.hash, table, extent.data_at());
                    let record = record(put.chunk, kept, what, numbers);
                    let written = extent.write_record(&record, table);
                    let doing = "write a chunk's record";
                    written.map_err(|error| shared.refused(kept, doing, error))?;
                    Place::new(extent.segment(), extent.at(), length)
                }
            });
        }
        Ok(places)
    }

    /// Syncs the segments that were written to.
    fn sync(&self, shared: &Shared, own: Option<&Arc<OpenSegment>>) -> Result<(), WriteError> {
        let mut files: BTreeMap<u32, &dyn DiskFile> = BTreeMap::new();
        if let Some(segment) = own {
            files.insert(segment.number, &*segment.file);
        }
        for work in &self.work {
            if let Work::Put(Put { data: Data::Extent(extent), .. }) = work {
                files.insert(extent.segment(), extent.file());
            }
        }
        for file in files.into_values() {
            shared
                .made_durable(|| file.sync())
                .map_err(|source| WriteError::Disk { doing: "make chunks durable", source })?;
        }
        Ok(())
    }

    /// Part of the batch may be written: it must not count.
    fn undo(&self, shared: &Shared, error: WriteError) -> CommitError {
        let small = locked(&shared.small.open).as_ref().map(|segment| segment.number);
        let mut undone = locked(&shared.undone);
        undone.extend(&self.undone);
        for work in &self.work {
            if let Work::Put(put) = work {
                let segment = match &put.data {
                    Data::Extent(extent) => Some(extent.segment()),
                    Data::Whole(_) => small,
                };
                undone.extend(segment.map(|segment| Undone { chunk: put.chunk, segment }));
            }
        }
        error.into()
    }
}

fn description(length: u64, hash: ChunkHash, table: &[u8], data_at: u64) -> What {
    What::Chunk(Description { length, data_at, table_crc: plain_crc(table), hash })
}

fn record(chunk: ChunkId, extent: u64, what: What, numbers: &mut Numbers<'_>) -> Record {
    Record { chunk, extent, sequence: numbers.next(), durable: numbers.durable, what }
}

/// The records that a batch writes one behind the other.
#[derive(Debug, Default)]
struct OwnRecords {
    parts: Vec<OwnRecord>,
    /// Offsets of chunks from the batch's beginning.
    chunks: Vec<u64>,
    notes: u32,
    bytes: u64,
}

#[derive(Debug)]
struct OwnRecord {
    chunk: ChunkId,
    what: What,
    at: u64,
    extent: u64,
    /// Table and data.
    tail: Vec<Bytes>,
}

impl OwnRecords {
    fn note(&mut self, chunk: ChunkId, what: What) {
        self.notes += 1;
        self.push(chunk, what, RECORD_BYTES as u64, Vec::new());
    }

    fn add(&mut self, work: &Work) {
        match work {
            Work::Put(put) => {
                if let Data::Whole(pieces) = &put.data {
                    let mut tail = vec![Bytes::copy_from_slice(&put.table)];
                    tail.extend(pieces.iter().cloned());
                    self.chunks.push(self.bytes);
                    let what = description(put.length, put.hash, &put.table, data_at(put.length));
                    self.push(put.chunk, what, record_bytes(put.length), tail);
                }
            }
            Work::Kill(kill) => {
                for (chunk, place) in &kill.victims {
                    self.note(
                        *chunk,
                        match kill.quarantine {
                            true => What::Quarantine(place.segment),
                            false => What::Tombstone(place.segment),
                        },
                    );
                }
            }
        }
    }

    fn push(&mut self, chunk: ChunkId, what: What, bytes: u64, tail: Vec<Bytes>) {
        let extent = bytes.next_multiple_of(UNIT_BYTES);
        self.parts.push(OwnRecord { chunk, what, at: self.bytes, extent, tail });
        self.bytes += extent;
    }

    /// Writes all of them; tells where.
    fn write(
        &self,
        shared: &Shared,
        size: Size,
        numbers: &mut Numbers<'_>,
    ) -> Result<Option<(Arc<OpenSegment>, u64)>, WriteError> {
        if self.parts.is_empty() {
            return Ok(None);
        }
        let refused = |doing, error| shared.refused(self.bytes, doing, error);
        let bytes = self.bytes.next_multiple_of(PAGE_BYTES);
        let target = shared.segment_bytes;
        let allocate = |number| shared.table.lock().allocate(number, bytes, target);
        let placed = shared.place(shared.lane(size), allocate);
        let (segment, at) = placed.map_err(|error| refused("make a segment", error))?;
        let buffer = self.assemble(&segment, at, numbers);
        if let Err(error) = segment.file.write_at(at, &buffer) {
            shared.table.lock().give_back(segment.number, at, bytes, 0);
            return Err(refused("write chunks", error));
        }
        Ok(Some((segment, at)))
    }

    fn assemble(&self, segment: &OpenSegment, at: u64, numbers: &mut Numbers<'_>) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(usize::try_from(self.bytes).unwrap_or(0));
        for part in &self.parts {
            let record = record(part.chunk, part.extent, part.what, numbers);
            buffer.extend_from_slice(&record.encode(&segment.salt, at + part.at));
            part.tail.iter().for_each(|bytes| buffer.extend_from_slice(bytes));
            buffer.resize(usize::try_from(part.at + part.extent).unwrap_or(0), 0);
        }
        buffer
    }
}

impl Written<'_> {
    /// Lets the records count: from here on they are seen.
    fn publish(self, shared: &Shared) {
        let mut upkeep = false;
        if let Some((segment, notes)) = self.notes {
            shared.table.lock().update(segment, |segment| segment.notes += notes);
        }
        let mut places = self.places.into_iter();
        for work in self.work {
            match work {
                Work::Put(put) => {
                    if let Some(place) = places.next() {
                        put.publish(shared, place);
                    }
                }
                Work::Kill(kill) => {
                    upkeep = true;
                    kill.publish(shared);
                }
            }
        }
        shared.account();
        if upkeep {
            shared.upkeep.notify_one();
        }
    }
}

impl Put {
    fn publish(self, shared: &Shared, place: Place) {
        shared.table.lock().enliven(place.segment, place.room());
        if let Data::Extent(extent) = self.data {
            extent.keep();
        }
        let replaced = self.reservation.settle(self.chunk, place);
        if let Some(replaced) = replaced {
            shared.table.lock().deaden(replaced.segment, replaced.room());
        }
        drop(self.claim);
    }
}

impl Kill {
    fn publish(self, shared: &Shared) {
        for (chunk, place) in self.victims {
            let mut state = shared.state();
            let held = match self.quarantine {
                true => state.put(chunk, place.quarantined()),
                false => state.remove(chunk),
            };
            drop(state);
            // What is in quarantine stays for a look, until its segment is compacted.
            if held.is_some() && !self.quarantine {
                shared.table.lock().deaden(place.segment, place.room());
            }
        }
        drop(self.claim);
    }
}
