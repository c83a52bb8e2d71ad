//! The folder `meta/` in a node's data: a backup of the catalog, and the records behind it.
//!
//! ```text
//! meta/state                       whose it is, and who may write            text, with a checksum
//! meta/backup-BRANCH-SEQUENCE      crates/core/src/backup.rs                 one; named when it is durable
//! meta/journal-BRANCH-SEQUENCE     "CAIRNJNL", then records                  segments, by their first record
//! meta/….new                       not whole yet; removed at the next open
//! ```
//!
//! A segment grows at its end and is synced before a record in it counts. What a crash leaves behind the last whole record is
//! not read; the next record begins a segment of its own. Everything here blocks.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cairn_chain::Disk;
use cairn_chain::disk::{DiskFile, durable_publish, durable_write, read_small};
use cairn_core::backup::{BackupHead, BackupPart, BackupReader, InvalidBackup};
use cairn_core::digest::plain_crc;
use cairn_core::journal::{InvalidRecord, JournalKept, JournalRecord, JournalWriter, Position};

const FOLDER: &str = "meta";
const STATE: &str = "meta/state";
const MOST_STATE_BYTES: usize = 1024;
const TITLE: &str = "cairn metadata journal";
const FORMAT: &str = "1";
const MAGIC: &[u8; 8] = b"CAIRNJNL";
/// A segment that is longer than this is followed by another: what a backup covers goes by segments.
const SEGMENT_BYTES: u64 = 16 << 20;
/// How much of a file is read at once.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes that tell a record's length.
const RECORD_FRONT: usize = 8;

/// The folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// The disk refused.
    #[error("{doing}: {source}")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// The file that says whose the journal is.
    #[error(
        "the file `meta/state` is damaged: remove the folder `meta` when other nodes keep the journal"
    )]
    StateDamaged,
    /// The folder was written by another version.
    #[error(
        "the folder `meta` has format {0}, this version knows format 1: use the Cairn that wrote it"
    )]
    UnknownFormat(String),
    /// What was sent is no backup.
    #[error("the backup is refused: {0}")]
    Backup(#[from] InvalidBackup),
    /// What was sent is no record.
    #[error("a record is refused: {0}")]
    Record(#[from] InvalidRecord),
    /// An fsync failed: it is not known what is durable, and asking again does not tell.
    #[error(
        "the disk failed to make the journal durable: nothing more is taken until the node is restarted"
    )]
    DiskFailed,
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> MetaError {
    move |source| MetaError::Disk { doing, source }
}

/// A run of records in one file.
#[derive(Debug)]
struct Segment {
    path: String,
    last: Position,
    bytes: u64,
}

#[derive(Debug, Clone)]
struct Backup {
    path: String,
    position: Position,
    bytes: u64,
}

/// The folder, open.
#[derive(Debug)]
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    writer: Option<JournalWriter>,
    copies: u32,
    backup: Option<Backup>,
    segments: Vec<Segment>,
    /// Of the last segment, while it can grow.
    open: Option<Box<dyn DiskFile>>,
    poisoned: bool,
}

fn backup_path(position: Position) -> String {
    format!("{FOLDER}/backup-{:016x}-{:016x}", position.branch, position.sequence)
}

fn segment_path(branch: u64, first: u64) -> String {
    format!("{FOLDER}/journal-{branch:016x}-{first:016x}")
}

/// The numbers in a name that begins with `kind`.
fn numbers(name: &str, kind: &str) -> Option<(u64, u64)> {
    let (branch, number) = name.strip_prefix(kind)?.split_once('-')?;
    let hex = |text: &str| {
        let plain = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(text, 16).ok()).flatten()
    };
    Some((hex(branch)?, hex(number)?))
}

impl Files {
    pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<Self, MetaError> {
        disk.create_folder(FOLDER).map_err(failed("make the folder of the journal"))?;
        // What a process that died has written counts from here on, so it must be durable.
        disk.sync_all().map_err(failed("sync the disk"))?;
        let (writer, copies) = read_state(&*disk)?;
        let (segments, open, poisoned) = (Vec::new(), None, false);
        let mut files = Self { disk, writer, copies, backup: None, segments, open, poisoned };
        let found = files.list()?;
        files.find_backup(&found)?;
        files.find_segments(&found)?;
        Ok(files)
    }

    /// The names in the folder; what is not whole is removed.
    fn list(&self) -> Result<Vec<String>, MetaError> {
        let found = self.disk.list_folder(FOLDER).map_err(failed("list the journal"))?;
        let (new, whole): (Vec<_>, Vec<_>) =
            found.into_iter().map(|entry| entry.name).partition(|name| name.ends_with(".new"));
        for name in new {
            self.remove(&format!("{FOLDER}/{name}"))?;
        }
        Ok(whole)
    }

    fn find_backup(&mut self, found: &[String]) -> Result<(), MetaError> {
        let mut backups: Vec<_> =
            found.iter().filter_map(|name| numbers(name, "backup-").map(|at| (at, name))).collect();
        backups.sort_unstable();
        while let Some((_, name)) = backups.pop() {
            let path = format!("{FOLDER}/{name}");
            let file = self.disk.open(&path).map_err(failed("open the backup"))?;
            match backup_head(&*file) {
                Ok(head) => {
                    let bytes = file.length().map_err(failed("measure the backup"))?;
                    self.backup = Some(Backup { path, position: head.position, bytes });
                    break;
                }
                Err(error) => {
                    tracing::error!(target: "cairn", %error, name, "a backup of the catalog is no good");
                }
            }
        }
        for (_, older) in backups {
            self.remove(&format!("{FOLDER}/{older}"))?;
        }
        Ok(())
    }

    fn find_segments(&mut self, found: &[String]) -> Result<(), MetaError> {
        let mut segments: Vec<_> = found
            .iter()
            .filter_map(|name| numbers(name, "journal-").map(|at| (at, name)))
            .collect();
        segments.sort_unstable();
        let mut last = self.backup.as_ref().map(|backup| backup.position);
        for ((branch, first), name) in segments {
            let path = format!("{FOLDER}/{name}");
            let fits = last.filter(|last| branch == last.branch && first <= last.sequence + 1);
            let Some(before) = fits else {
                tracing::warn!(target: "cairn", name, "records of the journal lead on from nothing");
                self.remove(&path)?;
                continue;
            };
            let read = self.read_segment(&path, before)?;
            match read {
                Some(segment) => {
                    last = Some(segment.last);
                    self.segments.push(segment);
                }
                None => self.remove(&path)?,
            }
        }
        Ok(())
    }

    /// A segment up to its last whole record; `None` when it adds nothing to `before`.
    fn read_segment(&self, path: &str, before: Position) -> Result<Option<Segment>, MetaError> {
        let file = self.disk.open(path).map_err(failed("open a segment of the journal"))?;
        let mut records = Records::of(&*file)?;
        let mut last: Option<Position> = None;
        let mut end = records.at;
        loop {
            match records.next_record() {
                Ok(Some(record)) => {
                    let position = record.position();
                    let follows = match last {
                        Some(last) => record.follows(last),
                        // A segment may begin before the backup: its records were taken when they followed.
                        None => {
                            position.sequence < before.sequence
                                || position == before
                                || record.follows(before)
                        }
                    };
                    if !follows {
                        break;
                    }
                    last = Some(position);
                    end = records.at;
                }
                Ok(None) => break,
                Err(ReadRecord::Invalid(error)) => {
                    tracing::warn!(target: "cairn", path, %error, "the journal is read up to here");
                    break;
                }
                Err(ReadRecord::Disk(error)) => return Err(error),
            }
        }
        let Some(last) = last.filter(|last| last.sequence > before.sequence) else {
            return Ok(None);
        };
        Ok(Some(Segment { path: path.to_owned(), last, bytes: end }))
    }

    pub(crate) fn kept(&self) -> JournalKept {
        JournalKept {
            writer: self.writer,
            copies: self.copies,
            position: self.position(),
            journal_bytes: self.segments.iter().map(|segment| segment.bytes).sum(),
            backup_bytes: self.backup.as_ref().map_or(0, |backup| backup.bytes),
        }
    }

    fn position(&self) -> Option<Position> {
        let backup = self.backup.as_ref().map(|backup| backup.position);
        self.segments.last().map(|segment| segment.last).or(backup)
    }

    /// A master takes over, unless a later one did, or it lacks what is here.
    pub(crate) fn begin(
        &mut self,
        writer: JournalWriter,
        committed: Position,
        copies: u32,
    ) -> Result<(), MetaError> {
        self.check_disk()?;
        let ahead = |here: Position| {
            here.branch > committed.branch
                || (here.branch == committed.branch && here.sequence > committed.sequence)
        };
        if self.writer.is_some_and(|now| now.supersedes(&writer))
            || self.position().is_some_and(ahead)
        {
            return Ok(());
        }
        let text = encode_state(&writer, copies);
        durable_write(&*self.disk, STATE, text.as_bytes())
            .map_err(failed("write whose the journal is"))?;
        (self.writer, self.copies) = (Some(writer), copies);
        Ok(())
    }

    /// True when `writer` is the one who may write.
    pub(crate) fn is_written_by(&self, writer: &JournalWriter) -> bool {
        self.writer.as_ref() == Some(writer)
    }

    /// Adds those of `records` that follow, durably.
    pub(crate) fn append(&mut self, mut records: Bytes) -> Result<(), MetaError> {
        self.check_disk()?;
        let Some(mut last) = self.position() else { return Ok(()) };
        let mut new = BytesMut::new();
        let mut first = None;
        while let Some(record) = JournalRecord::take(&mut records)? {
            let position = record.position();
            if position.branch == last.branch && position.sequence <= last.sequence {
                continue;
            }
            if !record.follows(last) {
                break;
            }
            first.get_or_insert(position.sequence);
            new.extend_from_slice(record.bytes());
            last = position;
        }
        match first {
            Some(first) => self.write(first, last, &new),
            None => Ok(()),
        }
    }

    fn write(&mut self, first: u64, last: Position, new: &[u8]) -> Result<(), MetaError> {
        let is_full = self.segments.last().is_some_and(|segment| segment.bytes >= SEGMENT_BYTES);
        if self.open.is_none() || is_full {
            self.begin_segment(first, last.branch)?;
        }
        let (Some(file), Some(segment)) = (&self.open, self.segments.last_mut()) else {
            return Ok(());
        };
        let at = segment.bytes;
        if let Err(error) = file.write_at(at, new) {
            // What is behind the last whole record is not read, and the next record begins a segment.
            self.open = None;
            self.forget_empty();
            return Err(failed("write the journal")(error));
        }
        if let Err(error) = file.sync() {
            self.poisoned = true;
            tracing::error!(target: "cairn", %error, "the journal of the metadata cannot be made durable");
            return Err(MetaError::DiskFailed);
        }
        (segment.last, segment.bytes) = (last, at + new.len() as u64);
        Ok(())
    }

    fn begin_segment(&mut self, first: u64, branch: u64) -> Result<(), MetaError> {
        const DOING: &str = "begin a segment of the journal";
        self.open = None;
        let path = segment_path(branch, first);
        // What a crash left of the same record.
        self.remove(&path)?;
        let file = self.disk.create_new(&path).map_err(failed(DOING))?;
        file.write_at(0, MAGIC).map_err(failed(DOING))?;
        self.disk.sync_folder(FOLDER).map_err(failed(DOING))?;
        let before = Position { branch, sequence: first - 1, crc: 0 };
        self.segments.push(Segment { path, last: before, bytes: MAGIC.len() as u64 });
        self.open = Some(file);
        Ok(())
    }

    /// A segment that never got a whole record is none.
    fn forget_empty(&mut self) {
        let empty = |segment: &Segment| segment.bytes <= MAGIC.len() as u64;
        if self.segments.last().is_some_and(empty) {
            self.segments.pop();
        }
    }

    /// Takes over a backup that was written aside, and drops what it covers.
    pub(crate) fn adopt(&mut self, new: &NewBackup, head: &BackupHead) -> Result<(), MetaError> {
        self.check_disk()?;
        let position = head.position;
        let path = backup_path(position);
        durable_publish(&*self.disk, &*new.file, &new.path, &path).map_err(|error| {
            self.poisoned = true;
            tracing::error!(target: "cairn", %error, "a backup cannot be made durable");
            MetaError::DiskFailed
        })?;
        let old = self.backup.replace(Backup { path, position, bytes: new.bytes });
        let leads_on = self.segments.last().is_some_and(|segment| {
            segment.last.branch == position.branch && segment.last.sequence > position.sequence
        });
        let covered = match leads_on {
            true => {
                // The next backup covers this segment, and what comes now is in another one.
                self.open = None;
                let covered = |s: &Segment| s.last.sequence <= position.sequence;
                let count = self.segments.iter().take_while(|segment| covered(segment)).count();
                self.segments.drain(..count).collect()
            }
            false => {
                self.open = None;
                std::mem::take(&mut self.segments)
            }
        };
        // Should a crash come in between, the next open finds the newest backup, and what leads on from it.
        let old = old.filter(|old| self.backup.as_ref().is_some_and(|now| now.path != old.path));
        for path in covered.into_iter().map(|segment| segment.path).chain(old.map(|old| old.path)) {
            self.remove(&path)?;
        }
        self.disk.sync_folder(FOLDER).map_err(failed("drop old records"))
    }

    /// The files that hold what is kept, in order, each with how much of it counts.
    pub(crate) fn contents(&self) -> Option<Contents> {
        let backup = self.backup.clone()?;
        let segments = self.segments.iter().map(|one| (one.path.clone(), one.bytes)).collect();
        Some(Contents {
            disk: Arc::clone(&self.disk),
            backup: (backup.path, backup.bytes),
            position: backup.position,
            segments,
        })
    }

    fn remove(&self, path: &str) -> Result<(), MetaError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove an old file of the journal")(error))
            }
            _ => Ok(()),
        }
    }

    fn check_disk(&self) -> Result<(), MetaError> {
        if self.poisoned { Err(MetaError::DiskFailed) } else { Ok(()) }
    }
}

/// A backup that is being written aside.
#[derive(Debug)]
pub(crate) struct NewBackup {
    file: Box<dyn DiskFile>,
    path: String,
    bytes: u64,
}

impl NewBackup {
    pub(crate) fn create(disk: &dyn Disk) -> Result<Self, MetaError> {
        const DOING: &str = "begin a backup";
        let path = format!("{FOLDER}/backup.new");
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(DOING)(error));
            }
            _ => {}
        }
        let file = disk.create_new(&path).map_err(failed(DOING))?;
        Ok(Self { file, path, bytes: 0 })
    }

    pub(crate) fn write(&mut self, data: &[u8]) -> Result<(), MetaError> {
        self.file.write_at(self.bytes, data).map_err(failed("write a backup"))?;
        self.bytes += data.len() as u64;
        Ok(())
    }
}

/// What is kept, to be read while it goes on: files that go away meanwhile end the reading with an error.
#[derive(Debug)]
pub(crate) struct Contents {
    disk: Arc<dyn Disk>,
    backup: (String, u64),
    position: Position,
    segments: Vec<(String, u64)>,
}

impl Contents {
    /// The piece of the backup at `at`; empty at its end.
    pub(crate) fn backup_piece(&self, at: u64) -> Result<Vec<u8>, MetaError> {
        const DOING: &str = "read the backup";
        let (path, length) = &self.backup;
        let file = self.disk.open(path).map_err(failed(DOING))?;
        let left = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX);
        file.read_at(at, left.min(PIECE_BYTES)).map_err(failed(DOING))
    }

    /// How many segments there are.
    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// How much of a segment counts.
    pub(crate) fn segment_bytes(&self, segment: usize) -> u64 {
        self.segments[segment].1
    }

    /// Whole records of a segment from `at` on, some 1 MiB or one, and where the next ones begin; none at its end.
    pub(crate) fn records(&self, segment: usize, at: u64) -> Result<(Bytes, u64), MetaError> {
        let (path, length) = &self.segments[segment];
        let file = self.disk.open(path).map_err(failed("open a segment of the journal"))?;
        let mut records = Records::of(&*file)?;
        records.at = at.max(records.at);
        let mut piece = BytesMut::new();
        while piece.len() < PIECE_BYTES && records.at < *length {
            let record = match records.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(ReadRecord::Invalid(error)) => return Err(error.into()),
                Err(ReadRecord::Disk(error)) => return Err(error),
            };
            if record.position().sequence > self.position.sequence {
                piece.extend_from_slice(record.bytes());
            }
        }
        Ok((piece.freeze(), records.at))
    }
}

enum ReadRecord {
    Invalid(InvalidRecord),
    Disk(MetaError),
}

/// Walks the records of a segment.
struct Records<'f> {
    file: &'f dyn DiskFile,
    at: u64,
}

impl<'f> Records<'f> {
    fn of(file: &'f dyn DiskFile) -> Result<Self, MetaError> {
        let magic =
            file.read_at(0, MAGIC.len()).map_err(failed("read a segment of the journal"))?;
        if magic != MAGIC {
            // Nothing in it was durable.
            return Ok(Self { file, at: u64::MAX });
        }
        Ok(Self { file, at: MAGIC.len() as u64 })
    }

    fn next_record(&mut self) -> Result<Option<JournalRecord>, ReadRecord> {
        if self.at == u64::MAX {
            return Ok(None);
        }
        let read = |at, length| {
            let bytes = self.file.read_at(at, length);
            bytes.map_err(|error| ReadRecord::Disk(failed("read the journal")(error)))
        };
        let front = read(self.at, RECORD_FRONT)?;
        if front.is_empty() {
            return Ok(None);
        }
        let length = JournalRecord::length(&front).map_err(ReadRecord::Invalid)?;
        let mut bytes = Bytes::from(read(self.at, length)?);
        let record = JournalRecord::take(&mut bytes).map_err(ReadRecord::Invalid)?;
        self.at += length as u64;
        Ok(record)
    }
}

fn backup_head(file: &dyn DiskFile) -> Result<BackupHead, MetaError> {
    let bytes = file.read_at(0, MOST_STATE_BYTES).map_err(failed("read the backup"))?;
    let mut reader = BackupReader::default();
    reader.push(&bytes);
    match reader.next_part()? {
        Some(BackupPart::Head(head)) => Ok(head),
        _ => Err(InvalidBackup::Cut { frame: 0 }.into()),
    }
}

fn encode_state(writer: &JournalWriter, copies: u32) -> String {
    let JournalWriter { catalog, term, id } = writer;
    let text = format!(
        "{TITLE}\nformat {FORMAT}\ncatalog {catalog}\nterm {term}\nwriter {id}\ncopies {copies}\n"
    );
    let crc = plain_crc(text.as_bytes());
    format!("{text}crc32c {crc:08x}\n")
}

fn read_state(disk: &dyn Disk) -> Result<(Option<JournalWriter>, u32), MetaError> {
    let bytes = read_small(disk, STATE, MOST_STATE_BYTES);
    let Some(bytes) = bytes.map_err(failed("read whose the journal is"))? else {
        return Ok((None, 0));
    };
    let text = str::from_utf8(&bytes).map_err(|_| MetaError::StateDamaged)?;
    let mut lines = text.lines();
    let mut field = |name: &str| lines.next().and_then(|line| line.strip_prefix(name));
    field(TITLE).ok_or(MetaError::StateDamaged)?;
    match field("format ") {
        Some(FORMAT) => {}
        Some(other) => return Err(MetaError::UnknownFormat(other.to_owned())),
        None => return Err(MetaError::StateDamaged),
    }
    let catalog = field("catalog ").and_then(|text| text.parse().ok());
    let term = field("term ").and_then(|text| text.parse().ok());
    let id = field("writer ").and_then(|text| text.parse().ok());
    let copies = field("copies ").and_then(|text| text.parse().ok());
    let (Some(catalog), Some(term), Some(id), Some(copies)) = (catalog, term, id, copies) else {
        return Err(MetaError::StateDamaged);
    };
    let writer = JournalWriter { catalog, term, id };
    match encode_state(&writer, copies) == text {
        true => Ok((Some(writer), copies)),
        false => Err(MetaError::StateDamaged),
    }
}
