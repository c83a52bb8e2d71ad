//! What everybody in a run shares: time, chance, the master that is alive, and the way to it.
//!
//! ```text
//! gateway ── call ──► lost │ late │ repeated ──► the master of that moment ──► answer lost │ answer
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use cairn_chunk_master::{ChunkMaster, Config, MasterRpc, Seams, build};
use cairn_kv::simulated::SimulatedStore;
use cairn_proto::{Reason, RemoteError};
use cairn_runtime::{Clock, Entropy, Spawner};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::calls::NodeDial;
use super::node::Node;
use super::tasks::{Owner, Tasks, turns};
use crate::EventLog;
use crate::cluster::BEGINNING;
use crate::history::History;

/// Longest time that a message may be under way. What is remembered for repeats is remembered longer.
const MESSAGE_LIVES: Duration = Duration::from_secs(60);
/// Messages that are under way for long, at most.
const LATE_KEPT: usize = 32;

/// A message that arrives when chance wants it, and whose answer nobody waits for.
struct Late {
    sent: Duration,
    what: &'static str,
    arrive: Box<dyn FnOnce()>,
}

/// See the module.
pub(super) struct World {
    pub(super) tasks: Tasks,
    pub(super) chance: Entropy,
    pub(super) clock: Clock,
    /// How far the wall has jumped, in milliseconds.
    jump_ms: Arc<AtomicI64>,
    /// Where the wall was when the master started.
    began_at_ms: Cell<i64>,
    pub(super) log: EventLog,
    pub(super) history: History,
    pub(super) store: SimulatedStore,
    pub(super) config: Config,
    pub(super) nodes: Arc<Vec<Node>>,
    master: RefCell<Option<ChunkMaster>>,
    late: RefCell<Vec<Late>>,
    /// No more faults.
    calm: Arc<AtomicBool>,
    lives: Cell<u64>,
    /// The node that is being emptied.
    pub(super) drained: Cell<Option<usize>>,
    pub(super) violations: RefCell<Vec<String>>,
}

/// What came of a call.
pub(super) struct Answered<A> {
    pub(super) answer: Result<A, RemoteError>,
    /// A copy of the message may still be under way, and have its effect later.
    pub(super) stray: bool,
}

fn unreachable(why: &str) -> RemoteError {
    Status::unavailable(why).into()
}

impl World {
    pub(super) fn new(seed: u64, config: Config, nodes: u32, log: &EventLog) -> Rc<Self> {
        let chance = Entropy::seeded(seed);
        let jump_ms = Arc::new(AtomicI64::new(0));
        let clock = wall_clock(&Clock::with_wall(|| Duration::ZERO), &jump_ms);
        let (of_store, calm) = (chance.clone(), Arc::new(AtomicBool::new(false)));
        let node = |number: u32| Node::new(number, &chance, &clock, log, &calm);
        let nodes = Arc::new((1..=nodes).map(node).collect());
        Rc::new(Self {
            tasks: Tasks::default(),
            clock,
            jump_ms,
            began_at_ms: Cell::new(0),
            log: log.clone(),
            history: History::default(),
            store: SimulatedStore::new(move |below| of_store.below(below)),
            config,
            nodes,
            master: RefCell::default(),
            late: RefCell::default(),
            calm,
            lives: Cell::new(0),
            drained: Cell::new(None),
            violations: RefCell::default(),
            chance,
        })
    }

    /// Faults of network and nodes end, or begin again.
    pub(super) fn be_calm(&self, calm: bool) {
        self.calm.store(calm, Ordering::Relaxed);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// One in `n`, while there are faults.
    fn fault(&self, n: u64) -> bool {
        !self.is_calm() && self.chance.below(n) == 0
    }

    pub(super) fn note(&self, who: &str, what: impl std::fmt::Display) {
        self.log.note(who, what);
    }

    pub(super) fn violation(&self, what: String) {
        self.note("VIOLATION", &what);
        self.violations.borrow_mut().push(what);
    }

    /// The wall moves by so much against all other clocks.
    pub(super) fn jump_to(&self, ms: i64) {
        self.jump_ms.store(ms, Ordering::Relaxed);
    }

    /// The wall has jumped since the master started: it purges nothing before it is started anew.
    pub(super) fn has_jumped(&self) -> bool {
        self.began_at_ms.get() != self.jump_ms.load(Ordering::Relaxed)
    }

    /// The master that is alive.
    pub(super) fn master(&self) -> Option<ChunkMaster> {
        self.master.borrow().clone()
    }

    /// Starts a master on what the store holds.
    pub(super) async fn start_master(&self) {
        let clock = wall_clock(&self.clock, &self.jump_ms);
        self.began_at_ms.set(self.jump_ms.load(Ordering::Relaxed));
        let life = self.lives.replace(self.lives.get() + 1);
        let seams = Seams {
            clock,
            // Each life draws ids of its own.
            entropy: Entropy::seeded(self.chance.below(u64::MAX).wrapping_add(life)),
            spawner: Spawner::current(),
            dialer: Arc::new(NodeDial(Arc::clone(&self.nodes))),
        };
        let master = build(self.config.clone(), self.store.open(), seams);
        match master.open().await {
            Ok(()) => drop(self.master.borrow_mut().replace(master)),
            Err(error) => self.note("master", format_args!("does not start: {error}")),
        }
    }

    /// The master dies, with every call that it works on.
    pub(super) fn crash_master(&self) {
        self.master.borrow_mut().take();
        let calls = self.tasks.kill(Owner::Master) + self.tasks.kill(Owner::Loop);
        let lost = self.store.crash();
        self.log.fault(
            "master crashed",
            format_args!("{calls} calls, {lost} buffered transactions lost"),
        );
    }

    /// Calls the master once, over a network that loses, delays and repeats messages.
    pub(super) async fn call<Q, A, F, C>(
        self: &Rc<Self>,
        what: &'static str,
        message: Q,
        call: C,
    ) -> Answered<A>
    where
        Q: Clone + 'static,
        A: 'static,
        F: Future<Output = Result<Response<A>, Status>> + 'static,
        C: Fn(MasterRpc, Request<Q>) -> F + Clone + 'static,
    {
        turns(self.chance.below(3)).await;
        if self.fault(50) {
            self.log.fault("request lost", what);
            turns(self.chance.below(4)).await;
            return Answered { answer: Err(unreachable("the request is lost")), stray: false };
        }
        if self.fault(50) {
            self.log.fault("request late", what);
            self.keep_for_later(what, message, call);
            return Answered { answer: Err(unreachable("no answer in time")), stray: true };
        }
        let stray = self.fault(25);
        if stray {
            self.log.fault("request repeated", what);
            self.keep_for_later(what, message.clone(), call.clone());
        }
        let (told, answer) = oneshot::channel();
        self.arrive(message, call, Some(told));
        let answer = match answer.await {
            Ok(answer) => answer.map(Response::into_inner).map_err(RemoteError::from),
            Err(_) => Err(unreachable("the master is gone")),
        };
        turns(self.chance.below(3)).await;
        if self.fault(40) {
            self.log.fault("answer lost", what);
            return Answered { answer: Err(unreachable("the answer is lost")), stray };
        }
        Answered { answer, stray }
    }

    /// The master of this moment works on a message, whoever waits for it.
    fn arrive<Q, A, F>(
        &self,
        message: Q,
        call: impl FnOnce(MasterRpc, Request<Q>) -> F,
        told: Option<oneshot::Sender<Result<Response<A>, Status>>>,
    ) where
        A: 'static,
        F: Future<Output = Result<Response<A>, Status>> + 'static,
    {
        let Some(master) = self.master() else { return };
        let work = call(master.calls(), Request::new(message));
        self.tasks.spawn(Owner::Master, async move {
            let answer = work.await;
            if let Some(told) = told {
                // Who waited may be gone.
                let _ = told.send(answer);
            }
        });
    }

    fn keep_for_later<Q, A, F, C>(self: &Rc<Self>, what: &'static str, message: Q, call: C)
    where
        Q: 'static,
        A: 'static,
        F: Future<Output = Result<Response<A>, Status>> + 'static,
        C: FnOnce(MasterRpc, Request<Q>) -> F + 'static,
    {
        let world = Rc::clone(self);
        let arrive = Box::new(move || world.arrive::<Q, A, F>(message, call, None));
        let mut late = self.late.borrow_mut();
        if late.len() < LATE_KEPT {
            late.push(Late { sent: self.clock.monotonic(), what, arrive });
        }
    }

    /// A message that was sent a while ago arrives; false when there is none.
    pub(super) fn deliver_a_late_one(&self) -> bool {
        let now = self.clock.monotonic();
        let due = {
            let mut late = self.late.borrow_mut();
            late.retain(|message| now.saturating_sub(message.sent) < MESSAGE_LIVES);
            let at = usize::try_from(self.chance.below(late.len() as u64)).unwrap_or(0);
            if late.is_empty() { None } else { Some(late.swap_remove(at)) }
        };
        let Some(message) = due else { return false };
        self.log.fault("late request arrived", message.what);
        (message.arrive)();
        true
    }

    /// Nothing is under way any more.
    pub(super) fn forget_late_ones(&self) {
        self.late.borrow_mut().clear();
    }

    /// Calls until the master answers, a few times: for calls that may be repeated, as gateways do.
    pub(super) async fn call_again<Q, A, F, C>(
        self: &Rc<Self>,
        what: &'static str,
        message: Q,
        call: C,
    ) -> Answered<A>
    where
        Q: Clone + 'static,
        A: 'static,
        F: Future<Output = Result<Response<A>, Status>> + 'static,
        C: Fn(MasterRpc, Request<Q>) -> F + Clone + 'static,
    {
        const TRIES: u32 = 5;
        let mut stray = false;
        for attempt in 1.. {
            let Answered { answer, stray: now, .. } =
                self.call(what, message.clone(), call.clone()).await;
            // A try that had no answer may have its effect yet.
            stray |= now;
            match answer {
                Err(error) if attempt < TRIES && may_help_to_repeat(&error) => {
                    self.clock.sleep(Duration::from_millis(50 << attempt)).await;
                }
                answer => return Answered { answer, stray },
            }
        }
        Answered { answer: Err(unreachable("no try was made")), stray }
    }
}

/// The same judgement as the gateway's.
fn may_help_to_repeat(error: &RemoteError) -> bool {
    matches!(
        error.reason,
        Reason::Unreachable | Reason::Busy | Reason::OutcomeUnknown | Reason::StorageFailed
    )
}

/// A clock that begins now, with the wall that all share: `time` is the time of the run.
fn wall_clock(time: &Clock, jump_ms: &Arc<AtomicI64>) -> Clock {
    let (time, jump_ms) = (time.clone(), Arc::clone(jump_ms));
    Clock::with_wall(move || {
        let jump = jump_ms.load(Ordering::Relaxed);
        let distance = Duration::from_millis(jump.unsigned_abs());
        let steady = BEGINNING + time.monotonic();
        if jump < 0 { steady.saturating_sub(distance) } else { steady + distance }
    })
}
