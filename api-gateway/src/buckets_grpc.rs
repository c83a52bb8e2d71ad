//! `cairn.v1.Buckets`: the same buckets as REST.

use cairn_core::names::{BucketName, Principal};
use cairn_proto::v1::buckets_server::{Buckets as BucketsService, BucketsServer};
use cairn_proto::{InvalidField, MAX_MESSAGE_BYTES, WireError, convert, v1};
use cairn_runtime::RequestId;
use tonic::{Request, Response, Status};

use crate::buckets::{BucketQuery, Buckets};
use crate::master::CallContext;
use crate::namespace::MAX_PAGE;

/// The service.
pub fn service(buckets: Buckets) -> BucketsServer<BucketsGrpc> {
    BucketsServer::new(BucketsGrpc { buckets }).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// Answers `cairn.v1.Buckets`.
#[derive(Debug, Clone)]
pub struct BucketsGrpc {
    buckets: Buckets,
}

fn context<T>(request: &Request<T>) -> CallContext {
    let id = request.extensions().get::<RequestId>().cloned();
    let request_id = id.unwrap_or_else(|| RequestId::background("in-process"));
    CallContext { request_id, principal: Principal::standard() }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn refused(error: impl WireError) -> Status {
    error.to_status()
}

/// Unlike files, a bucket is named: empty is none.
fn named(name: &str) -> Result<BucketName, Status> {
    convert::bucket(name).map_err(refused)
}

#[tonic::async_trait]
impl BucketsService for BucketsGrpc {
    async fn create(
        &self,
        request: Request<v1::CreateBucketRequest>,
    ) -> Result<Response<v1::CreateBucketResponse>, Status> {
        let context = context(&request);
        let v1::CreateBucketRequest { bucket, settings } = request.into_inner();
        let settings = convert::bucket_settings(settings).map_err(refused)?;
        let created = self.buckets.create(&context, &named(&bucket)?, settings).await;
        let bucket = Some((&created.map_err(refused)?).into());
        Ok(Response::new(v1::CreateBucketResponse { bucket }))
    }

    async fn get(
        &self,
        request: Request<v1::GetBucketRequest>,
    ) -> Result<Response<v1::GetBucketResponse>, Status> {
        let context = context(&request);
        let bucket = named(&request.into_inner().bucket)?;
        let shown = self.buckets.show(&context, &bucket).await.map_err(refused)?;
        Ok(Response::new(v1::GetBucketResponse { bucket: Some((&shown).into()) }))
    }

    async fn list(
        &self,
        request: Request<v1::ListBucketsRequest>,
    ) -> Result<Response<v1::ListBucketsResponse>, Status> {
        let context = context(&request);
        let v1::ListBucketsRequest { prefix, after, limit } = request.into_inner();
        if limit > MAX_PAGE {
            let problem = format!("{limit}: use at most {MAX_PAGE}");
            return Err(refused(InvalidField::new("limit", problem)));
        }
        let limit = if limit == 0 { MAX_PAGE } else { limit };
        let query = BucketQuery { prefix, after, limit };
        let page = self.buckets.list(&context, query).await.map_err(refused)?;
        Ok(Response::new(v1::ListBucketsResponse {
            buckets: page.buckets.iter().map(Into::into).collect(),
            next_after: page.next_after,
        }))
    }

    async fn update(
        &self,
        request: Request<v1::UpdateBucketRequest>,
    ) -> Result<Response<v1::UpdateBucketResponse>, Status> {
        let context = context(&request);
        let v1::UpdateBucketRequest { bucket, settings, fields } = request.into_inner();
        let settings = convert::bucket_settings(settings).map_err(refused)?;
        let fields = convert::setting_names(&fields).map_err(refused)?;
        let changed = self.buckets.change(&context, &named(&bucket)?, settings, &fields).await;
        let bucket = Some((&changed.map_err(refused)?).into());
        Ok(Response::new(v1::UpdateBucketResponse { bucket }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteBucketRequest>,
    ) -> Result<Response<v1::DeleteBucketResponse>, Status> {
        let context = context(&request);
        let v1::DeleteBucketRequest { bucket, with_contents } = request.into_inner();
        let deleted = self.buckets.delete(&context, &named(&bucket)?, with_contents).await;
        let gone = deleted.map_err(refused)?;
        Ok(Response::new(v1::DeleteBucketResponse { gone }))
    }
}
