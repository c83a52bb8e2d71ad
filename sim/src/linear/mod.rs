//! Linearizability: whether calls that overlapped can be put into one order that explains every answer.
//!
//! ```text
//! PUT a ├──────── 201 ────────┤
//!            GET ├── a ──┤                      explained: PUT a, GET, PUT b
//!                   PUT b ├──── no answer ···   b may take effect at any later time, or never
//! ```
//!
//! The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) in the form of Lowe ("Testing
//! for Linearizability", 2017): what was tried is remembered, so no state is searched twice; and calls are put in order
//! just in time, when an answer demands it. Histories are checked name by name, as linearizability is a matter of each
//! object alone (Herlihy and Wing, 1990).

#[cfg(test)]
mod brute;
pub(crate) mod object;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;

/// What one object does.
pub(crate) trait Model {
    /// All that there is to know of the object at a moment.
    type State: Clone + Eq + Hash;
    /// An operation together with the answer that it got.
    type Op;

    /// How the object begins.
    fn initial(&self) -> Self::State;

    /// The state after `op` took effect in `state` and gave its answer; nothing when it cannot have.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// An operation between its beginning and its end.
#[derive(Debug, Clone)]
pub(crate) struct Call<O> {
    pub(crate) op: O,
    /// When it began.
    pub(crate) began: u64,
    /// When it was answered, later than it began. Nothing: its outcome is not known, so it may take effect at any time
    /// after its beginning, or never.
    pub(crate) ended: Option<u64>,
}

/// Why a history is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refuted {
    /// No order explains the answer of this call, the first in time for which there is none.
    NoOrder {
        /// Its position in the history.
        call: usize,
    },
    /// Too many orders to try.
    TooHard,
}

impl fmt::Display for Refuted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOrder { call } => write!(f, "no order explains call {call}"),
            Self::TooHard => f.write_str("too many orders to try"),
        }
    }
}

/// Most states tried for one answer.
const MOST_TRIED: usize = 1 << 16;

/// An order that explains all answers so far: where it led, and which calls it has that are not answered yet.
#[derive(Debug, Clone)]
struct Config<S> {
    state: S,
    done: BTreeSet<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// At one moment calls begin before others end: they overlap.
    Begin(usize),
    End(usize),
}

/// Checks the history of one object.
///
/// # Errors
/// [`Refuted`] when no order of the calls explains their answers.
pub(crate) fn check<M: Model>(model: &M, calls: &[Call<M::Op>]) -> Result<(), Refuted> {
    let mut events: Vec<(u64, Event)> = Vec::with_capacity(2 * calls.len());
    for (at, call) in calls.iter().enumerate() {
        events.push((call.began, Event::Begin(at)));
        events.extend(call.ended.map(|ended| (ended, Event::End(at))));
    }
    events.sort_unstable();
    let mut open = BTreeSet::new();
    let mut configs = vec![Config { state: model.initial(), done: BTreeSet::new() }];
    for (_, event) in events {
        match event {
            Event::Begin(call) => drop(open.insert(call)),
            Event::End(call) => {
                configs = answered(model, calls, &open, configs, call)?;
                open.remove(&call);
            }
        }
    }
    Ok(())
}

/// All orders in which `call` has taken effect, by putting open calls behind those that there are. Shorter orders are
/// tried first, so that one that is of no more use than another is never looked at.
fn answered<M: Model>(
    model: &M,
    calls: &[Call<M::Op>],
    open: &BTreeSet<usize>,
    configs: Vec<Config<M::State>>,
    call: usize,
) -> Result<Vec<Config<M::State>>, Refuted> {
    let mut tried = Tried::new(calls);
    let mut to_try: BTreeMap<usize, Vec<Config<M::State>>> = BTreeMap::new();
    for config in configs {
        to_try.entry(config.done.len()).or_default().push(config);
    }
    let mut explained = Vec::new();
    while let Some((length, batch)) = to_try.pop_first() {
        for config in batch {
            if !tried.is_news(&config)? {
                continue;
            }
            if config.done.contains(&call) {
                explained.push(config);
                continue;
            }
            for next in open.difference(&config.done) {
                let Some(state) = model.step(&config.state, &calls[*next].op) else { continue };
                let mut done = config.done.clone();
                done.insert(*next);
                to_try.entry(length + 1).or_default().push(Config { state, done });
            }
        }
    }
    let explained: Vec<_> = explained.into_iter().map(|config| config.without(call)).collect();
    if explained.is_empty() { Err(Refuted::NoOrder { call }) } else { Ok(explained) }
}

impl<S> Config<S> {
    fn without(mut self, call: usize) -> Self {
        self.done.remove(&call);
        self
    }
}

/// Orders that were tried, shorter ones first.
struct Tried<'a, S, O> {
    calls: &'a [Call<O>],
    by_state: HashMap<S, Vec<BTreeSet<usize>>>,
    count: usize,
}

impl<'a, S: Clone + Eq + Hash, O> Tried<'a, S, O> {
    fn new(calls: &'a [Call<O>]) -> Self {
        Self { calls, by_state: HashMap::new(), count: 0 }
    }

    /// Whether `config` can explain anything that those before it cannot: it cannot when one of them led to the same
    /// state and has used fewer of the calls that nobody waits for.
    fn is_news(&mut self, config: &Config<S>) -> Result<bool, Refuted> {
        let calls = self.calls;
        let before = self.by_state.entry(config.state.clone()).or_default();
        let as_good = |done: &BTreeSet<usize>| {
            let more = config.done.difference(done);
            done.is_subset(&config.done)
                && more.into_iter().all(|call| calls[*call].ended.is_none())
        };
        if before.iter().any(as_good) {
            return Ok(false);
        }
        before.push(config.done.clone());
        self.count += 1;
        if self.count > MOST_TRIED { Err(Refuted::TooHard) } else { Ok(true) }
    }
}
