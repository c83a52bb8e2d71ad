//! Many writers on one quota, half of whom give up: it is never overshot, nothing leaks, and afterwards it can be
//! filled to the byte. On the engines that masters run on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_chunk_master::{Audit, audit};
use cairn_kv::{Kv, PostgresConfig, RedbConfig};
use cairn_proto::{Reason, RemoteError, v1};
use cairn_runtime::{Clock, Entropy, LocalDial, NetworkDial, Spawner};
use cairn_test_postgres::Server;
use tokio::task::JoinSet;

use crate::cluster::{CHUNK, Cluster, Upload, config, reason};

const WRITERS: u32 = 64;
/// Uploads of each writer.
const UPLOADS: u64 = 16;
/// Names that all writers share.
const NAMES: u64 = 40;
/// What fits: a fraction of what all writers want at the same time.
const LIMIT: u64 = 40 * CHUNK;
const KINDS: [v1::ScopeKind; 3] =
    [v1::ScopeKind::Tenant, v1::ScopeKind::User, v1::ScopeKind::Bucket];

/// What became of the uploads.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    committed: u64,
    given_up: u64,
    refused: u64,
    deleted: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.committed += other.committed;
        self.given_up += other.given_up;
        self.refused += other.refused;
        self.deleted += other.deleted;
    }
}

/// One of the writers, with chance of its own.
struct Writer {
    cluster: Cluster,
    chance: Entropy,
    tally: Tally,
}

impl Writer {
    async fn run(mut self) -> Tally {
        for _ in 0..UPLOADS {
            let key = format!("shared/{}", self.chance.below(NAMES));
            if self.chance.below(4) == 0 {
                self.delete(&key).await;
            }
            if let Err(error) = self.upload(&key).await {
                assert_eq!(error.reason, Reason::QuotaExceeded, "{error}");
                self.tally.refused += 1;
            }
        }
        self.tally
    }

    async fn delete(&mut self, key: &str) {
        match self.cluster.delete(key).await {
            Ok(_) => self.tally.deleted += 1,
            Err(error) => assert_eq!(error.reason, Reason::ObjectNotFound, "{error}"),
        }
    }

    /// An upload that is given up at any moment, half of the time.
    async fn upload(&mut self, key: &str) -> Result<(), RemoteError> {
        let length = self.chance.below(5 * CHUNK);
        let announced = self.chance.below(2) == 0;
        let gives_up_after = self.chance.below(8);
        let mut request = self.cluster.begin_request(key, announced.then_some(length));
        request.received = if announced { 0 } else { length.min(CHUNK) };
        let upload = self.cluster.begin_with(request).await?;
        if gives_up_after == 0 {
            return self.give_up(&upload).await;
        }
        if !announced && let Err(refused) = self.cluster.allocate(&upload, length, &[]).await {
            self.give_up(&upload).await?;
            return Err(refused);
        }
        if gives_up_after == 1 {
            return self.give_up(&upload).await;
        }
        self.cluster.write(&upload, length).await?;
        match gives_up_after {
            2 => self.give_up(&upload).await,
            3 => self.give_up_while_it_commits(&upload, length).await,
            _ => {
                self.cluster.commit(&upload, length).await?;
                self.tally.committed += 1;
                Ok(())
            }
        }
    }

    async fn give_up(&mut self, upload: &Upload) -> Result<(), RemoteError> {
        self.tally.given_up += 1;
        self.cluster.abort(upload).await
    }

    /// Both are under way at the same time: exactly one of them wins.
    async fn give_up_while_it_commits(
        &mut self,
        upload: &Upload,
        length: u64,
    ) -> Result<(), RemoteError> {
        let mut other = self.cluster.clone();
        let (committed, aborted) =
            tokio::join!(self.cluster.commit(upload, length), other.abort(upload));
        match (committed, aborted) {
            (Ok(_), Err(error)) if error.reason == Reason::UploadCommitted => {
                self.tally.committed += 1;
            }
            (Err(error), Ok(())) if error.reason == Reason::UploadAborted => {
                self.tally.given_up += 1;
            }
            both => panic!("one commits or one aborts: {both:?}"),
        }
        Ok(())
    }
}

/// Looks at the accounts again and again until `over`, and keeps the nodes Up; how often it looked.
async fn watch(mut cluster: Cluster, over: Arc<AtomicBool>) -> u64 {
    let mut looks = 0;
    while !over.load(Ordering::Relaxed) {
        cluster.beat_all().await;
        for account in cluster.usage().await {
            let held = account.used_bytes + account.reserved_bytes;
            assert!(held <= LIMIT, "overshot: {account:?}");
        }
        looks += 1;
    }
    looks
}

async fn race(engine: &str, kv: Kv) {
    let config = cairn_chunk_master::Config { quota_wait: Duration::from_millis(50), ..config() };
    let dial = Arc::new(LocalDial::new(Arc::new(NetworkDial::tcp(1))));
    let mut cluster = Cluster::on(config, kv.clone(), dial, 1).await;
    for zone in ["a", "b"] {
        cluster.add_node(zone).await;
    }
    for kind in KINDS {
        cluster.limit(kind, LIMIT, None).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let watching = Spawner::current().spawn(watch(cluster.another(WRITERS + 1), over.clone()));
    let mut writers = JoinSet::new();
    for number in 1..=WRITERS {
        let chance = Entropy::seeded(number.into());
        let cluster = cluster.another(number);
        writers.spawn(Writer { cluster, chance, tally: Tally::default() }.run());
    }
    let mut tally = Tally::default();
    while let Some(done) = writers.join_next().await {
        tally.add(done.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let looks = watching.await.unwrap();
    println!("{engine}: {tally:?}, {looks} looks at the accounts, {:?}", kv.stats());
    let every = [tally.committed, tally.given_up, tally.refused, tally.deleted, looks];
    assert!(every.iter().all(|count| *count > 0), "it showed too little: {tally:?}, {looks}");

    let found = audit(&kv).await.unwrap();
    let quiet = Audit { condemned: found.condemned, purging: found.purging, ..Audit::default() };
    assert_eq!(found, quiet, "after all is over");
    fill_to_the_byte(&mut cluster).await;
    assert_eq!(cluster.audit().await.differences, []);
}

/// What is free fits, and not a byte more.
async fn fill_to_the_byte(cluster: &mut Cluster) {
    cluster.beat_all().await;
    let account = cluster.usage().await.remove(0);
    assert_eq!((account.reserved_bytes, account.reserved_objects), (0, 0), "leaked");
    let free = LIMIT - account.used_bytes;
    assert_eq!(reason(cluster.begin("fill", Some(free + 1)).await), Reason::QuotaExceeded);
    cluster.put("fill", free).await.unwrap();
    assert_eq!(reason(cluster.begin("more", Some(1)).await), Reason::QuotaExceeded);
    for account in cluster.usage().await {
        assert_eq!((account.used_bytes, account.reserved_bytes), (LIMIT, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_half_of_whom_give_up_hold_a_quota_exactly_on_redb() {
    let folder = tempfile::tempdir().unwrap();
    let kv = Kv::redb(folder.path().join("catalog.redb"), RedbConfig::default()).unwrap();
    race("redb", kv.clone()).await;
    kv.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_half_of_whom_give_up_hold_a_quota_exactly_on_postgres() {
    let Some(server) = Server::shared() else { return };
    let settings = PostgresConfig::new(&server.new_database(), None).unwrap();
    let kv = Kv::postgres(settings, Clock::system(), Entropy::seeded(1)).unwrap();
    race("PostgreSQL", kv.clone()).await;
    kv.close().await.unwrap();
}
