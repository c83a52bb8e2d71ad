//! Transactions that wait together are committed together, and do not disturb each other.

use cairn_kv::{Durability, Kv, RedbConfig, TransactError, Txn};
use tokio::task::JoinSet;

use crate::disk::Disk;
use crate::support::{
    Answer, HeldWriter, No, block_on, get, keys, open, patient, put, until_waiting,
};

/// Queues one put per key, in order.
async fn queue_puts(kv: &Kv, durability: Durability, keys: &[&'static str]) -> JoinSet<Answer> {
    let mut tasks = JoinSet::new();
    for key in keys {
        let waiting = kv.stats().waiting;
        let (kv_of_task, key) = (kv.clone(), *key);
        tasks.spawn(async move { put(&kv_of_task, durability, key, "").await });
        until_waiting(kv, waiting + 1).await;
    }
    tasks
}

#[test]
fn synced_transactions_that_wait_together_share_one_sync() {
    block_on(async {
        let kv = open(&Disk::default(), patient());
        let held = HeldWriter::new(&kv).await;
        let mut tasks = JoinSet::new();
        for number in 0..64 {
            let kv = kv.clone();
            tasks.spawn(async move {
                put(&kv, Durability::Synced, number.to_string(), "").await.unwrap();
            });
        }
        until_waiting(&kv, 64).await;
        held.release().await.unwrap();
        tasks.join_all().await;

        let stats = kv.stats();
        assert_eq!((stats.transactions, stats.commits, stats.synced_commits), (65, 1, 1));
        assert_eq!(keys(&kv).await.len(), 65);
    });
}

#[test]
fn buffered_transactions_that_wait_together_share_one_commit_without_a_sync() {
    block_on(async {
        let kv = open(&Disk::default(), patient());
        let held = HeldWriter::new(&kv).await;
        let tasks = queue_puts(&kv, Durability::Buffered, &["a", "b"]).await;
        held.release().await.unwrap();
        tasks.join_all().await;
        let stats = kv.stats();
        assert_eq!((stats.transactions, stats.commits, stats.synced_commits), (3, 1, 0));
    });
}

#[test]
fn a_group_is_bounded() {
    block_on(async {
        let kv = open(&Disk::default(), patient());
        let held = HeldWriter::new(&kv).await;
        let mut tasks = JoinSet::new();
        for number in 0..256 {
            let kv = kv.clone();
            let transaction =
                async move { put(&kv, Durability::Synced, number.to_string(), "").await };
            tasks.spawn(transaction);
        }
        until_waiting(&kv, 256).await;
        held.release().await.unwrap();
        tasks.join_all().await;
        let stats = kv.stats();
        assert_eq!((stats.transactions, stats.synced_commits), (257, 2));
    });
}

#[test]
fn a_panic_and_a_rejection_leave_the_neighbours_of_their_group_alone() {
    block_on(async {
        let kv = open(&Disk::default(), patient());
        let held = HeldWriter::new(&kv).await;
        let before = queue_puts(&kv, Durability::Synced, &["before"]).await;
        let (panicking, rejecting) = (kv.clone(), kv.clone());
        let mut bad = JoinSet::new();
        bad.spawn(async move {
            let poison = |txn: &mut Txn<'_>| -> Result<(), No> {
                txn.put("before", "overwritten")?;
                txn.put("panicked", "")?;
                panic!("deliberate")
            };
            let answer = panicking.transact(Durability::Synced, poison).await;
            assert!(matches!(answer, Err(TransactError::Panicked { .. })));
        });
        bad.spawn(async move {
            let refuse = |txn: &mut Txn<'_>| {
                txn.delete("before")?;
                Err::<(), _>(No::OnPrinciple)
            };
            let answer = rejecting.transact(Durability::Synced, refuse).await;
            assert!(matches!(answer, Err(TransactError::Rejected(No::OnPrinciple))));
        });
        until_waiting(&kv, 3).await;
        let after = queue_puts(&kv, Durability::Synced, &["after"]).await;
        held.release().await.unwrap();

        bad.join_all().await;
        assert!(before.join_all().await.iter().chain(&after.join_all().await).all(Result::is_ok));
        assert_eq!(keys(&kv).await, ["after", "before", "held"]);
        assert_eq!(get(&kv, "before").await.unwrap(), "");
        assert_eq!(kv.stats().commits, 1);
    });
}

#[test]
fn a_transaction_sees_its_neighbours_before_they_are_committed() {
    block_on(async {
        let kv = open(&Disk::default(), patient());
        let held = HeldWriter::new(&kv).await;
        let mut tasks = JoinSet::new();
        for _ in 0..10 {
            let kv = kv.clone();
            tasks.spawn(async move {
                let append = |txn: &mut Txn<'_>| {
                    let mut value = cairn_kv::Read::get(txn, b"log")?.unwrap_or_default().to_vec();
                    value.push(b'x');
                    txn.put("log", value)
                };
                kv.transact(Durability::Buffered, append).await.unwrap();
            });
        }
        until_waiting(&kv, 10).await;
        held.release().await.unwrap();
        tasks.join_all().await;
        assert_eq!(get(&kv, "log").await.unwrap(), "xxxxxxxxxx");
        assert_eq!(kv.stats().commits, 1);
    });
}

#[test]
fn views_do_not_wait_for_the_writer() {
    block_on(async {
        let kv = open(&Disk::default(), patient());
        put(&kv, Durability::Buffered, "a", "committed").await.unwrap();
        let held = HeldWriter::new(&kv).await;
        assert_eq!(keys(&kv).await, ["a"]);
        held.release().await.unwrap();
        assert_eq!(keys(&kv).await, ["a", "held"]);
    });
}

#[test]
fn a_view_keeps_its_snapshot_while_transactions_go_on() {
    block_on(async {
        let kv = open(&Disk::default(), patient());
        put(&kv, Durability::Buffered, "a", "old").await.unwrap();
        let (started, mut has_started) = tokio::sync::mpsc::unbounded_channel();
        let (resume, resumed) = std::sync::mpsc::channel::<()>();
        let mut view = JoinSet::new();
        let viewer = kv.clone();
        view.spawn(async move {
            let read_late = move |snapshot: &cairn_kv::Snapshot<'_>| {
                started.send(()).unwrap();
                resumed.recv().unwrap();
                cairn_kv::Read::get(snapshot, b"a")
            };
            viewer.view(read_late).await.unwrap()
        });
        has_started.recv().await.unwrap();
        put(&kv, Durability::Synced, "a", "new").await.unwrap();
        resume.send(()).unwrap();
        assert_eq!(view.join_next().await.unwrap().unwrap().unwrap(), "old");
        assert_eq!(get(&kv, "a").await.unwrap(), "new");
    });
}

#[test]
fn a_full_queue_answers_busy_at_once_and_by_name() {
    block_on(async {
        let kv = open(&Disk::default(), RedbConfig { queue_len: 2, ..patient() });
        let held = HeldWriter::new(&kv).await;
        let tasks = queue_puts(&kv, Durability::Buffered, &["a", "b"]).await;
        let refused = put(&kv, Durability::Buffered, "c", "").await.unwrap_err();
        assert!(matches!(refused, TransactError::Busy { queue: "transaction" }));
        assert!(refused.is_retryable());
        held.release().await.unwrap();
        tasks.join_all().await;
        assert_eq!(keys(&kv).await, ["a", "b", "held"]);
    });
}

#[test]
fn a_transaction_that_no_one_waits_for_any_more_still_happens() {
    block_on(async {
        let kv = open(&Disk::default(), patient());
        let held = HeldWriter::new(&kv).await;
        let mut tasks = queue_puts(&kv, Durability::Buffered, &["a"]).await;
        tasks.shutdown().await;
        held.release().await.unwrap();
        assert_eq!(keys(&kv).await, ["a", "held"]);
    });
}

#[test]
fn a_closing_store_finishes_what_waits() {
    block_on(async {
        let kv = open(&Disk::default(), patient());
        let held = HeldWriter::new(&kv).await;
        let tasks = queue_puts(&kv, Durability::Buffered, &["a", "b"]).await;
        let mut closing = JoinSet::new();
        let closer = kv.clone();
        closing.spawn(async move { closer.close().await });
        held.release().await.unwrap();
        assert!(tasks.join_all().await.iter().all(Result::is_ok));
        closing.join_next().await.unwrap().unwrap().unwrap();
        let refused = put(&kv, Durability::Buffered, "c", "").await;
        assert!(matches!(refused, Err(TransactError::Closed(_))));
    });
}
