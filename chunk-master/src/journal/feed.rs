//! The last records, who has them, and who waits for that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cairn_core::ids::{CatalogId, NodeId};
use cairn_core::journal::{JournalRecord, JournalWriter, Position};
use cairn_kv::{Journal, JournalStart, NotJournaled};
use cairn_runtime::{Clock, Entropy};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

/// Records that may wait for nodes: more transactions are refused.
const MAX_WAITING: u64 = 256;
/// Bytes of records that are kept for nodes that were away for a while, besides those that wait.
const KEPT_BYTES: usize = 64 << 20;
/// Bytes of records that go to a node at once, unless one is longer.
const BATCH_BYTES: usize = 1 << 20;
/// A node that fails for so long is replaced by another, if there is one.
const GIVE_UP_AFTER: Duration = Duration::from_secs(15);
/// A node that was replaced is chosen again before other nodes only after so long.
const AVOID_FOR: Duration = Duration::from_secs(10 * 60);
/// Longest wait of an answer for the nodes: shorter than gateways wait for it.
const WAIT_BOUND: Duration = Duration::from_secs(5);

/// A node that keeps the journal, as its master sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keeper {
    pub(crate) address: String,
    /// The last record that is durable there; `None` before it is known.
    pub(crate) acked: Option<u64>,
    pub(crate) journal_bytes: u64,
    pub(crate) backup_bytes: u64,
    /// Why it does not keep up.
    pub(crate) problem: Option<String>,
    /// Since when, by the monotonic clock; `None` when it keeps up, and when it refuses this master.
    pub(crate) failing_since: Option<Duration>,
}

impl Keeper {
    fn fails_for_long(&self, now: Duration) -> bool {
        self.failing_since.is_some_and(|since| now.saturating_sub(since) > GIVE_UP_AFTER)
    }
}

#[derive(Debug, Default)]
struct State {
    term: u64,
    last: Position,
    records: VecDeque<JournalRecord>,
    bytes: usize,
    keepers: BTreeMap<NodeId, Keeper>,
    /// Nodes that were replaced since they failed for long, and until when others are chosen before them.
    avoided: BTreeMap<NodeId, Duration>,
    /// When a transaction was refused last, by the monotonic clock.
    refused_at: Option<Duration>,
}

#[derive(Debug)]
struct Feed {
    copies: u32,
    writer: Uuid,
    clock: Clock,
    state: Mutex<State>,
    committed: watch::Sender<u64>,
    durable: watch::Sender<u64>,
}

/// The journal of one opening of a catalog: given to the store, then to the master. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MetaJournal(Arc<Feed>);

/// What a node gets next.
#[derive(Debug)]
pub(crate) enum Batch {
    /// Records, and the last of them.
    Records(Bytes, Position),
    /// They are not kept any more: it needs a backup.
    Gone,
}

impl MetaJournal {
    /// A journal on `copies` nodes.
    pub fn new(copies: u32, clock: Clock, entropy: &Entropy) -> Self {
        let writer = entropy.uuid_v7(&clock);
        let (state, committed) = (Mutex::default(), watch::Sender::new(0));
        let durable = watch::Sender::new(0);
        Self(Arc::new(Feed { copies, writer, clock, state, committed, durable }))
    }

    /// On how many nodes a record is durable before it is answered.
    pub(crate) fn copies(&self) -> u32 {
        self.0.copies
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who writes, and how far it is.
    pub(crate) fn writer(&self, catalog: CatalogId) -> (JournalWriter, Position) {
        let state = self.lock();
        (JournalWriter { catalog, term: state.term, id: self.0.writer }, state.last)
    }

    /// The last record that is committed here.
    pub(crate) fn last(&self) -> u64 {
        *self.0.committed.borrow()
    }

    /// The nodes that keep the journal.
    pub(crate) fn keepers(&self) -> BTreeMap<NodeId, Keeper> {
        self.lock().keepers.clone()
    }

    /// Why answers wait, if they do.
    pub(crate) fn problem(&self) -> Option<String> {
        let state = self.lock();
        let keeping = state.keepers.values().filter(|keeper| keeper.problem.is_none()).count();
        (keeping < self.0.copies as usize).then(|| {
            let problems: Vec<_> = state
                .keepers
                .values()
                .filter_map(|keeper| {
                    Some(format!("{}: {}", keeper.address, keeper.problem.as_ref()?))
                })
                .collect();
            let why =
                if problems.is_empty() { "no more are known".into() } else { problems.join("; ") };
            format!("{keeping} of {} nodes keep the journal ({why})", self.0.copies)
        })
    }

    /// A node is to keep the journal.
    pub(crate) fn appoint(&self, node: NodeId, address: String) {
        let problem = Some("asked for the first time".to_owned());
        let keeper = Keeper { address, problem, ..Keeper::default() };
        self.lock().keepers.insert(node, keeper);
    }

    /// A node keeps it no more. One that has failed for long is not to come back at once in the place of who replaced it.
    pub(crate) fn dismiss(&self, node: NodeId) {
        let now = self.0.clock.monotonic();
        let mut state = self.lock();
        let keeper = state.keepers.remove(&node);
        if keeper.is_some_and(|keeper| keeper.fails_for_long(now)) {
            state.avoided.insert(node, now.saturating_add(AVOID_FOR));
        }
    }

    /// A node is asked anew what it has: it may have lost its disk.
    pub(crate) fn ask_anew(&self, node: NodeId) {
        if let Some(keeper) = self.lock().keepers.get_mut(&node) {
            keeper.acked = None;
        }
    }

    /// A node has records up to `acked`.
    pub(crate) fn acked(&self, node: NodeId, acked: u64, journal_bytes: u64, backup_bytes: u64) {
        let mut state = self.lock();
        if let Some(keeper) = state.keepers.get_mut(&node) {
            let address = std::mem::take(&mut keeper.address);
            // The answer to a backup may be heard after that to later records.
            let acked = keeper.acked.max(Some(acked));
            *keeper = Keeper { address, acked, journal_bytes, backup_bytes, ..Keeper::default() };
            state.avoided.remove(&node);
        }
        let mut all: Vec<_> = state.keepers.values().filter_map(|keeper| keeper.acked).collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        let enough = (self.0.copies as usize).checked_sub(1).and_then(|nth| all.get(nth).copied());
        if let Some(enough) = enough {
            self.0.durable.send_if_modified(|durable| {
                let further = enough > *durable;
                *durable = enough.max(*durable);
                further
            });
        }
        let durable = *self.0.durable.borrow();
        state.trim(durable);
    }

    /// A node does not keep up, or refuses this master: then no other node should be asked in its place.
    pub(crate) fn failed(&self, node: NodeId, problem: String, refuses: bool) {
        let now = self.0.clock.monotonic();
        if let Some(keeper) = self.lock().keepers.get_mut(&node) {
            keeper.problem = Some(problem);
            keeper.failing_since = (!refuses).then(|| keeper.failing_since.unwrap_or(now));
        }
    }

    /// Nodes that have failed for long.
    pub(crate) fn hopeless(&self) -> BTreeSet<NodeId> {
        let now = self.0.clock.monotonic();
        let state = self.lock();
        let failing = state.keepers.iter().filter(|(_, keeper)| keeper.fails_for_long(now));
        failing.map(|(node, _)| *node).collect()
    }

    /// Nodes that were replaced lately since they had failed for long.
    pub(crate) fn avoided(&self) -> BTreeSet<NodeId> {
        let now = self.0.clock.monotonic();
        let mut state = self.lock();
        state.avoided.retain(|_, until| *until > now);
        state.avoided.keys().copied().collect()
    }

    /// For how long no transaction was refused.
    pub(crate) fn admits_since(&self) -> Duration {
        let now = self.0.clock.monotonic();
        self.lock().refused_at.map_or(Duration::MAX, |at| now.saturating_sub(at))
    }

    /// Waits for records behind `acked`, and gives the next of them.
    pub(crate) async fn next(&self, acked: u64) -> Batch {
        let mut committed = self.0.committed.subscribe();
        // The sender is in `self`.
        let _ = committed.wait_for(|last| *last > acked).await;
        self.lock().batch(acked)
    }

    /// Whether records behind `acked` are still here.
    pub(crate) fn leads_on_from(&self, position: Position) -> bool {
        let state = self.lock();
        let next = state.records.front().map_or(state.last.sequence + 1, |r| r.position().sequence);
        position.branch == state.last.branch && position.sequence + 1 >= next
    }
}

impl State {
    fn trim(&mut self, durable: u64) {
        while self.bytes > KEPT_BYTES
            && let Some(first) = self.records.front()
            && first.position().sequence <= durable
        {
            self.bytes -= first.bytes().len();
            self.records.pop_front();
        }
    }

    fn batch(&self, acked: u64) -> Batch {
        let first = self.records.front().map(|first| first.position().sequence);
        let Some(skipped) = first.and_then(|first| (acked + 1).checked_sub(first)) else {
            return Batch::Gone;
        };
        let mut bytes = BytesMut::new();
        let mut last = self.last;
        for record in self.records.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)) {
            if !bytes.is_empty() && bytes.len() + record.bytes().len() > BATCH_BYTES {
                break;
            }
            bytes.extend_from_slice(record.bytes());
            last = record.position();
        }
        Batch::Records(bytes.freeze(), last)
    }

    fn add(&mut self, record: JournalRecord) {
        self.last = record.position();
        self.bytes += record.bytes().len();
        self.records.push_back(record);
    }
}

impl Journal for MetaJournal {
    fn opened(&self, start: JournalStart) {
        let mut state = self.lock();
        // The last record stays in the outbox until another one is committed: without any, a branch begins here.
        let first = start.unsent.first().map(|first| first.position().sequence);
        for record in start.unsent {
            state.add(record);
        }
        (state.term, state.last) = (start.term, start.position);
        self.0.durable.send_replace(first.map_or(0, |first| first - 1));
        self.0.committed.send_replace(start.position.sequence);
    }

    fn committed(&self, record: JournalRecord) {
        let sequence = record.position().sequence;
        self.lock().add(record);
        self.0.committed.send_replace(sequence);
    }

    fn durable(&self) -> u64 {
        *self.0.durable.borrow()
    }

    fn admits(&self) -> Result<(), NotJournaled> {
        // Before the first record is durable, the catalog is written once more than records are: all that it holds.
        let durable = *self.0.durable.borrow();
        let admits = {
            let mut state = self.lock();
            let waits = |record: &&JournalRecord| record.position().sequence > durable;
            let waiting = state.records.iter().rev().take_while(waits).count() as u64;
            if waiting > MAX_WAITING {
                state.refused_at = Some(self.0.clock.monotonic());
            }
            waiting <= MAX_WAITING
        };
        match admits {
            true => Ok(()),
            false => Err(NotJournaled(self.problem().unwrap_or_else(|| "nodes are slow".into()))),
        }
    }

    fn wait(&self, sequence: u64) -> BoxFuture<'static, Result<(), NotJournaled>> {
        let this = self.clone();
        let mut durable = self.0.durable.subscribe();
        async move {
            let reached = durable.wait_for(|durable| *durable >= sequence);
            match this.0.clock.timeout(WAIT_BOUND, reached).await {
                Ok(_) => Ok(()),
                Err(elapsed) => {
                    let why = this.problem().unwrap_or_else(|| elapsed.to_string());
                    Err(NotJournaled(why))
                }
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(copies: u32) -> MetaJournal {
        let clock = Clock::with_wall(|| Duration::ZERO);
        MetaJournal::new(copies, clock, &Entropy::seeded(1))
    }

    fn node(n: u128) -> NodeId {
        NodeId::from_uuid(Uuid::from_u128(n))
    }

    fn opened(copies: u32, records: u64) -> MetaJournal {
        let journal = journal(copies);
        let mut last = Position { branch: 1, sequence: 0, crc: 0 };
        journal.opened(JournalStart { position: last, term: 1, unsent: Vec::new() });
        for n in 1..=3 {
            journal.appoint(node(n), format!("http://node-{n}"));
        }
        for _ in 0..records {
            let record = JournalRecord::new(last, []);
            last = record.position();
            journal.committed(record);
        }
        journal
    }

    #[tokio::test]
    async fn a_record_is_durable_when_enough_nodes_have_it() {
        let journal = opened(2, 5);
        journal.acked(node(1), 5, 0, 0);
        assert_eq!(journal.durable(), 0, "one node is not enough");
        journal.acked(node(2), 3, 0, 0);
        assert_eq!(journal.durable(), 3);
        journal.acked(node(3), 4, 0, 0);
        assert_eq!(journal.durable(), 4);
        journal.dismiss(node(1));
        assert_eq!(journal.durable(), 4, "what was durable stays so");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_replaced_is_avoided_for_a_while_or_until_it_keeps_up() {
        let journal = opened(2, 1);
        for n in [1, 2] {
            journal.failed(node(n), "its disk failed".to_owned(), false);
        }
        journal.0.clock.sleep(GIVE_UP_AFTER).await;
        assert!(journal.hopeless().is_empty());
        journal.0.clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(journal.hopeless(), [1, 2].map(node).into());
        (1..=3).for_each(|n| journal.dismiss(node(n)));
        assert_eq!(journal.avoided(), [1, 2].map(node).into());
        // There is no other.
        journal.appoint(node(1), String::new());
        assert_eq!(journal.avoided(), [1, 2].map(node).into());
        journal.acked(node(1), 1, 0, 0);
        assert_eq!(journal.avoided(), [node(2)].into());
        journal.0.clock.sleep(AVOID_FOR).await;
        assert!(journal.avoided().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_known_since_when_transactions_are_admitted() {
        let journal = opened(1, MAX_WAITING + 1);
        assert_eq!(journal.admits_since(), Duration::MAX);
        assert!(journal.admits().is_err());
        journal.0.clock.sleep(Duration::from_secs(5)).await;
        journal.acked(node(1), MAX_WAITING + 1, 0, 0);
        assert!(journal.admits().is_ok());
        assert_eq!(journal.admits_since(), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn answers_of_a_node_that_come_in_another_order_take_nothing_back() {
        let journal = opened(2, 5);
        journal.acked(node(1), 5, 0, 0);
        journal.acked(node(1), 4, 0, 0);
        journal.acked(node(2), 5, 0, 0);
        assert_eq!(journal.durable(), 5);
    }

    #[tokio::test]
    async fn a_node_that_is_asked_anew_counts_for_what_it_has_now() {
        let journal = opened(2, 5);
        journal.acked(node(1), 5, 0, 0);
        journal.ask_anew(node(1));
        journal.acked(node(1), 2, 0, 0);
        journal.acked(node(2), 5, 0, 0);
        assert_eq!(journal.durable(), 2);
    }

    #[tokio::test]
    async fn a_node_gets_what_is_behind_its_last_record_or_learns_that_it_is_gone() {
        let journal = opened(1, 5);
        let Batch::Records(bytes, last) = journal.next(3).await else { panic!("records") };
        assert_eq!(last.sequence, 5);
        let mut bytes = bytes;
        let first = JournalRecord::take(&mut bytes).expect("a record").expect("not the end");
        assert_eq!(first.position().sequence, 4);
        let later = opened(1, 0);
        let start = Position { branch: 1, sequence: 7, crc: 0 };
        later.opened(JournalStart { position: start, term: 2, unsent: Vec::new() });
        assert!(matches!(later.next(5).await, Batch::Gone));
        assert!(later.leads_on_from(start));
        assert!(!later.leads_on_from(Position { sequence: 6, ..start }));
        assert!(!later.leads_on_from(Position { branch: 2, ..start }));
    }

    #[tokio::test]
    async fn too_many_records_that_wait_admit_no_transaction() {
        let journal = opened(1, MAX_WAITING);
        journal.admits().expect("as many may wait");
        let (_, last) = journal.writer(CatalogId::from_uuid(Uuid::nil()));
        journal.committed(JournalRecord::new(last, []));
        let refused = journal.admits().expect_err("one more");
        assert!(refused.to_string().contains("0 of 1 nodes keep the journal"), "{refused}");
        journal.acked(node(1), MAX_WAITING, 0, 0);
        journal.admits().expect("nodes have them");
    }
}
