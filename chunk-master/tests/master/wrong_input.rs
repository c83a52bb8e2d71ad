//! What does not fit is refused with the field's name, by every call.

use bytes::Bytes;
use cairn_proto::{Reason, RemoteError, v1};
use tonic::{Response, Status};

use crate::cluster::{Cluster, id};
use uuid::Uuid;

#[track_caller]
fn refused<T: std::fmt::Debug>(call: &str, answer: Result<Response<T>, Status>) {
    let error = RemoteError::from(answer.expect_err(call));
    assert_eq!(error.reason, Reason::InvalidField, "{call}: {error}");
}

macro_rules! all_refused {
    ($client:expr, $($call:ident { $($field:ident: $value:expr),* } of $request:ident,)+) => {
        $(
            #[allow(clippy::needless_update, reason = "some of the requests have only these fields")]
            let request = v1::$request { $($field: $value.into(),)* ..Default::default() };
            refused(stringify!($call), $client.$call(request).await);
        )+
    };
}

#[tokio::test(start_paused = true)]
async fn short_ids_and_empty_or_wrong_names() {
    let mut cluster = Cluster::small().await;
    let client = &mut cluster.client;
    let sixteen = id(Uuid::from_u128(1));
    let short = sixteen.slice(..15);
    let one = [sixteen.clone()];
    let many: Vec<_> = (0..65).map(|n| id(Uuid::from_u128(n))).collect();
    all_refused! { client,
        begin_upload { upload_id: short.clone(), bucket: "default", key: "a" } of BeginUploadRequest,
        begin_upload { upload_id: sixteen.clone(), bucket: "default" } of BeginUploadRequest,
        begin_upload { upload_id: sixteen.clone(), bucket: "NO", key: "a" } of BeginUploadRequest,
        begin_upload { upload_id: sixteen.clone(), bucket: "default", key: "a\0" } of BeginUploadRequest,
        begin_upload { upload_id: sixteen.clone(), bucket: "default", key: "a", place_chunks: u32::MAX } of BeginUploadRequest,
        allocate_chunks { upload_id: short.clone() } of AllocateChunksRequest,
        confirm_chunks {} of ConfirmChunksRequest,
        commit_upload { upload_id: sixteen.clone(), root: short.clone() } of CommitUploadRequest,
        commit_upload { upload_id: sixteen.clone(), root: vec![0; 32], sha256: short.clone() } of CommitUploadRequest,
        renew_upload {} of RenewUploadRequest,
        abort_upload { upload_id: vec![0; 17] } of AbortUploadRequest,
        locate { bucket: "default" } of LocateRequest,
        locate { bucket: "default", key: "a", version_id: short.clone() } of LocateRequest,
        stat_object { key: "a" } of StatObjectRequest,
        list_objects { bucket: "" } of ListObjectsRequest,
        list_objects { bucket: "default", limit: 1001_u32 } of ListObjectsRequest,
        list_objects { bucket: "default", after: "\0" } of ListObjectsRequest,
        list_objects { bucket: "default", prefix: "a".repeat(2000) } of ListObjectsRequest,
        delete_object { bucket: "default" } of DeleteObjectRequest,
        register_node { node_id: short.clone() } of RegisterNodeRequest,
        register_node { node_id: sixteen.clone(), status: disks(&one), address: "nowhere", zone: "a" } of RegisterNodeRequest,
        register_node { node_id: sixteen.clone(), status: disks(&one), address: "http://a:1", zone: "" } of RegisterNodeRequest,
        register_node { node_id: sixteen.clone(), status: disks(&[]), address: "http://a:1", zone: "a" } of RegisterNodeRequest,
        heartbeat { node_id: sixteen.clone() } of HeartbeatRequest,
        heartbeat { node_id: sixteen.clone(), status: disks(&[]) } of HeartbeatRequest,
        heartbeat { node_id: sixteen.clone(), status: disks(std::slice::from_ref(&short)) } of HeartbeatRequest,
        heartbeat { node_id: sixteen.clone(), status: disks(&[sixteen.clone(), sixteen.clone()]) } of HeartbeatRequest,
        heartbeat { node_id: sixteen.clone(), status: disks(&many) } of HeartbeatRequest,
    }
    all_refused! { cluster.admin,
        set_quota {} of SetQuotaRequest,
        get_usage { scope: Some(v1::Scope::default()) } of GetUsageRequest,
        list_uploads { after: short.clone() } of ListUploadsRequest,
        list_uploads { limit: u32::MAX } of ListUploadsRequest,
        list_chunks { after: Some(v1::ChunkId::default()) } of ListChunksRequest,
        list_short_chunks { limit: 1001_u32 } of ListShortChunksRequest,
    }
}

#[tokio::test(start_paused = true)]
async fn huge_counts_and_numbers() {
    let mut cluster = Cluster::small().await;
    let upload = cluster.begin("a", None).await.unwrap();
    let client = &mut cluster.client;
    let upload_id = upload.id.clone();
    let node = v1::CopyReceipt { node_id: id(Uuid::nil()), disk: id(Uuid::nil()) };
    let receipt = v1::ChunkReceipt { hash: vec![0; 32].into(), ..Default::default() };
    let want = v1::ChunkWant { index: 0, length: 1, copies: 2, ..Default::default() };
    let twice = v1::ChunkReceipt { copies: vec![node.clone(), node], ..receipt.clone() };
    let far = v1::ChunkReceipt { index: u32::MAX, ..receipt.clone() };
    let many = v1::ChunkWant { copies: u32::MAX, ..want.clone() };
    let none = v1::ChunkWant { copies: 0, ..want.clone() };
    let long = v1::ChunkWant { length: u64::MAX, ..want.clone() };
    let past = v1::ChunkWant { index: u32::MAX, ..want.clone() };
    let crowd = v1::ChunkWant { failed: vec![id(Uuid::nil()); 100], ..want.clone() };
    all_refused! { client,
        confirm_chunks { upload_id: upload_id.clone(), receipts: vec![receipt.clone(); 257] } of ConfirmChunksRequest,
        confirm_chunks { upload_id: upload_id.clone(), receipts: vec![twice] } of ConfirmChunksRequest,
        confirm_chunks { upload_id: upload_id.clone(), receipts: vec![far] } of ConfirmChunksRequest,
        allocate_chunks { upload_id: upload_id.clone(), wants: vec![want; 17] } of AllocateChunksRequest,
        allocate_chunks { upload_id: upload_id.clone(), wants: vec![many] } of AllocateChunksRequest,
        allocate_chunks { upload_id: upload_id.clone(), wants: vec![none] } of AllocateChunksRequest,
        allocate_chunks { upload_id: upload_id.clone(), wants: vec![long] } of AllocateChunksRequest,
        allocate_chunks { upload_id: upload_id.clone(), wants: vec![past] } of AllocateChunksRequest,
        allocate_chunks { upload_id: upload_id.clone(), wants: vec![crowd] } of AllocateChunksRequest,
        report_copies { reports: vec![v1::CopyReport::default()] } of ReportCopiesRequest,
        report_copies { reports: vec![v1::CopyReport::default(); 257] } of ReportCopiesRequest,
    }
    let mut request = cluster.begin_request("b", None);
    request.received = u64::MAX;
    let huge = cluster.begin_with(request).await.expect_err("no file is so large");
    assert_eq!(huge.reason, Reason::FileTooLarge);
    let huge = cluster.allocate(&upload, u64::MAX, &[]).await.expect_err("no file is so large");
    assert_eq!(huge.reason, Reason::FileTooLarge);
    let commit = cluster.commit(&upload, u64::MAX).await.expect_err("no file is so large");
    assert_eq!(commit.reason, Reason::FileTooLarge);
}

/// The status of a node with these disks.
fn disks(disks: &[Bytes]) -> v1::NodeStatus {
    let disk = |disk: &Bytes| v1::DiskStatus { disk: disk.clone(), ..Default::default() };
    v1::NodeStatus { disks: disks.iter().map(disk).collect(), ..Default::default() }
}
