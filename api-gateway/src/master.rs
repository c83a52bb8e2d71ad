//! The gateway's client of the chunk masters: request id, deadline and bounded retries on every call.
//!
//! All masters have the same catalog. One is asked until it does not answer or cannot now; then the next one is, for this
//! call and for those after it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn_core::names::Principal;
use cairn_proto::v1::master_client::MasterClient;
use cairn_proto::{MAX_MESSAGE_BYTES, REQUEST_ID, Reason, RemoteError, convert, v1};
use cairn_runtime::{Allowance, Backoff, Clock, Entropy, PeerChannel, RequestId};
use tonic::{Request, Response, Status};

use crate::metrics::GatewayMetrics;

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
/// First pause between tries.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// Repeats, in percent of the calls in the long run: masters that are away are not asked many times as often.
const REPEAT_PERCENT: u32 = 20;
/// Repeats at most at once, after a time with few: those of some hundred requests while another master takes over.
const MOST_REPEATS: u32 = 1000;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Master {
    masters: Arc<Masters>,
    repeats: Allowance,
    metrics: GatewayMetrics,
    clock: Clock,
    entropy: Entropy,
}

/// The masters of one catalog.
#[derive(Debug)]
struct Masters {
    /// At least one.
    clients: Vec<MasterClient<PeerChannel>>,
    /// How often the next one was turned to.
    turns: AtomicUsize,
}

/// A master that is asked, and the turn at which it was chosen.
struct Asked {
    client: MasterClient<PeerChannel>,
    turn: usize,
}

impl Masters {
    fn asked(&self) -> Asked {
        let turn = self.turns.load(Ordering::Relaxed);
        Asked { client: self.clients[turn % self.clients.len()].clone(), turn }
    }

    /// Turns to the next master, unless somebody has done so since `asked` was chosen.
    fn turn_from(&self, asked: usize) {
        let next = asked.wrapping_add(1);
        let turned =
            self.turns.compare_exchange(asked, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if turned && self.clients.len() > 1 {
            tracing::info!(target: "cairn", master = next % self.clients.len(), "another master is asked");
        }
    }
}

impl Master {
    /// Calls the masters behind `channels`, of which there is at least one.
    pub fn new(
        channels: Vec<PeerChannel>,
        clock: Clock,
        entropy: Entropy,
        metrics: GatewayMetrics,
    ) -> Self {
        let client =
            |channel| MasterClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let clients = channels.into_iter().map(client).collect();
        let masters = Arc::new(Masters { clients, turns: AtomicUsize::new(0) });
        let repeats = Allowance::new(REPEAT_PERCENT, MOST_REPEATS);
        Self { masters, repeats, metrics, clock, entropy }
    }

    /// Who calls, with a name of the call by which its repeats are known: they get the first one's answer.
    pub fn caller_once(&self, context: &CallContext) -> v1::Caller {
        let key = self.entropy.uuid_v7(&self.clock);
        v1::Caller { idempotency_key: convert::bytes(key.as_bytes()), ..context.caller() }
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
        let Asked { client, turn } = self.masters.asked();
        let answer = match self.clock.timeout(ANSWER_BOUND, call(client, request)).await {
            Ok(answer) => answer.map(Response::into_inner).map_err(RemoteError::from),
            Err(elapsed) => Err(Status::deadline_exceeded(elapsed.to_string()).into()),
        };
        if answer.as_ref().is_err_and(may_help_to_repeat) {
            self.masters.turn_from(turn);
        }
        answer
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
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        self.repeats.earn();
        for _ in 1..TRIES {
            match self.once(context, message.clone(), &call).await {
                Err(error) if may_help_to_repeat(&error) => {
                    let may = self.repeats.take();
                    self.metrics.master_repeat(may);
                    if !may {
                        return Err(error);
                    }
                    tracing::debug!(request_id = %context.request_id, %error, "master asked again");
                }
                answer => return answer,
            }
            self.clock.sleep(backoff.next(&self.entropy)).await;
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
        let Asked { mut client, turn } = self.masters.asked();
        let watch = client.watch_nodes(v1::WatchNodesRequest {});
        let answer = match self.clock.timeout(ANSWER_BOUND, watch).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => status,
            Err(elapsed) => Status::deadline_exceeded(elapsed.to_string()),
        };
        self.masters.turn_from(turn);
        Err(answer.into())
    }
}

/// The master was away, busy or unsure: the same call again can only help.
fn may_help_to_repeat(error: &RemoteError) -> bool {
    matches!(
        error.reason,
        Reason::Unreachable | Reason::Busy | Reason::OutcomeUnknown | Reason::StorageFailed
    )
}
