//! The generated trait, handed to the files of the calls.

use std::pin::Pin;
use std::sync::Arc;

use cairn_proto::v1;
use futures_util::Stream;
use tonic::{Request, Response, Status};

use crate::master::Master;

/// `cairn.v1.Master` over the wire. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MasterRpc(pub(crate) Arc<Master>);

macro_rules! calls {
    ($($file:ident::$name:ident($request:ident) -> $response:ident;)+) => {
        #[tonic::async_trait]
        impl v1::master_server::Master for MasterRpc {
            type WatchNodesStream =
                Pin<Box<dyn Stream<Item = Result<v1::WatchNodesResponse, Status>> + Send>>;

            async fn watch_nodes(
                &self,
                _: Request<v1::WatchNodesRequest>,
            ) -> Result<Response<Self::WatchNodesStream>, Status> {
                Ok(Response::new(super::watch_nodes::watch_nodes(&self.0)))
            }

            $(async fn $name(
                &self,
                request: Request<v1::$request>,
            ) -> Result<Response<v1::$response>, Status> {
                super::$file::$name(&self.0, request.into_inner()).await.map(Response::new)
            })+
        }
    };
}

calls! {
    begin_upload::begin_upload(BeginUploadRequest) -> BeginUploadResponse;
    allocate_chunks::allocate_chunks(AllocateChunksRequest) -> AllocateChunksResponse;
    confirm_chunks::confirm_chunks(ConfirmChunksRequest) -> ConfirmChunksResponse;
    commit_upload::commit_upload(CommitUploadRequest) -> CommitUploadResponse;
    renew_upload::renew_upload(RenewUploadRequest) -> RenewUploadResponse;
    abort_upload::abort_upload(AbortUploadRequest) -> AbortUploadResponse;
    locate::locate(LocateRequest) -> LocateResponse;
    pending_uploads::pending_uploads(PendingUploadsRequest) -> PendingUploadsResponse;
    stat_object::stat_object(StatObjectRequest) -> StatObjectResponse;
    list_objects::list_objects(ListObjectsRequest) -> ListObjectsResponse;
    delete_object::delete_object(DeleteObjectRequest) -> DeleteObjectResponse;
    buckets::make_bucket(MakeBucketRequest) -> MakeBucketResponse;
    buckets::stat_bucket(StatBucketRequest) -> StatBucketResponse;
    buckets::find_buckets(FindBucketsRequest) -> FindBucketsResponse;
    buckets::change_bucket(ChangeBucketRequest) -> ChangeBucketResponse;
    buckets::remove_bucket(RemoveBucketRequest) -> RemoveBucketResponse;
    report_copies::report_copies(ReportCopiesRequest) -> ReportCopiesResponse;
    register_node::register_node(RegisterNodeRequest) -> RegisterNodeResponse;
    heartbeat::heartbeat(HeartbeatRequest) -> HeartbeatResponse;
}
