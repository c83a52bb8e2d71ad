//! A master with nodes in memory, reached through the generated clients.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cairn_chunk_master::{ChunkMaster, Config, MasterError, Seams, build};
use cairn_core::chunking::ChunkSizes;
use cairn_core::ids::{BlobId, ChunkId};
use cairn_kv::Kv;
use cairn_proto::error::refuse;
use cairn_proto::v1::admin_client::AdminClient;
use cairn_proto::v1::chunks_server::{Chunks, ChunksServer};
use cairn_proto::v1::master_client::MasterClient;
use cairn_proto::{Reason, RemoteError, v1};
use cairn_runtime::{Clock, Dial, Entropy, LocalDial, NetworkDial, PeerChannel, Spawner};
use futures_util::Stream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

pub(crate) const CHUNK: u64 = 1024;
const LIVES_APART: Duration = Duration::from_secs(5 * 60 * 60);
/// Bytes that a node may hold.
pub(crate) const CAPACITY: u64 = 1 << 40;
const MASTER: &str = "http://master:1";

/// What a node holds, and whether it answers.
#[derive(Debug, Default)]
pub(crate) struct NodeState {
    pub(crate) chunks: BTreeSet<ChunkId>,
    /// Those of them that are not one byte long.
    pub(crate) lengths: BTreeMap<ChunkId, u64>,
    pub(crate) cut_off: bool,
    /// It makes no copies.
    pub(crate) copies_nothing: bool,
    /// The chunks that it copied, and from where.
    pub(crate) copied: Vec<(ChunkId, String)>,
    /// How full it says that it is.
    pub(crate) used: u64,
    pub(crate) disks: Vec<Uuid>,
    /// Writes begun, and when each chunk was written last.
    pub(crate) writes: u64,
    pub(crate) written: BTreeMap<ChunkId, u64>,
    /// Single chunks that it was told to delete, as it was told.
    pub(crate) orders: Vec<v1::DeleteChunksRequest>,
    /// Chunks that do not lie where their index puts them.
    pub(crate) lie_on: BTreeMap<ChunkId, Uuid>,
}

impl NodeState {
    /// Chunks are spread over the disks by their index.
    fn disk_of(&self, chunk: ChunkId) -> Uuid {
        let by_index = self.disks[chunk.index as usize % self.disks.len()];
        self.lie_on.get(&chunk).copied().unwrap_or(by_index)
    }
}

/// A storage node of the tests: names of chunks, no bytes.
#[derive(Debug, Clone)]
pub(crate) struct FakeNode {
    pub(crate) id: Uuid,
    pub(crate) zone: String,
    pub(crate) address: String,
    pub(crate) state: Arc<Mutex<NodeState>>,
}

impl FakeNode {
    fn answers(&self) -> Result<std::sync::MutexGuard<'_, NodeState>, Status> {
        let state = self.state.lock().unwrap();
        if state.cut_off { Err(Status::unavailable("cut off")) } else { Ok(state) }
    }

    pub(crate) fn holds(&self, blob: &Bytes) -> usize {
        let blob = BlobId::from_slice(blob).unwrap();
        self.state.lock().unwrap().chunks.iter().filter(|c| c.blob == blob).count()
    }

    pub(crate) fn id_bytes(&self) -> Bytes {
        id(self.id)
    }

    /// From now on it has these disks.
    pub(crate) fn has_disks(&self, disks: &[u128]) {
        let disks = disks.iter().map(|disk| Uuid::from_u128(*disk)).collect();
        self.state.lock().unwrap().disks = disks;
    }
}

#[tonic::async_trait]
impl Chunks for FakeNode {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<v1::ReadChunkResponse, Status>> + Send>>;

    async fn write(
        &self,
        _: Request<Streaming<v1::WriteChunkRequest>>,
    ) -> Result<Response<v1::WriteChunkResponse>, Status> {
        Err(Status::unimplemented("the tests put chunks directly"))
    }

    async fn read(
        &self,
        _: Request<v1::ReadChunkRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented("no bytes here"))
    }

    async fn stat(
        &self,
        request: Request<v1::StatChunkRequest>,
    ) -> Result<Response<v1::StatChunkResponse>, Status> {
        let state = self.answers()?;
        let chunk = ChunkId::try_from(request.into_inner().chunk.unwrap()).unwrap();
        if !state.chunks.contains(&chunk) {
            return Err(refuse(Reason::ChunkNotFound, false, "it is not here"));
        }
        let length = state.lengths.get(&chunk).copied().unwrap_or(1);
        let disk = id(state.disk_of(chunk));
        Ok(Response::new(v1::StatChunkResponse { length, hash: vec![7; 32].into(), disk }))
    }

    async fn flush(
        &self,
        _: Request<v1::FlushRequest>,
    ) -> Result<Response<v1::FlushResponse>, Status> {
        Err(Status::unimplemented("no bytes here"))
    }

    async fn copy(
        &self,
        request: Request<v1::CopyChunkRequest>,
    ) -> Result<Response<v1::CopyChunkResponse>, Status> {
        let mut state = self.answers()?;
        if state.copies_nothing {
            return Err(Status::unavailable("no copies here"));
        }
        let v1::CopyChunkRequest { chunk, source, length, .. } = request.into_inner();
        let chunk = ChunkId::try_from(chunk.unwrap()).unwrap();
        state.chunks.insert(chunk);
        state.writes += 1;
        let now = state.writes;
        state.written.insert(chunk, now);
        if length != 1 {
            state.lengths.insert(chunk, length);
        }
        state.copied.push((chunk, source.unwrap().address));
        let disk = id(state.disk_of(chunk));
        Ok(Response::new(v1::CopyChunkResponse { node_id: self.id_bytes(), disk }))
    }

    async fn list(
        &self,
        request: Request<v1::ListStoredChunksRequest>,
    ) -> Result<Response<v1::ListStoredChunksResponse>, Status> {
        const PAGE: usize = 3;
        let state = self.answers()?;
        let after = request.into_inner().after.map(|c| ChunkId::try_from(c).unwrap());
        let rest = state.chunks.iter().filter(|c| after.is_none_or(|after| **c > after));
        let stored = |c: &ChunkId| v1::StoredChunk {
            chunk: Some((*c).into()),
            length: state.lengths.get(c).copied().unwrap_or(1),
            disk: id(state.disk_of(*c)),
        };
        let chunks: Vec<_> = rest.clone().take(PAGE).map(stored).collect();
        let more = rest.count() > PAGE;
        Ok(Response::new(v1::ListStoredChunksResponse { chunks, more }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteChunksRequest>,
    ) -> Result<Response<v1::DeleteChunksResponse>, Status> {
        const PAGE: usize = 2;
        let mut state = self.answers()?;
        let request = request.into_inner();
        let doomed: Vec<ChunkId> = if request.blob_id.is_empty() {
            state.orders.push(request.clone());
            let chunks = request.chunks.into_iter().map(|c| c.try_into().unwrap());
            let not_after = request.not_after.map_or(u64::MAX, |moment| moment.writes);
            let kept = |c: &ChunkId| state.written.get(c).is_some_and(|at| *at > not_after);
            chunks.filter(|chunk| !kept(chunk)).collect()
        } else {
            let blob = BlobId::from_slice(&request.blob_id).unwrap();
            state.chunks.iter().filter(|c| c.blob == blob).copied().take(PAGE + 1).collect()
        };
        let whole = !request.blob_id.is_empty();
        let more = whole && doomed.len() > PAGE;
        let now = if whole { &doomed[..doomed.len().min(PAGE)] } else { &doomed[..] };
        let deleted = now.iter().filter(|c| state.chunks.remove(c)).count() as u64;
        Ok(Response::new(v1::DeleteChunksResponse { deleted, more, ..Default::default() }))
    }
}

pub(crate) fn id(uuid: Uuid) -> Bytes {
    Bytes::copy_from_slice(uuid.as_bytes())
}

/// A master, its nodes, and clients of both its services.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) master: ChunkMaster,
    pub(crate) client: MasterClient<PeerChannel>,
    pub(crate) admin: AdminClient<PeerChannel>,
    pub(crate) nodes: Vec<FakeNode>,
    pub(crate) dial: Arc<LocalDial>,
    pub(crate) kv: Kv,
    /// How far the wall clock has jumped ahead, in seconds; back when negative.
    pub(crate) jump_s: Arc<AtomicI64>,
    ids: u128,
}

/// Small chunks, no waiting for quota, and a sweep only when it is asked for.
pub(crate) fn config() -> Config {
    Config {
        chunk_sizes: ChunkSizes::starting_with(CHUNK).unwrap(),
        quota_wait: Duration::ZERO,
        sweep_every: Duration::from_secs(1_000_000_000),
        ..Config::default()
    }
}

impl Cluster {
    /// A master with nodes in the zones named, all Up.
    pub(crate) async fn with(config: Config, zones: &[&str]) -> Self {
        let network = Arc::new(NetworkDial::tcp(1));
        let mut cluster =
            Self::on(config, Kv::memory(), Arc::new(LocalDial::new(network)), 1).await;
        for zone in zones {
            cluster.add_node(zone).await;
        }
        cluster
    }

    /// Two nodes in two zones.
    pub(crate) async fn small() -> Self {
        Self::with(config(), &["a", "b"]).await
    }

    /// A master that starts on a store which may hold something. Each life draws ids of its own, and begins with the
    /// wall hours ahead of where the one before it began.
    pub(crate) async fn on(config: Config, kv: Kv, dial: Arc<LocalDial>, life: u32) -> Self {
        Self::try_on(config, kv, dial, life).await.unwrap()
    }

    /// As [`Self::on`], for stores that may fail.
    pub(crate) async fn try_on(
        config: Config,
        kv: Kv,
        dial: Arc<LocalDial>,
        life: u32,
    ) -> Result<Self, MasterError> {
        let cluster = Self::put_together(config, kv, dial, life);
        cluster.master.start().await?;
        Ok(cluster)
    }

    /// A master that answers calls and does nothing by itself.
    pub(crate) async fn idle(config: Config, kv: Kv, dial: Arc<LocalDial>, life: u32) -> Self {
        let cluster = Self::put_together(config, kv, dial, life);
        cluster.master.open().await.unwrap();
        cluster
    }

    fn put_together(config: Config, kv: Kv, dial: Arc<LocalDial>, life: u32) -> Self {
        let jump_s = Arc::new(AtomicI64::new(0));
        let time = Clock::system();
        let epoch = Duration::from_secs(1_700_000_000) + LIVES_APART * life;
        let clock = Clock::with_wall({
            let jump_s = jump_s.clone();
            move || {
                let (steady, jump) = (epoch + time.monotonic(), jump_s.load(Ordering::Relaxed));
                let by = Duration::from_secs(jump.unsigned_abs());
                if jump < 0 { steady.saturating_sub(by) } else { steady + by }
            }
        });
        let spawner = Spawner::current();
        let seams = Seams {
            clock,
            entropy: Entropy::seeded(life.into()),
            spawner: spawner.clone(),
            dialer: dial.clone(),
        };
        let master = build(config, kv.clone(), seams);
        let routes = Routes::new(master.master_service()).add_service(master.admin_service());
        dial.add(MASTER, routes.into_axum_router(), spawner);
        let channel = dial.dial(MASTER).unwrap();
        let client = MasterClient::new(channel.clone());
        let admin = AdminClient::new(channel);
        let ids = u128::from(life) * 1_000_000;
        Self { master, client, admin, nodes: Vec::new(), dial, kv, jump_s, ids }
    }

    /// Another client of the same master, which draws ids of its own: `number` is from 1 on.
    pub(crate) fn another(&self, number: u32) -> Self {
        Self { ids: self.ids + (u128::from(number) << 64), ..self.clone() }
    }

    pub(crate) async fn add_node(&mut self, zone: &str) {
        self.know_node(zone);
        self.register(self.nodes.len() - 1).await.unwrap();
        self.beat(self.nodes.len() - 1).await.unwrap();
    }

    /// Adds a node that runs, and that the master does not know.
    pub(crate) fn know_node(&mut self, zone: &str) {
        let n = self.nodes.len() as u128 + 1;
        let node = FakeNode {
            id: Uuid::from_u128(n),
            zone: zone.to_owned(),
            address: format!("http://node-{n}:1"),
            state: Arc::default(),
        };
        node.has_disks(&[n + 100]);
        let routes = Routes::new(ChunksServer::new(node.clone())).into_axum_router();
        self.dial.add(node.address.as_str(), routes, Spawner::current());
        self.nodes.push(node);
    }

    /// What a node says of itself.
    fn status_of(node: &FakeNode) -> v1::NodeStatus {
        let state = node.state.lock().unwrap();
        let disk = |disk: &Uuid| v1::DiskStatus { disk: id(*disk), ..Default::default() };
        v1::NodeStatus {
            capacity: CAPACITY,
            used: state.used,
            disks: state.disks.iter().map(disk).collect(),
            moment: Some(v1::NodeMoment { start: id(node.id), writes: state.writes }),
            ..Default::default()
        }
    }

    pub(crate) async fn register(&mut self, n: usize) -> Result<(), RemoteError> {
        let node = self.nodes[n].clone();
        let request = v1::RegisterNodeRequest {
            node_id: id(node.id),
            status: Some(Self::status_of(&node)),
            address: node.address,
            zone: node.zone,
            catalog_id: Bytes::new(),
        };
        Ok(self.client.register_node(request).await.map(drop)?)
    }

    /// Registers a node that has joined `catalog` before; gives the catalog it belongs to.
    pub(crate) async fn register_in(
        &mut self,
        n: usize,
        catalog_id: Bytes,
    ) -> Result<Bytes, RemoteError> {
        let node = self.nodes[n].clone();
        let request = v1::RegisterNodeRequest {
            node_id: id(node.id),
            status: Some(Self::status_of(&node)),
            address: node.address,
            zone: node.zone,
            catalog_id,
        };
        Ok(self.client.register_node(request).await?.into_inner().catalog_id)
    }

    pub(crate) async fn beat(&mut self, n: usize) -> Result<(), RemoteError> {
        let node = &self.nodes[n];
        let request =
            v1::HeartbeatRequest { node_id: id(node.id), status: Some(Self::status_of(node)) };
        Ok(self.client.heartbeat(request).await.map(drop)?)
    }

    /// All nodes are heard.
    pub(crate) async fn beat_all(&mut self) {
        for n in 0..self.nodes.len() {
            self.beat(n).await.unwrap();
        }
    }

    /// Time passes; then all nodes are heard.
    pub(crate) async fn pass_time(&mut self, time: Duration) {
        tokio::time::advance(time).await;
        self.beat_all().await;
    }

    pub(crate) fn draw(&mut self) -> Bytes {
        self.ids += 1;
        id(Uuid::from_u128(self.ids))
    }

    pub(crate) fn begin_request(
        &mut self,
        key: &str,
        length: Option<u64>,
    ) -> v1::BeginUploadRequest {
        v1::BeginUploadRequest {
            upload_id: self.draw(),
            bucket: "default".into(),
            key: key.into(),
            length,
            place_chunks: 3,
            ..Default::default()
        }
    }

    pub(crate) async fn begin(
        &mut self,
        key: &str,
        length: Option<u64>,
    ) -> Result<Upload, RemoteError> {
        let request = self.begin_request(key, length);
        self.begin_with(request).await
    }

    pub(crate) async fn begin_with(
        &mut self,
        request: v1::BeginUploadRequest,
    ) -> Result<Upload, RemoteError> {
        let answer = self.client.begin_upload(request.clone()).await?.into_inner();
        let id = request.upload_id;
        Ok(Upload { id, blob: answer.blob_id, reserved: answer.reserved })
    }

    pub(crate) async fn allocate(
        &mut self,
        upload: &Upload,
        received: u64,
        indices: &[u32],
    ) -> Result<v1::AllocateChunksResponse, RemoteError> {
        let want = |index: &u32| v1::ChunkWant {
            index: *index,
            length: CHUNK,
            copies: 2,
            ..Default::default()
        };
        let request = v1::AllocateChunksRequest {
            upload_id: upload.id.clone(),
            received,
            wants: indices.iter().map(want).collect(),
            ..Default::default()
        };
        Ok(self.client.allocate_chunks(request).await?.into_inner())
    }

    /// A chunk arrives at two nodes, which answer with receipts.
    pub(crate) fn store(&self, upload: &Upload, index: u32, length: u64) -> v1::ChunkReceipt {
        self.store_on(upload, index, length, &[0, 1])
    }

    pub(crate) fn store_on(
        &self,
        upload: &Upload,
        index: u32,
        length: u64,
        nodes: &[usize],
    ) -> v1::ChunkReceipt {
        let blob = BlobId::from_slice(&upload.blob).unwrap();
        let copy = |n: &usize| {
            let node = &self.nodes[*n];
            let mut state = node.state.lock().unwrap();
            state.chunks.insert(ChunkId::new(blob, index));
            state.lengths.insert(ChunkId::new(blob, index), length);
            v1::CopyReceipt {
                node_id: id(node.id),
                disk: id(state.disk_of(ChunkId::new(blob, index))),
            }
        };
        let copies = nodes.iter().map(copy).collect();
        v1::ChunkReceipt { index, length, hash: vec![7; 32].into(), copies }
    }

    pub(crate) async fn confirm(
        &mut self,
        upload: &Upload,
        receipts: Vec<v1::ChunkReceipt>,
    ) -> Result<Vec<v1::RefusedCopy>, RemoteError> {
        let upload_id = upload.id.clone();
        let request = v1::ConfirmChunksRequest {
            upload_id,
            receipts,
            blob_id: upload.blob.clone(),
            ..Default::default()
        };
        Ok(self.client.confirm_chunks(request).await?.into_inner().refused)
    }

    /// Hands on copies beyond the quorum of a committed upload.
    pub(crate) async fn confirm_late(
        &mut self,
        upload: &Upload,
        receipts: Vec<v1::ChunkReceipt>,
    ) -> Result<Vec<v1::RefusedCopy>, RemoteError> {
        let (upload_id, blob_id) = (upload.id.clone(), upload.blob.clone());
        let request =
            v1::ConfirmChunksRequest { upload_id, receipts, blob_id, late: true, caller: None };
        Ok(self.client.confirm_chunks(request).await?.into_inner().refused)
    }

    /// Stores and confirms all chunks of `length` bytes.
    pub(crate) async fn write(&mut self, upload: &Upload, length: u64) -> Result<(), RemoteError> {
        let sizes = config().chunk_sizes;
        let chunks: Vec<u32> = (0..sizes.count(length).unwrap()).collect();
        for batch in chunks.chunks(256) {
            let receipt = |i: &u32| self.store(upload, *i, sizes.length(*i, length));
            let receipts = batch.iter().map(receipt).collect();
            let refused = self.confirm(upload, receipts).await?;
            assert!(refused.is_empty(), "{refused:?}");
        }
        Ok(())
    }

    pub(crate) async fn commit(
        &mut self,
        upload: &Upload,
        length: u64,
    ) -> Result<v1::CommitUploadResponse, RemoteError> {
        let request = v1::CommitUploadRequest {
            upload_id: upload.id.clone(),
            length,
            root: vec![9; 32].into(),
            blob_id: upload.blob.clone(),
            ..Default::default()
        };
        Ok(self.client.commit_upload(request).await?.into_inner())
    }

    /// A bucket with these settings.
    pub(crate) async fn make_bucket(
        &mut self,
        bucket: &str,
        settings: v1::BucketSettings,
    ) -> Result<v1::BucketInfo, RemoteError> {
        let settings = Some(settings);
        let request = v1::MakeBucketRequest { bucket: bucket.into(), settings, caller: None };
        Ok(self.client.make_bucket(request).await?.into_inner().bucket.unwrap())
    }

    pub(crate) async fn stat_bucket(
        &mut self,
        bucket: &str,
    ) -> Result<v1::BucketInfo, RemoteError> {
        let request = v1::StatBucketRequest { bucket: bucket.into(), principal: None };
        Ok(self.client.stat_bucket(request).await?.into_inner().bucket.unwrap())
    }

    /// Takes `fields` of `settings`.
    pub(crate) async fn change_bucket(
        &mut self,
        bucket: &str,
        settings: v1::BucketSettings,
        fields: &[&str],
    ) -> Result<v1::BucketInfo, RemoteError> {
        let request = v1::ChangeBucketRequest {
            bucket: bucket.into(),
            settings: Some(settings),
            fields: fields.iter().map(|name| (*name).to_owned()).collect(),
            caller: None,
        };
        Ok(self.client.change_bucket(request).await?.into_inner().bucket.unwrap())
    }

    /// True when the bucket is gone at once.
    pub(crate) async fn remove_bucket(
        &mut self,
        bucket: &str,
        with_contents: bool,
    ) -> Result<bool, RemoteError> {
        let request =
            v1::RemoveBucketRequest { bucket: bucket.into(), with_contents, caller: None };
        Ok(self.client.remove_bucket(request).await?.into_inner().gone)
    }

    pub(crate) async fn begin_in(
        &mut self,
        bucket: &str,
        key: &str,
        length: u64,
    ) -> Result<Upload, RemoteError> {
        let mut request = self.begin_request(key, Some(length));
        request.bucket = bucket.into();
        self.begin_with(request).await
    }

    /// A whole file in a bucket.
    pub(crate) async fn put_in(
        &mut self,
        bucket: &str,
        key: &str,
        length: u64,
    ) -> Result<Upload, RemoteError> {
        let upload = self.begin_in(bucket, key, length).await?;
        self.write(&upload, length).await?;
        self.commit(&upload, length).await?;
        Ok(upload)
    }

    pub(crate) async fn delete_in(
        &mut self,
        bucket: &str,
        key: &str,
    ) -> Result<Bytes, RemoteError> {
        let (bucket, key) = (bucket.into(), key.into());
        let request = v1::DeleteObjectRequest { bucket, key, ..Default::default() };
        Ok(self.client.delete_object(request).await?.into_inner().version_id)
    }

    pub(crate) async fn abort(&mut self, upload: &Upload) -> Result<(), RemoteError> {
        let upload_id = upload.id.clone();
        let request = v1::AbortUploadRequest { upload_id, caller: None };
        Ok(self.client.abort_upload(request).await.map(drop)?)
    }

    /// A whole file.
    pub(crate) async fn put(&mut self, key: &str, length: u64) -> Result<Upload, RemoteError> {
        let upload = self.begin(key, Some(length)).await?;
        self.write(&upload, length).await?;
        self.commit(&upload, length).await?;
        Ok(upload)
    }

    pub(crate) async fn delete(&mut self, key: &str) -> Result<Bytes, RemoteError> {
        let request = v1::DeleteObjectRequest {
            bucket: "default".into(),
            key: key.into(),
            ..Default::default()
        };
        Ok(self.client.delete_object(request).await?.into_inner().version_id)
    }

    pub(crate) async fn locate(
        &mut self,
        key: &str,
        version: Bytes,
        offset: u64,
    ) -> Result<v1::LocateResponse, RemoteError> {
        let request = v1::LocateRequest {
            bucket: "default".into(),
            key: key.into(),
            version_id: version,
            offset,
            ..Default::default()
        };
        Ok(self.client.locate(request).await?.into_inner())
    }

    pub(crate) async fn sweep(&mut self) -> v1::SweepResponse {
        self.admin.sweep(v1::SweepRequest {}).await.unwrap().into_inner()
    }

    /// What the audit of the whole catalog finds.
    pub(crate) async fn audited(&self) -> Vec<String> {
        cairn_chunk_master::audit(&self.kv).await.unwrap().contradictions
    }

    /// The accounts of tenant, user and bucket.
    pub(crate) async fn usage(&mut self) -> Vec<v1::Account> {
        let request = v1::GetUsageRequest { scope: None };
        self.admin.get_usage(request).await.unwrap().into_inner().accounts
    }

    /// The accounts beside what the records add up to.
    pub(crate) async fn audit(&mut self) -> v1::AuditUsageResponse {
        self.admin.audit_usage(v1::AuditUsageRequest {}).await.unwrap().into_inner()
    }

    pub(crate) async fn limit(&mut self, kind: v1::ScopeKind, bytes: u64, objects: Option<u64>) {
        let scope = v1::Scope { kind: kind.into(), tenant: String::new(), name: "default".into() };
        let limits = v1::Limits { bytes: Some(bytes), objects };
        let request = v1::SetQuotaRequest { scope: Some(scope), limits: Some(limits) };
        self.admin.set_quota(request).await.unwrap();
    }
}

/// An upload as its gateway knows it.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) id: Bytes,
    pub(crate) blob: Bytes,
    pub(crate) reserved: u64,
}

/// The reason of a refusal.
#[track_caller]
pub(crate) fn reason<T: std::fmt::Debug>(result: Result<T, RemoteError>) -> Reason {
    result.expect_err("to be refused").reason
}
