//! Finds the records of a segment, one after the other.

use std::io;

use super::format::{HEADER_BYTES, PAGE_BYTES, RECORD_BYTES, Record, Salt, UNIT_BYTES};
use crate::disk::DiskFile;

/// Bytes read at a time where records are close to each other.
const WINDOW_BYTES: u64 = 256 << 10;

/// Calls `each` with every record of a segment and its offset, in their order.
///
/// # Errors
/// What the disk says.
pub(super) fn scan(
    file: &dyn DiskFile,
    salt: &Salt,
    mut each: impl FnMut(u64, Record),
) -> io::Result<()> {
    let end = file.length()?;
    let mut window = Window { file, begin: 0, bytes: Vec::new() };
    let mut at = HEADER_BYTES;
    let mut ahead = WINDOW_BYTES;
    while at + RECORD_BYTES as u64 <= end {
        match Record::decode(window.at(at, ahead)?, salt, at) {
            Some(record) => {
                each(at, record);
                at += record.extent;
                ahead = if record.extent < WINDOW_BYTES { WINDOW_BYTES } else { PAGE_BYTES };
            }
            // Padding, an extent that was given up, or a damaged record.
            None => {
                at += UNIT_BYTES;
                ahead = WINDOW_BYTES;
            }
        }
    }
    Ok(())
}

/// A part of a file in memory.
struct Window<'a> {
    file: &'a dyn DiskFile,
    begin: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The bytes from `at` on, at least those of a record where the file has them; reads `ahead` bytes when it must.
    fn at(&mut self, at: u64, ahead: u64) -> io::Result<&[u8]> {
        let end = self.begin + self.bytes.len() as u64;
        if at < self.begin || at + RECORD_BYTES as u64 > end {
            self.bytes = self.file.read_at(at, usize::try_from(ahead).unwrap_or(usize::MAX))?;
            self.begin = at;
        }
        let offset = usize::try_from(at - self.begin).unwrap_or(usize::MAX);
        Ok(self.bytes.get(offset..).unwrap_or_default())
    }
}
