//! What operators see, all pages of it.

use std::net::SocketAddr;

use cairn_proto::v1::admin_client::AdminClient;
use cairn_proto::v1::{
    Account, AuditUsageRequest, ChunkCopies, GetUsageRequest, Limits, ListChunksRequest,
    ListNodesRequest, ListShortChunksRequest, ListUploadsRequest, NodeInfo, OpenUpload, Scope,
    ScopeKind, SetQuotaRequest, SweepRequest, SweepResponse,
};
use tonic::transport::{Channel, Endpoint};

/// Entries of a page: small, so that paging itself is used.
const PAGE: u32 = 250;

fn standard_bucket() -> Scope {
    Scope { kind: ScopeKind::Bucket.into(), tenant: String::new(), name: "default".to_owned() }
}

/// A channel to one of our ports.
pub(crate) async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .connect()
        .await
        .unwrap_or_else(|error| panic!("connect to {address}: {error:?}"))
}

/// `cairn.v1.Admin`. Any refusal fails the test.
#[derive(Debug, Clone)]
pub(crate) struct Admin(AdminClient<Channel>);

impl Admin {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(AdminClient::new(channel(address).await))
    }

    pub(crate) async fn nodes(&mut self) -> Vec<NodeInfo> {
        let answer = self.0.list_nodes(ListNodesRequest {}).await;
        answer.expect("ListNodes").into_inner().nodes
    }

    /// The account of the bucket `default`.
    pub(crate) async fn bucket_account(&mut self) -> Account {
        let request = GetUsageRequest { scope: Some(standard_bucket()) };
        let answer = self.0.get_usage(request).await.expect("GetUsage");
        let mut accounts = answer.into_inner().accounts;
        assert_eq!(accounts.len(), 1, "GetUsage of one bucket: {accounts:?}");
        accounts.remove(0)
    }

    /// Limits the bytes of the bucket `default`.
    pub(crate) async fn limit_bucket(&mut self, bytes: Option<u64>) {
        let request = SetQuotaRequest {
            scope: Some(standard_bucket()),
            limits: Some(Limits { bytes, objects: None }),
        };
        self.0.set_quota(request).await.expect("SetQuota");
    }

    /// Numbers of accounts that are not what files and uploads add up to.
    pub(crate) async fn wrong_accounts(&mut self) -> usize {
        let answer = self.0.audit_usage(AuditUsageRequest {}).await.expect("AuditUsage");
        answer.into_inner().differences.len()
    }

    pub(crate) async fn sweep(&mut self) -> SweepResponse {
        let answer = self.0.sweep(SweepRequest {}).await;
        answer.expect("Sweep").into_inner()
    }

    pub(crate) async fn uploads(&mut self) -> Vec<OpenUpload> {
        let mut uploads: Vec<OpenUpload> = Vec::new();
        loop {
            let after = uploads.last().map(|last| last.upload_id.clone());
            let request = ListUploadsRequest { after: after.unwrap_or_default(), limit: PAGE };
            let page = self.0.list_uploads(request).await.expect("ListUploads");
            let page = page.into_inner();
            uploads.extend(page.uploads);
            if !page.more {
                return uploads;
            }
        }
    }

    /// All chunks that the catalog names.
    pub(crate) async fn chunks(&mut self) -> Vec<ChunkCopies> {
        let (mut chunks, mut after) = (Vec::new(), None);
        loop {
            let request = ListChunksRequest { after, limit: PAGE };
            let page = self.0.list_chunks(request).await.expect("ListChunks");
            let page = page.into_inner();
            chunks.extend(page.chunks);
            after = page.next_after;
            if after.is_none() {
                return chunks;
            }
        }
    }

    pub(crate) async fn short_chunks(&mut self) -> Vec<ChunkCopies> {
        let (mut chunks, mut after) = (Vec::new(), None);
        loop {
            let request = ListShortChunksRequest { after, limit: PAGE };
            let page = self.0.list_short_chunks(request).await;
            let page = page.expect("ListShortChunks").into_inner();
            chunks.extend(page.chunks);
            after = page.next_after;
            if after.is_none() {
                return chunks;
            }
        }
    }
}
