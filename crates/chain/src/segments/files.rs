//! Where a segment store's files lie, and those that are open for reading.
//!
//! ```text
//! store                     identity                     ../identity.rs
//! lock                      one process at a time
//! index                     checkpoint.rs
//! segments/0000002a         format.rs
//! ```

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};

/// The folder of segments.
pub(super) const SEGMENTS: &str = "segments";
/// Most files kept open for reading; the one used longest ago is closed for a new one.
const OPEN_FILES: usize = 512;

/// The file of a segment.
pub(super) fn segment_file(number: u32) -> String {
    format!("{SEGMENTS}/{number:08x}")
}

/// The segment that a file in the folder is named after.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name, 16).ok()?;
    (name == format!("{number:08x}")).then_some(number)
}

/// Files of segments, open for reading.
#[derive(Debug)]
pub(super) struct OpenFiles {
    disk: Arc<dyn Disk>,
    files: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    files: BTreeMap<u32, (u64, Arc<dyn DiskFile>)>,
    by_use: BTreeMap<u64, u32>,
    uses: u64,
}

impl OpenFiles {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, files: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of a segment. Blocks when it has to be opened.
    pub(super) fn get(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.lock().get(segment) {
            return Ok(file);
        }
        let file: Arc<dyn DiskFile> = Arc::from(self.disk.open(&segment_file(segment))?);
        self.lock().insert(segment, Arc::clone(&file));
        Ok(file)
    }

    /// Closes the file of a segment when the last reader is done.
    pub(super) fn forget(&self, segment: u32) {
        let mut recent = self.lock();
        if let Some((used, _)) = recent.files.remove(&segment) {
            recent.by_use.remove(&used);
        }
    }
}

impl Recent {
    fn get(&mut self, segment: u32) -> Option<Arc<dyn DiskFile>> {
        let (used, file) = self.files.get_mut(&segment)?;
        self.uses += 1;
        self.by_use.remove(used);
        self.by_use.insert(self.uses, segment);
        *used = self.uses;
        Some(Arc::clone(file))
    }

    fn insert(&mut self, segment: u32, file: Arc<dyn DiskFile>) {
        self.uses += 1;
        if let Some((used, _)) = self.files.insert(segment, (self.uses, file)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.uses, segment);
        if self.files.len() > OPEN_FILES
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.files.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_segments_only_as_it_is_written() {
        assert_eq!(segment_number("0000002a"), Some(42));
        for name in ["2a", "0000002A", "0000002a.new", "+000002a", ""] {
            assert_eq!(segment_number(name), None, "{name:?}");
        }
    }
}
