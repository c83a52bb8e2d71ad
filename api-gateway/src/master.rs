//! The gateway's client of the chunk master: request id, deadline and bounded retries on every call.

use std::future::Future;
use std::time::Duration;

use cairn_core::names::Principal;
use cairn_proto::v1::master_client::MasterClient;
use cairn_proto::{MAX_MESSAGE_BYTES, REQUEST_ID, Reason, RemoteError, v1};
use cairn_runtime::{Clock, Entropy, PeerChannel, RequestId};
use tonic::{Request, Response, Status};

/// On whose behalf a call is made, and under which id it is logged.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// Found in the logs of all services.
    pub request_id: RequestId,
    /// Charged.
    pub principal: Principal,
}

impl CallContext {
    /// The form that changing requests carry.
    pub fn caller(&self) -> v1::Caller {
        v1::Caller { principal: Some(self.principal()), idempotency_key: Default::default() }
    }

    /// The form that reading requests carry.
    pub fn principal(&self) -> v1::Principal {
        (&self.principal).into()
    }
}

/// Longest wait for one answer. The master itself waits up to 2 s for quota.
const ANSWER_BOUND: Duration = Duration::from_secs(10);
/// Tries of a call that may be repeated.
const TRIES: u32 = 5;
/// First pause between tries; doubled each time, half of it drawn at random.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Master {
    client: MasterClient<PeerChannel>,
    clock: Clock,
    entropy: Entropy,
}

impl Master {
    /// Calls the master behind `channel`.
    pub fn new(channel: PeerChannel, clock: Clock, entropy: Entropy) -> Self {
        let client = MasterClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self { client, clock, entropy }
    }

    /// Calls once.
    ///
    /// # Errors
    /// What the master answered, or [`Reason::Unreachable`].
    pub async fn once<Q, A, F>(
        &self,
        context: &CallContext,
        message: Q,
        call: impl FnOnce(MasterClient<PeerChannel>, Request<Q>) -> F,
    ) -> Result<A, RemoteError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut request = Request::new(message);
        request.set_timeout(ANSWER_BOUND);
        if let Ok(id) = context.request_id.as_str().parse() {
            request.metadata_mut().insert(REQUEST_ID, id);
        }
        match self.clock.timeout(ANSWER_BOUND, call(self.client.clone(), request)).await {
            Ok(answer) => answer.map(Response::into_inner).map_err(RemoteError::from),
            Err(elapsed) => Err(Status::deadline_exceeded(elapsed.to_string()).into()),
        }
    }

    /// Calls until the master answers, a few times: for calls that may be repeated.
    ///
    /// # Errors
    /// As [`Self::once`], of the last try.
    pub async fn call<Q: Clone, A, F>(
        &self,
        context: &CallContext,
        message: Q,
        call: impl Fn(MasterClient<PeerChannel>, Request<Q>) -> F,
    ) -> Result<A, RemoteError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.once(context, message.clone(), &call).await {
                Err(error) if may_help_to_repeat(&error) => {
                    tracing::debug!(request_id = %context.request_id, %error, "master asked again");
                }
                answer => return answer,
            }
            let jitter = self.entropy.below(pause.as_millis() as u64);
            self.clock.sleep(pause / 2 + Duration::from_millis(jitter / 2)).await;
            pause *= 2;
        }
        self.once(context, message, &call).await
    }

    /// A stream of nodes: all, then changes.
    ///
    /// # Errors
    /// What the master answered, or [`Reason::Unreachable`].
    pub async fn watch_nodes(
        &self,
    ) -> Result<tonic::Streaming<v1::WatchNodesResponse>, RemoteError> {
        let mut client = self.client.clone();
        let watch = client.watch_nodes(v1::WatchNodesRequest {});
        match self.clock.timeout(ANSWER_BOUND, watch).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(elapsed) => Err(Status::deadline_exceeded(elapsed.to_string()).into()),
        }
    }
}

/// The master was away, busy or unsure: the same call again can only help.
fn may_help_to_repeat(error: &RemoteError) -> bool {
    matches!(
        error.reason,
        Reason::Unreachable | Reason::Busy | Reason::OutcomeUnknown | Reason::StorageFailed
    )
}
