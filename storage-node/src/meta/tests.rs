//! The folder: what was answered survives, what a crash left is not read, and only the latest writer writes.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;
use cairn_chain::disk::memory::{DiskOp, Loss, MemoryDisk};
use cairn_core::backup::{BackupHead, BackupPart, BackupReader, BackupWriter};
use cairn_core::ids::CatalogId;
use cairn_core::journal::{JournalRecord, JournalWriter, Position};
use uuid::Uuid;

use super::files::{Files, MetaError, NewBackup};

const LOSSES: [Loss; 7] = [
    Loss::Everything,
    Loss::Content,
    Loss::Nothing,
    Loss::Coin(1),
    Loss::Coin(2),
    Loss::Coin(3),
    Loss::Coin(4),
];

fn writer(term: u64) -> JournalWriter {
    let catalog = CatalogId::from_uuid(Uuid::from_u128(7));
    JournalWriter { catalog, term, id: Uuid::from_u128(term.into()) }
}

fn open(disk: &MemoryDisk) -> Files {
    Files::open(Arc::new(disk.clone())).expect("the folder opens")
}

const BEGUN: Position = Position { branch: 1, sequence: 0, crc: 0 };

/// `count` records behind `last`.
fn records(mut last: Position, count: u64) -> Vec<JournalRecord> {
    let mut all = Vec::new();
    for _ in 0..count {
        let value = vec![u8::try_from(last.sequence % 251).unwrap_or(0); 3000];
        let record = JournalRecord::new(last, [(&b"key"[..], Some(&value[..]))]);
        last = record.position();
        all.push(record);
    }
    all
}

fn bytes(records: &[JournalRecord]) -> Bytes {
    records.iter().flat_map(|record| record.bytes().to_vec()).collect()
}

fn put_backup(files: &mut Files, disk: &MemoryDisk, position: Position) -> Result<(), MetaError> {
    let head = BackupHead { catalog: *writer(1).catalog.as_bytes(), made_ms: 1, position };
    let mut new = NewBackup::create(disk)?;
    let mut of = BackupWriter::default();
    new.write(&of.head(&head))?;
    new.write(&of.entries(&[(Bytes::from_static(b"a"), Bytes::from_static(b"b"))]))?;
    new.write(&of.end())?;
    files.adopt(&new, &head)
}

/// All that is kept: where the backup is, and the records behind it, each following the one before.
fn read(files: &Files) -> (Position, Vec<JournalRecord>) {
    let contents = files.contents().expect("there is a backup");
    let (mut backup, mut at, mut head) = (BackupReader::default(), 0, None);
    loop {
        let piece = contents.backup_piece(at).expect("the backup is read");
        if piece.is_empty() {
            break;
        }
        at += piece.len() as u64;
        backup.push(&piece);
        while let Some(part) = backup.next_part().expect("the backup is whole") {
            if let BackupPart::Head(read) = part {
                head = Some(read.position);
            }
        }
    }
    backup.finish().expect("the backup is whole");
    let begun = head.expect("a backup has a head");
    let (mut last, mut all) = (begun, Vec::new());
    for segment in 0..contents.segments() {
        let mut at = 0;
        while at < contents.segment_bytes(segment) {
            let (mut piece, next) = contents.records(segment, at).expect("records are read");
            assert!(next > at, "it goes on");
            at = next;
            while let Some(record) = JournalRecord::take(&mut piece).expect("a record") {
                // After a broken write a segment may begin with what the one before has as well.
                if record.position().sequence > last.sequence {
                    assert!(record.follows(last), "{:?} behind {last:?}", record.position());
                    last = record.position();
                    all.push(record);
                }
            }
        }
    }
    assert_eq!(files.kept().position, Some(last));
    (begun, all)
}

/// Takes a backup, records, another backup and records, as far as the disk lets it: what was answered.
fn work(disk: &MemoryDisk, all: &[JournalRecord]) -> Result<(), (Option<Position>, MetaError)> {
    let mut acked = None;
    let step = |acked: &mut Option<Position>| -> Result<(), MetaError> {
        let mut files = Files::open(Arc::new(disk.clone()))?;
        files.begin(writer(1), all[all.len() - 1].position(), 2)?;
        put_backup(&mut files, disk, BEGUN)?;
        *acked = Some(BEGUN);
        for (nth, record) in all.iter().enumerate() {
            files.append(record.bytes().clone())?;
            *acked = Some(record.position());
            if nth == 3 {
                put_backup(&mut files, disk, all[2].position())?;
            }
        }
        Ok(())
    };
    step(&mut acked).map_err(|error| (acked, error))
}

#[test]
fn after_a_crash_at_any_step_what_was_answered_is_there_and_more_can_follow() {
    let all = records(BEGUN, 7);
    for loss in LOSSES {
        for step in 0.. {
            let disk = MemoryDisk::new(1 << 24);
            disk.stop_after(step);
            let done = work(&disk, &all);
            let disk = disk.crash(loss);
            let mut files = open(&disk);
            let acked = match &done {
                Ok(()) => Some(all[6].position()),
                Err((acked, _)) => *acked,
            };
            let kept = files.kept().position;
            let enough =
                acked.is_none_or(|acked| kept.is_some_and(|k| k.sequence >= acked.sequence));
            assert!(
                enough,
                "{loss:?} after {step} changes: {acked:?} was answered, {kept:?} is left"
            );
            if kept.is_some() {
                let (begun, found) = read(&files);
                let first = usize::try_from(begun.sequence).expect("small");
                assert_eq!(found, all[first..first + found.len()], "{loss:?} after {step}");
            }
            // What a crash left must not stand in the way.
            files.begin(writer(2), all[6].position(), 2).expect("another term");
            if kept.is_none() {
                put_backup(&mut files, &disk, BEGUN).expect("a backup");
            }
            files.append(bytes(&all)).expect("all records, the known ones passed over");
            assert_eq!(files.kept().position, Some(all[6].position()));
            let disk = disk.crash(Loss::Everything);
            read(&open(&disk));
            if done.is_ok() {
                assert!(step > 10, "the crashes came before anything happened");
                break;
            }
        }
    }
}

#[test]
fn records_that_do_not_follow_are_not_taken() {
    let disk = MemoryDisk::new(1 << 24);
    let mut files = open(&disk);
    files.append(bytes(&records(BEGUN, 1))).expect("nothing is wrong with it");
    assert_eq!(files.kept().position, None, "without a backup they lead on from nothing");
    put_backup(&mut files, &disk, BEGUN).expect("a backup");
    let all = records(BEGUN, 5);
    files.append(bytes(&all[..2])).expect("records");
    files.append(bytes(&all[3..])).expect("a gap");
    assert_eq!(files.kept().position, Some(all[1].position()));
    files.append(bytes(&records(all[0].position(), 3)[1..])).expect("the same history");
    assert_eq!(files.kept().position, Some(all[3].position()));
    let other = JournalRecord::new(all[2].position(), []);
    let behind = records(other.position(), 1);
    files.append(bytes(&behind)).expect("another history");
    assert_eq!(files.kept().position, Some(all[3].position()));
    let mut damaged = all[4].bytes().to_vec();
    damaged[40] ^= 1;
    assert!(files.append(damaged.into()).is_err());
    read(&files);
}

#[test]
fn a_master_that_was_replaced_or_is_an_old_copy_does_not_become_the_writer() {
    let disk = MemoryDisk::new(1 << 24);
    let mut files = open(&disk);
    let all = records(BEGUN, 3);
    files.begin(writer(5), BEGUN, 2).expect("the first");
    put_backup(&mut files, &disk, BEGUN).expect("a backup");
    files.append(bytes(&all)).expect("records");
    let last = all[2].position();
    let refused = [
        (writer(4), last, "an earlier term"),
        (JournalWriter { id: Uuid::nil(), ..writer(5) }, last, "another master of the same term"),
        (writer(6), all[1].position(), "a master without the last record"),
        (writer(6), BEGUN, "a copy from the beginning"),
    ];
    for (other, committed, who) in refused {
        files.begin(other, committed, 2).expect("an answer");
        assert!(!files.is_written_by(&other) && files.is_written_by(&writer(5)), "{who}");
    }
    files.begin(writer(6), last, 2).expect("the next");
    drop(files);
    let files = open(&disk.crash(Loss::Everything));
    assert!(files.is_written_by(&writer(6)), "it is kept");
}

#[test]
fn a_backup_of_another_branch_replaces_everything() {
    let disk = MemoryDisk::new(1 << 24);
    let mut files = open(&disk);
    put_backup(&mut files, &disk, BEGUN).expect("a backup");
    files.append(bytes(&records(BEGUN, 3))).expect("records");
    let branch = Position { branch: 4, sequence: 2, crc: 0 };
    put_backup(&mut files, &disk, branch).expect("a backup");
    files.append(bytes(&records(branch, 2))).expect("records");
    let files = open(&disk.crash(Loss::Everything));
    let (begun, found) = read(&files);
    assert_eq!((begun, found), (branch, records(branch, 2)));
}

#[test]
fn a_disk_that_fails_to_sync_is_not_trusted_again() {
    let disk = MemoryDisk::new(1 << 24);
    let mut files = open(&disk);
    put_backup(&mut files, &disk, BEGUN).expect("a backup");
    let all = records(BEGUN, 2);
    disk.fail(DiskOp::Sync, 0, ErrorKind::Other);
    assert!(files.append(bytes(&all[..1])).is_err());
    assert!(matches!(files.append(bytes(&all)), Err(MetaError::DiskFailed)));
    assert_eq!(files.kept().position, Some(BEGUN));
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = MemoryDisk::new(1 << 24);
    let mut files = open(&disk);
    put_backup(&mut files, &disk, BEGUN).expect("a backup");
    let all = records(BEGUN, 3);
    files.append(bytes(&all[..1])).expect("a record");
    disk.fail(DiskOp::Write, 0, ErrorKind::StorageFull);
    assert!(files.append(bytes(&all[1..2])).is_err());
    files.append(bytes(&all[1..])).expect("there is room again");
    let files = open(&disk.crash(Loss::Everything));
    assert_eq!(read(&files), (BEGUN, all));
}
