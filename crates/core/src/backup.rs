//! A backup of a catalog: all entries of its store at one moment, as a stream of bytes that proves itself.
//!
//! ```text
//! backup   "CAIRNBAK" │ version u32 = 1 │ frame …
//! frame    length u32 │ crc32c u32 │ kind u8 │ payload        crc over frame number u64, kind and payload
//! head     1 │ catalog 16 │ made u64 (ms since 1970 UTC) │ branch u64 │ sequence u64 │ crc u32      the first frame
//! entries  2 │ (key length u16 │ key │ value length u32 │ value) …                    in the order of keys
//! end      3 │ entries u64 │ bytes u64 │ crc32c u32 over the checksums of all frames before    the last frame
//! ```
//!
//! Numbers are big-endian; `length` counts kind and payload. Branch, sequence and crc say how far the journal was: the
//! records behind it lead on from here. A backup without its end is none.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::digest::plain_crc;
use crate::journal::{Position, taken};

const MAGIC: &[u8; 8] = b"CAIRNBAK";
const VERSION: u32 = 1;
/// Bytes before a frame's kind.
const FRONT_BYTES: usize = 8;
/// The longest frame: a page of entries, and one entry of the largest size.
const MAX_FRAME_BYTES: usize = 2 << 20;
/// A page of entries is closed when it has this many bytes.
pub const PAGE_BYTES: usize = 512 << 10;

const HEAD: u8 = 1;
const ENTRIES: u8 = 2;
const END: u8 = 3;

/// What a backup is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupHead {
    /// The catalog's id.
    pub catalog: [u8; 16],
    /// When it was begun, in milliseconds since 1970-01-01 UTC.
    pub made_ms: u64,
    /// How far the journal was.
    pub position: Position,
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupTotals {
    /// Keys with their values.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// A part of a backup, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupPart {
    /// What it is of. Comes first.
    Head(BackupHead),
    /// The next entries.
    Entries(Vec<(Bytes, Bytes)>),
    /// All was read and is what was written. Comes last.
    End(BackupTotals),
}

/// Bytes are no backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackup {
    /// They begin otherwise.
    #[error("this is no backup of a catalog")]
    Foreign,
    /// It was written by another version.
    #[error(
        "the backup has version {0}, this program knows version 1: use the Cairn that wrote it"
    )]
    UnknownVersion(u32),
    /// A checksum does not match, or parts are missing, or come twice.
    #[error("the backup is damaged at frame {frame}")]
    Damaged {
        /// The frame, counted from 0.
        frame: u64,
    },
    /// It ends too early.
    #[error("the backup is not whole: it ends after frame {frame}, without its end")]
    Cut {
        /// Frames that were read.
        frame: u64,
    },
    /// Something follows behind its end.
    #[error("something follows behind the end of the backup")]
    Longer,
}

/// Sums up the frames of a backup, the same when it is written and when it is read.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    frames: u64,
    totals: BackupTotals,
    crc: u32,
}

impl Sum {
    fn crc_of(&self, covered: &[u8]) -> u32 {
        plain_crc(&[&self.frames.to_be_bytes(), covered].concat())
    }

    fn add(&mut self, crc: u32) {
        self.frames += 1;
        self.crc = plain_crc(&[self.crc.to_be_bytes(), crc.to_be_bytes()].concat());
    }

    fn add_entry(&mut self, key: &[u8], value: &[u8]) {
        self.totals.entries += 1;
        self.totals.bytes += (key.len() + value.len()) as u64;
    }
}

/// Writes a backup, frame by frame.
#[derive(Debug, Default)]
pub struct BackupWriter {
    sum: Sum,
}

impl BackupWriter {
    fn frame(&mut self, covered: &[u8]) -> Bytes {
        let crc = self.sum.crc_of(covered);
        self.sum.add(crc);
        let mut bytes = BytesMut::with_capacity(FRONT_BYTES + covered.len());
        bytes.put_u32(u32::try_from(covered.len()).unwrap_or(u32::MAX));
        bytes.put_u32(crc);
        bytes.put_slice(covered);
        bytes.freeze()
    }

    /// The beginning. To be called first.
    pub fn head(&mut self, head: &BackupHead) -> Bytes {
        let mut covered = BytesMut::new();
        covered.put_u8(HEAD);
        covered.put_slice(&head.catalog);
        covered.put_u64(head.made_ms);
        covered.put_u64(head.position.branch);
        covered.put_u64(head.position.sequence);
        covered.put_u32(head.position.crc);
        let frame = self.frame(&covered);
        [MAGIC.as_slice(), &VERSION.to_be_bytes(), &frame].concat().into()
    }

    /// The next entries: at most [`PAGE_BYTES`] and one more.
    pub fn entries(&mut self, entries: &[(Bytes, Bytes)]) -> Bytes {
        let mut covered = BytesMut::with_capacity(PAGE_BYTES);
        covered.put_u8(ENTRIES);
        for (key, value) in entries {
            covered.put_u16(u16::try_from(key.len()).unwrap_or(u16::MAX));
            covered.put_slice(key);
            covered.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
            covered.put_slice(value);
            self.sum.add_entry(key, value);
        }
        self.frame(&covered)
    }

    /// The end. To be called last.
    pub fn end(&mut self) -> Bytes {
        let mut covered = BytesMut::new();
        covered.put_u8(END);
        covered.put_u64(self.sum.totals.entries);
        covered.put_u64(self.sum.totals.bytes);
        covered.put_u32(self.sum.crc);
        self.frame(&covered)
    }

    /// What was written so far.
    pub fn totals(&self) -> BackupTotals {
        self.sum.totals
    }
}

/// Reads a backup from pieces of any size.
#[derive(Debug, Default)]
pub struct BackupReader {
    buffered: BytesMut,
    sum: Sum,
    ended: bool,
}

impl BackupReader {
    /// Takes the next bytes. Call [`Self::next_part`] until it has nothing before giving more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffered.extend_from_slice(bytes);
    }

    /// The next part; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`InvalidBackup`]; nothing can be read after it.
    pub fn next_part(&mut self) -> Result<Option<BackupPart>, InvalidBackup> {
        if self.ended {
            return if self.buffered.is_empty() { Ok(None) } else { Err(InvalidBackup::Longer) };
        }
        if self.sum.frames == 0 && !self.begun()? {
            return Ok(None);
        }
        let prologue = if self.sum.frames == 0 { MAGIC.len() + 4 } else { 0 };
        let Some(front) = self.buffered.get(prologue..prologue + FRONT_BYTES) else {
            return Ok(None);
        };
        let mut front = front;
        let (length, crc) = (front.get_u32() as usize, front.get_u32());
        if length == 0 || length > MAX_FRAME_BYTES {
            return Err(self.damaged());
        }
        if self.buffered.len() < prologue + FRONT_BYTES + length {
            return Ok(None);
        }
        self.buffered.advance(prologue + FRONT_BYTES);
        let covered = self.buffered.split_to(length).freeze();
        if self.sum.crc_of(&covered) != crc {
            return Err(self.damaged());
        }
        let part = self.part(covered)?;
        self.sum.add(crc);
        Ok(Some(part))
    }

    /// To be called where the bytes end.
    ///
    /// # Errors
    /// [`InvalidBackup::Cut`] when that is before the end of the backup.
    pub fn finish(&self) -> Result<(), InvalidBackup> {
        match self.ended {
            true => Ok(()),
            false if self.sum.frames == 0 && self.buffered.len() < MAGIC.len() => {
                Err(InvalidBackup::Foreign)
            }
            false => Err(InvalidBackup::Cut { frame: self.sum.frames }),
        }
    }

    fn begun(&self) -> Result<bool, InvalidBackup> {
        let Some(mut prologue) = self.buffered.get(..MAGIC.len() + 4) else {
            return Ok(false);
        };
        if !prologue.starts_with(MAGIC) {
            return Err(InvalidBackup::Foreign);
        }
        prologue.advance(MAGIC.len());
        match prologue.get_u32() {
            VERSION => Ok(true),
            other => Err(InvalidBackup::UnknownVersion(other)),
        }
    }

    fn part(&mut self, mut covered: Bytes) -> Result<BackupPart, InvalidBackup> {
        let damaged = self.damaged();
        let kind = covered.get_u8();
        match (kind, self.sum.frames) {
            (HEAD, 0) => head(covered).map(BackupPart::Head).ok_or(damaged),
            (ENTRIES, 1..) => {
                let entries = entries(covered).ok_or(damaged)?;
                for (key, value) in &entries {
                    self.sum.add_entry(key, value);
                }
                Ok(BackupPart::Entries(entries))
            }
            (END, 1..) => {
                let (totals, crc) = end(covered).ok_or(damaged)?;
                if totals != self.sum.totals || crc != self.sum.crc {
                    return Err(damaged);
                }
                self.ended = true;
                Ok(BackupPart::End(totals))
            }
            _ => Err(damaged),
        }
    }

    fn damaged(&self) -> InvalidBackup {
        InvalidBackup::Damaged { frame: self.sum.frames }
    }
}

fn head(mut covered: Bytes) -> Option<BackupHead> {
    let mut catalog = [0; 16];
    covered.try_copy_to_slice(&mut catalog).ok()?;
    let made_ms = covered.try_get_u64().ok()?;
    let branch = covered.try_get_u64().ok()?;
    let sequence = covered.try_get_u64().ok()?;
    let crc = covered.try_get_u32().ok()?;
    let position = Position { branch, sequence, crc };
    covered.is_empty().then_some(BackupHead { catalog, made_ms, position })
}

fn entries(mut covered: Bytes) -> Option<Vec<(Bytes, Bytes)>> {
    let mut entries = Vec::new();
    while !covered.is_empty() {
        let length = covered.try_get_u16().ok()?.into();
        let key = taken(&mut covered, length)?;
        let length = covered.try_get_u32().ok()? as usize;
        entries.push((key, taken(&mut covered, length)?));
    }
    Some(entries)
}

fn end(mut covered: Bytes) -> Option<(BackupTotals, u32)> {
    let entries = covered.try_get_u64().ok()?;
    let bytes = covered.try_get_u64().ok()?;
    let crc = covered.try_get_u32().ok()?;
    covered.is_empty().then_some((BackupTotals { entries, bytes }, crc))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};
    use proptest::{prop_assert, prop_assert_eq};

    use super::*;

    const POSITION: Position = Position { branch: 2, sequence: 9, crc: 77 };
    const HEAD: BackupHead = BackupHead { catalog: [7; 16], made_ms: 5, position: POSITION };

    type Entry = (Vec<u8>, Vec<u8>);

    fn page(entries: &[Entry]) -> Vec<(Bytes, Bytes)> {
        entries.iter().map(|(key, value)| (key.clone().into(), value.clone().into())).collect()
    }

    fn written(pages: &[Vec<Entry>]) -> Vec<u8> {
        let mut writer = BackupWriter::default();
        let mut bytes = writer.head(&HEAD).to_vec();
        for entries in pages {
            bytes.extend_from_slice(&writer.entries(&page(entries)));
        }
        bytes.extend_from_slice(&writer.end());
        bytes
    }

    fn read(bytes: &[u8], piece: usize) -> Result<Vec<BackupPart>, InvalidBackup> {
        let mut reader = BackupReader::default();
        let mut parts = Vec::new();
        for piece in bytes.chunks(piece) {
            reader.push(piece);
            while let Some(part) = reader.next_part()? {
                parts.push(part);
            }
        }
        reader.finish()?;
        Ok(parts)
    }

    #[test]
    fn another_file_and_another_version_are_told_apart() {
        assert_eq!(read(b"PK\x03\x04 something else", 100), Err(InvalidBackup::Foreign));
        assert_eq!(read(b"", 1), Err(InvalidBackup::Foreign));
        let mut newer = written(&[]);
        newer[11] = 9;
        assert_eq!(read(&newer, 100), Err(InvalidBackup::UnknownVersion(9)));
        let longer = [written(&[]), vec![0]].concat();
        assert_eq!(read(&longer, 1000), Err(InvalidBackup::Longer));
    }

    #[test]
    fn frames_that_change_places_are_damage() {
        let pages = [vec![(vec![1], vec![1])], vec![(vec![2], vec![2])]];
        let mut writer = BackupWriter::default();
        let head = writer.head(&HEAD);
        let pages: Vec<_> = pages.iter().map(|entries| writer.entries(&page(entries))).collect();
        let swapped = [&head[..], &pages[1], &pages[0], &writer.end()].concat();
        assert_eq!(read(&swapped, 10_000), Err(InvalidBackup::Damaged { frame: 1 }));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_from_pieces_of_any_size(
            pages in vec(vec((vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..30)), 0..4), 0..4),
            piece in 1..200_usize,
        ) {
            let parts = read(&written(&pages), piece).expect("as written");
            let entries: Vec<_> = pages.iter().map(|entries| page(entries)).collect();
            prop_assert_eq!(&parts[0], &BackupPart::Head(HEAD));
            for (part, entries) in parts[1..].iter().zip(&entries) {
                prop_assert_eq!(part, &BackupPart::Entries(entries.clone()));
            }
            let count = entries.iter().map(Vec::len).sum::<usize>() as u64;
            let ended = matches!(parts.last(), Some(BackupPart::End(totals)) if totals.entries == count);
            prop_assert!(ended);
        }

        #[test]
        fn a_backup_that_is_cut_or_changed_anywhere_is_refused(
            pages in vec(vec((vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..30)), 0..4), 0..3),
            at in any::<usize>(), bit in 0..8_u32,
        ) {
            let mut bytes = written(&pages);
            let at = at % bytes.len();
            prop_assert!(read(&bytes[..at], 64).is_err());
            bytes[at] ^= 1 << bit;
            prop_assert!(read(&bytes, 64).is_err());
        }
    }
}
