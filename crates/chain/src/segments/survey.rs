//! What a look at a store's folder tells, for operators: the store is open for it, as it would be for a node.

use super::checkpoint;
use super::open::absent;
use super::store::SegmentStore;
use crate::disk::Disk;

/// What is known of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSurvey {
    /// Its number: its file's name, in hexadecimal digits.
    pub number: u32,
    /// Bytes of records and of what lies between them.
    pub bytes: u64,
    /// Bytes of records that count.
    pub live: u64,
    /// Tombstones and quarantines in it.
    pub notes: u32,
}

impl SegmentStore {
    /// The segments, in the order of their numbers.
    pub fn survey(&self) -> Vec<SegmentSurvey> {
        let table = self.shared().table.lock();
        let known = table.known().iter();
        let survey = known.map(|(&number, segment)| SegmentSurvey {
            number,
            bytes: segment.body(),
            live: segment.live,
            notes: segment.notes,
        });
        survey.collect()
    }

    /// Throws the index file of a folder away: the next open reads all records. Tells whether there was one. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub fn forget_index(disk: &dyn Disk) -> std::io::Result<bool> {
        let removed = disk.remove(checkpoint::FILE).map(Some).or_else(absent)?;
        disk.sync_folder("")?;
        Ok(removed.is_some())
    }
}
