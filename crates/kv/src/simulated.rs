//! A store for simulations: the memory engine with a disk that can lose power, and faults on request.
//!
//! ```text
//! entries   what transactions and views see     every transaction changes this
//!    │ synced, or a synced one after it
//! durable   what a crash leaves, and of the buffered tail as many transactions as the choice says, oldest first
//! ```
//!
//! Everything that is left to chance is asked of one function that its owner gives, so that a seed decides a run. As the
//! memory engine it has no thread and runs closures on the caller's task; before and after each it may pause, so that
//! a scheduler can put others in between, or end the task there.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;

use crate::durability::Durability;
use crate::error::{ClosedReason, StorageFailure, TransactError, ViewError};
use crate::kv::Kv;
use crate::overlay::{Change, Overlay};
use crate::snapshot::{self, Snapshot};
use crate::stats::{Counters, Stats};
use crate::txn::{self, Txn};

/// How often something goes wrong: once in so many transactions or views on average, never for 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Odds {
    /// The closure runs again, on what others have written since.
    pub conflict: u64,
    /// The storage fails before the commit: nothing happens, and the store reopens.
    pub failure: u64,
    /// The storage fails in the commit: the answer is "may have happened", and the store reopens.
    pub unknown: u64,
    /// The queue is full.
    pub busy: u64,
    /// Most pauses before and after each transaction and view.
    pub pauses: u64,
}

/// A crash that is planned for a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// Which of the transactions that change something, counted from the store's beginning: 1 is the first.
    pub at: u64,
    /// Whether that transaction happened. No caller is told.
    pub happened: bool,
}

/// Faults that struck, by kind.
pub type Struck = BTreeMap<&'static str, u64>;

/// Gives a number below its argument: where chance comes in.
type Choose = dyn Fn(u64) -> u64 + Send + Sync;

/// A simulated store with its disk, which outlives every handle. Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct SimulatedStore(Arc<Shared>);

struct Shared {
    choose: Box<Choose>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Crashes so far: handles of earlier lives are closed.
    life: u64,
    entries: BTreeMap<Bytes, Bytes>,
    durable: BTreeMap<Bytes, Bytes>,
    /// Buffered transactions since the last synced one, oldest first.
    tail: Vec<Overlay>,
    odds: Odds,
    struck: Struck,
    /// Transactions that changed something, or were about to when the store died.
    changes: u64,
    death: Option<Death>,
}

impl fmt::Debug for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("SimulatedStore")
            .field("life", &state.life)
            .field("entries", &state.entries.len())
            .field("buffered", &state.tail.len())
            .finish_non_exhaustive()
    }
}

impl SimulatedStore {
    /// An empty store without faults. `choose` gives a number below its argument, which is never 0.
    pub fn new(choose: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { choose: Box::new(choose), state: Mutex::default() }))
    }

    /// A handle for the life that the store is in. It is closed by the next crash.
    pub fn open(&self) -> Kv {
        self.handle(false)
    }

    /// As [`Self::open`], of a store that others may have open too.
    pub fn open_shared(&self) -> Kv {
        self.handle(true)
    }

    fn handle(&self, shared: bool) -> Kv {
        let life = self.lock().life;
        Kv::on_simulated(Simulated {
            store: self.clone(),
            life,
            shared,
            closed: Mutex::new(false),
            counters: Counters::default(),
        })
    }

    /// Sets how often faults strike from now on.
    pub fn set_odds(&self, odds: Odds) {
        self.lock().odds = odds;
    }

    /// The process or its machine dies: handles are closed, and of the transactions that were buffered and not followed
    /// by a synced one, a tail is lost. Gives the number lost.
    pub fn crash(&self) -> usize {
        let mut state = self.lock();
        state.life += 1;
        state.lose_tail(&self.0.choose)
    }

    /// Plans a crash. It is as [`Self::crash`], in the middle of a transaction, and happens once.
    pub fn die(&self, death: Death) {
        self.lock().death = Some(death);
    }

    /// Transactions so far that changed something.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Faults that struck so far.
    pub fn struck(&self) -> Struck {
        self.lock().struck.clone()
    }

    /// Transactions that a crash may lose now.
    pub fn buffered(&self) -> usize {
        self.lock().tail.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets others run for a while.
    async fn pause(&self) {
        let most = self.lock().odds.pauses;
        let mut left = if most == 0 { 0 } else { (self.0.choose)(most + 1) };
        poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// Counts a fault when chance wants it.
fn strikes(choose: &Choose, struck: &mut Struck, odds: u64, kind: &'static str) -> bool {
    let does = odds > 0 && choose(odds) == 0;
    if does {
        *struck.entry(kind).or_default() += 1;
    }
    does
}

fn apply(writes: Overlay, entries: &mut BTreeMap<Bytes, Bytes>) {
    for (key, change) in writes {
        match change {
            Change::Put(value) => entries.insert(key, value),
            Change::Delete => entries.remove(&key),
        };
    }
}

impl State {
    fn make_durable(&mut self) {
        for writes in self.tail.drain(..) {
            apply(writes, &mut self.durable);
        }
    }

    /// What is not durable is lost, but for as many of the oldest as chance wants; the number lost.
    fn lose_tail(&mut self, choose: &Choose) -> usize {
        let kept = match self.tail.len() {
            0 => return 0,
            buffered => usize::try_from(choose(buffered as u64 + 1)).unwrap_or(buffered),
        };
        let lost = self.tail.len().saturating_sub(kept);
        self.tail.truncate(kept);
        self.make_durable();
        self.entries.clone_from(&self.durable);
        if lost > 0 {
            *self.struck.entry("buffered transactions lost").or_default() += lost as u64;
        }
        lost
    }

    fn commit(&mut self, writes: Overlay, durability: Durability) {
        if !writes.is_empty() {
            apply(writes.clone(), &mut self.entries);
            self.tail.push(writes);
        }
        if durability == Durability::Synced {
            self.make_durable();
        }
    }
}

/// One life of a store.
pub(crate) struct Simulated {
    store: SimulatedStore,
    life: u64,
    /// Others may have the store open too.
    pub(crate) shared: bool,
    closed: Mutex<bool>,
    counters: Counters,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated").field("life", &self.life).finish_non_exhaustive()
    }
}

/// What one run of a closure came to.
enum Attempt<T, E> {
    /// Somebody else was faster.
    Conflict,
    Over(Result<T, TransactError<E>>),
}

fn power_is_off() -> StorageFailure {
    StorageFailure::new("reach the simulated disk", "a fault on request")
}

impl Simulated {
    pub(crate) async fn transact<T, E>(
        &self,
        durability: Durability,
        mut f: impl FnMut(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<T, TransactError<E>> {
        self.store.pause().await;
        let result = loop {
            match self.attempt(durability, &mut f) {
                Attempt::Conflict => self.store.pause().await,
                Attempt::Over(result) => break result,
            }
        };
        self.counters.answered(&result);
        self.store.pause().await;
        result
    }

    fn attempt<T, E>(
        &self,
        durability: Durability,
        f: &mut impl FnMut(&mut Txn<'_>) -> Result<T, E>,
    ) -> Attempt<T, E> {
        let choose = &self.store.0.choose;
        let mut state = self.store.lock();
        let state = &mut *state;
        let odds = state.odds;
        if self.is_closed(state.life) {
            return Attempt::Over(Err(TransactError::Closed(ClosedReason::ByOwner)));
        }
        if strikes(choose, &mut state.struck, odds.busy, "kv busy") {
            return Attempt::Over(Err(TransactError::Busy { queue: "simulated" }));
        }
        let (value, writes) = match txn::run(&state.entries, f) {
            Ok(done) => done,
            Err(stop) => return Attempt::Over(Err(stop.into())),
        };
        if strikes(choose, &mut state.struck, odds.conflict, "kv conflict") {
            return Attempt::Conflict;
        }
        if strikes(choose, &mut state.struck, odds.failure, "kv failed") {
            state.lose_tail(choose);
            return Attempt::Over(Err(TransactError::Storage(power_is_off())));
        }
        let changes = !writes.is_empty();
        state.changes += u64::from(changes);
        if changes && let Some(death) = state.death.take_if(|death| death.at == state.changes) {
            if death.happened {
                state.commit(writes, durability);
            }
            state.life += 1;
            state.lose_tail(choose);
            return Attempt::Over(Err(TransactError::MayHaveHappened(power_is_off())));
        }
        if changes && odds.unknown > 0 && choose(odds.unknown) == 0 {
            let happened = choose(2) == 0;
            let kind = if happened { "kv unknown, did happen" } else { "kv unknown, did not" };
            *state.struck.entry(kind).or_default() += 1;
            if happened {
                // The store reopens, and finds the commit in its file.
                state.commit(writes, Durability::Synced);
            } else {
                state.lose_tail(choose);
            }
            return Attempt::Over(Err(TransactError::MayHaveHappened(power_is_off())));
        }
        if changes {
            self.counters.committed(durability == Durability::Synced);
        }
        state.commit(writes, durability);
        Attempt::Over(Ok(value))
    }

    pub(crate) async fn view<T, E>(
        &self,
        mut f: impl FnMut(&Snapshot<'_>) -> Result<T, E>,
    ) -> Result<T, ViewError<E>> {
        self.store.pause().await;
        let result = self.look(&mut f);
        self.store.pause().await;
        result
    }

    fn look<T, E>(
        &self,
        f: &mut impl FnMut(&Snapshot<'_>) -> Result<T, E>,
    ) -> Result<T, ViewError<E>> {
        let mut state = self.store.lock();
        let state = &mut *state;
        if self.is_closed(state.life) {
            return Err(ViewError::Closed(ClosedReason::ByOwner));
        }
        if strikes(&self.store.0.choose, &mut state.struck, state.odds.failure, "kv view failed") {
            return Err(ViewError::Storage(power_is_off()));
        }
        Ok(snapshot::run(&state.entries, f)?)
    }

    /// All entries, in order.
    pub(crate) fn entries(&self) -> BTreeMap<Bytes, Bytes> {
        self.store.lock().entries.clone()
    }

    fn is_closed(&self, life: u64) -> bool {
        life != self.life || *self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes everything durable, if this life is still going on.
    pub(crate) fn close(&self) {
        let mut state = self.store.lock();
        if !self.is_closed(state.life) {
            state.make_durable();
        }
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.stats(0)
    }
}
