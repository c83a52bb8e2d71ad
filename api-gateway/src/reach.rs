//! How calls to nodes go, as far as they fail: the master makes a node suspect that gateways cannot reach.
//!
//! ```text
//! call to a node ─► Reach, from the first failure of an interval on ─► the interval ends ─► master
//! ```
//!
//! A call that a node answers counts as reached, whatever the answer is. One that is given up by whoever made it counts
//! only when the node let it wait for [`UNANSWERED`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::copies::CopyReceipt;
use cairn_core::doubt::Calls;
use cairn_core::ids::{ChunkId, GatewayId, NodeId};
use cairn_core::names::Principal;
use cairn_core::range::ByteRange;
use cairn_proto::convert::{self, NodeCalls};
use cairn_proto::v1;
use cairn_proto::v1::master_client::MasterClient;
use cairn_replicas::{BufferReader, CopyError, CopyRead, Replica};
use cairn_runtime::{Clock, Drained, PeerChannel, Phase, RequestId};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::Notify;

use crate::master::{CallContext, Master};

/// A node that answers nothing for so long was not reached.
const UNANSWERED: Duration = Duration::from_secs(5);
/// How long calls are counted before the master is told.
const INTERVAL: Duration = Duration::from_secs(1);
/// Most nodes of an interval.
const MOST_NODES: usize = 256;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    shared: Arc<Shared>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Shared {
    /// Empty until a call fails.
    calls: Mutex<BTreeMap<NodeId, Calls>>,
    failed: Notify,
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, BTreeMap<NodeId, Calls>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reach {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { shared: Arc::default(), clock }
    }

    /// The same replica, of which it is told how calls go.
    pub(crate) fn watched(&self, node: NodeId, replica: Arc<dyn Replica>) -> Arc<dyn Replica> {
        Arc::new(Watched { reach: self.clone(), node, replica })
    }

    fn reached(&self, node: NodeId) {
        let mut calls = self.shared.calls();
        if !calls.is_empty() && (calls.len() < MOST_NODES || calls.contains_key(&node)) {
            let calls = calls.entry(node).or_default();
            calls.reached = calls.reached.saturating_add(1);
        }
    }

    fn unreached(&self, node: NodeId) {
        let mut calls = self.shared.calls();
        if calls.len() < MOST_NODES || calls.contains_key(&node) {
            let calls = calls.entry(node).or_default();
            calls.unreached = calls.unreached.saturating_add(1);
        }
        drop(calls);
        self.shared.failed.notify_one();
    }

    /// What is to be told of an interval that is over.
    fn take(&self) -> Vec<NodeCalls> {
        let calls = std::mem::take(&mut *self.shared.calls());
        let failed = calls.into_iter().filter(|(_, calls)| calls.unreached > 0);
        failed.map(|(node, calls)| NodeCalls { node, calls }).collect()
    }

    /// Tells the master until the gateway stops. What it does not take is lost: calls that go on failing are told again.
    pub(crate) async fn run(self, gateway: GatewayId, master: Master, mut drained: Drained) {
        let context = CallContext {
            request_id: RequestId::background("node-calls"),
            principal: Principal::standard(),
        };
        loop {
            tokio::select! {
                biased;
                () = drained.reached(Phase::Stopped) => return,
                () = self.shared.failed.notified() => {}
            }
            self.clock.sleep(INTERVAL).await;
            let calls: Vec<_> = self.take().into_iter().map(Into::into).collect();
            if calls.is_empty() {
                continue;
            }
            let gateway_id = convert::bytes(gateway.as_bytes());
            let request = v1::ReportCopiesRequest { reports: Vec::new(), gateway_id, calls };
            let report = |mut client: MasterClient<PeerChannel>, request| async move {
                client.report_copies(request).await
            };
            if let Err(error) = master.call(&context, request, report).await {
                tracing::debug!(%error, "calls to nodes not told");
            }
        }
    }
}

/// One call, until it is dropped.
struct Call {
    reach: Reach,
    node: NodeId,
    /// Since when the node is waited for; nothing while it is the node that waits.
    waits_since: Option<Duration>,
    answered: bool,
}

impl Call {
    fn new(reach: Reach, node: NodeId) -> Self {
        Self { reach, node, waits_since: None, answered: false }
    }

    fn waits(&mut self) {
        self.waits_since = Some(self.reach.clock.monotonic());
    }

    /// The node answered, or the call failed.
    fn came<T>(&mut self, result: &Result<T, CopyError>) {
        self.waits_since = None;
        self.answered = match result {
            Err(CopyError::Unreachable(_)) => {
                self.reach.unreached(self.node);
                false
            }
            // Told of the writer, not of the node.
            Err(CopyError::SourceBroken) => false,
            _ => true,
        };
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let now = self.reach.clock.monotonic();
        match self.waits_since {
            Some(since) if now.saturating_sub(since) >= UNANSWERED => {
                self.reach.unreached(self.node);
            }
            Some(_) => {}
            None if self.answered => self.reach.reached(self.node),
            None => {}
        }
    }
}

struct Watched {
    reach: Reach,
    node: NodeId,
    replica: Arc<dyn Replica>,
}

impl Replica for Watched {
    fn write(
        &self,
        chunk: ChunkId,
        reserve: u64,
        source: BufferReader,
    ) -> BoxFuture<'static, Result<CopyReceipt, CopyError>> {
        let mut call = Call::new(self.reach.clone(), self.node);
        let whole = source.clone();
        let mut write = self.replica.write(chunk, reserve, source);
        async move {
            // Until the bytes have all come, it may be the client that is slow.
            let early = tokio::select! {
                biased;
                written = &mut write => Some(written),
                _ = whole.ended() => None,
            };
            let written = match early {
                Some(written) => written,
                None => {
                    call.waits();
                    write.await
                }
            };
            call.came(&written);
            written
        }
        .boxed()
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'static, Result<CopyRead, CopyError>> {
        let mut call = Call::new(self.reach.clone(), self.node);
        let read = self.replica.read(chunk, range);
        async move {
            call.waits();
            let read = read.await;
            call.came(&read);
            let CopyRead { length, hash, offset, frames } = read?;
            let frames = stream::unfold((frames, call), |(mut frames, mut call)| async move {
                call.waits();
                let frame = frames.next().await;
                match &frame {
                    Some(frame) => call.came(frame),
                    None => call.came(&Ok(())),
                }
                Some((frame?, (frames, call)))
            });
            Ok(CopyRead { length, hash, offset, frames: frames.boxed() })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cairn_core::digest::ChunkHash;
    use cairn_core::ids::BlobId;
    use cairn_replicas::{ChunkBuffer, Frame};
    use futures_util::future;
    use uuid::Uuid;

    use super::*;

    fn node() -> NodeId {
        NodeId::from_uuid(Uuid::from_u128(1))
    }

    fn chunk() -> ChunkId {
        ChunkId::new(BlobId::from_uuid(Uuid::from_u128(2)), 0)
    }

    /// How the node takes a call.
    #[derive(Clone)]
    enum Takes {
        Fails(CopyError),
        Silent,
        /// The frames of a read that begins.
        Reads(Vec<Result<Frame, CopyError>>),
        /// A frame, then nothing for ever.
        Stalls,
    }

    impl Replica for Takes {
        fn write(
            &self,
            _: ChunkId,
            _: u64,
            _: BufferReader,
        ) -> BoxFuture<'static, Result<CopyReceipt, CopyError>> {
            match self {
                Self::Fails(error) => future::err(error.clone()).boxed(),
                _ => future::pending().boxed(),
            }
        }

        fn read(
            &self,
            _: ChunkId,
            _: ByteRange,
        ) -> BoxFuture<'static, Result<CopyRead, CopyError>> {
            let frames = match self {
                Self::Fails(error) => return future::err(error.clone()).boxed(),
                Self::Silent => return future::pending().boxed(),
                Self::Reads(frames) => stream::iter(frames.clone()).boxed(),
                Self::Stalls => stream::iter([frame()]).chain(stream::pending()).boxed(),
            };
            let hash = ChunkHash([0; 32]);
            future::ok(CopyRead { length: 1, hash, offset: 0, frames }).boxed()
        }
    }

    fn frame() -> Result<Frame, CopyError> {
        Ok(Frame { data: Bytes::from_static(b"x"), block_crcs: vec![0] })
    }

    fn away() -> CopyError {
        CopyError::Unreachable("connection refused".to_owned())
    }

    /// What is told of calls that the node takes so, after one that failed, which begins the interval: of it nothing.
    async fn told(takes: Takes, patience: Duration) -> (u32, u32) {
        let reach = Reach::new(Clock::system());
        reach.unreached(node());
        let replica = reach.watched(node(), Arc::new(takes));
        let clock = Clock::system();
        let read = async {
            let mut read = replica.read(chunk(), ByteRange::whole(1)).await?;
            while let Some(frame) = read.frames.next().await {
                frame?;
            }
            Ok::<_, CopyError>(())
        };
        let _ = clock.timeout(patience, read).await;
        let told = reach.take();
        assert_eq!(told.len(), 1);
        (told[0].calls.reached, told[0].calls.unreached - 1)
    }

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_read_that_fails_breaks_off_or_stalls_did_not_reach_the_node() {
        assert_eq!(told(Takes::Fails(away()), LONG).await, (0, 1));
        assert_eq!(told(Takes::Reads(vec![frame(), Err(away())]), LONG).await, (0, 1));
        assert_eq!(told(Takes::Silent, LONG).await, (0, 1));
        assert_eq!(told(Takes::Stalls, LONG).await, (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_a_node_answers_it_was_reached() {
        assert_eq!(told(Takes::Reads(vec![frame(), frame()]), LONG).await, (1, 0));
        for answer in [
            CopyError::Missing,
            CopyError::Corrupt("block 1".to_owned()),
            CopyError::Full,
            CopyError::Refused("the node is busy".to_owned()),
        ] {
            assert_eq!(told(Takes::Fails(answer.clone()), LONG).await, (1, 0), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_leaves_soon_says_nothing_of_the_node() {
        assert_eq!(told(Takes::Silent, SHORT).await, (0, 0));
        assert_eq!(told(Takes::Stalls, SHORT).await, (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_waits_for_the_node_only_once_all_bytes_have_come() {
        let clock = Clock::system();
        let reach = Reach::new(clock.clone());
        let replica = reach.watched(node(), Arc::new(Takes::Silent));
        let buffer = ChunkBuffer::new(chunk());
        let write = replica.write(chunk(), 10, buffer.reader());
        clock.timeout(LONG, write).await.expect_err("the client is slow");
        assert_eq!(reach.take(), []);
        let reader = buffer.reader();
        buffer.end(ChunkHash([0; 32]));
        clock.timeout(LONG, replica.write(chunk(), 10, reader)).await.expect_err("silent");
        assert_eq!(reach.take()[0].calls, Calls { reached: 0, unreached: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_counted_from_the_first_failure_on_until_they_are_told() {
        let reach = Reach::new(Clock::system());
        reach.reached(node());
        assert_eq!(reach.take(), [], "while nothing fails, nothing is counted");
        reach.unreached(node());
        reach.reached(node());
        assert_eq!(reach.take()[0].calls, Calls { reached: 1, unreached: 1 });
        reach.reached(node());
        assert_eq!(reach.take(), []);
    }
}
