//! Findings of readers on their way to the master: collected, bounded, sent in batches.

use std::time::Duration;

use cairn_core::copies::CopyReport;
use cairn_core::names::Principal;
use cairn_proto::v1;
use cairn_proto::v1::master_client::MasterClient;
use cairn_runtime::{Clock, Drained, PeerChannel, Phase, RequestId};
use tokio::sync::mpsc;

use crate::master::{CallContext, Master};
use crate::metrics::GatewayMetrics;

/// Reports that may wait. What comes on top is dropped: the next reader of the copy finds the same.
const QUEUE_REPORTS: usize = 1024;
/// Reports sent at once.
const BATCH_REPORTS: usize = 256;
/// Pause after a failed delivery.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes reports. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    queue: mpsc::Sender<CopyReport>,
    metrics: GatewayMetrics,
}

/// Delivers reports.
#[derive(Debug)]
pub(crate) struct Delivery(mpsc::Receiver<CopyReport>);

/// A queue and its two ends.
pub(crate) fn channel(metrics: GatewayMetrics) -> (Reports, Delivery) {
    let (queue, waiting) = mpsc::channel(QUEUE_REPORTS);
    (Reports { queue, metrics }, Delivery(waiting))
}

impl Reports {
    /// Takes a report; never waits.
    pub(crate) fn push(&self, report: CopyReport) {
        self.metrics.reported();
        if self.queue.try_send(report).is_err() {
            tracing::warn!(?report, "report dropped: too many wait");
        }
    }
}

impl Delivery {
    /// Delivers until the gateway stops.
    pub(crate) async fn run(mut self, master: Master, clock: Clock, mut drained: Drained) {
        let context = CallContext {
            request_id: RequestId::background("copy-reports"),
            principal: Principal::standard(),
        };
        let mut batch = Vec::with_capacity(BATCH_REPORTS);
        loop {
            tokio::select! {
                biased;
                () = drained.reached(Phase::Stopped) => return,
                taken = self.0.recv_many(&mut batch, BATCH_REPORTS) => if taken == 0 { return },
            }
            let reports = batch.drain(..).map(Into::into).collect();
            let request = v1::ReportCopiesRequest { reports, ..Default::default() };
            let report = |mut client: MasterClient<PeerChannel>, request| async move {
                client.report_copies(request).await
            };
            if let Err(error) = master.call(&context, request, report).await {
                tracing::warn!(%error, "reports not delivered");
                clock.sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_core::copies::CopyFinding;
    use cairn_core::ids::{BlobId, ChunkId, NodeId};
    use prometheus_client::registry::Registry;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn when_too_many_wait_reports_are_dropped_and_no_reader_waits() {
        let (reports, mut delivery) = channel(GatewayMetrics::register(&mut Registry::default()));
        let report = |index| CopyReport {
            chunk: ChunkId::new(BlobId::from_uuid(Uuid::from_u128(1)), index),
            node: NodeId::from_uuid(Uuid::from_u128(2)),
            finding: CopyFinding::Missing,
        };
        for index in 0..QUEUE_REPORTS as u32 + 10 {
            reports.push(report(index));
        }
        let waiting: Vec<_> = std::iter::from_fn(|| delivery.0.try_recv().ok()).collect();
        assert_eq!(waiting, (0..QUEUE_REPORTS as u32).map(report).collect::<Vec<_>>());
        reports.push(report(7));
        assert_eq!(delivery.0.try_recv().ok(), Some(report(7)), "there is room again");
    }
}
