//! The journal: every synced commit is in it before it is answered, without gaps, and never ahead of the file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cairn_core::journal::{JournalRecord, Position};
use cairn_kv::{
    Direction, Durability, Journal, JournalStart, KeyRange, Kv, NotJournaled, Read, RedbConfig,
    TransactError, adopt_journal,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::prop_assert_eq;
use proptest::test_runner::{TestCaseError, TestRunner};
use tokio::sync::watch;

use crate::disk::{Disk, Operation};
use crate::support::{block_on, get, patient, put};

type Entries = BTreeMap<Bytes, Bytes>;

/// Nodes that keep what they are given, and say so when a test lets them.
#[derive(Debug, Default)]
struct Nodes {
    start: Mutex<Option<JournalStart>>,
    given: Mutex<Vec<JournalRecord>>,
    durable: watch::Sender<u64>,
    /// They say nothing until they are told to.
    silent: bool,
    /// They fail at once.
    broken: bool,
    full: bool,
}

impl Nodes {
    fn start(&self) -> JournalStart {
        self.start.lock().unwrap().clone().unwrap()
    }

    fn given(&self) -> Vec<JournalRecord> {
        self.given.lock().unwrap().clone()
    }

    fn all(&self) -> Vec<JournalRecord> {
        [self.start().unsent, self.given()].concat()
    }

    fn has_all(&self) {
        let last = self.given().last().map_or(0, |record| record.position().sequence);
        self.durable.send_replace(last);
    }
}

impl Journal for Nodes {
    fn opened(&self, start: JournalStart) {
        self.durable.send_replace(start.unsent.first().map_or(0, |r| r.position().sequence - 1));
        *self.start.lock().unwrap() = Some(start);
    }

    fn committed(&self, record: JournalRecord) {
        let sequence = record.position().sequence;
        self.given.lock().unwrap().push(record);
        if !self.silent && !self.broken {
            self.durable.send_replace(sequence);
        }
    }

    fn durable(&self) -> u64 {
        *self.durable.borrow()
    }

    fn admits(&self) -> Result<(), NotJournaled> {
        if self.full { Err(NotJournaled("full".into())) } else { Ok(()) }
    }

    fn wait(&self, sequence: u64) -> BoxFuture<'static, Result<(), NotJournaled>> {
        if self.broken {
            return async { Err(NotJournaled("no node answers".into())) }.boxed();
        }
        let mut durable = self.durable.subscribe();
        async move {
            let reached = durable.wait_for(|durable| *durable >= sequence).await;
            reached.map(drop).map_err(|_| NotJournaled("gone".into()))
        }
        .boxed()
    }
}

fn open(disk: &Disk, nodes: &Arc<Nodes>) -> Kv {
    let disk = disk.clone();
    Kv::redb_journaled_on(move || disk.open(), patient(), nodes.clone()).unwrap()
}

async fn entries(kv: &Kv) -> Entries {
    let scan = |snapshot: &cairn_kv::Snapshot<'_>| {
        snapshot.scan(&KeyRange::all(), usize::MAX, Direction::Forward)
    };
    kv.view(scan).await.unwrap().into_iter().collect()
}

fn replay(entries: &mut Entries, records: &[JournalRecord], mut last: Position) -> Position {
    for record in records {
        assert!(record.follows(last), "{:?} behind {last:?}", record.position());
        for (key, value) in record.changes().unwrap() {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        last = record.position();
    }
    last
}

#[test]
fn buffered_transactions_are_in_the_record_of_the_next_synced_one() {
    block_on(async {
        let nodes = Arc::new(Nodes::default());
        let kv = open(&Disk::default(), &nodes);
        put(&kv, Durability::Buffered, "a", "1").await.unwrap();
        put(&kv, Durability::Buffered, "b", "1").await.unwrap();
        assert!(nodes.given().is_empty(), "nothing is synced yet");
        put(&kv, Durability::Synced, "b", "2").await.unwrap();
        kv.transact(Durability::Synced, |txn| txn.delete("a")).await.unwrap();
        let given = nodes.given();
        let changes: Vec<_> = given.iter().map(|record| record.changes().unwrap()).collect();
        let pair = |key: &'static str, value: &'static str| (key.into(), Some(value.into()));
        assert_eq!(changes[0], [pair("a", "1"), pair("b", "2")]);
        assert_eq!(changes[1], [("a".into(), None)]);
        kv.close().await.unwrap();
    });
}

#[test]
fn a_synced_transaction_is_answered_when_the_nodes_have_it() {
    block_on(async {
        let nodes = Arc::new(Nodes { silent: true, ..Nodes::default() });
        let kv = open(&Disk::default(), &nodes);
        let mut waits = Box::pin(put(&kv, Durability::Synced, "a", ""));
        while nodes.given().is_empty() {
            assert!(waits.as_mut().now_or_never().is_none(), "nobody has it yet");
            tokio::task::yield_now().await;
        }
        put(&kv, Durability::Buffered, "b", "").await.unwrap();
        let here = kv.transact_locally(Durability::Synced, |txn| txn.put("c", "")).await;
        here.unwrap();
        assert!(waits.as_mut().now_or_never().is_none(), "still not");
        // What was not answered is there for others, and they wait for it as well.
        let see = |txn: &mut cairn_kv::Txn<'_>| txn.get(b"a");
        let mut sees = Box::pin(kv.transact(Durability::Synced, see));
        while sees.as_mut().now_or_never().is_none() {
            nodes.has_all();
            tokio::task::yield_now().await;
        }
        waits.await.unwrap();
        kv.close().await.unwrap();
    });
}

#[test]
fn without_nodes_a_transaction_may_have_happened_and_a_full_journal_takes_none() {
    block_on(async {
        let disk = Disk::default();
        let nodes = Arc::new(Nodes { broken: true, ..Nodes::default() });
        let kv = open(&disk, &nodes);
        let error = put(&kv, Durability::Synced, "a", "").await.unwrap_err();
        assert!(matches!(error, TransactError::MayHaveHappened(_)), "{error}");
        assert!(error.to_string().contains("no node answers"), "{error}");
        kv.close().await.unwrap();
        drop(kv);

        let later = Arc::new(Nodes { full: true, ..Nodes::default() });
        let kv = open(&disk, &later);
        assert_eq!(later.start().unsent, nodes.given(), "it is sent again");
        let error = put(&kv, Durability::Synced, "b", "").await.unwrap_err();
        assert!(matches!(error, TransactError::Storage(_)), "{error}");
        assert!(get(&kv, "a").await.is_some() && get(&kv, "b").await.is_none());
        kv.close().await.unwrap();
    });
}

#[test]
fn whatever_operation_fails_the_records_lead_to_what_is_in_the_file() {
    for operation in [Operation::Write, Operation::Sync] {
        for after in 0..12 {
            block_on(async {
                let (disk, nodes) = (Disk::default(), Arc::new(Nodes::default()));
                let kv = open(&disk, &nodes);
                put(&kv, Durability::Synced, "before", "").await.unwrap();
                disk.fail(operation, after);
                for number in 0..6 {
                    let durability =
                        if number % 2 == 0 { Durability::Buffered } else { Durability::Synced };
                    // It may fail; what is there counts.
                    let _ = put(&kv, durability, format!("{number}"), vec![0; 9000]).await;
                }
                disk.heal();
                put(&kv, Durability::Synced, "after", "").await.unwrap();
                let mut replayed = Entries::new();
                replay(&mut replayed, &nodes.all(), nodes.start().position);
                assert_eq!(replayed, entries(&kv).await, "{operation:?} number {after}");
                kv.close().await.unwrap();
            });
        }
    }
}

/// Lives of a store, each of which ends with a power loss: what the nodes were given, and what is sent again at the next
/// start, always leads to what is in the file.
#[test]
fn after_a_power_loss_the_nodes_and_the_outbox_have_all_that_the_file_has() {
    let mut config = ProptestConfig::with_cases(48);
    config.failure_persistence = None;
    let lives = vec((vec(any::<(bool, u8)>(), 0..12), vec(any::<bool>(), 1..64)), 1..5);
    TestRunner::new(config).run(&lives, |lives| block_on(live(&lives))).unwrap();
}

/// What is written, each synced or not, and what the power loss keeps.
type Life = (Vec<(bool, u8)>, Vec<bool>);

async fn live(lives: &[Life]) -> Result<(), TestCaseError> {
    let mut disk = Disk::default();
    let (mut kept, mut entries_kept) = (Position::default(), Entries::new());
    for (nth, (steps, coins)) in lives.iter().enumerate() {
        let nodes = Arc::new(Nodes::default());
        let kv = open(&disk, &nodes);
        let start = nodes.start();
        prop_assert_eq!(start.term, nth as u64 + 1);
        if nth == 0 {
            kept = start.position;
        }
        prop_assert_eq!(start.position.branch, kept.branch);
        // A node takes what it has as taken.
        let is_new = |record: &JournalRecord| record.position().sequence > kept.sequence;
        let unsent: Vec<_> = start.unsent.iter().filter(|r| is_new(r)).cloned().collect();
        kept = replay(&mut entries_kept, &unsent, kept);
        prop_assert_eq!(kept, start.position);
        prop_assert_eq!(&entries_kept, &entries(&kv).await);
        for (synced, key) in steps {
            let durability = if *synced { Durability::Synced } else { Durability::Buffered };
            put(&kv, durability, vec![*key], vec![*key; 3000]).await.unwrap();
        }
        let given = nodes.given();
        // The last record does not reach the nodes.
        let reached = given.len().saturating_sub(1);
        kept = replay(&mut entries_kept, &given[..reached], kept);
        let mut coins = coins.iter().copied().cycle();
        disk = disk.after_power_loss(|| coins.next().unwrap());
        drop(kv);
    }
    Ok(())
}

#[test]
fn a_store_that_was_written_without_its_journal_begins_a_branch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let journaled = |nodes: &Arc<Nodes>| {
        Kv::redb_journaled(&path, RedbConfig::default(), nodes.clone()).unwrap()
    };
    block_on(async {
        let first = Arc::new(Nodes::default());
        let kv = journaled(&first);
        put(&kv, Durability::Synced, "a", "").await.unwrap();
        kv.close().await.unwrap();
        drop(kv);
        let again = Arc::new(Nodes::default());
        let kv = journaled(&again);
        assert_eq!(again.start().position, first.given()[0].position(), "the same branch");
        kv.close().await.unwrap();
        drop(kv);

        let kv = Kv::redb(&path, RedbConfig::default()).unwrap();
        put(&kv, Durability::Synced, "b", "").await.unwrap();
        kv.close().await.unwrap();
        drop(kv);
        let third = Arc::new(Nodes::default());
        let kv = journaled(&third);
        let start = third.start();
        assert_eq!((start.position.branch, start.term, start.unsent.len()), (3, 3, 0));
        assert_eq!(start.position.sequence, 1, "sequences are never used again");
        kv.close().await.unwrap();
        drop(kv);

        adopt_journal(&path, Position { branch: 3, sequence: 70, crc: 9 }, 12).unwrap();
        let adopted = Arc::new(Nodes::default());
        let kv = journaled(&adopted);
        let start = adopted.start();
        assert_eq!((start.position.branch, start.position.sequence, start.term), (13, 70, 13));
        kv.close().await.unwrap();
    });
}

#[test]
fn a_dump_is_one_state_and_the_records_behind_it_lead_to_the_next() {
    block_on(async {
        let nodes = Arc::new(Nodes::default());
        let kv = open(&Disk::default(), &nodes);
        for number in 0..40 {
            put(&kv, Durability::Synced, format!("{number:02}"), vec![0; 60_000]).await.unwrap();
        }
        let before = entries(&kv).await;
        let mut dump = kv.dump().await.unwrap();
        assert_eq!(dump.position().sequence, 40);
        let second = kv.dump().await;
        assert!(second.is_err(), "one at a time");
        for number in 0..40 {
            put(&kv, Durability::Synced, format!("{number:02}"), "new").await.unwrap();
        }
        let (mut dumped, mut pages) = (Entries::new(), 0);
        while let Some(page) = dump.next_page().await.unwrap() {
            dumped.extend(page);
            pages += 1;
        }
        assert!(pages > 1, "{pages}");
        assert!(dumped == before, "nothing of what came later");
        replay(&mut dumped, &nodes.given()[40..], dump.position());
        assert!(dumped == entries(&kv).await, "all of what came later");
        kv.close().await.unwrap();
    });
}
