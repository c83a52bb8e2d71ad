//! The two small files that say which disks a node has.
//!
//! ```text
//! disks, in the node's data folder             owner, in each disk's folder
//!
//! cairn disks of a node                        cairn disk of a node
//! format 1                                     format 1
//! disk 0197f3a2-… /mnt/a     in the order      node 0197f3a1-…
//! disk 0197f3a3-… /mnt/b     of the paths      crc32c 1a2b3c4d
//! crc32c 1a2b3c4d            over the lines before
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use cairn_core::ids::{DiskIncarnation, NodeId};

use super::path::DiskPath;
use super::{DiskSetError, MOST_DISKS, MOST_PATH_BYTES};
use crate::disk::{Disk, durable_write, read_small};
use crate::facts::{self, Unreadable};

const FILE: &str = "disks";
const TITLE: &str = "cairn disks of a node";
const DISK: &str = "disk";
/// A path, an incarnation and what is around them.
const MOST_BYTES: usize = MOST_DISKS * (MOST_PATH_BYTES + 64) + facts::MOST_BYTES;

const OWNER_FILE: &str = "owner";
const OWNER_TITLE: &str = "cairn disk of a node";
const NODE: &str = "node";

/// The disks of a node, by their paths.
pub(super) type Record = BTreeMap<DiskPath, DiskIncarnation>;

fn encode(record: &Record) -> String {
    let lines: Vec<_> = record.iter().map(|(path, disk)| format!("{disk} {path}")).collect();
    let facts: Vec<_> = lines.iter().map(|line| (DISK, line.as_str())).collect();
    facts::encode(TITLE, &facts)
}

fn decode(bytes: &[u8]) -> Result<Record, DiskSetError> {
    let lines = facts::decode_list(bytes, TITLE, DISK).map_err(|error| match error {
        Unreadable::UnknownFormat(format) => DiskSetError::UnknownFormat(format),
        Unreadable::OtherTitle(_) | Unreadable::Damaged => DiskSetError::RecordDamaged,
    })?;
    let disk = |line: &String| {
        let (disk, path) = line.split_once(' ')?;
        Some((DiskPath::new(Path::new(path)).ok()?, disk.parse().ok()?))
    };
    lines.iter().map(|line| disk(line).ok_or(DiskSetError::RecordDamaged)).collect()
}

/// Reads the record in a node's data folder; nothing when there is none. Blocks.
pub(super) fn read(folder: &dyn Disk) -> Result<Option<Record>, DiskSetError> {
    let doing = "read the record of the node's disks";
    let bytes = read_small(folder, FILE, MOST_BYTES)
        .map_err(|source| DiskSetError::Folder { doing, source })?;
    bytes.map(|bytes| decode(&bytes)).transpose()
}

/// Keeps the record, durably. Blocks.
pub(super) fn keep(folder: &dyn Disk, record: &Record) -> Result<(), DiskSetError> {
    let doing = "write the record of the node's disks";
    durable_write(folder, FILE, encode(record).as_bytes())
        .map_err(|source| DiskSetError::Folder { doing, source })
}

/// The node that a disk's folder says it belongs to. One that cannot be read says nothing. Blocks.
pub(super) fn owner(folder: &dyn Disk) -> Option<NodeId> {
    let bytes = read_small(folder, OWNER_FILE, facts::MOST_BYTES).ok()??;
    let [node] = facts::decode(&bytes, OWNER_TITLE, [NODE]).ok()?;
    node.parse().ok()
}

/// Makes a folder say that it belongs to `node`, durably. Blocks.
pub(super) fn own(folder: &dyn Disk, node: NodeId) -> io::Result<()> {
    let text = facts::encode(OWNER_TITLE, &[(NODE, &node.to_string())]);
    durable_write(folder, OWNER_FILE, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let disk = |n| DiskIncarnation::from_slice(&[n; 16]).expect("16 bytes");
        let path = |text| DiskPath::new(Path::new(text)).expect("a path");
        Record::from([(path("/mnt/a"), disk(1)), (path("/mnt/two words "), disk(2))])
    }

    #[test]
    fn the_record_survives_its_text_and_every_flipped_bit_is_noticed() {
        let text = encode(&record());
        assert_eq!(decode(text.as_bytes()).expect("our own text"), record());
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn another_format_is_named() {
        let text = "cairn disks of a node\nformat 2\nwhatever\n";
        let error = decode(text.as_bytes()).expect_err("format 2");
        assert!(error.to_string().contains("format 2"), "{error}");
    }

    #[test]
    fn the_largest_record_fits() {
        let path =
            |n| DiskPath::new(Path::new(&format!("/{n:0>width$}", width = MOST_PATH_BYTES - 1)));
        let disk = DiskIncarnation::from_slice(&[1; 16]).expect("16 bytes");
        let record: Record = (0..MOST_DISKS).map(|n| (path(n).expect("a path"), disk)).collect();
        assert_eq!(record.len(), MOST_DISKS);
        assert!(encode(&record).len() <= MOST_BYTES);
    }
}
