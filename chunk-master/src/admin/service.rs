//! The generated trait, handed to the files of the calls.

use std::pin::Pin;
use std::sync::Arc;

use cairn_proto::v1;
use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::{audit, chunks, condemned, fsck, jobs, meta, nodes, quota, tenants, uploads};
use crate::jobs::ask::Ask;
use crate::jobs::delete_buckets;
use crate::master::Master;
use crate::rpc::node_info;
use crate::sweep::{self, Effort};

/// `cairn.v1.Admin` over the wire. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AdminRpc(pub(crate) Arc<Master>);

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminRpc {
    async fn list_nodes(
        &self,
        _: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let nodes = self.0.nodes.directory();
        let nodes = nodes.values().map(node_info).collect();
        Ok(Response::new(v1::ListNodesResponse { nodes }))
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        Ok(Response::new(nodes::drain_node(&self.0, &request.into_inner()).await?))
    }

    async fn undrain_node(
        &self,
        request: Request<v1::UndrainNodeRequest>,
    ) -> Result<Response<v1::UndrainNodeResponse>, Status> {
        Ok(Response::new(nodes::undrain_node(&self.0, &request.into_inner()).await?))
    }

    async fn get_node_left(
        &self,
        request: Request<v1::GetNodeLeftRequest>,
    ) -> Result<Response<v1::GetNodeLeftResponse>, Status> {
        Ok(Response::new(nodes::get_node_left(&self.0, &request.into_inner()).await?))
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        Ok(Response::new(nodes::remove_node(&self.0, &request.into_inner()).await?))
    }

    async fn get_usage(
        &self,
        request: Request<v1::GetUsageRequest>,
    ) -> Result<Response<v1::GetUsageResponse>, Status> {
        let answer = quota::get_usage(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn audit_usage(
        &self,
        _: Request<v1::AuditUsageRequest>,
    ) -> Result<Response<v1::AuditUsageResponse>, Status> {
        Ok(Response::new(audit::audit_usage(&self.0).await?))
    }

    async fn set_quota(
        &self,
        request: Request<v1::SetQuotaRequest>,
    ) -> Result<Response<v1::SetQuotaResponse>, Status> {
        let answer = quota::set_quota(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn create_tenant(
        &self,
        request: Request<v1::CreateTenantRequest>,
    ) -> Result<Response<v1::CreateTenantResponse>, Status> {
        let answer = tenants::create_tenant(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_tenants(
        &self,
        request: Request<v1::ListTenantsRequest>,
    ) -> Result<Response<v1::ListTenantsResponse>, Status> {
        let answer = tenants::list_tenants(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn delete_tenant(
        &self,
        request: Request<v1::DeleteTenantRequest>,
    ) -> Result<Response<v1::DeleteTenantResponse>, Status> {
        let answer = tenants::delete_tenant(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_condemned(
        &self,
        request: Request<v1::ListCondemnedRequest>,
    ) -> Result<Response<v1::ListCondemnedResponse>, Status> {
        let answer = condemned::list_condemned(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn undelete(
        &self,
        request: Request<v1::UndeleteRequest>,
    ) -> Result<Response<v1::UndeleteResponse>, Status> {
        let answer = condemned::undelete(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_uploads(
        &self,
        request: Request<v1::ListUploadsRequest>,
    ) -> Result<Response<v1::ListUploadsResponse>, Status> {
        let answer = uploads::list_uploads(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_short_chunks(
        &self,
        request: Request<v1::ListShortChunksRequest>,
    ) -> Result<Response<v1::ListShortChunksResponse>, Status> {
        let answer = chunks::list_short_chunks(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_chunks(
        &self,
        request: Request<v1::ListChunksRequest>,
    ) -> Result<Response<v1::ListChunksResponse>, Status> {
        let answer = chunks::list_chunks(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    type FsckStream = Pin<Box<dyn Stream<Item = Result<v1::FsckResponse, Status>> + Send>>;

    async fn fsck(
        &self,
        request: Request<v1::FsckRequest>,
    ) -> Result<Response<Self::FsckStream>, Status> {
        Ok(Response::new(fsck::fsck(&self.0, request.into_inner())))
    }

    type ExportMetaStream = meta::Exported;

    async fn export_meta(
        &self,
        _: Request<v1::ExportMetaRequest>,
    ) -> Result<Response<Self::ExportMetaStream>, Status> {
        Ok(Response::new(meta::export_meta(&self.0).await?))
    }

    async fn get_meta_status(
        &self,
        _: Request<v1::GetMetaStatusRequest>,
    ) -> Result<Response<v1::GetMetaStatusResponse>, Status> {
        Ok(Response::new(meta::get_meta_status(&self.0).await?))
    }

    async fn release_sweep(
        &self,
        _: Request<v1::ReleaseSweepRequest>,
    ) -> Result<Response<v1::ReleaseSweepResponse>, Status> {
        Ok(Response::new(meta::release_sweep(&self.0).await?))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let answer = jobs::list_jobs(&self.0, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn pause_job(
        &self,
        request: Request<v1::PauseJobRequest>,
    ) -> Result<Response<v1::PauseJobResponse>, Status> {
        let job = jobs::ask_of(&self.0, &request.get_ref().job, Ask::Pause).await?;
        Ok(Response::new(v1::PauseJobResponse { job: Some(job) }))
    }

    async fn resume_job(
        &self,
        request: Request<v1::ResumeJobRequest>,
    ) -> Result<Response<v1::ResumeJobResponse>, Status> {
        let job = jobs::ask_of(&self.0, &request.get_ref().job, Ask::Resume).await?;
        Ok(Response::new(v1::ResumeJobResponse { job: Some(job) }))
    }

    async fn cancel_job(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelJobResponse>, Status> {
        let job = jobs::ask_of(&self.0, &request.get_ref().job, Ask::Cancel).await?;
        Ok(Response::new(v1::CancelJobResponse { job: Some(job) }))
    }

    async fn sweep(
        &self,
        _: Request<v1::SweepRequest>,
    ) -> Result<Response<v1::SweepResponse>, Status> {
        let buckets_removed = delete_buckets(&self.0).await;
        let pass = sweep::pass(&self.0, Effort::Complete).await;
        let report = pass.map_err(sweep::PassError::into_status)?;
        Ok(Response::new(v1::SweepResponse {
            uploads_expired: report.uploads_expired,
            versions_purged: report.versions_purged,
            versions_purged_early: report.versions_purged_early,
            blobs_erased: report.blobs_erased,
            blobs_waiting: report.blobs_waiting,
            orphans_deleted: report.orphans_deleted,
            buckets_removed,
        }))
    }
}
