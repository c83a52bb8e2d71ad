//! The master dies at every transaction of every call: whatever happened of it, the next master makes all of it good.
//!
//! ```text
//! script   every call that changes facts, in an order that reaches every state
//! for each transaction of it: it happened or not; buffered ones before it are kept or lost
//!          ─► a new master on what is left ─► the caller is gone, or repeats its call and goes on
//!          ─► leases and waits end, sweeps ─► check
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_chunk_master::{Audit, audit};
use cairn_core::ids::ChunkId;
use cairn_kv::simulated::{Death, SimulatedStore};
use cairn_proto::{Reason, RemoteError, v1};
use cairn_runtime::{LocalDial, NetworkDial};
use uuid::Uuid;

use crate::cluster::{CHUNK, Cluster, Upload, config, id};

/// One call, or time that passes. Uploads are named by a number.
#[derive(Debug, Clone, Copy)]
enum Step {
    Register(usize),
    SetQuota(u64),
    MakeBucket(&'static str),
    ChangeBucket(&'static str),
    /// With its contents, or only when it is empty.
    RemoveBucket(&'static str, bool),
    CreateTenant(&'static str),
    DeleteTenant(&'static str),
    /// With a length of so many chunks that is announced, or unknown.
    Begin(u8, &'static str, &'static str, Option<u64>),
    Allocate(u8, u64),
    /// So many chunks are written and confirmed.
    Confirm(u8, u64),
    Renew(u8),
    /// The whole upload of so many chunks, with their receipts.
    Commit(u8, u64),
    Abort(u8),
    Delete(&'static str),
    /// Whatever was condemned last.
    Undelete,
    /// A copy of the first chunk of a name is reported as corrupt.
    Report(&'static str),
    Sweep,
    Pass(u64),
    PauseJob(&'static str),
    ResumeJob(&'static str),
}

use Step::{
    Abort, Allocate, Begin, ChangeBucket, Commit, Confirm, CreateTenant, Delete, DeleteTenant,
    MakeBucket, Pass, PauseJob, Register, RemoveBucket, Renew, Report, ResumeJob, SetQuota, Sweep,
    Undelete,
};

/// Longer than any wait of the master.
const LONG_S: u64 = 26 * 60 * 60;
/// Longer than a lease of an upload.
const LEASE_S: u64 = 61;

const SCRIPT: &[Step] = &[
    Register(0),
    Register(1),
    SetQuota(1000),
    // A file of several chunks, and one that replaces it.
    Begin(1, "default", "a", Some(5)),
    Confirm(1, 2),
    Renew(1),
    Confirm(1, 4),
    Commit(1, 5),
    Begin(2, "default", "a", None),
    Allocate(2, 3),
    Confirm(2, 2),
    Commit(2, 3),
    // One that is given up, and one whose gateway falls silent.
    Begin(3, "default", "b", Some(4)),
    Confirm(3, 3),
    Abort(3),
    Begin(4, "default", "b", Some(4)),
    Confirm(4, 2),
    Pass(LEASE_S),
    Sweep,
    // Deleted, brought back, deleted, purged.
    Begin(5, "default", "c", Some(2)),
    Commit(5, 2),
    Report("c"),
    Delete("c"),
    Undelete,
    Delete("c"),
    Delete("a"),
    Pass(LONG_S),
    Sweep,
    // A bucket that goes with a file, a condemned one and an open upload; then one of the same name.
    MakeBucket("photos"),
    ChangeBucket("photos"),
    Begin(6, "photos", "a", Some(3)),
    Commit(6, 3),
    Begin(7, "photos", "a", Some(2)),
    Commit(7, 2),
    Begin(8, "photos", "b", Some(2)),
    Confirm(8, 1),
    RemoveBucket("photos", true),
    Commit(8, 2),
    PauseJob("delete-bucket/default/photos"),
    PauseJob("repair"),
    Sweep,
    ResumeJob("delete-bucket/default/photos"),
    ResumeJob("repair"),
    // A master that starts purges nothing at first, so there is one sweep more than the deletion takes.
    Pass(LEASE_S),
    Sweep,
    Pass(LEASE_S),
    Sweep,
    Pass(LEASE_S),
    Sweep,
    Pass(LEASE_S),
    Sweep,
    MakeBucket("photos"),
    Begin(9, "photos", "a", Some(1)),
    Commit(9, 1),
    MakeBucket("empty"),
    RemoveBucket("empty", false),
    CreateTenant("other"),
    DeleteTenant("other"),
    // What stays.
    Begin(10, "default", "kept", Some(3)),
    Confirm(10, 3),
    Commit(10, 3),
    Begin(11, "default", "d", Some(3)),
    Confirm(11, 1),
    Pass(LONG_S),
    Sweep,
    Pass(LONG_S),
    Sweep,
];

/// Names of files, with their lengths.
type Contents = BTreeMap<String, u64>;

/// What a caller is to know of its upload.
fn upload_id(number: u8) -> Bytes {
    id(Uuid::from_u128(0xfeed_0000 + u128::from(number)))
}

/// A cluster that a script is played on.
struct Play {
    cluster: Cluster,
    store: SimulatedStore,
    blobs: BTreeMap<u8, Bytes>,
    life: u32,
}

impl Play {
    /// A new cluster of two nodes that no master knows, so that both get a copy of every chunk. `keeps`: of transactions that were not synced, a crash keeps
    /// all or none. Where the death comes before the first master runs, it is the second one that runs.
    async fn begin(keeps: bool, death: Option<Death>) -> Self {
        let store = SimulatedStore::new(move |below| if keeps { below - 1 } else { 0 });
        if let Some(death) = death {
            store.die(death);
        }
        let dial = Arc::new(LocalDial::new(Arc::new(NetworkDial::tcp(1))));
        let (mut life, mut started) = (0, None);
        while started.is_none() {
            life += 1;
            assert!(life < 3, "a store without faults opens");
            started = Cluster::try_on(config(), store.open(), dial.clone(), life).await.ok();
        }
        let mut cluster = started.unwrap();
        for zone in ["a", "b"] {
            cluster.know_node(zone);
        }
        Self { cluster, store, blobs: BTreeMap::new(), life }
    }

    /// A new master starts on what the store holds.
    async fn start_again(&mut self) {
        self.cluster.master.stop();
        self.life += 1;
        let nodes = std::mem::take(&mut self.cluster.nodes);
        let dial = self.cluster.dial.clone();
        self.cluster = Cluster::on(config(), self.store.open(), dial, self.life).await;
        self.cluster.nodes = nodes;
        self.hear_nodes().await;
    }

    /// Every node is heard, and registers where it is not known.
    async fn hear_nodes(&mut self) {
        for n in 0..self.cluster.nodes.len() {
            if self.cluster.beat(n).await.is_err() {
                self.cluster.register(n).await.unwrap();
            }
        }
    }

    fn upload(&self, number: u8) -> Upload {
        let blob = self.blobs.get(&number).cloned();
        let blob = blob.unwrap_or_else(|| id(Uuid::from_u128(1)));
        Upload { id: upload_id(number), blob, reserved: 0 }
    }

    /// Receipts for chunks, all of a whole chunk, whose copies lie on two nodes.
    fn receipts(&self, number: u8, chunks: u64) -> Vec<v1::ChunkReceipt> {
        let upload = self.upload(number);
        let store = |index: u64| self.cluster.store(&upload, u32::try_from(index).unwrap(), CHUNK);
        (0..chunks).map(store).collect()
    }

    async fn step(&mut self, step: Step) -> Result<(), RemoteError> {
        match step {
            Begin(number, bucket, key, chunks) => {
                self.begin_upload(number, bucket, key, chunks).await
            }
            Allocate(number, chunks) => {
                let upload = self.upload(number);
                self.cluster.allocate(&upload, chunks * CHUNK, &[0]).await.map(drop)
            }
            Confirm(number, chunks) => {
                let receipts = self.receipts(number, chunks);
                let upload = self.upload(number);
                self.cluster.confirm(&upload, receipts).await.map(drop)
            }
            Renew(number) => {
                let request = v1::RenewUploadRequest { upload_id: upload_id(number), caller: None };
                Ok(self.cluster.client.renew_upload(request).await.map(drop)?)
            }
            Commit(number, chunks) => self.commit(number, chunks).await,
            Abort(number) => {
                let upload = self.upload(number);
                self.cluster.abort(&upload).await
            }
            Delete(key) => self.cluster.delete(key).await.map(drop),
            Undelete => self.undelete().await,
            Report(key) => self.report(key).await,
            Register(n) => self.cluster.register(n).await,
            other => self.administer(other).await,
        }
    }

    async fn administer(&mut self, step: Step) -> Result<(), RemoteError> {
        let cluster = &mut self.cluster;
        match step {
            SetQuota(chunks) => {
                let scope = v1::Scope {
                    kind: v1::ScopeKind::Bucket.into(),
                    name: "default".into(),
                    ..Default::default()
                };
                let limits = v1::Limits { bytes: Some(chunks * CHUNK), objects: None };
                let request = v1::SetQuotaRequest { scope: Some(scope), limits: Some(limits) };
                Ok(cluster.admin.set_quota(request).await.map(drop)?)
            }
            MakeBucket(bucket) => cluster.make_bucket(bucket, <_>::default()).await.map(drop),
            ChangeBucket(bucket) => {
                let settings = v1::BucketSettings { copies: Some(2), ..Default::default() };
                cluster.change_bucket(bucket, settings, &["copies"]).await.map(drop)
            }
            RemoveBucket(bucket, with) => cluster.remove_bucket(bucket, with).await.map(drop),
            CreateTenant(tenant) => {
                let request = v1::CreateTenantRequest { tenant: tenant.into(), ..<_>::default() };
                Ok(cluster.admin.create_tenant(request).await.map(drop)?)
            }
            DeleteTenant(tenant) => {
                let request = v1::DeleteTenantRequest { tenant: tenant.into() };
                Ok(cluster.admin.delete_tenant(request).await.map(drop)?)
            }
            PauseJob(job) => {
                let request = v1::PauseJobRequest { job: job.into() };
                Ok(cluster.admin.pause_job(request).await.map(drop)?)
            }
            ResumeJob(job) => {
                let request = v1::ResumeJobRequest { job: job.into() };
                Ok(cluster.admin.resume_job(request).await.map(drop)?)
            }
            Sweep => Ok(cluster.admin.sweep(v1::SweepRequest {}).await.map(drop)?),
            Pass(seconds) => {
                tokio::time::advance(Duration::from_secs(seconds)).await;
                self.hear_nodes().await;
                Ok(())
            }
            other => panic!("{other:?} is no call of an operator"),
        }
    }

    async fn begin_upload(
        &mut self,
        number: u8,
        bucket: &str,
        key: &str,
        chunks: Option<u64>,
    ) -> Result<(), RemoteError> {
        let mut request = self.cluster.begin_request(key, chunks.map(|chunks| chunks * CHUNK));
        request.upload_id = upload_id(number);
        request.bucket = bucket.into();
        let upload = self.cluster.begin_with(request).await?;
        self.blobs.insert(number, upload.blob);
        Ok(())
    }

    async fn commit(&mut self, number: u8, chunks: u64) -> Result<(), RemoteError> {
        let upload = self.upload(number);
        let request = v1::CommitUploadRequest {
            receipts: self.receipts(number, chunks),
            upload_id: upload.id.clone(),
            length: chunks * CHUNK,
            root: vec![number; 32].into(),
            blob_id: upload.blob.clone(),
            ..Default::default()
        };
        Ok(self.cluster.client.commit_upload(request).await.map(drop)?)
    }

    async fn undelete(&mut self) -> Result<(), RemoteError> {
        let request = v1::ListCondemnedRequest::default();
        let page = self.cluster.admin.list_condemned(request).await?.into_inner();
        let Some(last) = page.versions.last() else { return Ok(()) };
        let version_id = last.object.clone().unwrap().version_id;
        let request = v1::UndeleteRequest { version_id, ..Default::default() };
        Ok(self.cluster.admin.undelete(request).await.map(drop)?)
    }

    async fn report(&mut self, key: &str) -> Result<(), RemoteError> {
        let page = self.cluster.locate(key, Bytes::new(), 0).await?;
        let chunk = page.chunks.first().and_then(|located| located.chunk.clone());
        let report = v1::CopyReport {
            chunk,
            node_id: self.cluster.nodes[0].id_bytes(),
            finding: v1::CopyFinding::Corrupt.into(),
        };
        let request = v1::ReportCopiesRequest { reports: vec![report], ..Default::default() };
        Ok(self.cluster.client.report_copies(request).await.map(drop)?)
    }

    /// Operators resume what they had paused, leases and waits end, and the sweep does all that is left.
    async fn come_to_rest(&mut self) {
        const SWEEPS: u32 = 6;
        for job in ["delete-bucket/default/photos", "repair"] {
            let resumed = self.step(ResumeJob(job)).await.map_err(|error| error.reason);
            let known = [Ok(()), Err(Reason::JobNotFound), Err(Reason::JobRefuses)];
            assert!(known.contains(&resumed), "{job}: {resumed:?}");
        }
        for _ in 0..SWEEPS {
            tokio::time::advance(Duration::from_secs(LONG_S)).await;
            self.hear_nodes().await;
            let report = self.cluster.sweep().await;
            let found = audit(&self.cluster.kv).await.unwrap();
            if report == v1::SweepResponse::default() && found == Audit::default() {
                return;
            }
        }
        let found = audit(&self.cluster.kv).await.unwrap();
        panic!("the sweep does not come to an end: {found:?}");
    }

    /// Books agree, and so do catalog and nodes, both ways.
    async fn check(&mut self) {
        assert_eq!(self.cluster.audit().await.differences, []);
        for account in self.cluster.usage().await {
            assert_eq!((account.reserved_bytes, account.reserved_objects), (0, 0), "{account:?}");
            assert_eq!((account.condemned_bytes, account.condemned_objects), (0, 0), "{account:?}");
        }
        let mut named = BTreeSet::new();
        for object in self.files().await {
            self.read(&object, &mut named).await;
        }
        let stored = self.cluster.nodes.iter().flat_map(|node| {
            let chunks = node.state.lock().unwrap().chunks.clone();
            chunks.into_iter().map(|chunk| (node.id, chunk))
        });
        assert_eq!(stored.collect::<BTreeSet<_>>(), named, "on nodes, and named by files");
    }

    /// All files, of all buckets.
    async fn files(&mut self) -> Vec<v1::ObjectInfo> {
        let mut files = Vec::new();
        for bucket in ["default", "photos", "empty"] {
            let request = v1::ListObjectsRequest { bucket: bucket.into(), ..Default::default() };
            match self.cluster.client.list_objects(request).await {
                Ok(page) => {
                    files.extend(page.into_inner().entries.into_iter().filter_map(object));
                }
                Err(refused) => {
                    assert_eq!(RemoteError::from(refused).reason, Reason::BucketNotFound);
                }
            }
        }
        files
    }

    /// What all files are: names and lengths.
    async fn contents(&mut self) -> Contents {
        let files = self.files().await;
        files
            .into_iter()
            .map(|file| (format!("{}/{}", file.bucket, file.key), file.length))
            .collect()
    }

    /// The copies that a file names, which are two of each of its chunks.
    async fn read(&mut self, object: &v1::ObjectInfo, named: &mut BTreeSet<(Uuid, ChunkId)>) {
        let (bucket, key) = (object.bucket.clone(), object.key.clone());
        let request = v1::LocateRequest { bucket, key, ..Default::default() };
        let page = self.cluster.client.locate(request).await.unwrap().into_inner();
        let held: u64 = page.chunks.iter().map(|chunk| chunk.length).sum();
        assert_eq!(held, object.length, "{object:?} is whole");
        for chunk in page.chunks {
            let id = ChunkId::try_from(chunk.chunk.unwrap()).unwrap();
            assert_eq!(chunk.places.len(), 2, "{object:?}");
            for place in chunk.places {
                named.insert((Uuid::from_slice(&place.node_id).unwrap(), id));
            }
        }
    }
}

fn object(entry: v1::ListEntry) -> Option<v1::ObjectInfo> {
    match entry.entry {
        Some(v1::list_entry::Entry::Object(object)) => Some(object),
        _ => None,
    }
}

/// What there is before the script, and after each step of it when nobody dies.
async fn undisturbed() -> Vec<Contents> {
    let mut play = Play::begin(true, None).await;
    let mut known = vec![play.contents().await];
    for step in SCRIPT {
        let done = play.step(*step).await;
        assert!(done.is_ok() || is_refused(*step), "{step:?} without any fault: {done:?}");
        known.push(play.contents().await);
    }
    play.come_to_rest().await;
    play.check().await;
    known
}

/// The commit of an upload whose bucket is being deleted.
fn is_refused(step: Step) -> bool {
    matches!(step, Commit(8, _))
}

/// What callers do when their master dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callers {
    /// They died with it.
    Gone,
    /// They repeat the call that was not answered, and go on.
    GoOn,
}

/// Plays the script with a death; true when it struck. `known`: as [`undisturbed`] has it. What was acknowledged stands;
/// who goes on is refused with a reason that it can understand.
async fn play(known: &[Contents], keeps: bool, death: Death, callers: Callers) -> bool {
    let mut play = Play::begin(keeps, Some(death)).await;
    let mut struck = play.store.changes() >= death.at;
    let mut at = 0;
    while let Some(step) = SCRIPT.get(at) {
        let done = play.step(*step).await;
        if !struck && play.store.changes() >= death.at {
            struck = true;
            play.start_again().await;
            let found = audit(&play.cluster.kv).await.unwrap();
            assert_eq!((found.contradictions, found.over_limit), (vec![], vec![]), "{step:?}");
            let there = play.contents().await;
            assert!(known[at..at + 2].contains(&there), "{step:?} leaves {there:?}");
            if callers == Callers::Gone {
                break;
            }
            continue;
        }
        if let Err(error) = done {
            assert!(struck || is_refused(*step), "{step:?} without any fault: {error}");
            assert_ne!(error.reason, Reason::Unspecified, "{step:?}: {error}");
        }
        at += 1;
    }
    // What is left of the plan must not strike a sweep.
    play.store.die(Death { at: u64::MAX, ..death });
    play.come_to_rest().await;
    play.check().await;
    if callers == Callers::GoOn && keeps {
        let there = play.contents().await;
        assert_eq!(there, known[SCRIPT.len()], "who repeats its calls gets what it asked for");
    }
    struck
}

async fn every_transaction(callers: Callers) {
    let known = undisturbed().await;
    let mut deaths = 0;
    for at in 1.. {
        let mut struck = false;
        for (happened, keeps) in [(false, false), (false, true), (true, false), (true, true)] {
            let death = Death { at, happened };
            // Shown when the test fails.
            print!("{death:?}, buffered ones kept: {keeps}\r");
            struck = play(&known, keeps, death, callers).await;
            deaths += u32::from(struck);
        }
        if !struck {
            println!("{callers:?}: {} transactions, {deaths} deaths", at - 1);
            assert!(at > 60, "the script reaches too little: {at} transactions");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_master_that_dies_at_any_transaction_leaves_nothing_half_done() {
    every_transaction(Callers::Gone).await;
}

#[tokio::test(start_paused = true)]
async fn a_master_that_dies_at_any_transaction_serves_those_who_repeat_their_calls() {
    every_transaction(Callers::GoOn).await;
}
