//! A node makes itself known to the master and stays known, whatever the master does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_core::copies::CopyReport;
use cairn_core::ids::ChunkId;
use cairn_proto::v1::master_server::{Master, MasterServer};
use cairn_proto::{Reason, error, v1};
use cairn_runtime::{Clock, LocalDial, Spawner};
use cairn_storage_node::Config;
use futures_util::stream::BoxStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::harness::{Harness, MASTER, chunk, id_bytes, writing};

/// What the node said, and how the master answers.
#[derive(Debug, Default)]
struct Script {
    calls: Vec<String>,
    statuses: Vec<v1::NodeStatus>,
    catalog: [u8; 16],
    /// The catalogs that the node said it belongs to.
    catalogs: Vec<bytes::Bytes>,
    away: bool,
    silent: bool,
    forgot: bool,
    /// Chunks that were reported, call by call.
    reported: Vec<Vec<ChunkId>>,
}

#[derive(Debug, Clone, Default)]
struct FakeMaster(Arc<Mutex<Script>>);

impl FakeMaster {
    fn with<T>(&self, look: impl FnOnce(&mut Script) -> T) -> T {
        look(&mut self.0.lock().expect("no test panicked"))
    }

    fn calls(&self) -> Vec<String> {
        self.with(|script| std::mem::take(&mut script.calls))
    }

    async fn heard(&self, call: &str) -> Result<(), Status> {
        let (away, silent) = self.with(|script| {
            script.calls.push(call.to_owned());
            (script.away, script.silent)
        });
        if silent {
            std::future::pending::<()>().await;
        }
        if away { Err(Status::unavailable("away")) } else { Ok(()) }
    }
}

macro_rules! not_of_nodes {
    ($($method:ident($request:ty) -> $response:ty;)*) => {
        #[tonic::async_trait]
        impl Master for FakeMaster {
            $(
                async fn $method(
                    &self,
                    _: Request<$request>,
                ) -> Result<Response<$response>, Status> {
                    Err(Status::unimplemented("not a node's call"))
                }
            )*

            type WatchNodesStream = BoxStream<'static, Result<v1::WatchNodesResponse, Status>>;

            async fn watch_nodes(
                &self,
                _: Request<v1::WatchNodesRequest>,
            ) -> Result<Response<Self::WatchNodesStream>, Status> {
                Err(Status::unimplemented("not a node's call"))
            }

            async fn register_node(
                &self,
                request: Request<v1::RegisterNodeRequest>,
            ) -> Result<Response<v1::RegisterNodeResponse>, Status> {
                self.heard("register").await?;
                let request = request.into_inner();
                assert_eq!(request.node_id.len(), 16);
                assert_eq!(request.address, "http://node:7100");
                assert_eq!(request.zone, "north");
                let catalog_id = self.with(|script| {
                    script.forgot = false;
                    script.catalogs.push(request.catalog_id);
                    id_bytes(&script.catalog)
                });
                Ok(Response::new(v1::RegisterNodeResponse { heartbeat_ms: 1000, catalog_id }))
            }

            async fn heartbeat(
                &self,
                request: Request<v1::HeartbeatRequest>,
            ) -> Result<Response<v1::HeartbeatResponse>, Status> {
                self.heard("heartbeat").await?;
                let status = request.into_inner().status.expect("a status");
                self.with(|script| script.statuses.push(status));
                if self.with(|script| script.forgot) {
                    return Err(error::refuse(Reason::NodeUnknown, false, "who are you?"));
                }
                Ok(Response::new(v1::HeartbeatResponse {}))
            }

            async fn report_copies(
                &self,
                request: Request<v1::ReportCopiesRequest>,
            ) -> Result<Response<v1::ReportCopiesResponse>, Status> {
                self.heard("report").await?;
                let reports = request.into_inner().reports.into_iter();
                let reports = reports.map(|report| CopyReport::try_from(report).expect("a report"));
                let chunks = reports.map(|report| report.chunk).collect();
                self.with(|script| script.reported.push(chunks));
                Ok(Response::new(v1::ReportCopiesResponse {}))
            }
        }
    };
}

not_of_nodes! {
    begin_upload(v1::BeginUploadRequest) -> v1::BeginUploadResponse;
    allocate_chunks(v1::AllocateChunksRequest) -> v1::AllocateChunksResponse;
    confirm_chunks(v1::ConfirmChunksRequest) -> v1::ConfirmChunksResponse;
    commit_upload(v1::CommitUploadRequest) -> v1::CommitUploadResponse;
    renew_upload(v1::RenewUploadRequest) -> v1::RenewUploadResponse;
    abort_upload(v1::AbortUploadRequest) -> v1::AbortUploadResponse;
    pending_uploads(v1::PendingUploadsRequest) -> v1::PendingUploadsResponse;
    locate(v1::LocateRequest) -> v1::LocateResponse;
    stat_object(v1::StatObjectRequest) -> v1::StatObjectResponse;
    list_objects(v1::ListObjectsRequest) -> v1::ListObjectsResponse;
    delete_object(v1::DeleteObjectRequest) -> v1::DeleteObjectResponse;
    make_bucket(v1::MakeBucketRequest) -> v1::MakeBucketResponse;
    stat_bucket(v1::StatBucketRequest) -> v1::StatBucketResponse;
    find_buckets(v1::FindBucketsRequest) -> v1::FindBucketsResponse;
    change_bucket(v1::ChangeBucketRequest) -> v1::ChangeBucketResponse;
    remove_bucket(v1::RemoveBucketRequest) -> v1::RemoveBucketResponse;
}

async fn node_and_master() -> (Harness, FakeMaster) {
    let master = FakeMaster::default();
    let routes = Routes::new(MasterServer::new(master.clone())).into_axum_router();
    let add = |dial: &LocalDial| dial.add(MASTER, routes, Spawner::current());
    let zone = |config: &mut Config| config.zone = "north".to_owned();
    let node = Harness::with_peers(add, zone).await;
    (node, master)
}

async fn pass(milliseconds: u64) {
    Clock::system().sleep(Duration::from_millis(milliseconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_registers_and_sends_heartbeats_at_the_masters_interval() {
    let (node, master) = node_and_master().await;
    node.node.start();
    pass(3500).await;
    assert_eq!(master.calls(), ["register", "heartbeat", "heartbeat", "heartbeat"]);
    node.client().write(tokio_stream::iter(writing(chunk(0), 100_000))).await.unwrap();
    pass(1000).await;
    let status = master.with(|script| script.statuses.pop().unwrap());
    assert_eq!((status.chunks, status.open_writes), (1, 0));
    assert!(status.used > 100_000 && status.capacity == 1 << 25, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_known_registers_again_at_once() {
    let (node, master) = node_and_master().await;
    node.node.start();
    pass(1500).await;
    master.with(|script| script.forgot = true);
    assert_eq!(master.calls(), ["register", "heartbeat"]);
    pass(1000).await;
    assert_eq!(master.calls(), ["heartbeat", "register"]);
    pass(1000).await;
    assert_eq!(master.calls(), ["heartbeat"]);
}

#[tokio::test(start_paused = true)]
async fn a_master_that_is_away_is_asked_again_and_not_too_often() {
    let (node, master) = node_and_master().await;
    master.with(|script| script.away = true);
    node.node.start();
    pass(60_000).await;
    let calls = master.calls().len();
    assert!((12..40).contains(&calls), "{calls} calls in a minute");
    master.with(|script| script.away = false);
    pass(6000).await;
    assert_eq!(master.calls()[0], "register");
    master.with(|script| script.away = true);
    pass(10_000).await;
    master.with(|script| script.away = false);
    pass(6000).await;
    let calls = master.calls();
    assert!(calls.iter().all(|call| call == "heartbeat"), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_master_that_does_not_answer_is_given_up_in_time() {
    let (node, master) = node_and_master().await;
    master.with(|script| script.silent = true);
    node.node.start();
    pass(5900).await;
    assert_eq!(master.calls(), ["register", "register"]);
    master.with(|script| script.silent = false);
    pass(6000).await;
    assert!(master.calls().contains(&"heartbeat".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_node_belongs_to_the_catalog_it_joined_and_sends_another_no_heartbeats() {
    let (node, master) = node_and_master().await;
    master.with(|script| script.catalog = [7; 16]);
    node.node.start();
    pass(1500).await;
    assert_eq!(master.calls(), ["register", "heartbeat"]);
    master.with(|script| {
        script.forgot = true;
        script.catalog = [8; 16];
    });
    pass(20_000).await;
    let calls = master.calls();
    assert_eq!(calls.iter().filter(|call| *call == "heartbeat").count(), 1, "{calls:?}");
    let told = master.with(|script| script.catalogs.clone());
    assert!(told[0].is_empty() && told[1] == id_bytes(&[7; 16]), "{told:?}");
    assert!(told.len() > 2, "it asks again: the right master may come back");
}

#[tokio::test(start_paused = true)]
async fn damaged_copies_are_told_once_a_master_takes_it_and_then_no_more() {
    let (node, master) = node_and_master().await;
    master.with(|script| script.away = true);
    node.node.start();
    let reporter = node.node.reporter();
    for index in [1, 2, 1] {
        reporter.damaged(chunk(index));
        pass(1000).await;
    }
    pass(60_000).await;
    assert!(master.with(|script| script.reported.is_empty()));
    master.with(|script| script.away = false);
    pass(60_000).await;
    assert_eq!(master.with(|script| script.reported.clone()), [[chunk(1), chunk(2)]]);
    reporter.damaged(chunk(3));
    pass(1000).await;
    assert_eq!(master.with(|script| script.reported.pop()), Some(vec![chunk(3)]));
}

#[tokio::test(start_paused = true)]
async fn more_damaged_copies_than_one_call_takes_are_told_in_several() {
    const CHUNKS: u32 = 300;
    let (node, master) = node_and_master().await;
    let reporter = node.node.reporter();
    (0..CHUNKS).for_each(|index| reporter.damaged(chunk(index)));
    node.node.start();
    pass(5000).await;
    let reported = master.with(|script| script.reported.clone());
    assert!(reported.len() > 1 && reported.iter().all(|call| call.len() <= 256), "{reported:?}");
    assert_eq!(reported.concat(), (0..CHUNKS).map(chunk).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_told_to_stop_says_no_more() {
    let (node, master) = node_and_master().await;
    node.node.start();
    pass(1500).await;
    node.drain.begin();
    master.calls();
    pass(10_000).await;
    assert!(master.calls().is_empty());
}
