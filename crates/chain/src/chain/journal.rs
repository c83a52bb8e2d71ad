//! What is still to be copied to the tiers behind, on a disk of its own: it outlives a loss of power.
//!
//! ```text
//! journal   magic 8 │ version u32 │ crc32c u32        then records of 32 bytes, each in its slot
//! record    kind u32 │ chunk 20 │ slot u32 │ crc32c u32        over what is before it, big-endian
//!           1 to be copied · 2 copied, or not to be copied any more
//! ```
//!
//! Records of several writers share one fsync. "Copied" records wait for the next of those, or for closing: what is lost of
//! them is copied again, which finds the copy there. A record that does not match its checksum or its slot is passed over: at the
//! end of the journal it is one whose fsync never ended, so nobody was told; before intact ones it is damage, and reported.
//! When most records are spent, the journal is written anew and takes the old one's name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::digest::plain_crc;
use cairn_core::ids::ChunkId;
use cairn_runtime::{Blocking, BlockingError, Spawner};
use futures_util::future;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::disk::{Disk, DiskFile, DiskLock, PublishError, durable_publish};
use crate::pins::{Pin, Pins};
use crate::store::WriteError;

const FILE: &str = "journal";
const ASIDE: &str = "journal.new";
const LOCK: &str = "lock";
const MAGIC: &[u8; 8] = b"cairnbhd";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const RECORD_BYTES: usize = 32;
/// Fewer records are never worth writing anew.
const LEAST_RECORDS: usize = 1024;
/// "Copied" records that may wait for somebody's fsync.
const WAITING_RECORDS: usize = 256;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ToCopy,
    Settled,
}

impl Kind {
    fn number(self) -> u32 {
        match self {
            Self::ToCopy => 1,
            Self::Settled => 2,
        }
    }

    fn of(number: u32) -> Option<Self> {
        [Self::ToCopy, Self::Settled].into_iter().find(|kind| kind.number() == number)
    }
}

type Record = (Kind, ChunkId);

fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
    let crc = plain_crc(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn encode((kind, chunk): Record, slot: usize) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..4].copy_from_slice(&kind.number().to_be_bytes());
    bytes[4..24].copy_from_slice(&chunk.to_bytes());
    // A journal is written anew long before its slots are spent.
    let slot = u32::try_from(slot).unwrap_or(u32::MAX);
    bytes[24..28].copy_from_slice(&slot.to_be_bytes());
    let crc = plain_crc(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8], slot: usize) -> Option<Record> {
    let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let whole = bytes.len() == RECORD_BYTES
        && number(28)? == plain_crc(&bytes[..28])
        && usize::try_from(number(24)?).ok()? == slot;
    if !whole {
        return None;
    }
    Some((Kind::of(number(0)?)?, ChunkId::from_slice(&bytes[4..24]).ok()?))
}

/// What a journal needs of its surroundings.
#[derive(Debug, Clone)]
pub struct JournalSeams {
    /// The journal's folder, its own.
    pub disk: Arc<dyn Disk>,
    /// Where work on the disk runs.
    pub blocking: Blocking,
    /// Where records are written together.
    pub spawner: Spawner,
}

/// The journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has the folder.
    #[error("the journal of the tiers behind is open in another process")]
    Locked,
    /// Another version wrote it.
    #[error(
        "the journal of the tiers behind has format {version}, this version knows format 1: use the Cairn that wrote it"
    )]
    UnknownFormat {
        /// What it says.
        version: u32,
    },
    /// It does not begin as one.
    #[error(
        "the journal of the tiers behind is damaged: put it back from a copy, or remove it and copy by hand"
    )]
    Damaged,
    /// The disk refused.
    #[error("{doing}: {source}")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// The work on the disk gave no result.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::Disk { doing, source }
}

/// See the module. It pins what is still to be copied, from its opening on: an LRU that shares [`Self::pins`] keeps it.
#[derive(Debug)]
pub struct Journal {
    inner: Arc<Inner>,
    recovered: BTreeMap<ChunkId, Pin>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    blocking: Blocking,
    spawner: Spawner,
    pins: Pins,
    state: Mutex<State>,
    tasks: TaskTracker,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("disk", &self.disk).finish_non_exhaustive()
    }
}

/// Waits for a record to be durable.
type Waiting = oneshot::Sender<Result<(), WriteError>>;

struct State {
    file: Arc<dyn DiskFile>,
    /// Slots that are written.
    slots: usize,
    /// What the written slots say is still to be copied.
    to_copy: BTreeSet<ChunkId>,
    queue: Vec<Record>,
    waiting: Vec<Waiting>,
    /// A task writes.
    writing: bool,
    /// A sync failed: what is durable is not known.
    failed: bool,
}

impl Journal {
    /// Reads what is still to be copied, and writes the journal anew.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn open(seams: JournalSeams) -> Result<Self, JournalError> {
        let JournalSeams { disk, blocking, spawner } = seams;
        let job = Arc::clone(&disk);
        let (lock, file, to_copy) = blocking.run(move || open(&*job)).await??;
        let pins = Pins::default();
        let recovered = to_copy.iter().map(|chunk| (*chunk, pins.pin(*chunk))).collect();
        let state = State {
            file,
            slots: to_copy.len(),
            to_copy,
            queue: Vec::new(),
            waiting: Vec::new(),
            writing: false,
            failed: false,
        };
        let (state, tasks) = (Mutex::new(state), TaskTracker::new());
        let lock = Mutex::new(Some(lock));
        let inner = Inner { disk, blocking, spawner, pins, state, tasks, lock };
        Ok(Self { inner: Arc::new(inner), recovered })
    }

    /// The pins of what is still to be copied.
    pub fn pins(&self) -> Pins {
        self.inner.pins.clone()
    }

    /// Chunks that the last life has left to be copied, in order.
    pub fn recovered(&self) -> Vec<ChunkId> {
        self.recovered.keys().copied().collect()
    }

    /// Notes that chunks are to be copied, durably, as if the last life had left them so.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) async fn adopt(&mut self, chunks: Vec<ChunkId>) -> Result<(), WriteError> {
        future::try_join_all(chunks.iter().map(|chunk| self.note(*chunk))).await?;
        let pins = self.pins();
        self.recovered.extend(chunks.into_iter().map(|chunk| (chunk, pins.pin(chunk))));
        Ok(())
    }

    pub(super) fn take_recovered(&mut self) -> BTreeMap<ChunkId, Pin> {
        std::mem::take(&mut self.recovered)
    }

    /// Notes that a chunk is to be copied, durably.
    pub(super) async fn note(&self, chunk: ChunkId) -> Result<(), WriteError> {
        let (sender, durable) = oneshot::channel();
        self.inner.push(Kind::ToCopy, chunk, Some(sender));
        durable.await.unwrap_or(Err(BlockingError::Closed.into()))
    }

    /// Notes that a chunk is not to be copied any more; durable some time later.
    pub(super) fn settle(&self, chunk: ChunkId) {
        self.inner.push(Kind::Settled, chunk, None);
    }

    /// Writes what waits, and lets go of the disk.
    pub(super) async fn close(&self) {
        self.inner.write_soon();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        let lock = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(lock);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, kind: Kind, chunk: ChunkId, waiting: Option<Waiting>) {
        let hurry = waiting.is_some();
        let mut state = self.state();
        state.queue.push((kind, chunk));
        state.waiting.extend(waiting);
        let full = state.queue.len() >= WAITING_RECORDS;
        drop(state);
        if hurry || full {
            self.write_soon();
        }
    }

    /// Starts writing what is queued, unless somebody does.
    fn write_soon(self: &Arc<Self>) {
        let mut state = self.state();
        if state.queue.is_empty() || std::mem::replace(&mut state.writing, true) {
            return;
        }
        drop(state);
        let inner = Arc::clone(self);
        drop(self.spawner.spawn(self.tasks.track_future(async move { inner.write_queue().await })));
    }

    /// Writes what is queued, and what is queued meanwhile.
    async fn write_queue(self: &Arc<Self>) {
        loop {
            let (records, waiting) = {
                let mut state = self.state();
                if state.queue.is_empty() {
                    state.writing = false;
                    return;
                }
                (std::mem::take(&mut state.queue), std::mem::take(&mut state.waiting))
            };
            let inner = Arc::clone(self);
            let written = self.blocking.run(move || inner.write(&records)).await;
            let written = written.unwrap_or_else(|error| Err(Refused::Interrupted(error)));
            for waiting in waiting {
                drop(waiting.send(written.as_ref().copied().map_err(Refused::to_write_error)));
            }
        }
    }

    /// Writes records and makes them durable. Blocks.
    fn write(&self, records: &[Record]) -> Result<(), Refused> {
        let (file, slots, mut to_copy) = {
            let state = self.state();
            if state.failed {
                return Err(Refused::Failed);
            }
            (Arc::clone(&state.file), state.slots, state.to_copy.clone())
        };
        apply(&mut to_copy, records);
        let spent = slots + records.len();
        let (file, slots) = if spent > LEAST_RECORDS.max(4 * to_copy.len()) {
            (self.judged(write_anew(&*self.disk, &to_copy))?, to_copy.len())
        } else {
            let bytes = (slots..).zip(records).flat_map(|(slot, record)| encode(*record, slot));
            let bytes: Vec<u8> = bytes.collect();
            let at = (HEADER_BYTES + slots * RECORD_BYTES) as u64;
            file.write_at(at, &bytes).map_err(|error| Refused::disk("write a journal", &error))?;
            self.judged(file.sync().map_err(PublishError::Sync))?;
            (file, spent)
        };
        let mut state = self.state();
        (state.file, state.slots, state.to_copy) = (file, slots, to_copy);
        Ok(())
    }

    /// After a failed sync nothing is written any more.
    fn judged<T>(&self, written: Result<T, PublishError>) -> Result<T, Refused> {
        written.map_err(|error| match error {
            PublishError::Sync(error) => {
                self.state().failed = true;
                tracing::error!(
                    target: "cairn", %error,
                    "the journal of the tiers behind cannot be made durable: writes are refused until it is opened again"
                );
                Refused::disk("make a journal durable", &error)
            }
            PublishError::Rename(error) => Refused::disk("write a journal anew", &error),
        })
    }
}

/// Why records are not durable, in a form that can be told to many.
#[derive(Debug)]
enum Refused {
    Failed,
    Disk { doing: &'static str, kind: io::ErrorKind, text: String },
    Interrupted(BlockingError),
}

impl Refused {
    fn disk(doing: &'static str, error: &io::Error) -> Self {
        Self::Disk { doing, kind: error.kind(), text: error.to_string() }
    }

    fn to_write_error(&self) -> WriteError {
        match self {
            Self::Failed => WriteError::DiskFailed,
            Self::Disk { doing, kind, text } => {
                WriteError::Disk { doing, source: io::Error::new(*kind, text.clone()) }
            }
            Self::Interrupted(error) => (*error).into(),
        }
    }
}

fn apply(to_copy: &mut BTreeSet<ChunkId>, records: &[Record]) {
    for (kind, chunk) in records {
        match kind {
            Kind::ToCopy => to_copy.insert(*chunk),
            Kind::Settled => to_copy.remove(chunk),
        };
    }
}

type Opened = (Box<dyn DiskLock>, Arc<dyn DiskFile>, BTreeSet<ChunkId>);

/// Reads the journal and writes it anew. Blocks.
fn open(disk: &dyn Disk) -> Result<Opened, JournalError> {
    let lock = disk.lock(LOCK).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => JournalError::Locked,
        _ => failed("lock the journal")(error),
    })?;
    let to_copy = match disk.open(FILE) {
        Ok(file) => read(&*file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
        Err(error) => return Err(failed("open the journal")(error)),
    };
    let file = write_anew(disk, &to_copy).map_err(|error| match error {
        PublishError::Sync(source) | PublishError::Rename(source) => {
            failed("write the journal anew")(source)
        }
    })?;
    Ok((lock, file, to_copy))
}

fn read(file: &dyn DiskFile) -> Result<BTreeSet<ChunkId>, JournalError> {
    let doing = "read the journal";
    let length = usize::try_from(file.length().map_err(failed(doing))?).unwrap_or(usize::MAX);
    let bytes = file.read_at(0, length).map_err(failed(doing))?;
    let Some((head, records)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(JournalError::Damaged);
    };
    if head != header() {
        let version = head[8..12].try_into().map(u32::from_be_bytes).unwrap_or_default();
        let known = head.starts_with(MAGIC)
            && head[12..] == plain_crc(&head[..12]).to_be_bytes()
            && version != VERSION;
        return Err(if known {
            JournalError::UnknownFormat { version }
        } else {
            JournalError::Damaged
        });
    }
    let (mut to_copy, mut bad, mut damaged) = (BTreeSet::new(), 0, 0);
    for (slot, record) in records.chunks(RECORD_BYTES).enumerate() {
        match decode(record, slot) {
            Some(record) => {
                damaged += std::mem::take(&mut bad);
                apply(&mut to_copy, &[record]);
            }
            None => bad += 1,
        }
    }
    if damaged > 0 {
        tracing::error!(
            target: "cairn", damaged,
            "records of the journal of the tiers behind are damaged: compare the tiers for chunks that were not copied"
        );
    }
    Ok(to_copy)
}

/// Writes a journal of what is to be copied, in the place of the one that is there.
fn write_anew(
    disk: &dyn Disk,
    to_copy: &BTreeSet<ChunkId>,
) -> Result<Arc<dyn DiskFile>, PublishError> {
    match disk.remove(ASIDE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(PublishError::Rename(error));
        }
        _ => {}
    }
    let file = disk.create_new(ASIDE).map_err(PublishError::Rename)?;
    let records = to_copy.iter().enumerate();
    let records = records.flat_map(|(slot, chunk)| encode((Kind::ToCopy, *chunk), slot));
    let bytes: Vec<u8> = header().into_iter().chain(records).collect();
    file.write_at(0, &bytes).map_err(PublishError::Rename)?;
    durable_publish(disk, &*file, ASIDE, FILE)?;
    Ok(Arc::from(file))
}

#[cfg(test)]
mod tests {
    use cairn_core::ids::BlobId;

    use super::*;
    use crate::disk::memory::{DiskOp, Loss, MemoryDisk};

    fn chunk(index: u32) -> ChunkId {
        ChunkId::new(BlobId::from_slice(&[1; 16]).expect("16 bytes"), index)
    }

    async fn open(disk: &MemoryDisk) -> Result<Journal, JournalError> {
        Journal::open(JournalSeams {
            disk: Arc::new(disk.clone()),
            blocking: Blocking::inline(),
            spawner: Spawner::current(),
        })
        .await
    }

    #[tokio::test]
    async fn after_a_crash_at_any_step_every_record_that_was_answered_is_there() {
        let losses = [Loss::Everything, Loss::Content, Loss::Nothing];
        for loss in losses.into_iter().chain((0..20).map(Loss::Coin)) {
            for step in 0.. {
                let disk = MemoryDisk::new(1 << 20);
                disk.stop_after(step);
                let mut noted = Vec::new();
                if let Ok(journal) = open(&disk).await {
                    for index in 0..200 {
                        if journal.note(chunk(index)).await.is_ok() {
                            noted.push(chunk(index));
                        }
                    }
                }
                let journal = open(&disk.crash(loss)).await.expect("it opens after any crash");
                let recovered = journal.recovered();
                for chunk in &noted {
                    assert!(recovered.contains(chunk), "{loss:?} {step}: lost");
                    assert!(journal.pins().holds(*chunk));
                }
                if step > 30 {
                    break;
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_settled_is_gone_after_the_next_fsync_or_closing() {
        let disk = MemoryDisk::new(1 << 20);
        let journal = open(&disk).await.expect("a journal");
        for index in 0..4 {
            journal.note(chunk(index)).await.expect("noted");
        }
        journal.settle(chunk(1));
        journal.note(chunk(9)).await.expect("noted");
        journal.settle(chunk(2));
        journal.note(chunk(1)).await.expect("noted again");
        journal.settle(chunk(3));
        journal.close().await;
        let journal = open(&disk.crash(Loss::Everything)).await.expect("a journal");
        assert_eq!(journal.recovered(), [chunk(0), chunk(1), chunk(9)]);
    }

    #[tokio::test]
    async fn writers_that_come_together_share_one_fsync() {
        let disk = MemoryDisk::new(1 << 20);
        let journal = open(&disk).await.expect("a journal");
        let before = disk.changes();
        let notes = (0..100).map(|index| journal.note(chunk(index)));
        let noted = future::join_all(notes).await;
        assert!(noted.iter().all(Result::is_ok));
        assert_eq!(disk.changes() - before, 2, "one write and one fsync");
    }

    #[tokio::test]
    async fn a_journal_of_spent_records_is_written_anew_and_stays_small() {
        let disk = MemoryDisk::new(1 << 20);
        let journal = open(&disk).await.expect("a journal");
        journal.note(chunk(0)).await.expect("noted");
        for index in 1..5 * LEAST_RECORDS as u32 {
            journal.note(chunk(index)).await.expect("noted");
            journal.settle(chunk(index));
        }
        journal.close().await;
        let length = disk.open(FILE).and_then(|file| file.length()).expect("a file");
        assert!(length <= ((LEAST_RECORDS + 2) * RECORD_BYTES) as u64, "{length}");
        let journal = open(&disk.crash(Loss::Everything)).await.expect("a journal");
        assert_eq!(journal.recovered(), [chunk(0)]);
    }

    #[tokio::test]
    async fn a_damaged_record_costs_no_other_and_a_foreign_file_is_refused() {
        let disk = MemoryDisk::new(1 << 20);
        let journal = open(&disk).await.expect("a journal");
        for index in 0..3 {
            journal.note(chunk(index)).await.expect("noted");
        }
        let disk = disk.crash(Loss::Nothing);
        assert!(disk.edit(FILE, |bytes| bytes[HEADER_BYTES + RECORD_BYTES + 7] ^= 1));
        let journal = open(&disk).await.expect("a journal");
        assert_eq!(journal.recovered(), [chunk(0), chunk(2)]);
        let second = open(&disk).await;
        assert!(matches!(second, Err(JournalError::Locked)), "{second:?}");
        let disk = disk.crash(Loss::Nothing);
        assert!(disk.edit(FILE, |bytes| {
            bytes[11] = 2;
            let crc = plain_crc(&bytes[..12]);
            bytes[12..16].copy_from_slice(&crc.to_be_bytes());
        }));
        let newer = open(&disk).await;
        assert!(matches!(newer, Err(JournalError::UnknownFormat { version: 2 })), "{newer:?}");
        let disk = disk.crash(Loss::Nothing);
        assert!(disk.edit(FILE, |bytes| bytes[0] = 0));
        assert!(matches!(open(&disk).await, Err(JournalError::Damaged)));
    }

    #[tokio::test]
    async fn a_disk_that_is_full_refuses_a_record_and_takes_the_next() {
        let disk = MemoryDisk::new(1 << 20);
        let journal = open(&disk).await.expect("a journal");
        disk.fail(DiskOp::Write, 0, io::ErrorKind::StorageFull);
        assert!(matches!(journal.note(chunk(0)).await, Err(WriteError::Disk { .. })));
        journal.note(chunk(1)).await.expect("noted");
        disk.fail(DiskOp::Sync, 0, io::ErrorKind::Other);
        assert!(matches!(journal.note(chunk(2)).await, Err(WriteError::Disk { .. })));
        assert!(matches!(journal.note(chunk(3)).await, Err(WriteError::DiskFailed)));
        let journal = open(&disk.crash(Loss::Everything)).await.expect("a journal");
        assert_eq!(journal.recovered(), [chunk(1)]);
    }
}
