//! fsck names every kind of difference and what it would do, mends what can be mended, and takes nothing that is on its
//! way for a difference.

use std::time::Duration;

use bytes::Bytes;
use cairn_core::digest::plain_crc;
use cairn_core::ids::{BlobId, ChunkId};
use cairn_kv::{AccessError, Direction, Durability, KeyRange, Read, Snapshot, Txn};
use cairn_proto::v1::{FsckKind, FsckOutcome};
use cairn_proto::{Reason, v1};
use uuid::Uuid;

use crate::cluster::{CHUNK, Cluster, Upload, config, reason};

const DAY: Duration = Duration::from_secs(24 * 60 * 60 + 1);

/// The first byte of a record's key.
mod table {
    pub(super) const BUCKET: u8 = 1;
    pub(super) const HEAD: u8 = 2;
    pub(super) const VERSION: u8 = 3;
    pub(super) const BLOB: u8 = 4;
    pub(super) const PAGE: u8 = 5;
    pub(super) const UPLOAD: u8 = 6;
    pub(super) const ALARM: u8 = 8;
    pub(super) const ACCOUNT: u8 = 9;
    pub(super) const CONDEMNED: u8 = 11;
    pub(super) const PURGE_QUEUE: u8 = 12;
    pub(super) const NODE_PAGE: u8 = 13;
    pub(super) const FINDING: u8 = 14;
    pub(super) const JOB: u8 = 18;
    pub(super) const BUCKET_CONDEMNED: u8 = 19;
    pub(super) const NODE_UPLOAD: u8 = 26;
}

/// The store as it lies there.
struct Raw<'a>(&'a Cluster);

impl Raw<'_> {
    async fn all(&self, table: u8) -> Vec<(Bytes, Bytes)> {
        let range = KeyRange::prefix(vec![table]);
        let closure = move |view: &Snapshot<'_>| view.scan(&range, 1000, Direction::Forward);
        self.0.kv.view::<_, AccessError, _>(closure).await.unwrap()
    }

    async fn first(&self, table: u8) -> (Bytes, Bytes) {
        self.all(table).await.remove(0)
    }

    async fn put(&self, key: &Bytes, value: Bytes) {
        let key = key.clone();
        let closure = move |txn: &mut Txn<'_>| txn.put(key.clone(), value.clone());
        self.0.kv.transact::<_, AccessError, _>(Durability::Synced, closure).await.unwrap();
    }

    async fn remove(&self, key: &Bytes) {
        let key = key.clone();
        let closure = move |txn: &mut Txn<'_>| txn.delete(key.clone());
        self.0.kv.transact::<_, AccessError, _>(Durability::Synced, closure).await.unwrap();
    }

    /// Removes every record of a table.
    async fn remove_all(&self, table: u8) {
        for (key, _) in self.all(table).await {
            self.remove(&key).await;
        }
    }

    /// A record without content.
    async fn put_empty(&self, key: Vec<u8>) {
        let value = sealed(&key, &[]);
        self.put(&key.into(), value).await;
    }

    /// Adds protobuf fields to a record, of which the last one of each counts.
    async fn amend(&self, (key, value): (Bytes, Bytes), fields: &[u8]) {
        let payload = [&value[5..], fields].concat();
        self.put(&key, sealed(&key, &payload)).await;
    }
}

fn sealed(key: &[u8], payload: &[u8]) -> Bytes {
    let format = if key[0] == table::PAGE { 4 } else { 1 };
    let crc = plain_crc(&[key, &[format], payload].concat()).to_be_bytes();
    [&[format], &crc[..], payload].concat().into()
}

/// What a run found.
#[derive(Debug, Default)]
struct Found {
    differences: Vec<v1::FsckDifference>,
    unchecked: Vec<v1::FsckUnchecked>,
    records: u64,
    copies: u64,
}

impl Found {
    fn kinds(&self) -> Vec<FsckKind> {
        let mut kinds: Vec<_> = self.differences.iter().map(v1::FsckDifference::kind).collect();
        kinds.dedup();
        kinds
    }

    #[track_caller]
    fn is_clean(&self) {
        assert!(self.differences.is_empty() && self.unchecked.is_empty(), "{self:?}");
    }

    /// The differences are of these kinds, in this order, and all came to `outcome`.
    #[track_caller]
    fn has(&self, kinds: &[FsckKind], outcome: FsckOutcome) {
        assert_eq!(self.kinds(), kinds, "{self:?}");
        assert!(self.differences.iter().all(|found| found.outcome() == outcome), "{self:?}");
        assert!(self.differences.iter().all(|found| !found.action.is_empty()), "{self:?}");
    }
}

async fn fsck(cluster: &Cluster, repair: bool) -> Found {
    let mut admin = cluster.admin.clone();
    let mut steps = admin.fsck(v1::FsckRequest { repair }).await.unwrap().into_inner();
    let mut found = Found::default();
    loop {
        let step = steps.message().await.unwrap().expect("the last step says that all is done");
        found.differences.extend(step.differences);
        found.unchecked.extend(step.unchecked);
        (found.records, found.copies) = (step.records, step.copies);
        if step.done {
            assert!(steps.message().await.unwrap().is_none());
            return found;
        }
    }
}

/// A difference that a repair mends: named as such, changed by nothing but the repair, and gone after it.
async fn is_mended(cluster: &Cluster, kinds: &[FsckKind]) {
    fsck(cluster, false).await.has(kinds, FsckOutcome::Would);
    fsck(cluster, false).await.has(kinds, FsckOutcome::Would);
    fsck(cluster, true).await.has(kinds, FsckOutcome::Mended);
    fsck(cluster, false).await.is_clean();
    assert_eq!(cluster.audited().await, [""; 0]);
}

/// A difference that a machine must not mend: named, and left by a repair.
async fn is_left(cluster: &Cluster, kinds: &[FsckKind]) {
    fsck(cluster, false).await.has(kinds, FsckOutcome::Left);
    fsck(cluster, true).await.has(kinds, FsckOutcome::Left);
    assert_ne!(cluster.audited().await, [""; 0]);
}

/// Two files, a deleted one, an aborted upload and one that is open.
async fn busy() -> (Cluster, Upload) {
    let mut cluster = Cluster::small().await;
    let kept = cluster.put("a", 300 * CHUNK).await.unwrap();
    cluster.put("b", 0).await.unwrap();
    cluster.put("gone", CHUNK).await.unwrap();
    cluster.delete("gone").await.unwrap();
    let aborted = cluster.begin("aborted", Some(CHUNK)).await.unwrap();
    cluster.write(&aborted, CHUNK).await.unwrap();
    cluster.abort(&aborted).await.unwrap();
    let open = cluster.begin("open", Some(2 * CHUNK)).await.unwrap();
    cluster.write(&open, CHUNK).await.unwrap();
    (cluster, kept)
}

#[tokio::test(start_paused = true)]
async fn what_is_as_it_should_be_is_clean_whatever_is_going_on() {
    let (mut cluster, _) = busy().await;
    for repair in [false, true] {
        let found = fsck(&cluster, repair).await;
        found.is_clean();
        assert_eq!(found.copies, 2 * 303);
        assert!(found.records > 30, "{}", found.records);
    }
    cluster.make_bucket("doomed", v1::BucketSettings::default()).await.unwrap();
    cluster.put_in("doomed", "k", 5).await.unwrap();
    assert!(!cluster.remove_bucket("doomed", true).await.unwrap());
    fsck(&cluster, false).await.is_clean();
    cluster.sweep().await;
    fsck(&cluster, false).await.is_clean();
    assert_eq!(cluster.audited().await, [""; 0]);
}

/// Everything that a cluster does happens between two steps of the walk.
#[tokio::test(start_paused = true)]
async fn traffic_between_the_steps_is_no_difference() {
    let (mut cluster, _) = busy().await;
    let mut admin = cluster.admin.clone();
    let mut steps = admin.fsck(v1::FsckRequest { repair: false }).await.unwrap().into_inner();
    let mut taken = 0;
    while let Some(step) = steps.message().await.unwrap() {
        assert!(step.differences.is_empty() && step.unchecked.is_empty(), "{step:?}");
        taken += 1;
        // The inventories of these nodes are listed three chunks at a time: it must not grow faster.
        if taken > 120 {
            continue;
        }
        let (new, old) = (format!("{taken}"), format!("{}", taken - 4));
        cluster.put(&new, 3 * CHUNK).await.unwrap();
        if taken > 4 && taken % 2 == 0 {
            cluster.delete(&old).await.unwrap();
        } else {
            cluster.put("a", CHUNK).await.unwrap();
        }
        let aborted = cluster.begin("x", Some(CHUNK)).await.unwrap();
        cluster.write(&aborted, CHUNK).await.unwrap();
        cluster.abort(&aborted).await.unwrap();
        if taken % 3 == 0 {
            cluster.pass_time(DAY).await;
            cluster.sweep().await;
            cluster.sweep().await;
        }
    }
    assert!(taken > 20, "{taken} steps");
    assert_eq!(cluster.audited().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_index_record_that_is_missing_is_written() {
    for (table, times) in [
        (table::CONDEMNED, 1),
        (table::BUCKET_CONDEMNED, 1),
        (table::PURGE_QUEUE, 1),
        (table::NODE_PAGE, 8),
        (table::NODE_UPLOAD, 2),
    ] {
        let (cluster, _) = busy().await;
        Raw(&cluster).remove_all(table).await;
        let found = fsck(&cluster, false).await;
        assert!(found.differences.len() >= times, "table {table}: {found:?}");
        is_mended(&cluster, &[FsckKind::Index]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_an_alarm_gets_one_and_ends() {
    let (mut cluster, _) = busy().await;
    Raw(&cluster).remove_all(table::ALARM).await;
    is_mended(&cluster, &[FsckKind::Index]).await;
    cluster.pass_time(DAY).await;
    assert_eq!(cluster.sweep().await.uploads_expired, 1);
}

#[tokio::test(start_paused = true)]
async fn an_index_record_that_names_nothing_is_removed() {
    let (cluster, kept) = busy().await;
    let (none, node) = ([7; 16], *cluster.nodes[0].id.as_bytes());
    let until = [0, 0, 0, 0, 0, 0, 0, 9];
    for key in [
        [&[table::CONDEMNED][..], &until, b"default\0", &none].concat(),
        [&[table::BUCKET_CONDEMNED][..], b"default\0default\0", &until, &none].concat(),
        [&[table::PURGE_QUEUE][..], &none].concat(),
        // A Live blob in the queue: what is mended first of all is what would lose data.
        [&[table::PURGE_QUEUE][..], &kept.blob].concat(),
        [&[table::NODE_PAGE][..], &node, &none, &[0; 4]].concat(),
        [&[table::NODE_UPLOAD][..], &node, &none].concat(),
        [&[table::ALARM][..], &until, &[1], &none].concat(),
    ] {
        Raw(&cluster).put_empty(key).await;
        is_mended(&cluster, &[FsckKind::Dangling]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_of_a_blob_that_is_gone_is_removed_with_its_index() {
    let (cluster, _) = busy().await;
    let (key, value) = Raw(&cluster).first(table::PAGE).await;
    let orphan = [&key[..1], &[7; 16], &key[17..]].concat();
    let payload = value.slice(5..);
    Raw(&cluster).put(&orphan.clone().into(), sealed(&orphan, &payload)).await;
    is_mended(&cluster, &[FsckKind::Dangling]).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_shows_something_else_than_the_file_is_set_right() {
    let (mut cluster, _) = busy().await;
    let head = Raw(&cluster).first(table::HEAD).await;
    // It was stored at 5 ms past the epoch.
    Raw(&cluster).amend(head, &[0x18, 5]).await;
    is_mended(&cluster, &[FsckKind::Index]).await;
    let located = cluster.locate("a", Bytes::new(), 0).await.unwrap();
    assert_eq!(located.object.unwrap().length, 300 * CHUNK);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_a_bucket_would_give_twice_is_skipped() {
    let (cluster, _) = busy().await;
    let bucket = Raw(&cluster).first(table::BUCKET).await;
    Raw(&cluster).amend(bucket, &[0x08, 1]).await;
    is_mended(&cluster, &[FsckKind::Index]).await;
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_wrong_is_added_up_anew_and_keeps_its_limits() {
    let (mut cluster, _) = busy().await;
    cluster.limit(v1::ScopeKind::Bucket, 1 << 40, Some(100)).await;
    let bucket = Raw(&cluster).first(table::ACCOUNT).await;
    // Used: 3 bytes in 9 files.
    Raw(&cluster).amend(bucket, &[0x1a, 4, 0x08, 3, 0x10, 9]).await;
    is_mended(&cluster, &[FsckKind::Account]).await;
    assert_eq!(cluster.audit().await.differences, []);
    let limits: Vec<_> = cluster.usage().await.into_iter().filter_map(|a| a.limits).collect();
    assert!(limits.contains(&v1::Limits { bytes: Some(1 << 40), objects: Some(100) }));
}

#[tokio::test(start_paused = true)]
async fn references_that_are_wrong_are_counted_anew() {
    let (mut cluster, kept) = busy().await;
    let key: Bytes = [&[table::BLOB][..], &kept.blob].concat().into();
    let blobs = Raw(&cluster).all(table::BLOB).await;
    let blob = blobs.into_iter().find(|(there, _)| *there == key).unwrap();
    Raw(&cluster).amend(blob, &[0x20, 5]).await;
    is_mended(&cluster, &[FsckKind::Contradiction]).await;
    cluster.delete("a").await.unwrap();
    cluster.pass_time(DAY).await;
    assert_eq!(cluster.sweep().await.blobs_erased, 4, "it can go now, with all that is over");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_to_add_up_in_one_transaction_is_refused_and_said_so() {
    let (mut cluster, _) = busy().await;
    let (key, value) = Raw(&cluster).first(table::VERSION).await;
    let payload = value.slice(5..);
    for part in 0..11_u16 {
        let (key, payload) = (key.clone(), payload.clone());
        let closure = move |txn: &mut Txn<'_>| {
            (0..1000_u16).try_for_each(|n| {
                let end = [part.to_be_bytes(), n.to_be_bytes()].concat();
                let key = [&key[..key.len() - 4], &end].concat();
                let value = sealed(&key, &payload);
                txn.put(key, value)
            })
        };
        cluster.kv.transact::<_, AccessError, _>(Durability::Buffered, closure).await.unwrap();
    }
    let found = fsck(&cluster, true).await;
    let refused = |found: &&v1::FsckDifference| found.outcome() == FsckOutcome::Refused;
    let refused: Vec<_> = found.differences.iter().filter(refused).collect();
    assert!(refused.iter().any(|found| found.kind() == FsckKind::Account), "{refused:?}");
    assert!(refused.iter().any(|found| found.kind() == FsckKind::Contradiction), "{refused:?}");
    assert!(refused.iter().all(|found| found.action.contains("10000")), "{refused:?}");
    assert_ne!(cluster.audit().await.differences, [], "nothing was changed");
}

#[tokio::test(start_paused = true)]
async fn what_nothing_tells_the_truth_about_is_named_and_left() {
    for table in [table::VERSION, table::BLOB, table::PAGE, table::HEAD] {
        let (cluster, kept) = busy().await;
        let records = Raw(&cluster).all(table).await;
        let blob = |(key, _): &&(Bytes, Bytes)| key[1..].starts_with(&kept.blob);
        let (key, _) = records.iter().find(blob).unwrap_or(&records[0]);
        Raw(&cluster).remove(key).await;
        let found = fsck(&cluster, true).await;
        let left = |found: &v1::FsckDifference| found.outcome() == FsckOutcome::Left;
        let kinds: Vec<_> =
            found.differences.iter().filter(|f| left(f)).map(|f| f.kind()).collect();
        assert!(kinds.contains(&FsckKind::Contradiction), "table {table}: {found:?}");
        assert_ne!(cluster.audited().await, [""; 0], "table {table}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_without_a_tenant_and_an_upload_without_a_bucket_are_named() {
    let (cluster, _) = busy().await;
    let (bucket, _) = Raw(&cluster).first(table::BUCKET).await;
    Raw(&cluster).remove(&bucket).await;
    is_left(&cluster, &[FsckKind::Contradiction]).await;
    let (cluster, _) = busy().await;
    const TENANT: u8 = 17;
    Raw(&cluster).remove_all(TENANT).await;
    is_left(&cluster, &[FsckKind::Contradiction]).await;
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_being_deleted_and_was_forgotten_goes_on() {
    let mut cluster = Cluster::small().await;
    cluster.make_bucket("doomed", v1::BucketSettings::default()).await.unwrap();
    cluster.put_in("doomed", "k", 5).await.unwrap();
    cluster.remove_bucket("doomed", true).await.unwrap();
    Raw(&cluster).remove_all(table::JOB).await;
    is_mended(&cluster, &[FsckKind::Index]).await;
    for _ in 0..3 {
        cluster.pass_time(Duration::from_secs(20)).await;
        cluster.sweep().await;
    }
    assert_eq!(reason(cluster.stat_bucket("doomed").await), Reason::BucketNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_record_is_named_and_the_others_are_compared() {
    let (cluster, _) = busy().await;
    let (upload, value) = Raw(&cluster).first(table::UPLOAD).await;
    let mut bytes = value.to_vec();
    bytes[9] ^= 1;
    Raw(&cluster).put(&upload, bytes.into()).await;
    let orphan = ChunkId::new(BlobId::from_uuid(Uuid::from_u128(9)), 0);
    cluster.nodes[0].state.lock().unwrap().chunks.insert(orphan);
    let found = fsck(&cluster, true).await;
    let kinds = found.kinds();
    assert!(kinds.contains(&FsckKind::Damaged) && kinds.contains(&FsckKind::Orphan), "{found:?}");
    assert!(found.differences[0].what.contains("checksum"), "{found:?}");
    let unchecked: Vec<_> = found.unchecked.iter().map(|unchecked| &*unchecked.what).collect();
    assert_eq!(unchecked, ["who has each blob", "what the accounts hold"], "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_nobody_has_is_deleted_on_its_node() {
    let (cluster, kept) = busy().await;
    let mut fresh = Cluster::with(config(), &["a", "b", "c"]).await;
    let orphan = ChunkId::new(BlobId::from_uuid(Uuid::from_u128(9)), 3);
    cluster.nodes[1].state.lock().unwrap().chunks.insert(orphan);
    is_mended(&cluster, &[FsckKind::Orphan]).await;
    assert!(!cluster.nodes[1].state.lock().unwrap().chunks.contains(&orphan));
    let held: usize = cluster.nodes.iter().map(|node| node.holds(&kept.blob)).sum();
    assert_eq!(held, 600, "and nothing else");

    let live = fresh.put("a", 5 * CHUNK).await.unwrap();
    let chunk = ChunkId::new(BlobId::from_slice(&live.blob).unwrap(), 0);
    fresh.nodes[2].state.lock().unwrap().chunks.insert(chunk);
    is_mended(&fresh, &[FsckKind::Stray]).await;
    assert_eq!(fresh.nodes[2].holds(&live.blob), 0);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_missing_is_recorded_and_shows_as_short() {
    let (mut cluster, kept) = busy().await;
    let chunk = ChunkId::new(BlobId::from_slice(&kept.blob).unwrap(), 200);
    cluster.nodes[0].state.lock().unwrap().chunks.remove(&chunk);
    let found = fsck(&cluster, false).await;
    found.has(&[FsckKind::MissingCopy], FsckOutcome::Would);
    assert_eq!(found.differences[0].chunk, Some(chunk.into()));
    assert_eq!(found.differences[0].node_id, cluster.nodes[0].id_bytes());
    let short = |cluster: &Cluster| {
        let mut admin = cluster.admin.clone();
        async move {
            let request = v1::ListShortChunksRequest::default();
            admin.list_short_chunks(request).await.unwrap().into_inner().chunks
        }
    };
    assert_eq!(short(&cluster).await, [], "nothing is changed before a repair");
    for _ in 0..2 {
        fsck(&cluster, true).await.has(&[FsckKind::MissingCopy], FsckOutcome::Left);
        let short = short(&cluster).await;
        assert_eq!(short.len(), 1);
        assert_eq!(short[0].chunk, Some(chunk.into()));
    }
    assert_eq!(Raw(&cluster).all(table::FINDING).await.len(), 1);
    // The file goes, and so does all that was said of it.
    cluster.delete("a").await.unwrap();
    cluster.pass_time(DAY).await;
    cluster.sweep().await;
    fsck(&cluster, false).await.is_clean();
}

#[tokio::test(start_paused = true)]
async fn a_copy_with_a_wrong_length_is_recorded_and_shows_as_short() {
    let (cluster, kept) = busy().await;
    let chunk = ChunkId::new(BlobId::from_slice(&kept.blob).unwrap(), 0);
    cluster.nodes[1].state.lock().unwrap().lengths.insert(chunk, CHUNK - 1);
    fsck(&cluster, false).await.has(&[FsckKind::WrongLength], FsckOutcome::Would);
    fsck(&cluster, true).await.has(&[FsckKind::WrongLength], FsckOutcome::Left);
    assert_eq!(Raw(&cluster).all(table::FINDING).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_everything_misses_every_copy_and_one_with_another_disk_is_named() {
    let (mut cluster, _) = busy().await;
    cluster.nodes[0].state.lock().unwrap().chunks.clear();
    let found = fsck(&cluster, false).await;
    found.has(&[FsckKind::MissingCopy], FsckOutcome::Would);
    assert_eq!(found.differences.len(), 301, "300 of a file and 1 that waits");
    cluster.nodes[0].has_disks(&[999]);
    cluster.register(0).await.unwrap();
    let found = fsck(&cluster, true).await;
    found.has(&[FsckKind::ReplacedDisk], FsckOutcome::Left);
    assert_eq!(found.differences.len(), 4, "a line for each page: {found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_on_another_disk_of_its_node_is_whole() {
    let mut cluster = Cluster::small().await;
    cluster.nodes[0].has_disks(&[7, 8]);
    cluster.register(0).await.unwrap();
    cluster.beat(0).await.unwrap();
    let kept = cluster.put("a", 6 * CHUNK).await.unwrap();
    fsck(&cluster, false).await.is_clean();
    let chunk = ChunkId::new(BlobId::from_slice(&kept.blob).unwrap(), 2);
    cluster.nodes[0].state.lock().unwrap().lie_on.insert(chunk, Uuid::from_u128(8));
    fsck(&cluster, true).await.is_clean();

    // One disk of two is gone: what it had is named as such, and nothing else.
    cluster.nodes[0].state.lock().unwrap().lie_on.clear();
    cluster.nodes[0].state.lock().unwrap().chunks.retain(|chunk| chunk.index % 2 == 0);
    let state = cluster.nodes[0].state.clone();
    let held: Vec<_> = state.lock().unwrap().chunks.iter().copied().collect();
    cluster.nodes[0].has_disks(&[7]);
    cluster.register(0).await.unwrap();
    assert_eq!(held.len(), 3);
    fsck(&cluster, false).await.has(&[FsckKind::ReplacedDisk], FsckOutcome::Left);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_asked_is_named_as_not_checked() {
    let (mut cluster, _) = busy().await;
    cluster.nodes[1].state.lock().unwrap().cut_off = true;
    let found = fsck(&cluster, true).await;
    assert_eq!(found.differences, [], "silence is no difference");
    assert_eq!(found.unchecked.len(), 1);
    assert_eq!(found.unchecked[0].node_id, cluster.nodes[1].id_bytes());
    tokio::time::advance(Duration::from_secs(60)).await;
    cluster.beat(0).await.unwrap();
    let found = fsck(&cluster, false).await;
    assert!(found.unchecked[0].why.contains("Down"), "{found:?}");
}

/// A blob in the queue that is Live was erased from its nodes, because it was queued.
#[tokio::test(start_paused = true)]
async fn the_sweep_erases_nothing_that_is_not_purging_though_it_is_queued() {
    let (mut cluster, kept) = busy().await;
    Raw(&cluster).put_empty([&[table::PURGE_QUEUE][..], &kept.blob].concat()).await;
    cluster.sweep().await;
    let held: usize = cluster.nodes.iter().map(|node| node.holds(&kept.blob)).sum();
    assert_eq!(held, 600);
    cluster.locate("a", Bytes::new(), 0).await.unwrap();
}
