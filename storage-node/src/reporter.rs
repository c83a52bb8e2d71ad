//! Tells a master what a node found out about its own copies.

use std::time::Duration;

use cairn_core::copies::{CopyFinding, CopyReport};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_proto::v1::ReportCopiesRequest;
use cairn_proto::v1::master_client::MasterClient;
use cairn_runtime::{Clock, PeerChannel};
use tonic::Request;

use crate::registration::bounded;

/// Tells masters of damaged copies; made by [`crate::StorageNode::reporter`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter {
    pub(crate) node: NodeId,
    pub(crate) masters: Vec<MasterClient<PeerChannel>>,
    pub(crate) clock: Clock,
    /// The longest that one master is waited for.
    pub(crate) bound: Duration,
}

impl Reporter {
    /// Tells the first master that takes it that the node's copy of `chunk` is damaged. When none does, the next reader of
    /// the copy, or `cairn admin fsck`, finds that it is missing.
    pub(crate) async fn damaged(&self, chunk: ChunkId) {
        let report = CopyReport { chunk, node: self.node, finding: CopyFinding::Corrupt };
        for master in &self.masters {
            let mut request = Request::new(ReportCopiesRequest { reports: vec![report.into()] });
            request.set_timeout(self.bound);
            let mut master = master.clone();
            match bounded(&self.clock, self.bound, master.report_copies(request)).await {
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(target: "cairn", %chunk, %error, "a master did not take the report of a damaged copy");
                }
            }
        }
    }
}
